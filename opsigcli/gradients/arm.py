"""Training that goes on from a checkpoint without some examples, and what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.examples import ExampleSource
    from opsigcli.objective.base import Objective
    from opsigcli.records import Floats, Ints
    from opsigcli.runs.stored_run import StoredRun
    from opsigcli.runs.tuning import Tuning

STEPS = 60  # full-batch or minibatch updates of every arm
TOLD = (
    "sharpness_start",
    "sharpness_end",
    "test_loss",
    "accuracy",
)  # of every arm, beside the watched losses


def train_on(
    run: StoredRun,
    tuning: Tuning,
    row: int,
    removed: Ints,
    watched: Sequence[Ints],
    test: ExampleSource | None,
    *,
    sharpness: bool = True,
) -> Floats:
    """What happens in 60 updates from a checkpoint, with the state of the optimizer that it holds.

    Args:
        run: model, data and checkpoints.
        tuning: how the run was trained there, with the state.
        row: the checkpoint.
        removed: positions of the examples that are left out.
        watched: positions of the examples whose losses are looked at, none of them removed.
        test: data for loss and accuracy after the last update.
        sharpness: whether λ₁ is measured.

    Returns:
        (1 + watched, 62) float64: the numbers ``TOLD``, then, for each set that is watched, its mean loss before the
        first update and after each (61), and the mean over its examples and the updates of
        ``|ℓ(t+1) − 2 ℓ(t) + ℓ(t−1)| / 4``, nats; NaN = not known.
    """
    from opsigcli.datasets.subset import Subset
    from opsigcli.objective.base import Objective
    from opsigcli.runs.build_optimizer import build_optimizer, state_of
    from opsigcli.runs.trainer import Trainer

    run.load(row)
    whole = run.objective
    left = np.setdiff1d(np.arange(len(run.source)), removed)
    objective = Objective(
        whole.model, Subset(run.source, left), whole.loss, device=whole.device, batch_size=whole.batch_size
    )
    objective.use_statistics("stored" if whole.data_statistics is None else "re-estimate")
    optimizer = build_optimizer(tuning, objective)
    trainer = Trainer(objective, optimizer, run.run.batch_size, seed=0, clip=tuning.largest)
    trainer.restore_state(0, state_of(tuning, objective))
    trainer.settle_statistics()
    found = np.full((1 + len(watched), STEPS + 2), np.nan)
    if sharpness:
        found[0, 0] = largest_curvature(objective, run.batch_norm)
    course = np.full((3, len(run.source)), np.nan)  # the losses at the latest three updates
    swung = np.zeros(len(run.source))
    for at in range(STEPS + 1):
        if at:
            trainer.update()
            trainer.settle_statistics()
        course = np.roll(course, -1, axis=0)
        course[-1, left] = objective.losses()
        if at > 1:
            swung += np.abs(course[2] - 2 * course[1] + course[0]) / 4
        for place, rows in enumerate(watched, 1):
            found[place, at] = _mean(whole, course[-1], rows)
    for place, rows in enumerate(watched, 1):
        found[place, -1] = _mean(whole, swung, rows) / (STEPS - 1)
    if sharpness and np.isfinite(course[-1, left][objective.measured]).all():
        found[0, 1] = largest_curvature(objective, run.batch_norm)
    if test is not None:
        found[0, 2:4] = _on_test(objective, test)
    return found


def largest_curvature(objective: Objective, batch_norm: str | None) -> float:
    """λ₁ of the mean loss, as ``opsig sharpness`` has it with these statistics of BatchNorm."""
    return float(top_of(objective, batch_norm).eigenvalues[0])


def top_of(objective: Objective, batch_norm: str | None) -> Any:
    """The largest eigenvalue of the mean loss's Hessian with its vector, a ``Spectrum``."""
    from opsigcli.curvature.lanczos import top_eigenvalues
    from opsigcli.derivatives.coupled import through_statistics
    from opsigcli.derivatives.hvp import hessian_operator

    with through_statistics(objective, batch_norm) as positions:
        operator = hessian_operator(objective, positions=positions)
        return top_eigenvalues(operator, operator.size, 1, device=objective.device)


def _mean(objective: Objective, values: Floats, rows: Ints) -> float:
    """Over the examples ``rows`` that count, as in the mean loss."""
    rows = rows[objective.measured[rows]]
    weights = None if objective.weights is None else objective.weights[rows]
    return float(np.average(values[rows], weights=weights)) if len(rows) else float("nan")


def _on_test(objective: Objective, test: ExampleSource) -> tuple[float, float]:
    """Mean loss and accuracy on other data; NaN where there is no accuracy."""
    from opsigcli.gradients.accuracy import accuracy
    from opsigcli.objective.base import Objective

    size = objective.batch_size
    other = Objective(objective.model, test, objective.loss, device=objective.device, batch_size=size)
    right = accuracy(other)
    return other.mean_loss(), np.nan if right is None else right
