"""The functions that Typer makes commands from, built from what the options declare."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from opsigcli.options import TerminalOptions
from opsigcli.parameters import Argument, Option, Parameter, parameters
from opsigcli.registry import Registry

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
        act(how, options(**{p.name: _value(p, given[p.name]) for p in own}))

    call.__signature__ = inspect.Signature([_parameter(p) for p in own + spoken])  # type: ignore[attr-defined]
    return call


def _parameter(parameter: Parameter) -> inspect.Parameter:
    kind, default, declared = parameter.type, parameter.default, parameter.declared
    info: Any
    if isinstance(declared, Argument):
        info = typer.Argument(metavar=declared.metavar, help=declared.help)
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
            **bounds,
        )
    return inspect.Parameter(
        parameter.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if parameter.required else default,
        annotation=Annotated[kind, info],
    )


def _value(parameter: Parameter, given: Any) -> Any:
    """What was given, where a word can stand for None.

    Raises:
        typer.BadParameter: it is neither that word nor a number in range.
    """
    declared = parameter.declared
    if not isinstance(declared, Option) or declared.none is None:
        return given
    if given == declared.none:
        return None
    if not given.isdigit() or int(given) < (declared.min or 0):
        raise typer.BadParameter(
            f"expected {declared.none!r} or a number of at least {declared.min}, found {given!r}",
            param_hint=f"'{parameter.flag}'",
        )
    return int(given)


def _completion(option: Option) -> Callable[[str], Iterator[tuple[str, str]]]:
    def complete(incomplete: str) -> Iterator[tuple[str, str]]:
        known = option.known
        forms = known.forms() if isinstance(known, Registry) else dict.fromkeys(known, "")
        yield from (form for form in forms.items() if form[0].startswith(incomplete))

    return complete
