"""Curvature of the loss along a pair's direction, beside the sharpness that the store holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.errors import OpsigError
from opsigcli.gradients.sketch_store import Sketches
from opsigcli.mining.class_matched import class_matched
from opsigcli.mining.evidence.directions import CURVATURE_DRAWS
from opsigcli.mining_records import (
    Evidence,
)
from opsigcli.records import LossTrace
from opsigcli.sharpness_records import SharpnessPoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Ints
    from opsigcli.runs.stored_run import StoredRun


class PairCurvature:
    """``uᵀHu / λ₁`` of a pair, u ∝ mean g_A − mean g_B, as ``inputs.Curvature`` has it.

    It is measured wherever the model can be opened, so that it does not hang on earlier runs, at the checkpoint with
    converged sharpness nearest to one of those compared; what was measured before is kept with the gradients.

    Args:
        sketches: keeps what is measured, and has the model where it was opened.
        sharpness: what the store holds.
        trace: whose checkpoints and examples these are.
    """

    def __init__(self, sketches: Sketches, sharpness: tuple[SharpnessPoint, ...], trace: LossTrace) -> None:
        self._sketches, self._trace = sketches, trace
        self._point = _nearest(sharpness, trace.steps[sketches.rows])

    def __call__(self, sides: tuple[Ints, Ints], members: Ints) -> Evidence | None:
        """Evidence against class-matched pairs outside ``members``, all by positions; None where there is none."""
        point, sketches = self._point, self._sketches
        if point is None or point.step not in self._trace.steps:
            return None
        seed = sketches.options.seed
        mode = point.batch_norm
        of = [
            str(point.step).encode(),
            str(seed).encode(),
            sides[0].tobytes(),
            sides[1].tobytes(),
            *([b"batch"] if mode == "batch" else []),
        ]
        row = int(np.flatnonzero(self._trace.steps == point.step)[0])
        if not sketches.knows("curvature", of) and not can_be_opened(sketches, row):
            return None

        def measure() -> NDArray[np.float64]:
            sketches.opened.load(row)
            rng = np.random.default_rng(seed)
            random = class_matched(self._trace.labels, sides, members, rng, CURVATURE_DRAWS)
            pairs = [sides, *zip(*random, strict=True)]
            return np.array([along(sketches.opened, first, second, mode) for first, second in pairs])

        value, *nulls = sketches.once("curvature", of, measure) / point.eigenvalues[0]
        return Evidence(float(value), float(np.mean(nulls)))


def can_be_opened(sketches: Sketches, row: int) -> bool:
    """Whether model, data and a checkpoint are there; a store may have come without them."""
    try:
        return sketches.opened.path(row).exists()
    except OpsigError:
        return False


def _nearest(sharpness: tuple[SharpnessPoint, ...], steps: Ints) -> SharpnessPoint | None:
    """The converged point of positive sharpness nearest to any of ``steps``."""
    known = [point for point in sharpness if point.converged and point.eigenvalues[0] > 0]
    if not known or not len(steps):
        return None
    return min(known, key=lambda point: (int(np.abs(steps - point.step).min()), point.step))


def along(run: StoredRun, first: Ints, second: Ints, batch_norm: str | None) -> float:
    """``uᵀHu`` at the weights that are loaded, H with these statistics of BatchNorm."""
    import torch

    from opsigcli.derivatives.coupled import through_statistics
    from opsigcli.derivatives.hvp import hessian_operator

    _, of_first = run.objective.mean_loss_and_gradient(first)
    _, of_second = run.objective.mean_loss_and_gradient(second)
    u = torch.cat([(a - b).reshape(-1) for a, b in zip(of_first, of_second, strict=True)])
    norm = u.norm()
    if not float(norm) > 0:
        return 0.0
    u = u / norm
    with through_statistics(run.objective, batch_norm) as positions:
        return float(u @ hessian_operator(run.objective, positions=positions)(u))
