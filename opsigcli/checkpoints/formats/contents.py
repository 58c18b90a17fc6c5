"""What a file of training state holds: sets of weights, whole modules, and the training state around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from opsigcli.checkpoints.base import OptimizerFacts, TensorFacts
from opsigcli.checkpoints.formats.optimizer_places import optimizer_state
from opsigcli.checkpoints.step_keys import (
    EPOCH_KEYS,
    LR_KEYS,
    STEP_KEYS,
    content_counts,
    content_lr,
    real,
    whole,
)
from opsigcli.pickles.records import Malformed, fields

Where = tuple[str, ...]  # keys from the root to a mapping
Tensors = dict[str, TensorFacts]
# The value of a leaf: of a tensor of one element, or of a value kept in a file of its own. Others come back as is.
Value = Callable[[Any], Any]

# Entries that hold tensors and are no weights, by a part of their name; and by their whole name.
_NOT_WEIGHTS = ("optim", "sched", "scaler", "rng", "dataloader", "hyper_parameters", "hparams")
_NEVER = ("callbacks", "loops", "train_state", "args", "config", "averaging_state")
_MAX_MODULES = 100_000
_MAX_DEPTH = 200


def candidates(root: Any) -> dict[Where, Tensors]:
    """Every set of weights in a file, by where it is: at the root, under a key of it, or one level deeper.

    A set of weights is a mapping of names to tensors, or a whole module, whose tensors get the names that its
    ``state_dict()`` gives them.
    """
    if module := _module(root):
        return {(): module}
    top = fields(root)
    found: dict[Where, Tensors] = {}
    for name, entry in top.items():
        if not isinstance(name, str) or name in _NEVER or any(word in name.lower() for word in _NOT_WEIGHTS):
            continue
        if weights := _weights(entry):
            found[(name,)] = weights
        else:
            for deep, value in fields(entry).items():
                if (
                    isinstance(deep, str)
                    and deep not in _NEVER
                    and not _is_aside(deep)
                    and (inner := _weights(value))
                ):
                    found[(name, deep)] = inner
    if found := _mixed(top, found) | found:
        return found
    # Counts that a script put among the weights do not make a state dict less of one.
    counts = (*STEP_KEYS, *EPOCH_KEYS, *LR_KEYS)
    tensors = {
        name: value
        for name, value in top.items()
        if isinstance(name, str) and isinstance(value, TensorFacts) and name not in counts
    }
    return {(): tensors} if tensors else {}


def _mixed(top: Mapping[Any, Any], pure: Mapping[Where, Tensors]) -> dict[Where, Tensors]:
    """Sets of weights among which a module keeps settings, where the file has no other ones, or ones of the same names
    (a moving average of them)."""
    if not pure and any(isinstance(value, TensorFacts) and value.shape for value in top.values()):
        return {}
    found = {(name,): tensors for name, entry in top.items() if (tensors := _among_settings(name, entry))}
    return {
        where: tensors
        for where, tensors in found.items()
        if where not in pure and (not pure or any(tensors.keys() & other.keys() for other in pure.values()))
    }


def _among_settings(name: Any, entry: Any) -> Tensors:
    if not isinstance(name, str) or name in _NEVER or _is_aside(name):
        return {}
    mapping = fields(entry)
    tensors = {k: v for k, v in mapping.items() if isinstance(k, str) and isinstance(v, TensorFacts)}
    others = [value for key, value in mapping.items() if key not in tensors]
    plain = all(value is None or isinstance(value, bool | int | float | str) for value in others)
    return tensors if plain and len(tensors) > 1 and any(t.shape for t in tensors.values()) else {}


def _is_aside(name: str) -> bool:
    return any(word in name.lower() for word in _NOT_WEIGHTS)


def _weights(entry: Any) -> Tensors | None:
    if module := _module(entry):
        return module
    mapping = fields(entry)
    weights = {k: v for k, v in mapping.items() if isinstance(k, str) and isinstance(v, TensorFacts)}
    others = [k for k in mapping if k not in weights and not str(k).endswith("_extra_state")]
    return None if others else weights


def _module(value: Any) -> Tensors | None:
    """The tensors of a pickled module, in the order of its ``state_dict()``; None when it is none.

    Raises:
        Malformed: the modules hold one another without end.
    """
    if not is_module(value):
        return None
    found: Tensors = {}
    budget = _MAX_MODULES
    waiting = [("", value, 0)]
    while waiting:
        prefix, module, depth = waiting.pop()
        budget -= 1
        if budget < 0 or depth > _MAX_DEPTH:
            raise Malformed("the modules in it hold one another without end")
        own = fields(module)
        passing = own.get("_non_persistent_buffers_set") or ()
        for kind in ("_parameters", "_buffers"):
            for name, tensor in fields(own.get(kind)).items():
                if isinstance(name, str) and isinstance(tensor, TensorFacts) and name not in passing:
                    found[prefix + name] = tensor
        below = [
            (f"{prefix}{name}.", child, depth + 1)
            for name, child in fields(own.get("_modules")).items()
            if isinstance(name, str) and is_module(child)
        ]
        waiting += reversed(below)
    return found


def is_module(value: Any) -> bool:
    """Whether an object read as data is a pickled module."""
    own = fields(value)
    return not isinstance(value, Mapping) and "_parameters" in own and "_modules" in own


@dataclass(frozen=True)
class Training:
    """The training state beside the weights."""

    counts: dict[str, int] = field(default_factory=dict)
    lr: float | None = None
    optimizer: OptimizerFacts = field(default_factory=OptimizerFacts)
    model: str = ""  # the name of the architecture, as the file states it


def training(root: Any, value: Value) -> Training:
    """Step, epoch, learning rate and optimizer, where the content states them.

    Args:
        root: the content of a file.
        value: of a leaf.
    """
    top = fields(root)
    if not top or is_module(root):
        return Training()
    counts: dict[str, int] = {}
    lr = None
    for place in _clocks(top):
        entries = {
            key: value(place[key]) for key in (*STEP_KEYS, *EPOCH_KEYS, *LR_KEYS, "batch") if key in place
        }
        if place is not top and "batch" in entries:
            entries.setdefault("step", entries["batch"])  # Composer's word for an optimizer update
        counts = content_counts(entries) | counts
        lr = content_lr(entries) if lr is None else lr
    state = optimizer_state(top)
    optimizer = _optimizer_facts(state, value)
    updates = whole(value(_first_step(state)))
    if updates is not None:
        counts.setdefault("step", updates)
    own = real(optimizer.group.get("lr"))
    arch = top.get("arch")
    return Training(
        counts,
        own if own is not None else lr,
        optimizer,
        arch if isinstance(arch, str) else "",
    )


def _clocks(top: Mapping[Any, Any]) -> list[Mapping[Any, Any]]:
    """Where step and epoch may stand: at the root; torchtitan's train_state; mmengine's meta; Composer's timestamp;
    the last entry of fairseq's history; Ignite's trainer."""
    stamp = fields(fields(top.get("state")).get("timestamp"))
    history, engine = top.get("optimizer_history"), fields(top.get("trainer"))
    return [
        top,
        fields(top.get("train_state")),
        fields(top.get("meta")),
        stamp,
        fields(stamp.get("Timestamp")),
        fields(history[-1]) if isinstance(history, list) and history else {},
        engine if "epoch_length" in engine else {},
    ]


def _first_step(state: Mapping[str, Any]) -> Any:
    entries = fields(state.get("state")).values()
    return next((fields(entry)["step"] for entry in entries if "step" in fields(entry)), None)


def _optimizer_facts(state: Mapping[str, Any], value: Value) -> OptimizerFacts:
    groups = state.get("param_groups")
    group = fields(groups[0]) if groups else {}
    keys = [frozenset(map(str, fields(entry))) for entry in fields(state.get("state")).values()]
    return OptimizerFacts(
        group={str(key): _plain(leaf, value) for key, leaf in group.items() if key != "params"},
        state_keys=frozenset.intersection(*keys) if keys else None,
        others=tuple(_optimizer_facts(other, value) for other in state.get("others", ())),
    )


def _plain(leaf: Any, value: Value) -> Any:
    """A hyper-parameter, or several of them (betas)."""
    return [value(item) for item in leaf] if isinstance(leaf, list | tuple) else value(leaf)
