"""Settings within a file of training state: plain values by name, whatever objects they were kept in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from opsigcli.checkpoints.formats.pickle_records import Call, fields

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
_NEVER = ("loops", "_modules", "_buffers", "_parameters")


def flattened(root: Any) -> dict[str, Any]:
    """``outer.inner`` -> text, number, truth or list of these, from mappings and objects read as data.

    Of a member of an enumeration its value is taken; weights and states of optimizers are left out.
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
            if plain is not None:
                found[name] = plain
            elif depth < DEPTH and fields(entry) and not any(word in key.lower() for word in _ASIDE):
                waiting.append((f"{name}.", entry, depth + 1))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple) and 0 < len(value) <= LONGEST:
        return list(value) if all(isinstance(item, bool | int | float | str) for item in value) else None
    if isinstance(value, Call) and not isinstance(value.state, Mapping):  # an enumeration's member
        arguments = value.arguments if isinstance(value.arguments, tuple) else ()
        return arguments[0] if len(arguments) == 1 and isinstance(arguments[0], str | int) else None
    return None
