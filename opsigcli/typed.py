"""Data from files as records: every value of the type and within the bounds that its field declares.

The checks are msgspec's. It reads the same dataclasses that the rest of opsig uses, is strict (a number is no text, a
truth value no number), has bounds for numbers, and says where in the data a value does not fit. Weighed against it were
own checks of type hints, which had let dates, infinite numbers and numbers beyond 64 bits through, and pydantic, which
wants models of its own and brings four packages of ten times the size. msgspec is one extension module of half a
megabyte without dependencies, with wheels for every Python that opsig supports.
"""

from __future__ import annotations

import dataclasses
import math
import re
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from opsigcli.errors import OpsigError
from opsigcli.registry import nearest

Record = TypeVar("Record")

MOST = 1 << 53  # up to here every whole number is a float as well
LARGEST = 1.7976931348623157e308  # of finite numbers
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Seed = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Number = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=LARGEST)]
Hexadecimal = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]*$")]

_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
_RULE = re.compile(
    r"Expected `([^`]*)`(?: (>=|<=|matching regex) (.*?))?(?:, got `[^`]*`)?(?: - at `(.*)`)?$"
)
_PLACE = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|(\[\.\.\.\])")
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


class Misfit(OpsigError):
    """Data that do not fit a record; ``hint`` is empty where nothing better can be said than to repair the file."""


def typed(kind: type[Record], data: Any, where: str) -> Record:
    """A table of a file as a record of ``kind``, a dataclass.

    Args:
        kind: what it should be.
        data: as TOML or JSON gives it.
        where: the file and the place in it, for the message.

    Raises:
        Misfit: it is no table, names a field that is not known, lacks one, or has a value of another
            type or out of bounds.
    """
    if not isinstance(data, Mapping):
        raise Misfit(f"expected a table, found {shown(data)} at {where}")
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            close = nearest(str(key), known)
            raise Misfit(
                f"expected one of {', '.join(known)}, found {shown(key)} at {where}",
                f"did you mean {close[0]}?" if close else "",
            )
    try:
        found: Record = msgspec.convert(data, kind)
    except msgspec.ValidationError as problem:
        raise Misfit(f"{_said(str(problem), data)} at {where}") from None
    for key, value in data.items():
        if odd := _odd(value):
            raise Misfit(f"expected text, numbers and lists of them, found {odd} for {key} at {where}")
    return found


def shown(value: Any) -> str:
    """A value in few characters, for a message."""
    return _SHORT.repr(value)


def _said(problem: str, data: Any) -> str:
    """What msgspec says, in the words of opsig: what was expected, what was found, and for which field."""
    if missing := re.fullmatch(r"Object missing required field `(.*?)`(?: - at `.*`)?", problem):
        return f"expected a value for {missing[1]!r}, found none"
    if other := re.fullmatch(r"Invalid enum value (.*?)(?: - at `(.*)`)?", problem):
        name, value = _found(other[2] or "", data)
        return f"expected a known value, found {shown(value)}" + (f" for {name}" if name else "")
    rule = _RULE.fullmatch(problem)
    if rule is None:
        return f"expected values that fit, found others: {problem}"
    kinds, compared, bound, path = rule.groups()
    expected = " or ".join(_WORDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null")
    if compared:
        expected += {">=": " of at least ", "<=": " of at most "}.get(compared, " of the form ") + bound
    name, value = _found(path or "", data)
    return f"expected {expected}, found {shown(value)}" + (f" for {name}" if name else "")


def _found(path: str, data: Any) -> tuple[str, Any]:
    """The field that a path of msgspec leads to, and what is there, as far as the path says."""
    for key, index, unsaid in _PLACE.findall(path):
        if unsaid:
            break
        data = data[key] if key else data[int(index)]
    return path.removeprefix("$").lstrip(".").replace("[...]", ""), data


def _odd(value: Any) -> str:
    """What a value holds that is neither text nor truth value nor finite number of 64 bits, at any depth; or ""."""
    if isinstance(value, Mapping):
        return next((odd for item in value.values() if (odd := _odd(item))), "")
    if isinstance(value, list | tuple):
        return next((odd for item in value if (odd := _odd(item))), "")
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{value}"
    if isinstance(value, int):
        return "" if -(1 << 63) <= value < 1 << 63 else "a number beyond 64 bits"
    return "" if value is None or isinstance(value, str) or dataclasses.is_dataclass(value) else shown(value)
