"""Runs one command: its outcome or its error is printed, and the process exits with its code."""

from __future__ import annotations

import shlex
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from opsigcli.cli.console import Terminal
from opsigcli.errors import ExitCode, Interrupted, OpsigError, Terminated
from opsigcli.outcome import Outcome


def perform(verb: str, terminal: Terminal, options: Any) -> None:
    """Run the command ``verb`` with its options, print its outcome or its error, and exit."""
    _catch_signals()
    try:
        # Imported only now: commands bring torch, which help and errors in options can do without.
        command = getattr(import_module(f"opsigcli.commands.{verb}"), verb)
        outcome: Outcome = command(options, terminal)
        terminal.outcome(outcome)
        code = outcome.exit_code
    except OpsigError as error:
        if isinstance(error, Interrupted):
            error.hint = f"go on with: {shlex.join(['opsig', *sys.argv[1:]])}"
        terminal.error(error, f"opsig/{verb}")
        code = error.exit_code
    except KeyboardInterrupt as error:
        message = "interrupted before anything was finished; nothing was changed"
        terminal.error(OpsigError(message, "run the same command again"), f"opsig/{verb}")
        code = ExitCode.TERMINATED if isinstance(error, Terminated) else ExitCode.INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        code = _bug(verb, terminal, error)
    raise typer.Exit(int(code))


def _bug(verb: str, terminal: Terminal, error: Exception) -> ExitCode:
    """Something nobody foresaw: say what and where in a line; the whole trace only with --verbose."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = f"this is a bug in opsig: {type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    terminal.error(
        OpsigError(text, "run again with --verbose and report what it prints; no result was changed"),
        f"opsig/{verb}",
    )
    if terminal.verbose:
        terminal.err.print("".join(traceback.format_exception(error)), markup=False, soft_wrap=True)
    return ExitCode.BUG


def _catch_signals() -> None:
    """First SIGINT or SIGTERM: finish tidily. Second: end at once."""

    def handle(number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
