"""The commands as functions: the same names of options, the same defaults, the same checks, and nothing printed."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeVar

from opsigcli.api.done import Done, Exported, Measured, Mined, Reported, Traced, Trained
from opsigcli.api.filled import described, filled, signature
from opsigcli.api.notebook import progress_here
from opsigcli.api.objects import objects_in, with_specs
from opsigcli.errors import Interrupted
from opsigcli.given import offered
from opsigcli.options import COMMANDS
from opsigcli.outcome import Outcome
from opsigcli.parameters import Argument, parameters

D = TypeVar("D", bound=Done)


def train(*arguments: Any, **options: Any) -> Trained:
    """Train a reference run: checkpoints and a manifest."""
    return Trained(*_done("train", arguments, options))


def trace(*arguments: Any, **options: Any) -> Traced:
    """Compute every example's loss at every checkpoint of a folder, and keep them in a store.

    >>> done = trace("run", store="opsig.h5")
    >>> done.run.losses.shape
    (3, 200)
    >>> done.complete
    True
    """
    return Traced(*_done("trace", arguments, options))


def mine(*arguments: Any, **options: Any) -> Mined:
    """Find opposing groups and the largest loss changes, and keep them in the store."""
    return Mined(*_done("mine", arguments, options))


def sharpness(*arguments: Any, **options: Any) -> Measured:
    """Measure sharpness against the stability threshold, and keep it in the store.

    >>> found = sharpness(store="opsig.h5", every=2)
    >>> [point.step for point in found.points], found.points[0].converged
    ([0, 4], True)
    """
    return Measured(*_done("sharpness", arguments, options))


def report(*arguments: Any, **options: Any) -> Reported:
    """The whole case as data, or as an HTML file with ``html=True`` or ``output=FILE``; several stores are compared."""
    return Reported(*_done("report", arguments, options))


def export(*arguments: Any, **options: Any) -> Exported:
    """Write losses, deltas, sharpness, pairs or examples as a table for other programs."""
    return Exported(*_done("export", arguments, options))


def _done(verb: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[Outcome, Any]:
    """What a command returns, and the options it was called with.

    Raises:
        KeyboardInterrupt: the user interrupted it; what was finished is kept.
        OpsigError: as the command.
    """
    progress = options.pop("progress", None) or progress_here()
    given = {**_named(verb, arguments), **options}
    try:
        store = (
            filled(verb, {k: v for k, v in given.items() if k == "store"}).store if _on_store(verb) else None
        )
        objects = objects_in(given)
        chosen = filled(verb, with_specs(given, store=store))
        command = getattr(import_module(f"opsigcli.commands.{verb}"), verb)
        with _single_precision(), offered(objects):
            return command(chosen, progress), chosen
    except Interrupted as stopped:
        raise KeyboardInterrupt(f"{stopped.message}; call it again to go on") from stopped


@contextmanager
def _single_precision() -> Iterator[None]:
    """Models are built in float32, as on the command line, whatever a program has set for its own."""
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_default_dtype()
    if torch is None or before == torch.float32:
        yield
        return
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _on_store(verb: str) -> bool:
    """Whether a command takes the run of a store for granted: it has one, and no argument of its own."""
    own = parameters(COMMANDS[verb])
    return any(p.name == "store" for p in own) and not any(isinstance(p.declared, Argument) for p in own)


def _named(verb: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    names = [p.name for p in parameters(COMMANDS[verb]) if isinstance(p.declared, Argument)]
    if len(arguments) > len(names):
        raise TypeError(
            f"{verb}() takes {len(names)} positional arguments, found {len(arguments)}: name the options"
        )
    return dict(zip(names, arguments, strict=False))


def _documented(function: Callable[..., D]) -> None:
    """Give a function the signature of its command, and what each option is."""
    verb = function.__name__
    function.__signature__ = signature(verb)  # type: ignore[attr-defined]
    parts = (
        inspect.cleandoc(function.__doc__ or ""),
        f"Args:\n{described(verb)}\n    progress: who is told; by default a bar in notebooks.",
        "Raises:\n    OpsigError: with a message and a hint.",
    )
    function.__doc__ = "\n\n".join(parts)


for _function in (train, trace, mine, sharpness, report, export):
    _documented(_function)
