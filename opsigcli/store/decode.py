"""Records from the JSON that a store keeps of them, every value held against the type that the record says.

The types are those of the dataclasses, read from them. msgspec would check them as well, but knows no number that is
NaN (which JSON writes as null) and no type that is imported for type checkers alone, and is one more dependency.
"""

from __future__ import annotations

import json
import math
import re
import sys
import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from opsigcli.errors import Refused
from opsigcli.mining_records import (
    REST,
    SIDES,
    Evidence,
    GroupKey,
    Pair,
)
from opsigcli.records import Provenance
from opsigcli.spike_records import SpikeCause
from opsigcli.store.paths import HOME, as_here

T = TypeVar("T")
LARGEST = 1 << 63  # whole numbers are smaller
_HINTS = {
    "Ints": np.int64,
    "Floats": np.float64,
    "Bytes": np.uint8,
    "Provenance": Provenance,
    "SpikeCause": SpikeCause,
}  # arrays, by the names that records give them, and what they import for type checkers alone


def decode_text(kind: type[T], text: str, where: str) -> T:
    """The record, or the tuple of records, that a JSON text holds. Fields that a later version added are passed over.

    Args:
        kind: of the record: a dataclass, or ``tuple[Record, ...]``.
        text: JSON.
        where: what the text is, for messages.

    Raises:
        Refused: it is no JSON, or values are not of the types of the record's fields.
    """
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "it nests too deep" if isinstance(error, RecursionError) else str(error)
        raise Refused(f"expected JSON in {where}, found something else: {reason}") from error
    found: T = build(kind, as_here(data) if HOME in text else data, where)
    return found


def decode_unit(kind: type[T], raw: bytes) -> T | None:
    """The record that a unit of finished work holds; None where it holds something else, and is made again."""
    try:
        return decode_text(kind, raw.decode(), "a unit")
    except (Refused, UnicodeDecodeError):
        return None


def build(hint: Any, data: Any, where: str) -> Any:
    """``data``, as JSON has it, as a value of the type ``hint``.

    Raises:
        Refused: it is not of that type.
    """
    if is_dataclass(hint):
        return group_key(data) if hint is GroupKey else _record(hint, data, where)
    simple = _SIMPLE.get(hint)
    if simple is not None:
        return simple(data, where)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if data is None:
            return None
        return build(next(arg for arg in args if arg is not type(None)), data, where)
    if origin is Literal:
        return data if data in args else _refuse(" or ".join(map(repr, args)), data, where)
    if origin is tuple:
        return _tuple(args, data, where)
    if origin is dict:
        if not isinstance(data, dict):
            _refuse("an object", data, where)
        return {
            build(args[0], key, where): build(args[1], value, f"{where}.{key[:40]}")
            for key, value in data.items()
        }
    raise AssertionError(f"no check for {hint}")


def group_key(text: Any) -> GroupKey:
    """The group that a store calls ``text``: ``pair 3 first``, or ``rest``.

    Raises:
        Refused: it is neither.
    """
    if text == str(REST):
        return REST
    found = re.fullmatch(r"pair (\d{1,9}) (first|second)", text) if isinstance(text, str) else None
    if found is None:
        raise Refused(
            f"expected the name of a group, like 'pair 1 first', found {str(text)[:40]!a}",
            "mine it again: opsig mine",
        )
    return GroupKey(int(found[1]), SIDES[SIDES.index(found[2])])


def _record(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        _refuse("an object", data, where)
    hints, values = _hints(kind), {}
    for field in fields(kind):
        if field.name in data:
            values[field.name] = build(hints[field.name], data[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise Refused(f"expected {field.name} in {where}, found none")
    record = kind(**values)
    return _with_definitions(record) if isinstance(record, Pair) else record


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, localns=_HINTS)


def _tuple(args: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, list):
        _refuse("a list", data, where)
    if args[-1] is Ellipsis:
        return tuple(build(args[0], item, f"{where}[{at}]") for at, item in enumerate(data))
    if len(data) != len(args):
        _refuse(f"a list of {len(args)}", data, where)
    return tuple(build(arg, item, where) for arg, item in zip(args, data, strict=True))


def _text(data: Any, where: str) -> str:
    if not isinstance(data, str):
        _refuse("a text", data, where)
    if not data.isascii():
        try:
            data.encode()
        except UnicodeEncodeError:
            _refuse("a text", data, where)
    return str(data)


def _whole(data: Any, where: str) -> int:
    if type(data) is not int or not -LARGEST <= data < LARGEST:
        _refuse("a whole number", data, where)
    return int(data)


def _number(data: Any, where: str) -> float:
    """JSON writes numbers that are not finite as null; they come back as NaN."""
    if data is None:
        return math.nan
    if type(data) not in (int, float) or not abs(data) <= sys.float_info.max:
        _refuse("a number", data, where)
    return float(data)


def _truth(data: Any, where: str) -> bool:
    return data if isinstance(data, bool) else _refuse("true or false", data, where)


def _integers(data: Any, where: str) -> Any:
    if not isinstance(data, list):
        _refuse("a list of whole numbers", data, where)
    return np.array([_whole(item, where) for item in data], dtype=np.int64)


def _numbers(data: Any, where: str) -> Any:
    if not isinstance(data, list):
        _refuse("a list of numbers", data, where)
    return np.array([_number(item, where) for item in data], dtype=np.float64)


def _free(data: Any, where: str) -> Any:
    """Options and constants may be anything that JSON has, but for numbers and texts that cannot be written again."""
    if isinstance(data, dict):
        return {_text(key, where): _free(value, where) for key, value in data.items()}
    if isinstance(data, list):
        return [_free(item, where) for item in data]
    if isinstance(data, str):
        return _text(data, where)
    if isinstance(data, bool) or data is None:
        return data
    return _whole(data, where) if isinstance(data, int) else _number(data, where)


def _refuse(expected: str, found: Any, where: str) -> NoReturn:
    kind = "null" if found is None else type(found).__name__
    shown = f"{kind} {str(found)[:40]!a}" if isinstance(found, str | int | float) else kind
    raise Refused(f"expected {expected} in {where}, found {shown}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


_SIMPLE: dict[Any, Callable[[Any, str], Any]] = {
    str: _text,
    int: _whole,
    float: _number,
    bool: _truth,
    np.int64: _integers,
    np.float64: _numbers,
    Any: _free,
}


def _with_definitions(pair: Pair) -> Pair:
    evidence = {name: _defined(name, item) for name, item in pair.evidence.items()}
    return replace(pair, opposition=_defined("opposition", pair.opposition), evidence=evidence)


def _defined(name: str, evidence: Evidence) -> Evidence:
    """The evidence with what its name says of definition, feature and side, where an older store says no more."""
    if evidence.definition:
        return evidence
    if by_feature := re.fullmatch(r"(members|sides) by (.*)", name, re.DOTALL):
        word, feature = by_feature.groups()
        return replace(evidence, definition=f"{word} by FEATURE", feature=feature)
    if token := re.fullmatch(r"(first|second): (token seen|token predicted) (.*)", name, re.DOTALL):
        side, role, word = token.groups()
        spelled = len(word) > 1 and word[0] == word[-1] == "'"
        feature = word[1:-1] if spelled else word
        return replace(evidence, definition=f"SIDE: {role}", feature=feature, side=side)
    return replace(evidence, definition=name)
