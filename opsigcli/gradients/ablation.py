"""``opsig mine --causal``: what happens without the mined groups, and without other sets of equal size."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.errors import Interrupted, UsageError
from opsigcli.examples import ExampleSource
from opsigcli.gradients.arm import STEPS, top_of, train_on
from opsigcli.gradients.fork import alternates, depends_on, fork, forks
from opsigcli.mining.class_matched import class_matched
from opsigcli.mining.inputs import compute_now
from opsigcli.mining.removal import effects
from opsigcli.mining_records import (
    Mining,
)
from opsigcli.progress import Progress
from opsigcli.records import LossTrace
from opsigcli.result_records import MINED, NOBODY, RANDOM, Causal, CausalArm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.mining.inputs import Keep
    from opsigcli.progress import Task
    from opsigcli.records import Floats, Ints
    from opsigcli.runs.stored_run import StoredRun
    from opsigcli.runs.tuning import Tuning

    Sides = tuple[Ints, Ints]
    Sets = list[tuple[str, Ints]]

DRAWS = 5  # class-matched random sets at each fork
ARMS = (
    5 + DRAWS
)  # of a fork: all examples kept, the mined groups, high loss, gradient and curvature, random sets
NO_PAIRS = "there is nothing to test: no pair was found"
CAVEAT = (
    "removing the groups lowers curvature and oscillation at first; within some tens of steps another direction can "
    "take the sharpness back to the edge, so that a single number says nothing about the long run"
)


def compare_causes(
    found: Mining,
    run: StoredRun,
    trace: LossTrace,
    seed: int,
    progress: Progress,
    test: str | None,
    keep: Keep = compute_now,
) -> Causal:
    """Arms that go on without some examples, from three checkpoints at and after the onset of period two.

    Args:
        found: the mined pairs.
        run: model, data and checkpoints; the parameters that do not train there stay frozen.
        trace: losses.
        seed: of the random controls.
        progress: says which arm is trained.
        test: spec of data for the test loss and accuracy.
        keep: keeps what an arm came to.

    Returns:
        The arms with their effects; no arms, and why, without pairs or without period two.

    Raises:
        UsageError: the classes of the test data are others.
        Interrupted: a signal arrived; the arms that ended are kept.
    """
    pairs = [(trace.positions(pair.first.ids), trace.positions(pair.second.ids)) for pair in found.counted]
    record = partial(Causal, groups=found.digest, seed=seed, test_data=test or "")
    if not pairs:
        return record(0, 0, (), NO_PAIRS)
    held_out = open_test(test, run.source) if test else None
    arms: list[CausalArm] = []
    try:
        chosen = forks(run, trace, pairs, keep)
        notes = [chosen.note]
        with progress.task("causal", ARMS * len(chosen.rows), "arm") as task:
            for number, row in enumerate(chosen.rows):
                try:
                    tuning = fork(run, row)
                except UsageError as error:
                    notes.append(error.message)
                    continue
                made, swings = _arms(run, tuning, trace, row, pairs, [seed, number], held_out, keep, task)
                arms += made if swings else []
                if not swings:
                    notes.append(
                        f"with all examples no mined pair alternates in {STEPS} updates from step "
                        f"{trace.steps[row]:,}: that fork is left out"
                    )
                elif not tuning.state and any(part.rule.keeps_state for part in tuning.parts):
                    notes.append(f"from step {trace.steps[row]:,} the optimizer starts without its state")
    except KeyboardInterrupt as signal:
        words = (
            f"interrupted: what was mined is kept, and the arms of --causal that ended ({len(arms)} and more)"
        )
        raise Interrupted(signal, words) from None
    first = int(trace.steps[chosen.rows[0]]) if chosen.rows else 0
    return record(first, STEPS, tuple(arms), CAVEAT, effects=effects(arms), notes=tuple(notes))


def _arms(
    run: StoredRun,
    tuning: Tuning,
    trace: LossTrace,
    row: int,
    pairs: Sequence[Sides],
    seed: Sequence[int],
    test: ExampleSource | None,
    keep: Keep,
    task: Task,
) -> tuple[list[CausalArm], bool]:
    """All arms of one fork, and whether some pair has period two in the one that keeps all examples."""
    for name, parameter in run.objective.model.named_parameters():
        parameter.requires_grad_(name in tuning.parameters)
    members = np.unique(np.concatenate([side for pair in pairs for side in pair]))
    sets = controls(run, trace, row, members, seed)
    left = [np.setdiff1d(np.arange(len(run.source)), removed) for _, removed in sets]
    of = [*depends_on(run, tuning, row), (test.fingerprint if test else "").encode()]

    def trained(removed: Ints, watched: list[Ints]) -> Floats:
        task.advance(note=f"without {len(removed)}")
        ids = [removed.tobytes(), *(rows.tobytes() for rows in watched)]
        return keep("arm", [*of, *ids], partial(train_on, run, tuning, row, removed, watched, test))

    sides = [side for pair in pairs for side in pair]
    kept = trained(sets[0][1], [*left, *sides])
    if not alternates(kept[1 + len(left) :, :-1]):
        return [], False
    made = []
    for place, (name, removed) in enumerate(sets):
        own = trained(removed, [left[place]]) if len(removed) else kept
        of_all, of_own = kept[1 + place], own[1]
        made.append(
            CausalArm(
                removed=name,
                examples=len(removed),
                members=int(np.isin(removed, members).sum()),
                sharpness_start=float(own[0, 0]),
                sharpness_end=float(own[0, 1]),
                rises=_rises(of_own),
                mean_loss=float(of_own[STEPS]),
                accuracy=_known(own[0, 3]),
                step=int(trace.steps[row]),
                amplitude=float(of_own[-1]),
                test_loss=_known(own[0, 2]),
                sharpness_with_all=float(kept[0, 0]),
                rises_with_all=_rises(of_all),
                amplitude_with_all=float(of_all[-1]),
                mean_loss_with_all=float(of_all[STEPS]),
                test_loss_with_all=_known(kept[0, 2]),
            )
        )
    return made, True


def _rises(course: Floats) -> float:
    """Sum of all rises of a mean loss from update to update, nats."""
    return float(np.maximum(np.diff(course[: STEPS + 1]), 0).sum())


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def controls(run: StoredRun, trace: LossTrace, row: int, members: Ints, seed: Sequence[int]) -> Sets:
    """Names and positions of what arms go on without: nothing, the mined groups, and others as many as these.

    High curvature is vᵀ∇²ℓᵢv along the direction v of λ₁ at the fork.
    """
    from opsigcli.derivatives.gradient_sketch import gradient_sketches
    from opsigcli.derivatives.per_example_curvature import directional_derivatives

    run.load(row)
    objective = run.objective
    counted = objective.counted
    norms = gradient_sketches(objective, counted, dimensions=16, seed=0).norms
    direction = top_of(objective, run.batch_norm).vectors[0]
    curvatures = directional_derivatives(objective, direction, counted).curvatures

    def highest(values: Floats) -> Ints:
        """The positions of as many as there are members."""
        return np.sort(counted[np.argsort(-np.nan_to_num(values), kind="stable")[: len(members)]])

    draws = random_controls(trace.labels, members, seed)
    return [
        (NOBODY, members[:0]),
        (MINED, members),
        ("examples of high loss", highest(trace.losses[row][counted])),
        ("examples of large gradient", highest(norms)),
        ("examples of high curvature", highest(curvatures)),
        *((RANDOM, drawn) for drawn in draws),
    ]


def random_controls(labels: Ints, members: Ints, seed: Sequence[int]) -> list[Ints]:
    """Class-matched draws (``class_matched``) in place of all mined groups together, increasing positions.

    Where a label has too few others, members fill up: the control stays as large as the mined groups.
    """
    (drawn,) = class_matched(labels, (members,), members, np.random.default_rng(list(seed)), DRAWS)
    return [np.sort(rows) for rows in drawn]


def open_test(spec: str, source: ExampleSource) -> ExampleSource:
    """The data for test loss and accuracy, standardised by the constants of the run's data where both are by channel.

    Raises:
        UsageError: its classes, or its vocabulary, are others than those of the run's data.
    """
    from opsigcli.datasets import open_source
    from opsigcli.datasets.constants import with_constants

    test = open_source(spec)
    if test.fingerprint != source.fingerprint and (alike := with_constants(spec, source.transform)) != spec:
        test = open_source(alike)
    if test.classes and source.classes and test.classes != source.classes:
        i = next(
            (i for i, (a, b) in enumerate(zip(test.classes, source.classes, strict=False)) if a != b), -1
        )
        which = (
            f"{test.classes[i]!r} is not {source.classes[i]!r}" if i >= 0 else "one has more than the other"
        )
        raise UsageError(
            f"expected --test-data with the classes of the run's data: {len(test.classes)} beside "
            f"{len(source.classes)}, {which}",
            "give both in one order; text is numbered alike in all files with tokenizer=byte",
        )
    return test
