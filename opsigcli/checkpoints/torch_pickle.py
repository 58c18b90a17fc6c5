"""What the pickle of a torch.save file describes: tensors, and the training state around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

from opsigcli.checkpoints import inert
from opsigcli.checkpoints.base import TensorFacts
from opsigcli.checkpoints.facts import EPOCH_KEYS, LR_KEYS, STEP_KEYS, content_counts, content_lr, real, whole
from opsigcli.checkpoints.inert import Malformed, Name

# Storage class -> element type and its size in bytes. Quantized storages are left out: torch rebuilds those tensors
# without checking that their strides stay inside the storage.
_STORAGES = {
    "DoubleStorage": ("float64", 8),
    "FloatStorage": ("float32", 4),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
    "ComplexDoubleStorage": ("complex128", 16),
    "ComplexFloatStorage": ("complex64", 8),
    "UntypedStorage": ("uint8", 1),
}
_SIZES = dict(_STORAGES.values()) | {
    **dict.fromkeys(("uint16",), 2),
    **dict.fromkeys(("uint32",), 4),
    **dict.fromkeys(("uint64",), 8),
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"), 1),
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
    *(f"torch.{name}" for name in _SIZES),
    *("torch.storage.UntypedStorage", "torch.storage.TypedStorage"),
}
# Rebuilt by torch without checks of what is inside, or without any storage to check.
_REFUSED = {
    "torch._utils._rebuild_sparse_tensor": "sparse tensors",
    "torch._utils._rebuild_sparse_csr_tensor": "sparse tensors",
    "torch._utils._rebuild_qtensor": "quantized tensors",
    "torch._utils._rebuild_nested_tensor": "nested tensors",
    "torch._utils._rebuild_meta_tensor_no_storage": "tensors without data (on the meta device)",
    "torch._utils._rebuild_wrapper_subclass": "tensors of a wrapper class",
    "torch._utils._rebuild_device_tensor_from_numpy": "tensors of a device that torch keeps as numpy arrays",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "tensors of a device that torch keeps on the CPU",
}
_OPTIMIZERS = ("optimizer", "optimizer_state_dict", "optimizer_states", "optimizer_state", "optim", "opt")
_NOT_WEIGHTS = ("optim", "sched", "scaler", "rng")


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


@dataclass(frozen=True)
class Content:
    """A torch.save file as data."""

    root: Any
    foreign: tuple[str, ...]  # classes and functions that weights_only loading does not know
    refused: tuple[str, ...]  # kinds of tensors that opsig does not open
    protocol: int
    storages: tuple[Storage, ...]


def read_content(file: IO[bytes]) -> Content:
    """The pickle at the file's position, as data.

    Raises:
        Malformed: it is broken, or a tensor in it reaches beyond its storage.
    """
    storages: dict[tuple[str, str], Storage] = {}

    def persistent(saved: Any) -> Any:
        storage = _storage(saved)
        return storages.setdefault((storage.key, storage.dtype), storage)

    pickle = inert.read(file, _CALLS, persistent)
    refused = {_REFUSED[name] for name in pickle.names if name in _REFUSED}
    foreign = pickle.names - _PLAIN - _REFUSED.keys()
    return Content(
        pickle.value,
        tuple(sorted(foreign)),
        tuple(sorted(refused)),
        pickle.protocol,
        tuple(storages.values()),
    )


def _storage(saved: Any) -> Storage:
    match saved:
        case ("storage", Name(text=kind), str(key), _, int(count), *_) if count >= 0:
            name = kind.rpartition(".")[2]
            if name not in _STORAGES:
                raise Malformed(f"it holds numbers of the kind {name}, which opsig does not open")
            dtype, size = _STORAGES[name]
            return Storage(key, dtype, count * size)
    raise Malformed("the pickle in it points at something that is no storage")


def _tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    storage, offset, shape, stride, *rest = arguments
    dtype = rest[2].text.rpartition(".")[2] if len(rest) > 2 and isinstance(rest[2], Name) else storage.dtype
    if dtype not in _SIZES:
        raise Malformed(f"it holds numbers of the kind {dtype}, which opsig does not open")
    numbers = (offset, *shape, *stride)
    if len(shape) != len(stride) or not all(type(n) is int and n >= 0 for n in numbers):
        raise Malformed("a tensor in it has an impossible shape")
    end = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) + 1
    if 0 not in shape and end * _SIZES[dtype] > storage.bytes:
        raise Malformed("a tensor in it reaches beyond its numbers")
    return StoredTensor(dtype, tuple(shape), storage, offset)


def _of_type(arguments: tuple[Any, ...]) -> Any:
    function, _, inner, _ = arguments
    rebuild = _CALLS.get(function.text)
    return rebuild(inner) if rebuild else inert.Call(function, inner)


def _ordered(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    return {pair[0]: pair[1] for pair in arguments[0] if isinstance(pair[0], str)} if arguments else {}


_CALLS: inert.Calls = {
    "collections.OrderedDict": _ordered,
    "torch.Size": lambda arguments: tuple(arguments[0]),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": lambda arguments: arguments[0],
    "torch._utils._rebuild_parameter_with_state": lambda arguments: arguments[0],
    "torch._tensor._rebuild_from_type_v2": _of_type,
}


Where = tuple[str, ...]  # keys from the root to a mapping


def candidates(root: Any) -> dict[Where, dict[str, StoredTensor]]:
    """Every set of weights in a file, by where it is: at the root, under a key of it, or one level deeper."""
    if not isinstance(root, Mapping):
        return {}
    found: dict[Where, dict[str, StoredTensor]] = {}
    for name, entry in root.items():
        if not isinstance(name, str) or any(word in name.lower() for word in _NOT_WEIGHTS):
            continue
        if weights := _weights(entry):
            found[(name,)] = weights
        elif isinstance(entry, Mapping):
            for deep, value in entry.items():
                if isinstance(deep, str) and (inner := _weights(value)):
                    found[(name, deep)] = inner
    if found:
        return found
    # Counts that a script put among the weights do not make a state dict less of one.
    tensors = {
        name: value
        for name, value in root.items()
        if isinstance(name, str) and isinstance(value, StoredTensor)
        and name not in (*STEP_KEYS, *EPOCH_KEYS, *LR_KEYS)
    }  # fmt: skip
    return {(): tensors} if tensors else {}


def _weights(entry: Any) -> dict[str, StoredTensor] | None:
    if not isinstance(entry, Mapping):
        return None
    weights = {k: v for k, v in entry.items() if isinstance(k, str) and isinstance(v, StoredTensor)}
    others = [k for k in entry if k not in weights and not str(k).endswith("_extra_state")]
    return None if others else weights


@dataclass(frozen=True)
class Training:
    """The training state beside the weights."""

    counts: dict[str, int]
    lr: float | None
    optimizer: str


def training(root: Any, number: Callable[[StoredTensor], float | None]) -> Training:
    """Step, epoch, learning rate and optimizer, where the content states them.

    Args:
        root: the content of a file.
        number: the value of a tensor of one element.
    """

    def value(entry: Any) -> Any:
        return number(entry) if isinstance(entry, StoredTensor) and entry.count == 1 else entry

    if not isinstance(root, Mapping):
        return Training({}, None, "")
    top = {key: value(root[key]) for key in (*STEP_KEYS, *EPOCH_KEYS, *LR_KEYS) if key in root}
    counts, lr = content_counts(top), content_lr(top)
    state = _optimizer_state(root)
    groups = state.get("param_groups") or [{}]
    group = groups[0] if isinstance(groups, list) and isinstance(groups[0], Mapping) else {}
    updates = whole(value(_first_step(state)))
    if updates is not None:
        counts.setdefault("step", updates)
    own = real(value(group.get("lr")))
    return Training(counts, own if own is not None else lr, _kind(group))


def _optimizer_state(root: Mapping[Any, Any]) -> Mapping[Any, Any]:
    for key in _OPTIMIZERS:
        entry = root.get(key)
        state = entry[0] if isinstance(entry, list) and entry else entry
        if isinstance(state, Mapping) and "param_groups" in state:
            return state
    return {}


def _first_step(state: Mapping[Any, Any]) -> Any:
    per_parameter = state.get("state")
    if not isinstance(per_parameter, Mapping):
        return None
    return next(
        (e.get("step") for e in per_parameter.values() if isinstance(e, Mapping) and "step" in e), None
    )


def _kind(group: Mapping[Any, Any]) -> str:
    """The optimizer whose hyper-parameters these are; AdamW's have the names of Adam's."""
    if "betas" in group:
        return "adam"
    if "nesterov" in group:
        return "momentum" if real(group.get("momentum")) else "sgd"
    if "centered" in group:
        return "rmsprop"
    return "adagrad" if "lr_decay" in group else ""
