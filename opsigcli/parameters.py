"""What the fields of an options dataclass say about themselves: the one place that declares an option.

A field is ``name: Annotated[type, Option(help, metavar, …)] = default``. The command line, its help, the man pages,
completion in the shell and the command that repeats a part are made from that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_args, get_type_hints

from opsigcli.errors import UsageError
from opsigcli.registry import Entry, did_you_mean, nearest

GIVEN = "given"  # the field of options that are told which of them were given


class Valued:
    """What takes a value, of which some may be known."""

    values: tuple[str, ...] | str  # the known ones, or "module:attribute" of what has or lists them

    @property
    def known(self) -> Iterable[str]:
        """The known values: a tuple, or a table of what each one means. Imports what has them."""
        if isinstance(self.values, tuple):
            return self.values
        found: Any = Entry(self.values, "").load()
        listed: Iterable[str] = found() if callable(found) else found
        return listed


@dataclass(frozen=True)
class Argument(Valued):
    """A word of the command line that stands by itself."""

    help: str
    metavar: str
    values: tuple[str, ...] | str = ()


@dataclass(frozen=True)
class Option(Valued):
    """A word that begins with dashes, and its value."""

    help: str  # "{values}" in it becomes "a, b, c", and "{choice}" becomes "a, b or c", of the known values
    metavar: str | None = None  # what stands for the value; a flag has none
    min: float | None = None
    max: float | None = None
    values: tuple[str, ...] | str = ()
    none: str | None = None  # the word for None, where a value can be taken back to it
    short: str | None = None  # "-q"
    envvar: str | None = None
    consent: bool = False  # given for one run: no part of how that run is repeated

    @property
    def text(self) -> str:
        """The help, with the known values in it."""
        if "{" not in self.help:
            return self.help
        *first, last = self.known
        return self.help.format(values=", ".join([*first, last]), choice=f"{', '.join(first)} or {last}")


@dataclass(frozen=True)
class Parameter:
    """A field of an options dataclass."""

    name: str
    type: Any
    default: Any
    declared: Argument | Option

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING

    @property
    def flag(self) -> str:
        """The option as it is written: ``--batch-size``."""
        return f"--{self.name.rstrip('_').replace('_', '-')}"  # from_, as from is a word of Python


def parameters(options: type) -> list[Parameter]:
    """The fields of an options dataclass, in their order, which is that of the help.

    Raises:
        TypeError: a field declares neither an argument nor an option.
    """
    hints = get_type_hints(options, include_extras=True)
    found = []
    for field in fields(options):
        if field.name == GIVEN:
            continue
        kind, *declared = get_args(hints[field.name]) or (None,)
        if len(declared) != 1 or not isinstance(declared[0], Argument | Option):
            raise TypeError(
                f"expected {options.__name__}.{field.name} to be Annotated[type, Option(help, …)]"
            )
        found.append(Parameter(field.name, kind, field.default, declared[0]))
    return found


def filled_in(options: type, values: Mapping[str, Any], given: Iterable[str]) -> Any:
    """An options dataclass with these values; one that has the field for it is told which of them were given.

    Args:
        options: the dataclass.
        values: by name; others are at their default.
        given: names of those that were chosen, and do not stand at their default because nobody chose.
    """
    told = {GIVEN: frozenset(given)} if any(field.name == GIVEN for field in fields(options)) else {}
    return options(**values, **told)


def require(options: object, *names: str) -> None:
    """Refuse values that are not among the known ones of their option.

    Args:
        options: an options dataclass, filled in.
        names: the fields that take known values alone.

    Raises:
        UsageError: one is not; the hint lists the closest ones.
    """
    for parameter in parameters(type(options)):
        if parameter.name in names and isinstance(parameter.declared, Option):
            value, known = getattr(options, parameter.name), list(parameter.declared.known)
            if value not in known:
                raise UsageError(
                    f"expected {parameter.flag} to be one of {', '.join(known)}; found {value!r}",
                    did_you_mean(nearest(value, known), f"choose one of: {', '.join(known)}"),
                )


def require_use(options: object, names: Iterable[str], what: str, hint: str) -> None:
    """Refuse options that would have no part in what is asked for: they are never ignored.

    Args:
        options: an options dataclass, filled in.
        names: of the fields that nothing would look at.
        what: they are for, as it is written: ``--virtual-step``.
        hint: what else to do than to leave them out.

    Raises:
        UsageError: one of them is not at its default.
    """
    found = [p for p in parameters(type(options)) if p.name in names]
    given = [p.flag for p in found if getattr(options, p.name) != p.default]
    if given:
        flags = ", ".join(given)
        raise UsageError(
            f"expected {what} with {flags}, which nothing else looks at", f"leave out {flags}, or {hint}"
        )
