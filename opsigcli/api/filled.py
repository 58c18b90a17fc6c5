"""Options of a command from keyword arguments, checked as the command line checks words."""

from __future__ import annotations

import inspect
import math
import operator
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_origin

from opsigcli.errors import UsageError
from opsigcli.options import COMMANDS
from opsigcli.parameters import Argument, Option, Parameter, filled_in, parameters
from opsigcli.registry import did_you_mean, nearest


def filled(verb: str, given: Mapping[str, Any]) -> Any:
    """The options of a command.

    Args:
        verb: of ``COMMANDS``.
        given: by name; the others are as on the command line: from the environment, or at their default.

    Raises:
        UsageError: there is no such option, one that has to be given is missing, or a value is none of it.
    """
    known = {parameter.name: parameter for parameter in parameters(COMMANDS[verb])}
    for name in given:
        if name not in known:
            close = nearest(name, known)
            raise UsageError(
                f"opsig.{verb} has no option {name!r}",
                did_you_mean(close, f"it has {', '.join(known)}"),
            )
    values = {}
    for name, parameter in known.items():
        if name in given:
            values[name] = _value(verb, parameter, given[name])
        elif parameter.required:
            raise UsageError(f"expected {name} of opsig.{verb}, found nothing", _help(parameter))
        elif isinstance(parameter.declared, Option) and os.environ.get(parameter.declared.envvar or ""):
            values[name] = Path(os.environ[str(parameter.declared.envvar)])
    return filled_in(COMMANDS[verb], values, values)


def signature(verb: str) -> inspect.Signature:
    """Of the function that stands for a command: its arguments, then its options by name."""
    found = []
    for parameter in parameters(COMMANDS[verb]):
        argument = isinstance(parameter.declared, Argument)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if argument else inspect.Parameter.KEYWORD_ONLY
        default = inspect.Parameter.empty if parameter.required else parameter.default
        found.append(inspect.Parameter(parameter.name, kind, default=default, annotation=parameter.type))
    last = inspect.Parameter("progress", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Any)
    return inspect.Signature([*found, last])


def described(verb: str) -> str:
    """The options of a command in words, a line each."""
    return "\n".join(f"    {p.name}: {_help(p)}" for p in parameters(COMMANDS[verb]))


def _help(parameter: Parameter) -> str:
    declared = parameter.declared
    return declared.text if isinstance(declared, Option) else declared.help


def _value(verb: str, parameter: Parameter, given: Any) -> Any:
    """What was given, as the option's type has it.

    Raises:
        UsageError: it is of another type, or out of bounds.
    """
    declared = parameter.declared
    kinds = [kind for kind in get_args(parameter.type) or (parameter.type,) if kind is not type(None)]
    optional = len(kinds) < len(get_args(parameter.type))  # X | None
    none = declared.none if isinstance(declared, Option) else None
    if (given is None and optional) or (none is not None and given == none):
        return None
    kind = kinds[0]
    if get_origin(parameter.type) is tuple:  # any number of them
        items = given if isinstance(given, list | tuple) else [given]
        return tuple(_value(verb, replace(parameter, type=kind), item) for item in items)
    found = _READERS[kind](given)
    if found is None:
        raise UsageError(
            f"expected {parameter.name} of opsig.{verb} to be {_WORDS[kind]}, found {given!r}"[:300],
            _help(parameter),
        )
    if isinstance(declared, Option) and isinstance(found, int | float) and not isinstance(found, bool):
        low, high = declared.min, declared.max
        if (low is not None and found < low) or (high is not None and found > high):
            bounds = (
                f"at least {low:g}" + ("" if high is None else f" and at most {high:g}")
                if low is not None
                else ""
            )
            raise UsageError(
                f"expected {parameter.name} of opsig.{verb} to be {bounds}, found {given!r}", _help(parameter)
            )
    return found


def _path(given: Any) -> Path | None:
    return Path(given) if isinstance(given, str | os.PathLike) and str(given) else None


def _text(given: Any) -> str | None:
    """A text; several values become one with commas between them, as ``betas=(0.9, 0.99)``."""
    if isinstance(given, list | tuple) or hasattr(given, "tolist"):
        return ",".join(str(item) for item in list(given))
    return given if isinstance(given, str) else None


def _whole(given: Any) -> int | None:
    try:
        return None if isinstance(given, bool) else operator.index(given)
    except TypeError:
        return None


def _number(given: Any) -> float | None:
    try:
        found = math.nan if isinstance(given, bool | str) else float(given)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(found) else found


def _truth(given: Any) -> bool | None:
    return given if isinstance(given, bool) else None


_READERS: dict[Any, Any] = {Path: _path, str: _text, int: _whole, float: _number, bool: _truth}
_WORDS = {Path: "a path", str: "a text", int: "a whole number", float: "a number", bool: "True or False"}
