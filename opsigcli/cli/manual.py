"""Man pages from the command tree: ``python -m opsigcli.cli.manual FOLDER`` writes them."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import typer

from opsigcli import __version__
from opsigcli.cli.app import app
from opsigcli.cli.topic import Topic
from opsigcli.cli.topics import TOPICS
from opsigcli.cli.verbs import VERBS
from opsigcli.errors import ExitCode

EXIT_CODES = {
    ExitCode.OK: "Success.",
    ExitCode.GATE: "A gate of opsig report tripped (--fail-on, --require), and nothing else.",
    ExitCode.USAGE: "Options or specs that make no sense.",
    ExitCode.INPUT: "Input that is unreadable, does not fit, or was refused. Nothing was changed.",
    ExitCode.INCOMPLETE: "Some checkpoints failed; what succeeded is kept.",
    ExitCode.BUG: "An unexpected error.",
    ExitCode.INTERRUPTED: "Ctrl-C. What was finished is kept, and the command to resume is printed.",
    ExitCode.TERMINATED: "SIGTERM, likewise.",
}


def pages() -> dict[str, str]:
    """File name -> man page, for ``opsig``, each of its commands and each topic."""
    root: Any = typer.main.get_command(app)
    made = {"opsig.1": _page("opsig", root, list(root.commands))}
    for name, command in root.commands.items():
        made[f"opsig-{name}.1"] = _page(f"opsig {name}", command, [])
    return made | {f"{topic.name}.{topic.section}": _topic(topic) for topic in TOPICS}


def _page(title: str, command: Any, verbs: list[str]) -> str:
    dashed = title.replace(" ", "-")
    help_text = [" ".join(part.split()) for part in inspect.cleandoc(command.help or "").split("\n\n")]
    summary = help_text[0].rstrip(".")
    lines = [
        f'.TH {dashed.upper()} 1 "" "opsig {__version__}" "opsig manual"',
        ".SH NAME",
        f"{_text(dashed)} \\- {_text(summary[0].lower() + summary[1:])}",
        ".SH SYNOPSIS",
        *_synopsis(title, command, verbs),
        ".SH DESCRIPTION",
        *_paragraphs(help_text),
    ]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    if arguments:
        lines.append(".SH ARGUMENTS")
        for argument in arguments:
            lines += [
                ".TP",
                f"\\fI{_text(argument.metavar or argument.name)}\\fR",
                _text(argument.help or ""),
            ]
    lines.append(".SH OPTIONS")
    for option in (p for p in command.params if p.param_type_name == "option"):
        lines += [".TP", _option(option), _text(" ".join((option.help or "").split())) + _facts(option)]
    lines += [".TP", "\\fB\\-h\\fR, \\fB\\-\\-help\\fR", "Show help and exit."]
    if verbs:
        lines.append(".SH COMMANDS")
        for verb in verbs:
            sub = command.commands[verb]
            lines += [".TP", f"\\fBopsig\\-{verb}\\fR(1)", _text(sub.short_help or "")]
    lines.append(".SH EXIT STATUS")
    for code, meaning in EXIT_CODES.items():
        lines += [".TP", f"\\fB{int(code)}\\fR", _text(meaning)]
    for heading, shown in _epilog(command.epilog or ""):
        lines += [f".SH {heading}", ".nf", *(_text(line[2:]) for line in shown), ".fi"]
    others = [verb for verb in VERBS if f"opsig {verb}" != title]
    related = ["opsig"] * (not verbs) + [f"opsig-{verb}" for verb in others]
    pages = [f"{name} (1)" for name in related] + [f"{topic.name} ({topic.section})" for topic in TOPICS]
    lines += [".SH SEE ALSO", " ,\n".join(f".BR {_text(page)}" for page in pages)]
    return "\n".join(lines) + "\n"


def _epilog(text: str) -> list[tuple[str, list[str]]]:
    """The parts below the help of a command, but for the exit status, which each page has."""
    parts = [part.strip("\n").splitlines() for part in text.split("\b\n") if part.strip()]
    found = [(head.removesuffix(":").upper(), rest) for head, *rest in parts]
    return [part for part in found if part[0] != "EXIT STATUS"]


def _topic(topic: Topic) -> str:
    lines = [
        f'.TH {topic.name.upper()} {topic.section} "" "opsig {__version__}" "opsig manual"',
        ".SH NAME",
        f"{_text(topic.name)} \\- {_text(topic.summary)}",
    ]
    for heading, paragraphs in topic.sections:
        lines.append(f".SH {heading}")
        for text in paragraphs:
            if text.startswith("  "):
                lines += [".PP", ".nf", *(_text(line[2:]) for line in text.splitlines()), ".fi"]
            else:
                lines += [".PP", _text(text)]
    related = " ,\n".join(f".BR opsig\\-{name} (1)" for name in topic.related)
    lines += [".SH SEE ALSO", related]
    return "\n".join(lines) + "\n"


def _synopsis(title: str, command: Any, verbs: list[str]) -> list[str]:
    words = [f"\\fB{_text(title)}\\fR"]
    words += ["\\fICOMMAND\\fR"] if verbs else []
    words += [
        f"\\fI{_text(p.metavar or p.name)}\\fR" for p in command.params if p.param_type_name == "argument"
    ]
    return [" ".join([*words, "[\\fIOPTIONS\\fR]"])]


def _option(option: Any) -> str:
    names = ", ".join(f"\\fB{_text(name)}\\fR" for name in [*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} \\fI{_text(option.metavar or 'VALUE')}\\fR"


def _facts(option: Any) -> str:
    facts = []
    if option.default not in (None, []) and not option.is_flag and not callable(option.default):
        facts.append(f"Default: {_text(str(option.default))}.")
    if option.envvar:
        facts.append(f"Environment: {_text(str(option.envvar))}.")
    return "".join(f"\n{fact}" for fact in facts)


def _paragraphs(texts: list[str]) -> list[str]:
    lines: list[str] = []
    for text in texts:
        lines += [".PP", _text(text)] if lines else [_text(text)]
    return lines


def _text(text: str) -> str:
    """Text that roff leaves as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped[:1] in (".", "'") else escaped


def main(folder: Path) -> None:
    """Write every page into ``folder``."""
    for name, page in pages().items():
        (folder / name).write_text(page)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
