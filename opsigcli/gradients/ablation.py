"""``opsig mine --causal``: what happens without the mined groups, and without other sets of equal size."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.errors import Interrupted, UsageError
from opsigcli.examples import ExampleSource
from opsigcli.mining.class_matched import class_matched
from opsigcli.mining.inputs import compute_now
from opsigcli.mining_records import (
    Mining,
)
from opsigcli.progress import Progress
from opsigcli.records import LossTrace
from opsigcli.result_records import Causal, CausalArm

if TYPE_CHECKING:
    from opsigcli.mining.inputs import Keep
    from opsigcli.objective.base import Objective
    from opsigcli.records import Floats, Ints
    from opsigcli.runs.stored_run import StoredRun
    from opsigcli.runs.tuning import Tuning

CONTROLS = 1  # class-matched random sets: every arm is trained anew
RANDOM = "random examples of the same classes"
STEPS = 60  # full-batch or minibatch updates of every arm, with a fresh optimizer state
TOLD = ("sharpness_start", "sharpness_end", "rises", "mean_loss", "accuracy")  # of every arm
NOTHING = "there is nothing to test: no pair was found"
CAVEAT = (
    "removing the groups lowers curvature and oscillation at first; within some tens of steps another direction can "
    "take the sharpness back to the edge, so that a single number says nothing about the long run"
)


def compare_causes(
    found: Mining,
    run: StoredRun,
    tuning: Tuning,
    start: int,
    trace: LossTrace,
    seed: int,
    progress: Progress,
    test: str | None,
    keep: Keep = compute_now,
) -> dict[str, Any]:
    """Arms that go on from one checkpoint without some examples, with what they do; none without pairs.

    λ₁ is that of the mean loss of the examples left, at the common start and after the last update; the oscillation
    is the sum of all rises of that mean loss from update to update. ``members`` of an arm counts how many of its
    examples are members of the mined groups.

    Args:
        found: the mined pairs.
        run: model, data and checkpoints; the parameters that do not train there stay frozen.
        tuning: how the run was trained there (see ``fork``).
        start: row of the trace to start from.
        trace: losses.
        seed: of the random controls.
        progress: says which arm is trained.
        test: spec of data for the test accuracy.
        keep: keeps what an arm came to.

    Raises:
        UsageError: the classes of the test data are others.
        Interrupted: a signal arrived; the arms that ended are kept.
    """
    if not found.counted:
        return {"step": int(trace.steps[start]), "updates": 0, "arms": [], "caveat": NOTHING}
    groups = [group.ids for pair in found.counted for group in (pair.first, pair.second)]
    members = np.unique(trace.positions(np.concatenate(groups)))
    held_out = open_test(test, run.source) if test else None
    for name, parameter in run.objective.model.named_parameters():
        parameter.requires_grad_(name in tuning.parameters)
    arms = []
    removed = _arms(run, start, trace, members, seed)
    rules = [(part.name, sorted(part.hyper.items()), part.parameters) for part in tuning.parts]
    of = [repr((rules, start, STEPS, run.run.batch_size, held_out and held_out.fingerprint)).encode()]
    try:
        with progress.task("causal", len(removed), "arm") as task:
            for name, positions in removed.items():
                train = partial(_arm, run, tuning, start, positions, held_out)
                arms.append(
                    {
                        "removed": name,
                        "examples": len(positions),
                        "members": int(np.isin(positions, members).sum()),
                        **_told(keep("arm", [*of, positions.tobytes()], train)),
                    }
                )
                task.advance(note=f"without {name}")
    except KeyboardInterrupt as signal:
        words = f"interrupted: what was mined is kept, and {len(arms)} of {len(removed)} arms of --causal"
        raise Interrupted(signal, words) from None
    return {"step": int(trace.steps[start]), "updates": STEPS, "arms": arms, "caveat": CAVEAT}


def causal_record(causal: dict[str, Any], found: Mining, seed: int, test: str | None) -> Causal:
    """The comparison as a store keeps it, with the groups and choices that it is of."""
    arms = tuple(CausalArm(**arm) for arm in causal["arms"])
    return Causal(causal["step"], causal["updates"], arms, causal["caveat"], found.digest, seed, test or "")


def causal_words(causal: dict[str, Any]) -> tuple[str, ...]:
    """The comparison in lines."""
    if not causal["arms"]:
        return (f"--causal: {causal['caveat']}",)
    lines = [f"without … from checkpoint {causal['step']}, {causal['updates']} updates:"]
    for arm in causal["arms"]:
        size = f"{arm['examples']} examples"
        if arm["removed"] == RANDOM and arm["members"]:
            size += f", {arm['members']} of them members of the groups: their classes have too few others"
        text = (
            f"  {arm['removed']} ({size}): sharpness {arm['sharpness_start']:.3g} at once, "
            f"{arm['sharpness_end']:.3g} at the end; rises of the mean loss {arm['rises']:.3g}"
        )
        if arm["accuracy"] is not None:
            text += f"; test accuracy {arm['accuracy']:.3f}"
        lines.append(text)
    if not any(arm["rises"] for arm in causal["arms"]):
        lines.append(
            "  the mean loss rises in no arm, nor with all examples: these updates tell nothing of a spike"
        )
    return (*lines, f"caveat: {causal['caveat']}")


def _arms(run: StoredRun, start: int, trace: LossTrace, members: Ints, seed: int) -> dict[str, Ints]:
    """Positions to remove, by name: all sets but the first as large as the mined one."""
    from opsigcli.derivatives.gradient_sketch import gradient_sketches

    everybody = np.arange(len(trace.labels))
    run.load(start)
    norms = gradient_sketches(run.objective, everybody, dimensions=16, seed=seed).norms
    k = len(members)
    return {
        "nothing": everybody[:0],
        "the mined groups": members,
        RANDOM: random_control(trace.labels, members, seed),
        "examples of high loss": np.sort(np.argsort(-np.nan_to_num(trace.losses[start]), kind="stable")[:k]),
        "examples of large gradient": np.sort(np.argsort(-norms, kind="stable")[:k]),
    }


def random_control(labels: Ints, members: Ints, seed: int) -> Ints:
    """One class-matched draw (``class_matched``) in place of all mined groups together, increasing positions.

    Where a label has too few others, members fill up: the control stays as large as the mined groups.
    """
    (drawn,) = class_matched(labels, (members,), members, np.random.default_rng(seed), CONTROLS)
    return np.sort(drawn[0])


def _arm(run: StoredRun, tuning: Tuning, start: int, removed: Ints, test: ExampleSource | None) -> Floats:
    """What came of it, one number for each of ``TOLD``; NaN = not known."""
    from opsigcli.datasets.subset import Subset
    from opsigcli.objective.base import Objective
    from opsigcli.runs.build_optimizer import build_optimizer
    from opsigcli.runs.trainer import Trainer

    run.load(start)
    whole = run.objective
    left = np.setdiff1d(np.arange(len(run.source)), removed)
    objective = Objective(
        whole.model, Subset(run.source, left), whole.loss, device=whole.device, batch_size=whole.batch_size
    )
    objective.use_statistics("stored" if whole.data_statistics is None else "re-estimate")
    trainer = Trainer(objective, build_optimizer(tuning, objective), run.run.batch_size, seed=0)
    trainer.settle_statistics()
    before = _sharpness(objective)
    losses = [objective.mean_loss()]
    for _ in range(STEPS):
        trainer.update()
        trainer.settle_statistics()
        losses.append(objective.mean_loss())
    rises = float(np.maximum(np.diff(losses), 0).sum())
    right = None if test is None else _accuracy(objective, test)
    return np.array([before, _sharpness(objective), rises, losses[-1], np.nan if right is None else right])


def _told(numbers: Floats) -> dict[str, float | None]:
    """The numbers of an arm by name."""
    found: dict[str, float | None] = dict(zip(TOLD, map(float, numbers), strict=True))
    return found | ({"accuracy": None} if np.isnan(numbers[-1]) else {})


def _sharpness(objective: Any) -> float:
    from opsigcli.curvature.lanczos import top_eigenvalues
    from opsigcli.derivatives.hvp import hessian_operator

    operator = hessian_operator(objective)
    return float(top_eigenvalues(operator, operator.size, 1, device=objective.device).eigenvalues[0])


def _accuracy(objective: Objective, test: ExampleSource) -> float | None:
    from opsigcli.gradients.accuracy import accuracy
    from opsigcli.objective.base import Objective

    size = objective.batch_size
    return accuracy(
        Objective(objective.model, test, objective.loss, device=objective.device, batch_size=size)
    )


def open_test(spec: str, source: ExampleSource) -> ExampleSource:
    """The data for the test accuracy.

    Raises:
        UsageError: its classes, or its vocabulary, are others than those of the run's data.
    """
    from opsigcli.datasets import open_source

    test = open_source(spec)
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
