"""Runs one command: its outcome or its error is printed, and the process exits with its code."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from opsigcli.cli.allocator import keep_freed_memory
from opsigcli.cli.console import Terminal
from opsigcli.cli.packages import lacking_package
from opsigcli.errors import Bug, Interrupted, OpsigError, StoreError, Terminated, signal_arrived
from opsigcli.outcome import Outcome
from opsigcli.store.streams import refuse_stdout

_NO_MEMORY = ("you tried to allocate", "Storage size calculation overflowed")
_FINALIZED = 0.02  # seconds after which a finalizer that was interrupted has ended


def perform(verb: str, terminal: Terminal, options: Any) -> None:
    """Run the command ``verb`` with its options, print its outcome or its error, and exit.

    Raises:
        typer.Exit: always, with the command's exit code.
    """
    restore = _nothing
    keep_freed_memory()
    try:
        # Imported only now: commands bring torch, which help and errors in options can do without. Until then there
        # is nothing to finish, and an exception of ours within an import of theirs could be lost.
        command = getattr(import_module(f"opsigcli.commands.{verb}"), verb)
        restore = _catch_signals()
        if terminal.as_json:
            refuse_stdout(getattr(options, "output", None), "--output")
        outcome: Outcome = command(options, terminal)
        _print(terminal, outcome)
        code = outcome.exit_code
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        said = as_said(terminal, error)
        terminal.error(said, f"opsig/{verb}")
        code = said.exit_code
    finally:
        restore()
    raise typer.Exit(int(code))


def _print(terminal: Terminal, outcome: Outcome) -> None:
    try:
        terminal.outcome(outcome)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritten(error) from error


def unwritten(error: OSError) -> StoreError:
    """The error where standard output does not take what is said."""
    return StoreError(
        f"the result cannot be written to standard output: {error.strerror or error}",
        "look at where it goes; what the command computed is kept in the store",
    )


def _nothing() -> None:
    pass


def as_said(terminal: Terminal, error: BaseException) -> OpsigError:
    """An error in words for the user."""
    if isinstance(error, Interrupted):
        again = (word for word in sys.argv[1:] if word != "--fresh")  # which throws away what is kept
        error.hint = f"resume with: {shlex.join(['opsig', *again])}"
        return error
    if signaled := _signal_behind(error):
        return Interrupted(signaled, "interrupted", "run the same command again; what was finished is kept")
    if isinstance(error, OpsigError):
        return error
    if lacking := lacking_package(error):
        return lacking
    return _too_large(error) if _is_too_large(error) else _bug(terminal, error)


def _signal_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """The signal that ended the work, also where something else went wrong while it was ended."""
    seen: set[int] = set()  # an error may stand behind itself
    while error is not None and not isinstance(error, KeyboardInterrupt) and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return error if isinstance(error, KeyboardInterrupt) else None


def _is_too_large(error: BaseException) -> bool:
    """Whether there was no memory left, which torch says in words alone on the processor."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error) for words in _NO_MEMORY)
    )


def _too_large(error: BaseException) -> OpsigError:
    what = str(error).partition("\n")[0] or "no memory is left"
    return OpsigError(
        f"expected the work to fit into memory; it does not: {what}",
        "smaller batches, fewer examples or a smaller model need less; no result was changed",
    )


def _bug(terminal: Terminal, error: BaseException) -> Bug:
    """What nobody foresaw, in a line; the whole trace only with --verbose."""
    if terminal.verbose:
        terminal.log("".join(traceback.format_exception(error)))
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = f"unexpected error: {type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    return Bug(text, "run again with --verbose and report what it prints; no result was changed")


def _catch_signals() -> Callable[[], None]:
    """First SIGINT or SIGTERM: finish tidily. Second: end at once. Returns what puts the old handlers back."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        return _nothing

    def handle(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        raised = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
        signal_arrived(raised)
        raise raised

    def again(dropped: sys.UnraisableHookArgs) -> None:
        """What we raised within a finalizer is dropped by Python: raise it again once that has ended."""
        if not isinstance(dropped.exc_value, KeyboardInterrupt):
            hook(dropped)
            return
        for each in numbers:
            signal.signal(each, handle)
        number = signal.SIGTERM if isinstance(dropped.exc_value, Terminated) else signal.SIGINT
        main, begun = threading.get_ident(), threading.Event()

        def later() -> None:
            begun.wait()  # on a busy machine the time would else run out while this hook still starts the thread
            time.sleep(_FINALIZED)
            # To the main thread, whose waiting it ends; one that another thread raises would come after the wait.
            signal.pthread_kill(main, number)

        threading.Thread(target=later, daemon=True).start()
        begun.set()

    old, hook = [signal.signal(number, handle) for number in numbers], sys.unraisablehook
    sys.unraisablehook = again

    def restore() -> None:
        signal_arrived(None)
        sys.unraisablehook = hook
        for number, handler in zip(numbers, old, strict=True):
            signal.signal(number, handler)

    return restore
