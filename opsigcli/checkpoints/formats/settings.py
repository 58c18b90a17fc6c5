"""Settings within a file of training state: plain values by name, whatever objects they were kept in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from opsigcli.checkpoints.base import TensorFacts
from opsigcli.pickles.records import Call, fields

# Weights of classes in the module of a loss, which lies among the weights of the model.
CRITERION = re.compile(
    r"(?:.*\.)?(?:crit(?:erion)?|loss(?:_?fn|_?func(?:tion)?)?|ce|cross_?entropy)\.(?:pos_)?weight"
)
MOST = 20_000  # values
DEPTH = 6
LONGEST = 4096  # numbers in a list
# Entries that hold no settings, by a part of their name; and by their whole name.
_ASIDE = (
    "state_dict",
    "optim",
    "sched",
    "scaler",
    "rng",
    "callbacks",
    "dataloader",
    "log_history",
    "param_groups",
)
_NEVER = ("loops", "_modules", "_parameters")
_OF_CLASSES = re.compile(r"(?:class|cls|label|ce)_?weights?|pos_weight")  # of tensors that are read
_SCALER = re.compile(r"\w*scaler|mixedprecision")  # of float16, by which its gradients are kept from being 0


def flattened(root: Any, tensor: Callable[[TensorFacts], Any] = lambda facts: None) -> dict[str, Any]:
    """``outer.inner`` -> text, number, truth or list of these, from mappings and objects read as data.

    Of a member of an enumeration its value is taken; weights and states of optimizers are left out. A scaler of
    gradients in use is ``"fp16"``.

    Args:
        root: read as data.
        tensor: the numbers of one that holds weights of classes.
    """
    found: dict[str, Any] = {}
    waiting: list[tuple[str, Any, int]] = [("", root, 0)]
    looked = 0  # objects in a pickle may hold one another, many times over
    while waiting and looked < MOST:
        prefix, value, depth = waiting.pop()
        for key, entry in islice(fields(value).items(), MOST):
            looked += 1
            if not isinstance(key, str) or key in _NEVER:
                continue
            name = f"{prefix}{key}"
            plain = _plain(entry)
            if isinstance(entry, TensorFacts):
                if _weighs_classes(key, prefix) and len(entry.shape) == 1 and entry.count <= LONGEST:
                    found[name.replace("._buffers.", ".")] = tensor(entry)
            elif plain is not None:
                found[name] = plain
            elif _SCALER.fullmatch(key.lower()) and "scale" in fields(entry):
                found[name] = "fp16"
            elif depth < DEPTH and fields(entry) and not any(word in key.lower() for word in _ASIDE):
                waiting.append((f"{name}.", entry, depth + 1))
    return found


def _weighs_classes(key: str, prefix: str) -> bool:
    """Whether a tensor of this name is one of class weights: by its own, or as a buffer of the module of a loss."""
    of_module = prefix.endswith("_buffers.") and CRITERION.fullmatch(
        f"{prefix.removesuffix('_buffers.')}{key}"
    )
    return bool(_OF_CLASSES.fullmatch(key.lower()) or of_module)


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple) and 0 < len(value) <= LONGEST:
        return list(value) if all(isinstance(item, bool | int | float | str) for item in value) else None
    if isinstance(value, Call) and not isinstance(value.state, Mapping):  # an enumeration's member
        arguments = value.arguments if isinstance(value.arguments, tuple) else ()
        return arguments[0] if len(arguments) == 1 and isinstance(arguments[0], str | int) else None
    return None
