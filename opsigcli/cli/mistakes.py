"""Mistakes on a command line, in opsig's words: what was expected, what was found, and what to type."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from opsigcli.cli.help_page import topics_named
from opsigcli.errors import UsageError
from opsigcli.options import COMMANDS, TerminalOptions
from opsigcli.parameters import Option, parameters
from opsigcli.registry import did_you_mean, nearest

CLOSE, ALIKE = 0.65, 0.6  # options, in all of which dashes are alike; commands

_VALUES = (  # what the parser says of a value, and what it means
    (r"valid integer", "a whole number"),
    (r"valid number", "a number"),
    (r"greater than or equal to (\S+)", r"a number of at least \1"),
    (r"less than or equal to (\S+)", r"a number of at most \1"),
)


def mistake(error: Any, words: Sequence[str]) -> UsageError:
    """The error of the parser in opsig's words.

    Args:
        error: as the parser raised it.
        words: of the command line, without ``opsig``.
    """
    verb = next((word for word in words if word in COMMANDS), "")
    see = f"see: opsig {verb} --help" if verb else "see: opsig --help"
    option, said = getattr(error, "option_name", ""), str(getattr(error, "message", ""))
    if type(error).__name__ == "NoSuchOption":
        context = getattr(error, "ctx", None)
        verb = "" if context is not None and context.parent is None else verb
        return UsageError(
            f"expected an option of {_command(verb)}, found {option}", _option_hint(option, verb, see)
        )
    if found := re.match(r"No such command '(.*?)'(?:\.|$)", said):
        topics = topics_named() if "--help" in words else []
        more = f" or a topic ({', '.join(topics)})" if topics else ""
        near = nearest(found[1], [*COMMANDS, *topics], 2, ALIKE)
        close = [f"opsig {name}" if name in COMMANDS else f"opsig help {name}" for name in near]
        expected = f"expected a command ({', '.join(COMMANDS)}){more}, found {found[1]!r}"
        return UsageError(expected, did_you_mean(close, see))
    if found := re.match(r"Got unexpected extra argument\(?s?\)? \((.*)\)", said):
        own = parameters(COMMANDS[verb]) if verb else ()
        reads = any(p.name == "store" for p in own) and all(isinstance(p.declared, Option) for p in own)
        hint = f"{_command(verb)} reads the store that opsig trace wrote: opsig.h5, or --store FILE; {see}"
        return UsageError(
            f"expected no more words for {_command(verb)}, found {found[1]!r}", hint if reads else see
        )
    if option:
        expected = "no value" if "does not take" in said else "a value"
        return UsageError(
            f"expected {expected} after {option}, found {'one' if 'no ' in expected else 'none'}", see
        )
    name = _name(error)
    if type(error).__name__ == "MissingParameter":
        return UsageError(f"expected {name} after {_command(verb)}, found nothing", see)
    if not name:
        return UsageError(error.format_message(), see)
    return UsageError(f"in {name}: {_of_value(said, name, words)}", see)


def _option_hint(option: str, verb: str, see: str) -> str:
    """The options of a command that are close; or where to put one that stands before its command."""
    everywhere = [p.flag for p in parameters(TerminalOptions)]
    if not verb:
        if option in everywhere or any(
            option == p.flag for kind in COMMANDS.values() for p in parameters(kind)
        ):
            return f"options follow the command: opsig COMMAND {option}"
        return did_you_mean(nearest(option, ["--version", "--help"], 2, CLOSE), see)
    own = [p.flag for p in parameters(COMMANDS[verb]) if isinstance(p.declared, Option)]
    known = [*own, *everywhere, "--help"]
    return did_you_mean(nearest(option, known, 2, CLOSE), see)


def _command(verb: str) -> str:
    return f"opsig {verb}".strip()


def _name(error: Any) -> str:
    """The option, or the argument by what stands for it."""
    if hint := getattr(error, "param_hint", None):
        return str(hint).strip("'")
    parameter = getattr(error, "param", None)
    if parameter is None:
        return ""
    flags = [flag for flag in parameter.opts if flag.startswith("--")]
    return flags[0] if flags else str(parameter.metavar or parameter.name)


def _of_value(said: str, name: str, words: Sequence[str]) -> str:
    """What was expected of a value, and what was found, where the line shows it."""
    for pattern, expected in _VALUES:
        if match := re.search(pattern, said):
            given = _given(name, words)
            return f"expected {match.expand(expected)}" + (f", found {given!r}" if given is not None else "")
    return said


def _given(name: str, words: Sequence[str]) -> str | None:
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None
