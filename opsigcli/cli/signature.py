"""The functions that Typer makes commands from, built from what the options declare."""

from __future__ import annotations

import errno
import inspect
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from opsigcli.options import TerminalOptions
from opsigcli.parameters import Argument, Option, Parameter, Valued, filled_in, parameters
from opsigcli.registry import Registry

LARGEST = 1 << 53  # of whole numbers
DIGITS = 20  # no number in range has as many

_CONTEXT = "context_of_typer"  # no name of an option

Act = Callable[[TerminalOptions, Any], None]


def function_of(options: type, act: Act) -> Callable[..., None]:
    """A function with a parameter for every field of an options dataclass, and for how a command speaks.

    Args:
        options: the dataclass.
        act: called with how to speak and the filled-in options.

    Raises:
        TypeError: a field does not say what it is on the command line.
    """
    own, spoken = parameters(options), parameters(TerminalOptions)

    def call(**given: Any) -> None:
        how = TerminalOptions(**{p.name: given[p.name] for p in spoken})
        chosen = [p.name for p in own if _chosen(given[_CONTEXT], p.name)]
        act(how, filled_in(options, {p.name: _value(p, given[p.name]) for p in own}, chosen))

    context = inspect.Parameter(_CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    call.__signature__ = inspect.Signature([context, *(_parameter(p) for p in own + spoken)])  # type: ignore[attr-defined]
    return call


def _chosen(context: typer.Context, name: str) -> bool:
    """Whether a value was given, by a word or by the environment."""
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


def _parameter(parameter: Parameter) -> inspect.Parameter:
    kind, default, declared = parameter.type, parameter.default, parameter.declared
    parser = _path if kind in (Path, Path | None, tuple[Path, ...]) else None
    if get_origin(kind) is tuple:
        kind = list[get_args(kind)[0]]  # type: ignore[misc]
        default = list(default)
    info: Any
    if isinstance(declared, Argument):
        offered = _completion(declared) if declared.values else None
        info = typer.Argument(
            metavar=declared.metavar, help=declared.help, parser=parser, autocompletion=offered
        )
    else:
        bounds: dict[str, Any] = {"min": declared.min, "max": declared.max}
        if declared.none:
            kind, bounds = str, {}
            default = declared.none if default is None else str(default)
        info = typer.Option(
            *filter(None, (parameter.flag, declared.short)),
            help=declared.text,
            metavar=declared.metavar,
            envvar=declared.envvar,
            autocompletion=_completion(declared) if declared.values else None,
            parser=parser,
            **bounds,
        )
    return inspect.Parameter(
        parameter.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if parameter.required else default,
        annotation=Annotated[kind, info],
    )


def _value(parameter: Parameter, given: Any) -> Any:
    """What was given, where it makes sense; a word can stand for None.

    Raises:
        typer.BadParameter: it is neither that word nor a number in range, or names no file where one is meant.
    """
    declared = parameter.declared
    if get_origin(parameter.type) is tuple:
        return tuple(given or ())
    if isinstance(declared, Option) and declared.none is not None:
        return None if given == declared.none else _whole(parameter, declared, given)
    hint = f"'{declared.metavar if isinstance(declared, Argument) else parameter.flag}'"
    if isinstance(given, int) and not isinstance(given, bool) and abs(given) > LARGEST:
        raise typer.BadParameter(f"expected a number of at most {LARGEST:,}, found {given}", param_hint=hint)
    if isinstance(given, float) and (math.isnan(given) or (math.isinf(given) and declared.metavar == "X")):
        raise typer.BadParameter(f"expected a finite number, found {given}", param_hint=hint)
    if isinstance(given, Path) and declared.metavar == "FILE" and os.path.isdir(given):  # noqa: PTH112  (never raises)
        raise typer.BadParameter(
            f"expected the name of a file, found the folder {str(given)!r}", param_hint=hint
        )
    return tuple(given) if isinstance(given, list) else given


def _whole(parameter: Parameter, declared: Option, given: str) -> int:
    """The number in a text.

    Raises:
        typer.BadParameter: it is none, or not in range.
    """
    digits = given.isdecimal() and len(given) < DIGITS
    if not digits or not (declared.min or 0) <= int(given) <= LARGEST:
        raise typer.BadParameter(
            f"expected {declared.none!r} or a number of at least {declared.min}, found {given!r}",
            param_hint=f"'{parameter.flag}'",
        )
    return int(given)


def _path(text: str | Path) -> Path:
    """A path as it was given.

    Raises:
        typer.BadParameter: it is empty, or no path that this system can have.
    """
    if not str(text):
        raise typer.BadParameter("expected a path, found an empty text")
    try:
        os.lstat(text)
    except ValueError as problem:  # it holds a character 0
        raise typer.BadParameter(f"expected a path: {problem}") from problem
    except OSError as problem:
        if problem.errno == errno.ENAMETOOLONG:
            raise typer.BadParameter("expected a path, found a name that is too long") from problem
    return Path(text)


def _completion(declared: Valued) -> Callable[[str], Iterator[tuple[str, str]]]:
    def complete(incomplete: str) -> Iterator[tuple[str, str]]:
        known = declared.known
        forms = known.forms() if isinstance(known, Registry) else dict.fromkeys(known, "")
        yield from (form for form in forms.items() if form[0].startswith(incomplete))

    return complete
