"""What can go wrong, as exceptions that already hold the text a user should read.

Every error says what was expected, what was found and where; ``hint`` names one thing to try.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command."""

    OK = 0
    GATE = 1  # a gate of ``opsig report`` tripped, and nothing else
    USAGE = 2
    INPUT = 3  # input unreadable, unfit or refused
    INCOMPLETE = 4  # some checkpoints failed; what succeeded is kept
    BUG = 70
    INTERRUPTED = 130
    TERMINATED = 143


class OpsigError(Exception):
    """An error with a message for the user and a hint that names one thing to try."""

    exit_code = ExitCode.INPUT

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")  # for programs, whose tracebacks show it


class UsageError(OpsigError):
    """Options that contradict one another, or a spec that is not in the grammar."""

    exit_code = ExitCode.USAGE


class TrustError(OpsigError):
    """Code named by a file that this user did not write."""


class NotGiven(OpsigError):
    """A spec that stands for an object of the Python program which called opsig, and which is not here."""


class CheckpointError(OpsigError):
    """A checkpoint or a folder of checkpoints that cannot be read, or is refused."""


class DatasetError(OpsigError):
    """A dataset that cannot be read or does not fit."""


class ModelError(OpsigError):
    """A model that cannot be built, or weights that do not fit it."""


class ObjectiveError(OpsigError):
    """A loss that is not defined on this model and data."""


class StoreError(OpsigError):
    """A store that cannot be read or written, or that holds another run."""


class Refused(StoreError):
    """Something in a file is not of a store; the one who opens it adds which file that is."""


class Unsound(StoreError):
    """A store, which opsig wrote, is not as it was. ``opsig trace --fresh`` makes it anew; other files it leaves."""


class CurvatureError(OpsigError):
    """A Hessian-vector product that the model does not support."""


class MiningError(OpsigError):
    """A trace that cannot be mined."""


class ReportError(OpsigError):
    """A report that cannot be written."""


class Bug(OpsigError):
    """Something nobody foresaw."""

    exit_code = ExitCode.BUG


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; handled like Ctrl-C, with an exit code of its own."""


_arrived: list[KeyboardInterrupt] = []  # the signal that ends this command


def signal_arrived(signal: KeyboardInterrupt | None) -> None:
    """Say which signal is about to be raised; None says that there is none any more."""
    _arrived[:] = [] if signal is None else [signal]


def raise_lost_signal() -> None:
    """Raise the signal that arrived within a library which swallows it and raises an error of its own.

    Raises:
        KeyboardInterrupt: one arrived.
    """
    if _arrived:
        raise _arrived.pop()


class Interrupted(OpsigError):
    """A signal ended the work; what is done is saved. The command line adds the command that resumes it."""

    def __init__(
        self, cause: KeyboardInterrupt, message: str, hint: str = "run the same command again to resume"
    ) -> None:
        super().__init__(message, hint)
        terminated = isinstance(cause, Terminated)
        self.exit_code = ExitCode.TERMINATED if terminated else ExitCode.INTERRUPTED
