"""Parts of the loss deltas along the Hessian's top eigenvectors, in a step at each of the checkpoints compared."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.errors import CheckpointError
from opsigcli.gradients.compared import there
from opsigcli.mining.eigen import EigenStep

if TYPE_CHECKING:
    from torch import Tensor

    from opsigcli.curvature.spectrum import Spectrum
    from opsigcli.gradients.sketch_store import Sketches
    from opsigcli.objective.base import Objective
    from opsigcli.records import Floats, Ints

EXAMPLES = (
    2000  # that the Hessian is of, at most: any basis parts a loss delta, and products are what takes long
)
MATVECS, BASIS = 60, 32  # at most, at a checkpoint; vectors kept
TOLERANCE = 1e-3  # of an eigenvalue, relative to the largest
PRODUCT, FORWARD = (
    2.0,
    3.0,
)  # gradients that a product with the Hessian takes; forward passes that a gradient takes
HEAD = 6  # numbers before those of the examples: rows of both checkpoints, eigenvalue, moved, converged, products


def eigen_steps(sketches: Sketches) -> list[EigenStep]:
    """The parts at each checkpoint compared, of the step from there to the next one that was traced.

    Each step is kept when it is made; all are kept with the gradients.

    Raises:
        CheckpointError: of no step are both checkpoints there.
        CurvatureError: the model has no second derivatives.
    """
    of = _of(sketches)

    def made() -> Floats:
        found = []
        steps = _pairs(sketches)
        with sketches.progress.task("eigenvectors", len(steps), "step") as task:
            for begin, end in steps:
                key = (*of, str((begin, end)).encode())
                found.append(sketches.pieces("eigen", key, partial(_step, sketches, begin, end)))
                task.advance()
        return np.stack(found)

    kept = sketches.once("eigen", of, made)
    return [
        EigenStep(int(begin), int(end), one[:-1, 2], one[:, 3], bool(converged), one[:, HEAD:], int(products))
        for one in kept
        for begin, end, _, _, converged, products in (one[0, :HEAD],)
    ]


def known_steps(sketches: Sketches) -> bool:
    """Whether the parts are kept."""
    return sketches.knows("eigen", _of(sketches))


def passes_of_steps(sketches: Sketches, examples: int) -> float:
    """What the parts take at most, in gradients of the mean over all N ``examples``."""
    each = MATVECS * PRODUCT * min(EXAMPLES, examples) / max(examples, 1)
    return len(sketches.rows) * (each + 2 * (sketches.options.eigenvectors + 1) / FORWARD)


def _of(sketches: Sketches) -> tuple[bytes]:
    return (str([sketches.rows, sketches.options.eigenvectors, sketches.options.seed]).encode(),)


def _pairs(sketches: Sketches) -> list[tuple[int, int]]:
    """Rows of two neighbouring checkpoints for each one compared: with the next one, else with the one before.

    Raises:
        CheckpointError: of no step are both there.
    """
    left, found = there(sketches.store), []
    for row in sketches.rows:
        both = [(begin, begin + 1) for begin in (row, row - 1) if begin in range(len(left) - 1)]
        found += [pair for pair in both if left[list(pair)].all()][:1]
    if not found:
        raise CheckpointError(
            "expected two neighbouring checkpoints of the trace, whose step can be parted; of none are both there",
            "put them back, or mine with --method full",
        )
    return sorted(set(found))


def _step(sketches: Sketches, begin: int, end: int) -> Floats:
    """(k + 1, ``HEAD`` + N) float32."""
    run = sketches.opened
    run.load(end)
    after = flat(run.objective)
    run.load(begin)
    count, seed = sketches.options.eigenvectors, sketches.options.seed
    step = eigen_step(run.objective, (begin, end), after, count, seed, moving=run.batch_norm != "stored")
    found = np.full((count + 1, HEAD + step.parts.shape[1]), np.nan, dtype=np.float32)
    found[:, :2] = begin, end
    found[:-1, 2], found[:, 3], found[:, 4], found[:, 5] = (
        step.eigenvalues,
        step.moved,
        step.converged,
        step.products,
    )
    found[:, HEAD:] = step.parts
    return found


def eigen_step(
    objective: Objective, rows: tuple[int, int], after: Tensor, count: int, seed: int, *, moving: bool = False
) -> EigenStep:
    """The parts of all loss deltas from the weights that are loaded to others, as ``step_parts`` has them.

    Args:
        objective: with the weights of the first checkpoint loaded, as they are afterwards.
        rows: of both checkpoints.
        after: θ′ (P,), the weights of the second one.
        count: k eigenvectors of the Hessian of the mean loss, of up to ``EXAMPLES`` random examples.
        seed: of these, and of the solver.
        moving: the Hessian goes through BatchNorm's statistics, over batches as large as memory allows: with statistics
            held fixed its top eigenvectors are those of another function.

    Raises:
        CurvatureError: the model has no second derivatives.
    """
    import torch

    from opsigcli.derivatives.directional_loss import step_parts

    before = flat(objective)
    spectrum = _spectrum(objective, count, seed, moving)
    values, basis = np.full(count, np.nan), spectrum.vectors
    moved, parts = np.full(count + 1, np.nan), np.full((count + 1, len(objective.source)), np.nan)
    if len(basis) == count and bool(torch.isfinite(basis).all()):
        values[:] = spectrum.eigenvalues
        step = (after - before).double()
        moved[:-1] = ((basis.double() @ step).square() / step.square().sum().clamp_min(1e-300)).cpu().numpy()
        moved[-1] = max(1 - moved[:-1].sum(), 0.0)
        parts[:, objective.counted] = step_parts(objective, before, after, basis, objective.counted)
    return EigenStep(*rows, values, moved, spectrum.converged, parts, spectrum.matvecs)


def _spectrum(objective: Objective, count: int, seed: int, moving: bool) -> Spectrum:
    """Top eigenvectors at the weights that are loaded."""
    from opsigcli.curvature.lanczos import top_eigenvalues
    from opsigcli.derivatives.check_hvp import check_second_derivatives
    from opsigcli.derivatives.coupled import through_statistics
    from opsigcli.derivatives.hvp import hessian_operator

    drawn: Ints = np.random.default_rng(seed).permutation(objective.counted)[:EXAMPLES]
    with through_statistics(objective, "batch" if moving else None, drawn) as positions:
        check_second_derivatives(objective)
        operator = hessian_operator(objective, positions=positions)
        return top_eigenvalues(
            operator,
            operator.size,
            count,
            tolerance=TOLERANCE,
            max_matvecs=MATVECS,
            max_basis=max(BASIS, count + 3),
            seed=seed,
            device=objective.device,
            dtype=objective.dtype,
        )


def flat(objective: Objective) -> Tensor:
    """θ (P,) of the weights that are loaded."""
    import torch

    return torch.cat([p.detach().reshape(-1) for p in objective.parameters]).clone()
