"""The command tree: each command is made from its options, which it hands to its verb in ``commands``."""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from inspect import cleandoc
from textwrap import indent
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from opsigcli import __version__
from opsigcli.cli.console import Terminal, flush
from opsigcli.cli.help_page import page_of
from opsigcli.cli.mistakes import mistake
from opsigcli.cli.perform import as_said, perform, unwritten
from opsigcli.cli.signature import Act, function_of
from opsigcli.cli.verbs import ROOT_EPILOG, VERBS, Verb
from opsigcli.errors import ExitCode
from opsigcli.options import COMMANDS, TerminalOptions
from opsigcli.printable import spelled

# Plain help: it wraps to the terminal, pipes cleanly, and is what the man pages are made from.
HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    name="opsig",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=HELP,
    epilog=ROOT_EPILOG,
)


class Command(TyperCommand):
    """A command whose help names its arguments by what they are, without the type that holds them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        parameters: list[Any] = list(self.params)
        for parameter in parameters:
            if parameter.param_type_name == "argument":
                parameter.display_type_rich = lambda ctx: None

    def get_help(self, ctx: Any) -> str:
        """The help, in characters that the terminal has."""
        return spelled(super().get_help(ctx), getattr(sys.stdout, "encoding", None) or "utf-8")


def run(arguments: list[str] | None = None) -> int:
    """Run ``opsig`` with ``arguments`` (default: the process's) and return its exit code: 1 for gates alone."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _complete_what_is_meant()
    try:
        code = _run(words)
    except BrokenPipeError:  # the reader has gone away, as in `opsig report | head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
        code = ExitCode.OK
    except (Exception, KeyboardInterrupt) as error:
        terminal = Terminal(as_json="--json" in words, verbose="--verbose" in words)
        said = unwritten(error) if isinstance(error, OSError) else as_said(terminal, error)
        terminal.error(said, f"opsig/{_command_in(words)}")
        code = said.exit_code
    flush()
    return int(code or 0)


def _run(words: list[str]) -> int:
    """What the parser makes of the words.

    Raises:
        BrokenPipeError: the reader of stdout has gone away.
        SystemExit: completion, which ends the process itself.
    """
    if words[:1] == ["help"]:
        words = [word for word in words if word != "help"]
        if page := page_of(words):
            print(spelled(page, getattr(sys.stdout, "encoding", None) or "utf-8"))
            return ExitCode.OK
        words.append("--help")
    try:
        return int(_tree().main(args=words, prog_name="opsig", standalone_mode=False) or 0)
    except TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
        else:
            terminal = Terminal(as_json="--json" in words)
            terminal.error(mistake(error, words), f"opsig/{_command_in(words)}")
        return ExitCode.USAGE
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except (
        SystemExit
    ) as error:  # typer's own exit code of a broken pipe, and of completion, is that of a gate
        if isinstance(error.__context__, BrokenPipeError):
            raise BrokenPipeError from error
        raise SystemExit(ExitCode.USAGE if error.code == 1 else error.code) from error


@cache
def _tree() -> Any:
    """The parser of all commands, which takes 20 ms to make: a program that runs many makes it once."""
    return typer.main.get_command(app)


def _complete_what_is_meant() -> None:
    """Give completion the words as they are meant: bash parts ``--model=mlp`` in three, and ``help`` is no command."""
    environment, cursor = os.environ, os.environ.get("COMP_CWORD", "")
    if "_OPSIG_COMPLETE" not in environment:
        return
    asked = environment.get("_TYPER_COMPLETE_ARGS", "")
    environment["_TYPER_COMPLETE_ARGS"] = re.sub(r"^(\S+\s+)help\s+", r"\1", asked)
    if cursor.isdecimal():
        line = "\n".join(environment.get("COMP_WORDS", "").split("\n")[: int(cursor) + 1])
        line = re.sub(r"(\n--[\w-]+)\n=(\n|$)", r"\1\n", re.sub(r"^(\S+\n)help\n", r"\1", line))
        environment["COMP_WORDS"], environment["COMP_CWORD"] = line, str(line.count("\n"))


def _command_in(words: list[str]) -> str:
    return next((word for word in words if not word.startswith("-")), "")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"opsig {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Find the training examples that fight each other, from a folder of saved checkpoints.

    opsig reads checkpoints, a model and a dataset; computes every example's loss at every checkpoint; finds paired
    groups of outliers with opposing signals; measures sharpness against the optimizer's stability threshold; and
    reports which examples loss spikes and sharpness come from.
    """


def _act(name: str, verb: Verb) -> Act:
    def act(how: TerminalOptions, options: Any) -> None:
        speaks = not verb.one_speaks or os.environ.get("RANK", "0") == "0"
        terminal = Terminal(
            as_json=how.json and speaks, quiet=how.quiet or not speaks, verbose=how.verbose and speaks
        )
        perform(name, terminal, options)

    return act


for _name, _verb in VERBS.items():
    _examples = indent(cleandoc(_verb.examples), "  ")
    app.command(
        _name,
        cls=Command,
        help=cleandoc(_verb.description),
        short_help=_verb.summary,
        epilog=f"\b\nExamples:\n{_examples}",
        context_settings=HELP,
    )(function_of(COMMANDS[_name], _act(_name, _verb)))
