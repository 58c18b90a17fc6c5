"""Holds a file against the layout of a store: what is there, of which kind, and that the shapes agree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opsigcli.errors import Refused
from opsigcli.records import Provenance
from opsigcli.store.decode import build, decode_text
from opsigcli.store.guard import Found, text_bytes
from opsigcli.store.schema import KEPT, LAYOUT, Part, part_at, pattern

TEXTS = ("text", "JSON")
# Of the options of a provenance, which may be anything, those that another command looks at.
OPTIONS: dict[str, Any] = {"notes": tuple[str, ...], "mean": str, "virtual": dict[str, Any] | None}
SHARED = ("T", "N")  # symbols with one value in the whole file
BLOCK = 1 << 16  # texts at a time
_GIVEN = ("steps", "example_ids")  # what T and N are taken from


def require_layout(file: h5py.File, found: dict[str, Found], raw: IO[bytes], size: int) -> None:
    """Refuse a file whose datasets are not those of a store.

    Args:
        file: open, and walked.
        found: its datasets.
        raw: its bytes.
        size: how many.

    Raises:
        Refused: a dataset is missing, or of another kind or shape than the layout says, or its values are.
    """
    _require_all(found)
    bound: dict[tuple[str, str], tuple[int, str]] = {}
    texts = 0
    for path in (*_GIVEN, *(path for path in found if path not in _GIVEN)):
        if (part := part_at(path)) is None:
            continue  # of a later version, or of somebody's own
        data = h5py.Dataset(found[path].id)
        if not _is_kind(data.dtype, part.kind):
            raise Refused(f"expected {part.kind} in {path}, found {_kind(data.dtype)}")
        _bind(path, part, data.shape, bound)
        if part.kind in TEXTS:
            texts += sum(text_bytes(piece) for piece in _pieces(raw, found[path]))
            if texts > size:
                raise Refused(
                    f"expected texts of at most the {size:,} bytes of the file, found more in {path}"
                )
            for text in read_texts(data, path):
                if part.record is not None:
                    _require_options(decode_text(part.record, text, path), path)
    _require_values(file, found)


def read_texts(data: h5py.Dataset, path: str) -> Iterator[str]:
    """All texts of a dataset.

    Raises:
        Refused: one is not UTF-8.
    """
    try:
        if data.shape == ():
            yield data.asstr()[()]
            return
        for start in range(0, len(data), BLOCK):
            yield from data.asstr()[start : start + BLOCK]
    except UnicodeDecodeError as error:
        raise Refused(f"expected UTF-8 in {path}, found other bytes") from error


def _require_options(record: Any, path: str) -> None:
    """Refuse what a command said of its work in another form than it is read in."""
    if isinstance(record, Provenance):
        for name in OPTIONS.keys() & record.options.keys():
            build(OPTIONS[name], record.options[name], f"{path}.options.{name}")


def _require_all(found: dict[str, Found]) -> None:
    parents = {path.rpartition("/")[0] for path in found} | {"", "provenance"}
    for parent in sorted(parents):
        for known, part in LAYOUT.items():
            group, _, name = known.rpartition("/")
            path = f"{parent}/{name}" if parent else name
            if part.always and pattern(group).fullmatch(parent) and path not in found:
                raise Refused(f"expected the dataset {path}, found none")


def _is_kind(dtype: np.dtype[Any], kind: str) -> bool:
    if kind in TEXTS:
        return h5py.check_string_dtype(dtype) is not None
    whole = dtype.kind == "i" or (dtype.kind == "u" and dtype.itemsize < 8)
    return {
        "int": whole,
        "float": dtype.kind == "f",
        "float32": dtype.kind == "f" and dtype.itemsize == 4,
        "uint8": dtype == np.uint8,
        "bool": dtype.kind == "b",
        "number": whole or dtype.kind == "f",
    }[kind]


def _kind(dtype: np.dtype[Any]) -> str:
    return "text" if h5py.check_string_dtype(dtype) is not None else dtype.name


def _bind(
    path: str, part: Part, shape: tuple[int, ...], bound: dict[tuple[str, str], tuple[int, str]]
) -> None:
    """Hold a shape against the symbols, and note those that are seen for the first time.

    Raises:
        Refused: it is another.
    """
    symbols = re.findall(r"[^(), ]+", part.shape)
    group = path.rpartition("/")[0]
    if symbols[-1:] == ["..."]:
        symbols = [*symbols[:-1], *["*"] * (len(shape) - len(symbols) + 1)]
    if len(symbols) != len(shape):
        raise Refused(f"expected {path} of shape {part.shape or '()'}, found {shape}")
    for symbol, length in zip(symbols, shape, strict=True):
        if symbol == "*":
            continue
        name = symbol.removesuffix("-1")
        key = ("" if name in SHARED else group, name)
        if name.isdigit():
            wanted, of = int(name), ""
        else:
            value, giver = bound.setdefault(key, (length, path))
            wanted = max(value - (name != symbol), 0)
            of = f"; {name} = {value} in {giver}"
        if length != wanted:
            raise Refused(f"expected {path} of shape {part.shape}, found {shape}{of}")


def _pieces(raw: IO[bytes], data: Found) -> Iterator[bytes]:
    for start, stop in data.stretches:
        raw.seek(start)
        yield raw.read(stop - start)


def _require_values(file: h5py.File, found: dict[str, Found]) -> None:
    """Refuse values that no store has: what they point at must be there.

    Raises:
        Refused: some are in it.
    """
    steps, ids = _values(file, "steps"), _values(file, "example_ids")
    if not len(steps) or not len(ids):
        raise Refused("expected at least one checkpoint and one example, found none")
    if steps[0] < 0 or (np.diff(steps) <= 0).any():
        raise Refused("expected increasing numbers in steps, found others")
    if (np.diff(np.sort(ids)) == 0).any():
        raise Refused("expected every number in example_ids once, found one again")
    for sha256 in read_texts(file["sha256"], "sha256"):
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise Refused(f"expected 64 hexadecimal digits in sha256, found {sha256[:80]!r}")
    for name in read_texts(file["files"], "files"):
        if not name or "\0" in name or name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name):
            raise Refused(f"expected files within the folder of checkpoints in files, found {name[:80]!r}")
    lrs = _values(file, "lrs")
    if ((lrs < 0) | np.isinf(lrs)).any():
        raise Refused("expected learning rates, or NaN where one is not known, in lrs, found another number")
    if "weights" in found:
        weights = _values(file, "weights")
        if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
            raise Refused("expected numbers of at least 0 in weights, found others")
    if "gradients/rows" in found:
        _require_below(_values(file, "gradients/rows"), len(steps), "gradients/rows", "checkpoints")
        _require_below(_values(file, "gradients/positions"), len(ids), "gradients/positions", "examples")
    for path in _named(found, "gradients/joined-"):
        _require_below(_values(file, path)[:, 2], len(ids), path, "examples")
    for path in _named(found, "gradients/eigen-"):
        parts = file[path]
        rows = parts[:, :1, :2] if 0 not in parts.shape else np.array([-1.0])
        if parts.shape[2] != 6 + len(ids) or not ((rows >= 0) & (rows < len(steps))).all():
            raise Refused(
                f"expected rows of checkpoints and parts of {len(ids)} examples in {path}, found others"
            )
    for path in _named(found, "probes/"):
        values = _values(file, path) if path.endswith(("/classes", "/probabilities")) else None
        if values is not None and (not values.size or (values < 0).any()):
            raise Refused(f"expected classes and their probabilities in {path}, found others or none")
        if values is not None and path.endswith("/probabilities") and (values > 1.001).any():
            raise Refused(f"expected probabilities in {path}, found larger numbers")
    for path in (
        *_named(found, "known_pairs/"),
        *_named(found, "groups/"),
        *_named(found, "sharpness_examples"),
    ):
        if not len(values := _values(file, path)) or not np.isin(values, ids).all():
            raise Refused(f"expected example ids in {path}, found others or none")


def require_deltas(file: h5py.File) -> None:
    """Hold the loss deltas against the losses, which a store without a seal has to show that it is as it was written.

    Raises:
        Refused: they are not the differences.
    """
    losses, deltas = file["losses"], file["loss_deltas"]
    before = losses[0]
    for row in range(len(deltas)):
        after = losses[row + 1]
        with np.errstate(invalid="ignore", over="ignore"):
            fits = np.array_equal(after - before, deltas[row], equal_nan=True)
        if not fits:
            raise Refused(f"expected the differences of losses in loss_deltas, found others in row {row}")
        before = after


def _named(found: Iterable[str], start: str) -> list[str]:
    """Paths that begin so, in the root or among the results that are kept."""
    begins = re.compile(rf"({KEPT}/\d+/)?{re.escape(start)}")
    return [path for path in found if begins.match(path) and part_at(path) is not None]


def _values(file: h5py.File, path: str) -> NDArray[Any]:
    values: NDArray[Any] = file[path][()]
    return values


def _require_below(values: NDArray[Any], count: int, path: str, what: str) -> None:
    if ((values < 0) | (values >= count)).any():
        raise Refused(f"expected numbers of {count} {what} from 0 in {path}, found others")
