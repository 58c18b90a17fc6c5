"""The manifest ``opsig-run.toml`` beside the checkpoints: how the run was made, and a row per checkpoint."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from opsigcli.checkpoints import atomic
from opsigcli.errors import CheckpointError
from opsigcli.files import read_file
from opsigcli.options import MANIFEST
from opsigcli.registry import nearest

SCHEMA = 1

_Record = TypeVar("_Record")
_REPAIR = f"repair the {MANIFEST}, or move it away and give --model and --data"


@dataclass(frozen=True)
class Row:
    """One checkpoint of the run."""

    file: str  # path within the folder, with slashes
    step: int
    epoch: float | None = None
    lr: float | None = None
    sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    """How a run was made."""

    model: str  # spec
    data: str  # spec
    loss: str  # spec
    optimizer: str = ""
    hyper: dict[str, Any] = field(default_factory=dict)  # lr, momentum, betas …
    batch_size: int | None = None  # None is the full batch
    steps: int = 0  # planned
    save_every: int = 1
    seed: int = 0
    input_shape: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    fingerprint: str = ""  # of the dataset
    transform: dict[str, Any] = field(default_factory=dict)
    key: str | None = None  # which part of a checkpoint holds the weights
    weights: str = ""  # model or ema, where a checkpoint holds both
    partial: bool = False  # the weights fit the model in part
    signature: str = ""  # of the specs, by the user who wrote this
    checkpoints: tuple[Row, ...] = ()
    schema: int = SCHEMA


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None where there is none.

    Raises:
        CheckpointError: it is no TOML, misses a value, has one of the wrong type, or a newer opsig wrote it.
    """
    path = folder / MANIFEST
    try:
        text = read_file(path).decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror or error}", "check that file and its mode"
        ) from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"expected UTF-8 text, found other bytes in {path}", _REPAIR) from error
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise CheckpointError(f"expected TOML, found a mistake in {path}: {error}", _REPAIR) from error
    schema = data.get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise CheckpointError(
            f"expected a manifest of schema {SCHEMA} or older, found schema {schema} in {path}",
            "update opsig: pip install --upgrade opsig",
        )
    if type(schema) is not int or schema < 1:
        raise CheckpointError(f"expected 'schema = {SCHEMA}', found {schema!r} in {path}", _REPAIR)
    run, rows = data.get("run", {}), data.get("checkpoints", [])
    if not isinstance(run, dict) or not isinstance(rows, list):
        raise CheckpointError(f"expected [run] and [[checkpoints]] tables in {path}", _REPAIR)
    checkpoints = tuple(_record(Row, row, f"{path}, checkpoint {i + 1}") for i, row in enumerate(rows))
    for row in checkpoints:
        _check_file(row.file, path)
    return _record(Manifest, run | {"checkpoints": checkpoints, "schema": schema}, f"{path}, [run]")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a folder's manifest, whole or not at all.

    Raises:
        CheckpointError: it cannot be written.
    """
    import tomli_w

    fields = {f.name: getattr(manifest, f.name) for f in dataclasses.fields(manifest)}
    rows = [dataclasses.asdict(row) for row in fields.pop("checkpoints")]
    document = {"schema": fields.pop("schema"), "run": fields, "checkpoints": rows}
    atomic.write(folder / MANIFEST, tomli_w.dumps(_toml(document)).encode())


def _toml(value: Any) -> Any:
    """``value`` with what TOML does not have left out: None goes, tuples and arrays become lists."""
    if isinstance(value, Mapping):
        return {str(key): _toml(item) for key, item in value.items() if item is not None}
    if hasattr(value, "tolist"):  # numpy
        return _toml(value.tolist())
    return [_toml(item) for item in value] if isinstance(value, list | tuple) else value


def _record(kind: type[_Record], data: Any, where: str) -> _Record:
    """A table of the file as a record, every value of the type its field has.

    Raises:
        CheckpointError: it is no table, names a field that is not known, or lacks one.
    """
    if not isinstance(data, dict):
        raise CheckpointError(f"expected a table at {where}, found {data!r}", _REPAIR)
    hints = typing.get_type_hints(kind)
    strange = next((key for key in data if key not in hints), None)
    if strange is not None:
        close = nearest(strange, hints)
        hint = f"did you mean {close[0]}?" if close else _REPAIR
        raise CheckpointError(f"expected one of {', '.join(hints)}, found {strange!r} at {where}", hint)
    values: dict[str, Any] = {}
    for entry in dataclasses.fields(kind):  # type: ignore[arg-type]
        needed = entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
        if entry.name in data:
            values[entry.name] = _value(hints[entry.name], data[entry.name], f"{entry.name} at {where}")
        elif needed:
            raise CheckpointError(f"expected a value for {entry.name!r}, found none at {where}", _REPAIR)
    return kind(**values)


def _value(hint: Any, value: Any, where: str) -> Any:
    wanted = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_value(wanted[0], item, where) for item in value)
    plain = wanted[0] if isinstance(hint, types.UnionType) else typing.get_origin(hint) or hint
    if plain is float and type(value) is int:
        return float(value)
    if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
        raise CheckpointError(f"expected {_WORDS.get(plain, 'a list')}, found {value!r} for {where}", _REPAIR)
    return value


_WORDS = {str: "text", int: "a whole number", float: "a number", dict: "a table"}


def _check_file(file: str, where: Path) -> None:
    """A row may name files within its folder only.

    Raises:
        CheckpointError: it names another.
    """
    parts = PurePosixPath(file)
    if not file or parts.is_absolute() or ".." in parts.parts or "\\" in file or "\0" in file:
        raise CheckpointError(f"expected a file within the folder, found {file!r} in {where}", _REPAIR)
