"""What the pickle of a torch.save file describes: tensors, and plain values around them."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from opsigcli.checkpoints.base import SIZES, TensorFacts
from opsigcli.checkpoints.formats.sparse_state import REBUILD, only_in_states
from opsigcli.pickles import reader as pickle_reader
from opsigcli.pickles.machine import Calls, Data
from opsigcli.pickles.records import Call, Malformed, Name, Ordered, OtherNumbers, fields

# Storage class -> element type. Quantized storages are left out: torch rebuilds those tensors
# without checking that their strides stay inside the storage.
_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "UntypedStorage": "uint8",
}
_PLAIN = {
    *("collections.OrderedDict", "collections.Counter", "torch.Size", "torch.Tensor", "torch.device"),
    *(
        "torch.nn.parameter.Parameter",
        "torch.serialization._get_layout",
        "torch._tensor._rebuild_from_type_v2",
    ),
    *("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"),
    *("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"),
    *("_codecs.encode", "builtins.bytearray", "builtins.set", "builtins.complex"),
    *(f"torch.{name}" for name in _STORAGES if name != "UntypedStorage"),
    *(f"torch.{name}" for name in SIZES),
    *("torch.storage.UntypedStorage", "torch.storage.TypedStorage"),
}
_CSR = "torch._utils._rebuild_sparse_csr_tensor"
_WRAPPED = "torch._utils._rebuild_wrapper_subclass"
# Of an optimizer's state in few bits: read as the tensors that it is made of.
_OPTIMIZER_STATE = re.compile(r"torchao\.[a-z_.0-9]*\.OptimState\w+")
# Rebuilt by torch without checks of what is inside, or without any storage to check.
_REFUSED = {
    REBUILD: "sparse tensors",
    _CSR: "sparse tensors",
    "torch._utils._rebuild_qtensor": "quantized tensors",
    "torch._utils._rebuild_nested_tensor": "nested tensors",
    "torch._utils._rebuild_meta_tensor_no_storage": "tensors without data (on the meta device)",
    _WRAPPED: "tensors of a wrapper class",
    "torch._utils._rebuild_device_tensor_from_numpy": "tensors of a device that torch keeps as numpy arrays",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "tensors of a device that torch keeps on the CPU",
    "torch.distributed.tensor.DTensor": "the part of sharded tensors (DTensor) that one process had",
    "torch.distributed._tensor.api.DTensor": "the part of sharded tensors (DTensor) that one process had",
    "torch.distributed._shard.sharded_tensor.api.ShardedTensor": "the part of sharded tensors that one process had",
}


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file."""

    key: str
    dtype: str
    bytes: int


@dataclass(frozen=True)
class StoredTensor(TensorFacts):
    """A tensor and where its numbers are."""

    storage: Storage
    offset: int  # elements
    stride: tuple[int, ...]  # elements
    conjugate: bool = False  # the numbers are kept as their conjugates
    negative: bool = False  # and as their negatives


@dataclass(frozen=True)
class Content:
    """A torch.save file as data."""

    root: Any
    foreign: tuple[str, ...]  # classes and functions beyond those of tensors and plain values
    refused: tuple[str, ...]  # kinds of tensors that opsig does not open
    storages: tuple[Storage, ...]
    end: int  # of the pickle


def read_content(
    data: Data, start: int = 0, calls: Calls = MappingProxyType({}), most: int = pickle_reader.MAX_OPCODES
) -> Content:
    """The pickle at ``start``, as data.

    Args:
        data: bytes, or a mapped file.
        start: offset of the pickle.
        calls: what stands for calls beyond those of torch's files.
        most: instructions that it may have.

    Raises:
        Malformed: it is broken, or a tensor in it reaches beyond its storage.
    """
    storages: dict[tuple[str, str], Storage] = {}

    def persistent(saved: Any) -> Any:
        # The common case first: a model has a storage per tensor.
        try:
            kind, name, key, _, count = saved
            known = _STORAGES[name.text[name.text.rindex(".") + 1 :]]
            if kind == "storage" and type(key) is str and type(count) is int and count >= 0:
                place = (key, known)
                if place not in storages:
                    storages[place] = Storage(key, known, count * SIZES[known])
                return storages[place]
        except (ValueError, TypeError, KeyError, AttributeError):
            pass
        match saved:
            case ("module", Name() as kind, *_):  # a legacy file keeps a module's class with its source text
                return kind
        storage = _storage(saved)
        return storages.setdefault((storage.key, storage.dtype), storage)

    others = 0  # tensors of wrapper classes that are not read

    def of_type(arguments: tuple[Any, ...]) -> Any:
        nonlocal others
        function, kind, inner, parts = arguments
        if function.text == _WRAPPED:
            if _OPTIMIZER_STATE.fullmatch(kind.text):
                return dict(fields(parts))
            others += 1
        rebuild = _CALLS.get(function.text)
        return rebuild(inner) if rebuild else Call(function, inner)

    pickle = pickle_reader.read(
        data, {**_CALLS, **calls, "torch._tensor._rebuild_from_type_v2": of_type}, persistent, start, most
    )
    refused = {_REFUSED[name] for name in pickle.names if name in _REFUSED and (name != _WRAPPED or others)}
    if REBUILD in pickle.names and only_in_states(pickle.value):
        refused -= {_REFUSED[REBUILD]} if _CSR not in pickle.names else set()
    foreign = {
        name for name in pickle.names - _PLAIN - _REFUSED.keys() if not _OPTIMIZER_STATE.fullmatch(name)
    }
    return Content(
        pickle.value,
        tuple(sorted(foreign)),
        tuple(sorted(refused)),
        tuple(storages.values()),
        pickle.end,
    )


def _storage(saved: Any) -> Storage:
    match saved:
        # Legacy files have a sixth part, for storages that are views of others: None in all but the oldest.
        case ("storage", Name(text=kind), str(key), _, int(count), *view) if count >= 0 and view in (
            [],
            [None],
        ):
            name = kind.rpartition(".")[2]
            if name not in _STORAGES:
                raise OtherNumbers(f"it holds numbers of the kind {name}, which opsig does not open")
            return Storage(key, _STORAGES[name], count * SIZES[_STORAGES[name]])
    raise Malformed("the pickle in it points at something that is no storage")


def _tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    storage, offset, shape, stride, *rest = arguments
    dtype = rest[2].text.rpartition(".")[2] if len(rest) > 2 and isinstance(rest[2], Name) else storage.dtype
    size = SIZES.get(dtype)
    if size is None:
        raise OtherNumbers(f"it holds numbers of the kind {dtype}, which opsig does not open")
    shape, stride = tuple(shape), tuple(stride)
    possible = len(shape) == len(stride) and type(offset) is int and offset >= 0
    last, count = offset, 1
    for n, step in zip(shape, stride, strict=False):
        if type(n) is not int or type(step) is not int or n < 0 or step < 0:
            possible = False
            break
        last += (n - 1) * step
        count *= n
    if not possible or len(shape) > 64:
        raise Malformed("a tensor in it has an impossible shape")
    if count and (last + 1) * size > storage.bytes:
        raise Malformed("a tensor in it reaches beyond its numbers")
    if count * size > max(storage.bytes, _MAX_EXPANDED):
        raise Malformed("a tensor in it repeats its numbers without bound")
    flags = next((fields(part) for part in rest[2:] if isinstance(part, dict)), {})
    return StoredTensor(
        dtype, shape, storage, offset, stride, flags.get("conj") is True, flags.get("neg") is True
    )


def _ordered(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    return Ordered(
        (pair[0], pair[1]) for pair in (arguments[0] if arguments else ()) if isinstance(pair[0], str)
    )


def _number(arguments: tuple[Any, ...]) -> Any:
    """A numpy scalar: its type and its bytes."""
    kind, raw = arguments
    code = kind.arguments[0]
    order = kind.state[1] if isinstance(kind.state, tuple) else "<"
    if code not in _NUMPY:
        return Call(kind, arguments)
    (value,) = struct.unpack((">" if order == ">" else "<") + _NUMPY[code], raw)
    return value


def _latin(arguments: tuple[Any, ...]) -> Any:
    """How bytes are written under pickle protocol 2."""
    text, encoding = arguments
    return (
        text.encode("latin-1")
        if encoding in ("latin1", "latin-1")
        else Call(Name("_codecs.encode"), arguments)
    )


def _members(arguments: tuple[Any, ...]) -> Any:
    return list(arguments[0]) if arguments else []


_NUMPY = {
    "f8": "d",
    "f4": "f",
    "f2": "e",
    "i8": "q",
    "i4": "i",
    "i2": "h",
    "i1": "b",
    "u8": "Q",
    "u4": "I",
    "b1": "?",
}
_MAX_EXPANDED = 1 << 24  # bytes of a tensor with more elements than its storage, as expand() makes
_CALLS: Calls = {
    "collections.OrderedDict": _ordered,
    "torch.Size": lambda arguments: tuple(arguments[0]),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": lambda arguments: arguments[0],
    "torch._utils._rebuild_parameter_with_state": lambda arguments: arguments[0],
    "builtins.set": _members,
    "builtins.frozenset": _members,
    "_codecs.encode": _latin,
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
}
# Names beyond those of tensors and plain values that are read as what they stand for.
UNDERSTOOD = {*_CALLS, "numpy.dtype"}
