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
    from opsigcli.runs.stored_run import StoredRun

EXAMPLES = (
    2000  # that the Hessian is of, at most: any basis parts a loss delta, and products are what takes long
)
MATVECS, BASIS = 60, 24  # at most, at a checkpoint; vectors kept
TOLERANCE = 1e-2  # of an eigenvalue
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
    count, n, of = sketches.options.eigenvectors, len(sketches.store.measured), _of(sketches)

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
    assert kept.shape[1:] == (count + 1, HEAD + n), "parts are kept under the digest of what they are of"
    return [
        EigenStep(int(one[0, 0]), int(one[0, 1]), one[:-1, 2], one[:, 3], bool(one[0, 4]), one[:, HEAD:])
        for one in kept
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
    """Rows of two neighbouring checkpoints for each one compared: with the next one, else with the one before."""
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
    """(k + 1, ``HEAD`` + N) float32; examples that do not count are NaN."""
    import torch

    from opsigcli.derivatives.directional_loss import step_parts

    run, count = sketches.opened, sketches.options.eigenvectors
    run.load(end)
    after = _flat(run.objective)
    run.load(begin)
    before = _flat(run.objective)
    spectrum = _spectrum(run, count, sketches.options.seed)
    values, basis = spectrum.eigenvalues, spectrum.vectors
    found = np.full((count + 1, HEAD + len(sketches.store.measured)), np.nan, dtype=np.float32)
    found[:, :2] = begin, end
    found[:, 4], found[:, 5] = spectrum.converged, spectrum.matvecs
    if len(basis) < count or not bool(torch.isfinite(basis).all()):
        return found
    step = (after - before).double()
    along = (basis.double() @ step).square() / step.square().sum().clamp_min(1e-300)
    found[:-1, 2], found[:-1, 3] = values, along.cpu().numpy()
    found[-1, 3] = 1 - float(along.sum())
    counted = run.objective.counted
    found[:, HEAD + counted] = step_parts(run.objective, before, after, basis, counted)
    return found


def _spectrum(run: StoredRun, count: int, seed: int) -> Spectrum:
    """Top eigenvectors of the mean loss's Hessian at the weights that are loaded.

    Where BatchNorm's statistics are those of the data, the Hessian goes through them, over batches as large as memory
    allows: with statistics held fixed its top eigenvectors are those of another function.
    """
    from opsigcli.curvature.lanczos import top_eigenvalues
    from opsigcli.derivatives.check_hvp import check_second_derivatives
    from opsigcli.derivatives.hvp import hessian_operator
    from opsigcli.derivatives.micro_batch import fit_micro_batch
    from opsigcli.objective.batch_norm import batch_norms

    objective = run.objective
    drawn: Ints = np.random.default_rng(seed).permutation(objective.counted)[:EXAMPLES]
    size = objective.batch_size
    try:
        if run.batch_norm != "stored" and batch_norms(objective.model):
            objective.batch_size = len(drawn)
            fit_micro_batch(objective, objective.parameters)
            objective.batch_size = -(-len(drawn) // -(-len(drawn) // max(objective.batch_size, 32)))
            objective.batch_statistics = True
        check_second_derivatives(objective)
        operator = hessian_operator(objective, positions=drawn)
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
    finally:
        objective.batch_size, objective.batch_statistics = size, False


def _flat(objective: Objective) -> Tensor:
    import torch

    return torch.cat([p.detach().reshape(-1) for p in objective.parameters]).clone()
