"""The manifest ``opsig-run.toml`` beside the checkpoints: how the run was made, and a row per checkpoint.

Its format is documented in opsig-manifest(5), which is made from the records here.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

from opsigcli.checkpoints import atomic
from opsigcli.errors import CheckpointError
from opsigcli.files import read_file
from opsigcli.options import MANIFEST
from opsigcli.typed import Amount, Count, Hexadecimal, Misfit, Number, Positive, Seed, shown, typed

Record = TypeVar("Record")

SCHEMA = 1

_MOST_DOTS, _HEADER_DOTS = 10_000, 100  # in a line; in one that may name a table
_LARGEST = 1 << 26  # bytes: some hundred thousand checkpoints
_REPAIR = f"repair the {MANIFEST}, or move it away and give --model and --data"


Plain = bool | int | float | str | list[bool | int | float | str]


@dataclass(frozen=True)
class Row:
    """One checkpoint of the run."""

    file: str  # path within the folder, with slashes
    step: Count  # in the manifest's unit
    epoch: Amount | None = None
    lr: Number | None = None
    sha256: Hexadecimal = ""


@dataclass(frozen=True)
class Manifest:
    """How a run was made."""

    model: str  # spec
    data: str  # spec
    loss: str  # spec
    optimizer: str = ""
    hyper: dict[str, Plain] = field(default_factory=dict)  # lr, momentum, betas …
    batch_size: Positive | None = None  # None is the full batch
    unit: Literal["step", "epoch", "number", "position"] = "step"  # what the checkpoints' steps count
    schedule: str = ""  # spec of what multiplies lr over the steps; "" where nothing does
    clip: Amount | None = None  # the norm to which longer gradients were scaled
    augment: str = ""  # what training changed of its examples: flip, crop=2, mixup=0.2
    steps: Count = 0  # planned
    save_every: Positive = 1
    save_steps: str = ""  # ranges of steps A:B:C that were saved instead; "" where every so many were
    forked_from: str = ""  # the checkpoint of another run that this one goes on from; "" where it began anew
    forked_step: Count = 0  # its step
    forked_sha256: Hexadecimal = ""  # its sha256
    differs: tuple[str, ...] = ()  # what is not as in that run, as words
    perturb: str = ""  # how far weights were moved there before the first update, at random
    reset_state: bool = False  # the optimizer's state was left behind there
    seed: Seed | None = None  # of everything random; None where it is not known
    input_shape: tuple[Count, ...] = ()
    classes: tuple[str, ...] = ()
    fingerprint: str = ""  # of the dataset
    transform: dict[str, Any] = field(default_factory=dict)
    key: str | None = None  # which part of a checkpoint holds the weights
    weights: Literal["", "model", "ema"] = ""  # model or ema, where a checkpoint holds both
    partial: bool = False  # the weights fit the model in part
    config: str = ""  # content of the config.json of a model hf:DIR, with which it opens where DIR is gone
    signature: Hexadecimal = ""  # of the specs, by the user who wrote this
    checkpoints: tuple[Row, ...] = ()
    schema: Positive = SCHEMA


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None where there is none.

    Raises:
        CheckpointError: it is no TOML, misses a value, has one of the wrong type, or a newer opsig wrote it.
    """
    path = folder / MANIFEST
    try:
        text = read_file(path, _LARGEST).decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror or error}", "check that file and its mode"
        ) from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"expected UTF-8 text, found other bytes in {path}", _REPAIR) from error
    try:
        _refuse_endless(text)
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise CheckpointError(f"expected TOML, found a mistake in {path}: {error}", _REPAIR) from error
    schema = data.get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise CheckpointError(
            f"expected a manifest of schema {SCHEMA} or older, found schema {schema} in {path}",
            "update opsig: pip install --upgrade opsig",
        )
    if type(schema) is not int or schema < 1:
        raise CheckpointError(f"expected 'schema = {SCHEMA}', found {shown(schema)} in {path}", _REPAIR)
    run, rows = data.get("run", {}), data.get("checkpoints", [])
    strange = next((key for key in data if key not in ("schema", "run", "checkpoints")), None)
    if not isinstance(run, dict) or not isinstance(rows, list) or strange is not None:
        what = f", found {shown(strange)}" if strange is not None else ""
        raise CheckpointError(f"expected [run] and [[checkpoints]] tables{what} in {path}", _REPAIR)
    made = {"schema": schema, "checkpoints": _rows(rows, path)}
    if both := made.keys() & run.keys():
        raise CheckpointError(f"expected no {min(both)!r} in [run], found one in {path}", _REPAIR)
    return _fitting(Manifest, run | made, f"{path}, [run]")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a folder's manifest, whole or not at all.

    Raises:
        CheckpointError: it cannot be written.
    """
    import tomli_w

    try:
        text = tomli_w.dumps(document(manifest)).encode()
    except UnicodeEncodeError as error:
        raise CheckpointError(
            f"expected names that are text for {folder / MANIFEST}, found {shown(error.object[error.start :])}",
            "rename the file or folder",
        ) from error
    atomic.write(folder / MANIFEST, text)


def document(manifest: Manifest) -> dict[str, Any]:
    """The manifest as TOML has it; two manifests say the same where these are equal."""
    fields = {f.name: getattr(manifest, f.name) for f in dataclasses.fields(manifest)}
    rows = [dataclasses.asdict(row) for row in fields.pop("checkpoints")]
    found: dict[str, Any] = _toml({"schema": fields.pop("schema"), "run": fields, "checkpoints": rows})
    return found


def _toml(value: Any) -> Any:
    """``value`` with what TOML does not have left out: None goes, tuples and arrays become lists."""
    if isinstance(value, Mapping):
        return {str(key): _toml(item) for key, item in value.items() if item is not None}
    if hasattr(value, "tolist"):  # numpy
        return _toml(value.tolist())
    return [_toml(item) for item in value] if isinstance(value, list | tuple) else value


def _refuse_endless(text: str) -> None:
    """Refuse keys of so many parts that tomllib, whose time grows with their square, would not come to an end.

    Raises:
        ValueError: there are such.
    """
    dots, header = 0, 0
    for line in text.split("\n"):
        found = line.count(".")
        dots += found**2
        header = max(header, found if line.lstrip().startswith("[") else 0)
    if dots > _MOST_DOTS**2 or header > _HEADER_DOTS:
        raise ValueError("names of thousands of parts")


def _rows(rows: list[Any], path: Path) -> tuple[Row, ...]:
    """The rows of the checkpoints.

    Raises:
        CheckpointError: one does not fit, names a file outside the folder, or one that another row names.
    """
    found: dict[str, Row] = {}
    for number, data in enumerate(rows, 1):
        row = _fitting(Row, data, f"{path}, checkpoint {number}")
        _check_file(row.file, path)
        if row.file in found:
            raise CheckpointError(f"expected each file once, found {row.file!r} twice in {path}", _REPAIR)
        found[row.file] = row
    return tuple(found.values())


def _fitting(kind: type[Record], data: Any, where: str) -> Record:
    """A table of the file as a record.

    Raises:
        CheckpointError: it does not fit.
    """
    try:
        return typed(kind, data, where)
    except Misfit as problem:
        raise CheckpointError(problem.message, problem.hint or _REPAIR) from problem


def _check_file(file: str, where: Path) -> None:
    """A row may name files within its folder only.

    Raises:
        CheckpointError: it names another.
    """
    parts = PurePosixPath(file)
    if not parts.parts or parts.is_absolute() or ".." in parts.parts or "\\" in file or "\0" in file:
        raise CheckpointError(f"expected a file within the folder, found {file!r} in {where}", _REPAIR)
