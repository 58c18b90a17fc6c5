"""What a store may be made of: groups and plain datasets whose values lie in the file itself.

HDF5 can also link to other files, keep values in them, make a dataset of parts of others, name one object twice, refer
to objects, and start a plugin to unpack values. opsig writes none of that, and follows none of it: a file is walked
link by link before anything is read, and what is declared must be there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o, h5pl, h5s, h5t, h5z

from opsigcli.errors import Refused

MOST_OBJECTS = 20_000
DEEPEST = 4
LARGEST_CHUNK = 1 << 24  # bytes
LARGEST_PACKED = 1 << 30  # bytes of a compressed dataset once it is unpacked
LONGEST_NAME = 1 << 12
_LINKS = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "a link into another file"}
_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])  # to a text in the file


@dataclass(frozen=True)
class Found:
    """One dataset of a file."""

    id: h5d.DatasetID
    stretches: tuple[tuple[int, int], ...]  # where its values lie: first byte, byte after the last


@contextmanager
def no_plugins() -> Iterator[None]:
    """Let HDF5 find no plugins for a while: one may be asked for by a group's own structure."""
    paths = [h5pl.get(number) for number in range(h5pl.size())]
    for _ in paths:
        h5pl.remove(0)
    try:
        yield
    finally:
        for path in paths:
            h5pl.append(path)


def walk(file: h5py.File, size: int) -> dict[str, Found]:
    """Every dataset of a file by its path, found without following a link or reading a value.

    Args:
        file: open for reading.
        size: bytes of the file.

    Raises:
        Refused: something in it is not of a store, or is not there.
    """
    root = h5g.open(file.id, b"/")
    seen, count = {h5o.get_info(root).addr}, 0
    found: dict[str, Found] = {}
    groups: list[tuple[str, h5g.GroupID]] = [("", root)]
    while groups:
        prefix, group = groups.pop()
        for name, kind in _links(group, prefix):
            path, count = prefix + name, count + 1
            if kind != h5l.TYPE_HARD:
                raise Refused(
                    f"expected groups and datasets alone, found {_LINKS.get(kind, 'a link of a kind of its own')} "
                    f"at {path}"
                )
            if count > MOST_OBJECTS:
                raise Refused(f"expected at most {MOST_OBJECTS:,} groups and datasets, found more")
            child = h5o.open(group, name.encode())
            address = h5o.get_info(child).addr
            if address in seen:
                raise Refused(
                    f"expected every group and dataset once, found {path} under another name as well"
                )
            seen.add(address)
            if isinstance(child, h5d.DatasetID):
                found[path] = Found(child, _stretches(child, path, size))
            elif isinstance(child, h5g.GroupID):
                if path.count("/") >= DEEPEST:
                    raise Refused(f"expected groups at most {DEEPEST} deep, found {path}")
                groups.append((f"{path}/", child))
            else:
                raise Refused(f"expected groups and datasets alone, found a named type at {path}")
    _require_apart(found)
    return found


def _require_apart(found: dict[str, Found]) -> None:
    """Refuse values that lie in one another: what is read is then never more than the file is long.

    Raises:
        Refused: some do.
    """
    placed = sorted((*stretch, path) for path, data in found.items() for stretch in data.stretches)
    for before, after in itertools.pairwise(placed):
        if after[0] < before[1]:
            raise Refused(f"expected values of their own in {after[2]}, found those of {before[2]}")


def _links(group: h5g.GroupID, prefix: str) -> list[tuple[str, int]]:
    """Names of a group with the kinds of their links, none of which is followed.

    Raises:
        Refused: one is no name.
    """
    found: list[tuple[bytes, int]] = []

    def keep(name: bytes, info: Any) -> bool | None:
        found.append((bytes(name), int(info.type)))
        return True if len(found) > MOST_OBJECTS else None

    group.links.iterate(keep, info=True)
    try:
        names = [(name.decode(), kind) for name, kind in found]
    except UnicodeDecodeError as error:
        raise Refused(f"expected names in UTF-8, found another one in {prefix or 'the file'}") from error
    for name, _ in names:
        if not name or len(name) > LONGEST_NAME or "/" in name or "\0" in name:
            raise Refused(f"expected names of up to {LONGEST_NAME:,} characters, found {name[:40]!r}")
    return names


def _stretches(data: h5d.DatasetID, path: str, size: int) -> tuple[tuple[int, int], ...]:
    """Where the values of a dataset lie, all of them in the file.

    Raises:
        Refused: they lie elsewhere, or are no plain numbers or texts.
    """
    plan, kind = data.get_create_plist(), data.get_type()
    if plan.get_external_count():
        raise Refused(f"expected the values of {path} in the store, found them in another file")
    layout = plan.get_layout()
    if layout not in (h5d.CONTIGUOUS, h5d.CHUNKED):
        what = "made of other datasets" if layout == h5d.VIRTUAL else "kept in another way"
        raise Refused(f"expected the values of {path} in the store, found them {what}")
    filters = [plan.get_filter(number)[0] for number in range(plan.get_nfilters())]
    if filters not in ([], [h5z.FILTER_DEFLATE]):
        raise Refused(f"expected {path} plain or packed with gzip, found filters {filters}")
    text = _is_text(kind, path)
    space = data.get_space()
    if space.get_simple_extent_type() not in (h5s.SCALAR, h5s.SIMPLE):
        raise Refused(f"expected values in {path}, found none")
    shape = tuple(map(int, space.get_simple_extent_dims()))
    item = _REFERENCE.itemsize if text else kind.get_size()
    if layout == h5d.CHUNKED:
        if text:
            raise Refused(f"expected the texts of {path} in one piece, found them in chunks")
        return _chunks(data, path, shape, tuple(map(int, plan.get_chunk())), item, bool(filters), size)
    total = math.prod(shape) * item
    if not total:
        return ()
    start = data.get_offset()
    if data.get_storage_size() != total or start is None or start + total > size:
        raise Refused(f"expected the {total:,} bytes of {path} in the store, found them missing")
    return ((start, start + total),)


def _chunks(
    data: h5d.DatasetID,
    path: str,
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    item: int,
    packed: bool,
    size: int,
) -> tuple[tuple[int, int], ...]:
    """Where the chunks lie. One that is missing would be read as zeros.

    Raises:
        Refused: one is missing, broken, or larger than any that opsig writes.
    """
    plain = math.prod(chunk) * item
    if plain > LARGEST_CHUNK:
        raise Refused(f"expected chunks of at most {LARGEST_CHUNK:,} bytes in {path}, found {plain:,}")
    if packed and math.prod(shape) * item > LARGEST_PACKED:
        raise Refused(f"expected at most {LARGEST_PACKED:,} bytes in {path}, found {shape}")
    wanted = math.prod(-(-length // width) for length, width in zip(shape, chunk, strict=True))
    stored = data.get_num_chunks() if math.prod(shape) else 0
    if stored != wanted:
        raise Refused(f"expected {wanted:,} chunks of {path} of shape {shape}, found {stored:,}")
    found: dict[tuple[int, ...], tuple[int, int]] = {}

    def keep(stored: h5d.StoreInfo) -> None:
        whole = stored.size == plain or (packed and stored.size > 0)
        places = zip(stored.chunk_offset, shape, chunk, strict=True)
        inside = all(at < length and not at % width for at, length, width in places)
        if not whole or not inside or stored.filter_mask or not 0 < stored.byte_offset <= size - stored.size:
            raise Refused(f"expected whole chunks of {path}, found a broken one at {stored.chunk_offset}")
        found[stored.chunk_offset] = (stored.byte_offset, stored.byte_offset + stored.size)

    if wanted:
        data.chunk_iter(keep)
    if len(found) != wanted:
        raise Refused(f"expected {wanted:,} chunks of {path}, found {len(found):,}")
    return tuple(sorted(found.values()))


def _is_text(kind: h5t.TypeID, path: str) -> bool:
    """Whether values are texts; they are numbers otherwise.

    Raises:
        Refused: they are neither.
    """
    if kind.committed():
        raise Refused(f"expected {path} to say itself what its values are, found a named type")
    if kind.get_class() == h5t.STRING and kind.is_variable_str():
        return True
    if kind.get_class() not in (h5t.INTEGER, h5t.FLOAT, h5t.ENUM) or kind.get_size() > 8:
        raise Refused(f"expected numbers or texts in {path}, found values of another kind")
    return False


def text_bytes(raw: bytes) -> int:
    """Bytes of all texts of a dataset, from what it has in their place: their lengths, and where they lie."""
    return int(np.frombuffer(raw, _REFERENCE)["length"].sum(dtype=np.uint64))
