"""The ``.metadata`` of torch.distributed.checkpoint, read as data.

torch reads this file with a bare ``pickle.load``, which runs whatever code it names; so does its loader of values that
are no tensors. Here both are data: the pickle is read without importing a name.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opsigcli.checkpoints.base import SIZES, TensorFacts
from opsigcli.pickles import reader as pickle_reader
from opsigcli.pickles.machine import Calls
from opsigcli.pickles.records import Call, Malformed, Name, fields

_MAX_CHUNKS = 4096  # of one tensor


@dataclass(frozen=True)
class Place:
    """Where one item lies: a run of bytes of one file of the folder."""

    file: str
    offset: int
    length: int


@dataclass(frozen=True)
class Chunk:
    """A box of a tensor, and where it lies."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    place: Place


@dataclass(frozen=True)
class DcpTensor(TensorFacts):
    """A tensor kept in chunks that tile it."""

    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class DcpValue:
    """A value that is no tensor."""

    place: Place


def read_metadata(raw: bytes, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The tree of tensors and values that a ``.metadata`` describes.

    Args:
        raw: the file.
        sizes: name -> size in bytes, of the files of the folder.

    Raises:
        Malformed: it is broken; it points outside of the folder or its files; or the chunks of a tensor do not tile it.
    """

    def persistent(saved: Any) -> Any:
        raise Malformed("its metadata points at a storage")

    try:
        root = fields(pickle_reader.read(raw, _CALLS, persistent).value)
        items = fields(root["state_dict_metadata"])
        places = _places(fields(root["storage_data"]), sizes)
        if sum(place.length for place in places.values()) > 2 * sum(sizes.values()):
            raise Malformed("its items are larger than its files")
        paths = fields(root.get("planner_data"))
        tree: dict[Any, Any] = {}
        for name, item in items.items():
            path = paths.get(name, (name,))
            if not isinstance(name, str) or not isinstance(path, tuple) or not 0 < len(path) < 64:
                raise Malformed("its metadata names an item by something other than text")
            _put(tree, path, _item(name, item, places))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, Malformed):
            raise
        raise Malformed("its metadata is not that of torch.distributed.checkpoint") from error
    return {str(key): _with_lists(value) for key, value in tree.items()}


def _places(
    stored: Mapping[Any, Any], sizes: Mapping[str, int]
) -> dict[tuple[str, tuple[int, ...] | None], Place]:
    found = {}
    for index, info in stored.items():
        own, where = fields(index), fields(info)
        file, offset, length = where["relative_path"], where["offset"], where["length"]
        if where.get("transform_descriptors"):
            raise Malformed("its items are compressed or otherwise transformed, which opsig does not open")
        # Names in the folder are the only paths there are: nothing can point out of it.
        if file not in sizes:
            raise Malformed(f"its metadata names the file {str(file)[:80]!r}, which is not in the folder")
        if (
            type(offset) is not int
            or type(length) is not int
            or not 0 <= offset <= offset + length <= sizes[file]
        ):
            raise Malformed(f"it is incomplete: its metadata points beyond the end of {file}")
        box = own.get("offset")
        found[(own["fqn"], None if box is None else tuple(box))] = Place(file, offset, length)
    return found


def _item(name: str, item: Any, places: Mapping[tuple[str, tuple[int, ...] | None], Place]) -> Any:
    own = fields(item)
    if "chunks" not in own:
        return DcpValue(places[(name, None)])
    properties = own["properties"]
    kind = properties.state[0] if isinstance(properties.state, tuple) else fields(properties)["dtype"]
    dtype = kind.text.rpartition(".")[2] if isinstance(kind, Name) else ""
    if dtype not in SIZES:
        raise Malformed(f"it holds numbers of the kind {dtype or 'unknown'}, which opsig does not open")
    shape = _numbers(own["size"])
    boxes = [
        (_numbers(fields(chunk)["offsets"]), _numbers(fields(chunk)["sizes"])) for chunk in own["chunks"]
    ]
    chunks = tuple(Chunk(begin, sizes, places[(name, begin)]) for begin, sizes in boxes)
    tensor = DcpTensor(dtype, shape, chunks)
    _require_tiling(name, tensor)
    return tensor


def _require_tiling(name: str, tensor: DcpTensor) -> None:
    """Refuse chunks that leave a part of the tensor out, overlap, or hold fewer bytes than they claim.

    Raises:
        Malformed: they do.
    """
    chunks = tensor.chunks
    if len(chunks) > _MAX_CHUNKS:
        raise Malformed(f"the tensor {name!r} has {len(chunks)} chunks")
    total = 0
    for chunk in chunks:
        inside = len(chunk.offsets) == len(chunk.sizes) == len(tensor.shape) and all(
            begin + size <= whole
            for begin, size, whole in zip(chunk.offsets, chunk.sizes, tensor.shape, strict=True)
        )
        count = TensorFacts("uint8", chunk.sizes).count
        if not inside or count * SIZES[tensor.dtype] > chunk.place.length:
            raise Malformed(f"a chunk of the tensor {name!r} does not fit")
        total += count
    overlap = any(
        all(
            a < b + n and b < a + m for a, m, b, n in zip(x.offsets, x.sizes, y.offsets, y.sizes, strict=True)
        )
        for x, y in itertools.combinations([c for c in chunks if 0 not in c.sizes], 2)
    )
    if overlap or total != tensor.count:
        raise Malformed(f"the chunks of the tensor {name!r} do not cover it once")


def _numbers(values: Any) -> tuple[int, ...]:
    numbers = tuple(values)
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in numbers):
        raise Malformed("a tensor in it has an impossible shape")
    return numbers


def _put(tree: dict[Any, Any], path: tuple[Any, ...], item: Any) -> None:
    *parents, last = path
    for part in parents:
        if not isinstance(part, str | int):
            raise Malformed("its metadata names an item by something other than text")
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise Malformed("its metadata names an item twice")
    tree[last] = item


def _with_lists(tree: Any) -> Any:
    """Mappings from 0, 1, 2 … as the lists they were."""
    if not isinstance(tree, dict):
        return tree
    inner = {key: _with_lists(value) for key, value in tree.items()}
    return list(inner.values()) if inner and list(inner) == list(range(len(inner))) else inner


_CALLS: Calls = {
    "torch.Size": lambda arguments: tuple(arguments[0]),
    "collections.OrderedDict": lambda arguments: {},
    "torch.serialization._get_layout": lambda arguments: Call(Name("layout"), arguments),
}
