"""What a pickle read as data is made of: names of classes and functions, and calls that were never made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Malformed(ValueError):
    """Bytes that are no pickle, or a pickle beyond the bounds of this reader."""


class OtherNumbers(Malformed):
    """Numbers of a kind that is not read, as those of quantized weights."""


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle asks for; never imported."""

    text: str  # module.attribute


class Call:
    """What a pickle wanted to build by a call; never called. Compared by identity, so that it can be a key."""

    __slots__ = ("arguments", "function", "items", "members", "state")

    def __init__(self, function: Any, arguments: Any) -> None:
        self.function = function
        self.arguments = arguments
        self.state: Any = None
        self.items: dict[Any, Any] = {}
        self.members: list[Any] = []


class Ordered(dict[Any, Any]):
    """A dict that has attributes of its own, as torch gives them to an OrderedDict of weights."""

    state: Any = None


def fields(value: Any) -> Mapping[Any, Any]:
    """The named parts of a record: a mapping itself, the items of a dict's subclass, or an object's attributes."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, Call):
        return {}
    if value.items:
        return value.items
    state = value.state
    # Objects with __slots__ have (attributes, slots).
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0] or state[1], Mapping):
        state = state[0] or state[1]
    return state if isinstance(state, Mapping) else {}
