"""What ``--dry-run`` tells of a command: units of work, bytes, and seconds from real batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from opsigcli.examples import ExampleSource
from opsigcli.printable import count
from opsigcli.records import Run

TIMED_BATCHES = 2  # per timing of a forward pass
TIMED_EXAMPLES = 64  # at most, of a gradient
SECONDS, LEAST_TIMES, MOST_TIMES = 0.3, 2, 20  # spent on a timing


def plan_lines(result: dict[str, Any], what: str, store: Path) -> tuple[str, ...]:
    """What a plan says in the terminal: what would be done, its units, bytes and seconds."""
    seconds = result["estimated_seconds"]
    duration = f"{_duration(seconds)} (from the time of a real batch)"
    return (
        f"dry run: {what}",
        f"{count(result['units'], 'unit')} of work; reads {bytes_in_words(result['bytes_to_read'])}, "
        f"writes about {bytes_in_words(result['bytes_to_write'])} to {store}; {duration}",
        "nothing was written",
    )


def seconds_of_losses(
    run: Run, source: ExampleSource, device: str, batch_size: int | None, precision: str, statistics: str
) -> float:
    """Time of one checkpoint of a trace: a few batches of the run's model, in the form that a trace uses.

    Args:
        run: its model and loss.
        source: all examples.
        device: where to compute.
        batch_size: examples per forward pass; None as suits.
        precision: of the forward pass.
        statistics: of BatchNorm.
    """
    from opsigcli.objective.evaluate import Evaluator
    from opsigcli.runs.build_objective import build_objective

    objective = build_objective(run.model, source, run.loss, device=device, batch_size=256, config=run.config)
    objective.use_statistics(statistics)
    evaluator = Evaluator(objective, batch_size=batch_size, precision=precision)
    held = min(len(source), evaluator.batch_size * max(evaluator.threads, TIMED_BATCHES))
    evaluator.hold(np.arange(held))
    own = 0.0
    if (kept := objective.data_statistics) is not None:

        def renew() -> None:
            kept.forget()
            kept.refresh(objective.model.eval())

        own = timed(renew)
    return own + timed(evaluator.losses) * len(source) / held


def seconds_of_gradient(run: Run, source: ExampleSource, device: str, batch_size: int) -> float:
    """Time of one example's part in a gradient of the mean loss: a batch of the run's model, forward and backward."""
    from opsigcli.runs.build_objective import build_objective

    objective = build_objective(
        run.model, source, run.loss, device=device, batch_size=batch_size, config=run.config
    )
    some = objective.counted[: min(batch_size, objective.n, TIMED_EXAMPLES)]
    return timed(lambda: objective.mean_loss_and_gradient(some)) / len(some)


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes when it has been done before: the shortest of some."""
    work()
    times: list[float] = []
    while len(times) < LEAST_TIMES or (sum(times) < SECONDS and len(times) < MOST_TIMES):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def _duration(seconds: float) -> str:
    for limit, unit, word in ((120, 1, "s"), (7200, 60, "min"), (float("inf"), 3600, "h")):
        if seconds < limit:
            return f"about {seconds / unit:.1f} {word}" if seconds >= 0.1 else "less than 0.1 s"
    return ""


def bytes_in_words(count: int) -> str:
    size = float(count)
    for word in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {word}"
        size /= 1000
    return f"{size:.3g} TB"
