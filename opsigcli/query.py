"""Typed values from the query of a spec; a value of another kind is a usage error that says what was expected."""

from __future__ import annotations

from typing import TypeVar

from opsigcli.errors import UsageError
from opsigcli.specs import Spec, Value

Default = TypeVar("Default")
LARGEST = 1 << 31  # of whole numbers: a width or a count beyond it fits no memory
LARGEST_SEED = 1 << 53
LARGEST_FLOAT = 3.4028234663852886e38  # of 32 bits
SHOWN = 60  # characters of a value in a message


def integer(
    spec: Spec, key: str, default: Default, minimum: int = 1, maximum: int = LARGEST
) -> int | Default:
    """The whole number ``key``, from ``minimum`` to ``maximum``.

    Raises:
        UsageError: it is none.
    """
    if key not in spec.options:
        return default
    values = _items(spec.options[key])
    if len(values) != 1 or not _is_integer(values[0], minimum, maximum):
        raise _wrong(spec, key, f"a whole number of at least {minimum}{_up_to(values, maximum)}")
    return int(values[0])


def integers(
    spec: Spec, key: str, default: Default, minimum: int = 1, maximum: int = LARGEST
) -> tuple[int, ...] | Default:
    """The whole numbers ``key``, each from ``minimum`` to ``maximum``; one number is a list of one.

    Raises:
        UsageError: one is none.
    """
    if key not in spec.options:
        return default
    values = _items(spec.options[key])
    if not values or not all(_is_integer(value, minimum, maximum) for value in values):
        raise _wrong(
            spec,
            key,
            f"whole numbers of at least {minimum}{_up_to(values, maximum)}, with commas between them",
        )
    return tuple(int(value) for value in values)


def numbers(spec: Spec, key: str, default: Default) -> tuple[float, ...] | Default:
    """The numbers ``key``, finite in 32 bits; one number is a list of one.

    Raises:
        UsageError: one is none.
    """
    if key not in spec.options:
        return default
    values = _items(spec.options[key])
    if not values or not all(_is_number(value) for value in values):
        raise _wrong(spec, key, "finite numbers, with commas between them")
    return tuple(float(value) for value in values)


def amount(spec: Spec, key: str, default: float) -> float:
    """The number ``key``, of at least 0.

    Raises:
        UsageError: it is none.
    """
    (value, *more) = numbers(spec, key, (default,))
    if more or value < 0:
        raise _wrong(spec, key, "one number of at least 0")
    return value


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


def _is_integer(value: bool | int | float | str, minimum: int, maximum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum


def _is_number(value: bool | int | float | str) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= LARGEST_FLOAT  # so is no NaN


def _up_to(values: list[bool | int | float | str], maximum: int) -> str:
    """The bound that a value is beyond, in words; "" where none is."""
    beyond = any(isinstance(value, int) and value > maximum for value in values)
    return f" and at most {maximum:,}" if beyond else ""


def _wrong(spec: Spec, key: str, expected: str) -> UsageError:
    found = spec.options[key]
    text = ",".join(map(str, found)) if isinstance(found, list) else str(found)
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    return UsageError(
        f"in {_short(spec)!r}: expected {key} to be {expected}; found {shown!r}", f"change {key}=…"
    )


def _short(spec: Spec) -> str:
    text = str(spec)
    return text if len(text) <= 4 * SHOWN else f"{text[: 4 * SHOWN]}…"
