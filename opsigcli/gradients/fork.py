"""Where ``opsig mine --causal`` goes on from, and by which rule: from the onset of period two on, as the run did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.errors import UsageError
from opsigcli.gradients.arm import STEPS, train_on
from opsigcli.mining.blocks import columns_of
from opsigcli.mining.period_two import CHANGES, period_two
from opsigcli.runs.run_optimizer import RunOptimizer
from opsigcli.runs.tuned_run import TunedRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.mining.inputs import Keep
    from opsigcli.records import Floats, Ints, LossTrace
    from opsigcli.runs.stored_run import StoredRun
    from opsigcli.runs.tuning import Tuning

    Sides = tuple[Ints, Ints]

FORKS = 3
# Updates from one fork to the next, at least: nearer ones begin one stretch of period two and are hardly two
# observations. Of one run forks at 30, 32 and 34 gave 83 to 84 %, and at 30, 80 and 130 60 to 92 %.
APART = CHANGES[0][1]
TRIED = 8  # checkpoints from which training goes on to see whether it oscillates, where the trace cannot tell


def optimizer_of_run(run: StoredRun) -> RunOptimizer:
    """The run's own optimizer, as checkpoints and manifest have it."""
    return RunOptimizer(run.run, None, {}, None, run.lrs)


def fork(run: StoredRun, row: int) -> Tuning:
    """Rules, hyper-parameters, state and parameters that train at checkpoint ``row``, which is loaded then.

    Raises:
        UsageError: the rule is not known, its steps cannot be taken, or the learning rate is 0.
        CheckpointError: the checkpoint cannot be read.
        ModelError: its weights do not fit.
    """
    found = TunedRun(run, optimizer_of_run(run)).at(row, with_state=True)
    why = found.reason.partition(": ")[2] or found.reason
    if name := next((part.name for part in found.parts if part.rule.make is None), ""):
        why = f"opsig takes no steps of {name}"
    elif found.parts and not any(part.hyper["lr"] > 0 for part in found.parts):
        why = "the learning rate there is 0, with which nothing is trained"
    if why:
        raise UsageError(
            f"--causal trains on from step {run.steps[row]:,} ({run.files[row]}) as the run did: {why}",
            "leave out --causal; or write optimizer and learning rate into the folder's opsig-run.toml and trace again",
        )
    return found


@dataclass(frozen=True)
class Forks:
    """Checkpoints to go on from."""

    rows: tuple[int, ...]  # of the trace, increasing; none in a run without period two
    note: str  # where they are and why, in words


def forks(run: StoredRun, trace: LossTrace, pairs: Sequence[Sides], keep: Keep) -> Forks:
    """The onset of period two in the mined pairs, and a third and two thirds of the later places where it goes on.

    Where checkpoints are one update apart, the traced losses tell: the difference of a pair's mean losses alternates.
    Where they are not, training goes on from up to ``TRIED`` checkpoints, and its losses tell.

    Args:
        run: model, data and checkpoints.
        trace: losses.
        pairs: positions of the two groups of each pair.
        keep: keeps what going on came to.
    """
    there = np.array([run.path(row).exists() for row in range(len(trace.steps))])
    seen = traced_period_two(trace, pairs)
    rows, how = np.flatnonzero(seen & there), "the traced losses of the mined pairs begin to alternate at"
    apart = np.append(np.diff(trace.steps) != 1, True) | (not trace.axis.counts_updates)
    if not len(rows) and (left := np.flatnonzero(apart & there)[1:]).size:
        tried = left[np.unique(np.linspace(0, len(left) - 1, TRIED).astype(int))]
        rows = np.array([row for row in tried if _oscillates(run, int(row), pairs, keep)], dtype=np.int64)
        how = (
            f"of {len(tried)} checkpoints that training went on from, losses of the mined pairs alternate within "
            f"{STEPS} updates from"
        )
    if not len(rows):
        none = "the difference of their mean losses nowhere changes its sign at update after update"
        return Forks((), f"no period two is seen in the mined pairs: {none}")
    chosen = spread(rows, trace.steps if trace.axis.counts_updates else trace.steps * APART)
    steps = [f"{trace.steps[row]:,}" for row in chosen]
    return Forks(chosen, f"{how} {trace.axis.one} {steps[0]}; arms start at {', '.join(steps)}")


def spread(rows: Ints, steps: Ints) -> tuple[int, ...]:
    """The first row, and those at a third and at two thirds or the next ones far enough from the one before.

    Args:
        rows: increasing, at least one.
        steps: (T,) of the checkpoints, in updates.
    """
    chosen = [int(rows[0])]
    for part in range(1, FORKS):
        later = rows[part * len(rows) // FORKS :]
        far = later[steps[later] >= steps[chosen[-1]] + APART]
        chosen += [int(far[0])] if len(far) else []
    return tuple(chosen)


def depends_on(run: StoredRun, tuning: Tuning, row: int) -> list[bytes]:
    """What training that goes on from a checkpoint depends on, beside the examples."""
    rules = [(part.name, sorted(part.hyper.items()), part.parameters) for part in tuning.parts]
    return [
        repr(
            (
                rules,
                tuning.largest,
                bool(tuning.state),
                row,
                run.sha256[row],
                STEPS,
                run.run.batch_size,
                run.batch_norm,
            )
        ).encode()
    ]


def traced_period_two(trace: LossTrace, pairs: Sequence[Sides]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(T,) whether a stretch of period two of some pair begins at a checkpoint, by the traced losses."""
    found = np.zeros(len(trace.steps), dtype=bool)
    one = np.diff(trace.steps) == 1 if trace.axis.counts_updates else np.zeros(len(found) - 1, dtype=bool)
    for first, second in pairs:
        means = [columns_of(trace.losses, side).astype(np.float64).mean(axis=1) for side in (first, second)]
        found[period_two(np.where(one, np.diff(means[0] - means[1]), np.nan))] = True
    return found


def alternates(course: Floats) -> bool:
    """Whether the difference of the two groups of some pair has period two.

    Args:
        course: (2 pairs, updates + 1) mean losses of first and second groups in turn, nats.
    """
    return any(
        len(period_two(np.diff(first - second)))
        for first, second in zip(course[::2], course[1::2], strict=True)
    )


def _oscillates(run: StoredRun, row: int, pairs: Sequence[Sides], keep: Keep) -> bool:
    """Whether training that goes on from a checkpoint with all examples has period two in some pair."""
    try:
        tuning = fork(run, row)
    except UsageError:
        return False
    sides = [side for pair in pairs for side in pair]
    of = [*depends_on(run, tuning, row), *(side.tobytes() for side in sides)]
    nobody = np.zeros(0, dtype=np.int64)
    course = keep("going-on", of, lambda: train_on(run, tuning, row, nobody, sides, None, sharpness=False))
    return alternates(course[1:, :-1])
