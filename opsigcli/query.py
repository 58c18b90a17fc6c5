"""Typed values from the query of a spec; a value of another kind is a usage error that says what was expected."""

from __future__ import annotations

import math
from typing import TypeVar

from opsigcli.errors import UsageError
from opsigcli.specs import Spec, Value

Default = TypeVar("Default")


def integer(spec: Spec, key: str, default: Default, minimum: int = 1) -> int | Default:
    """The whole number ``key``, at least ``minimum``.

    Raises:
        UsageError: it is none.
    """
    if key not in spec.options:
        return default
    values = _items(spec.options[key])
    if len(values) != 1 or not _is_integer(values[0], minimum):
        raise _wrong(spec, key, f"a whole number of at least {minimum}")
    return int(values[0])


def integers(spec: Spec, key: str, default: Default, minimum: int = 1) -> tuple[int, ...] | Default:
    """The whole numbers ``key``, each at least ``minimum``; one number is a list of one.

    Raises:
        UsageError: one is none.
    """
    if key not in spec.options:
        return default
    values = _items(spec.options[key])
    if not values or not all(_is_integer(value, minimum) for value in values):
        raise _wrong(spec, key, f"whole numbers of at least {minimum}, with commas between them")
    return tuple(int(value) for value in values)


def numbers(spec: Spec, key: str, default: Default) -> tuple[float, ...] | Default:
    """The finite numbers ``key``; one number is a list of one.

    Raises:
        UsageError: one is none.
    """
    if key not in spec.options:
        return default
    values = _items(spec.options[key])
    if not values or not all(_is_number(value) for value in values):
        raise _wrong(spec, key, "finite numbers, with commas between them")
    return tuple(float(value) for value in values)


def choice(spec: Spec, key: str, default: Default, known: tuple[str, ...]) -> str | Default:
    """The value of ``key``, one of ``known``.

    Raises:
        UsageError: it is none of them.
    """
    if key not in spec.options:
        return default
    if spec.options[key] not in known:
        raise _wrong(spec, key, f"one of {', '.join(known)}")
    return str(spec.options[key])


def flag(spec: Spec, key: str, default: bool) -> bool:
    """The value of ``key``, true or false.

    Raises:
        UsageError: it is neither.
    """
    value = spec.options.get(key, default)
    if not isinstance(value, bool):
        raise _wrong(spec, key, "true or false")
    return value


def _items(value: Value) -> list[bool | int | float | str]:
    return value if isinstance(value, list) else [value]


def _is_integer(value: bool | int | float | str, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def _is_number(value: bool | int | float | str) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong(spec: Spec, key: str, expected: str) -> UsageError:
    found = spec.options[key]
    text = ",".join(map(str, found)) if isinstance(found, list) else str(found)
    return UsageError(f"in {str(spec)!r}: expected {key} to be {expected}; found {text!r}", f"change {key}=…")
