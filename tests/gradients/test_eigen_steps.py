"""Loss deltas in parts along the Hessian's top eigenvectors, against dense derivatives in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.functional import hessian, jacobian
from torch.func import functional_call

from opsigcli.datasets.planted import Planted
from opsigcli.derivatives.directional_loss import step_parts
from opsigcli.gradients.eigen_steps import eigen_step, flat
from opsigcli.objective.base import Objective


def test_parts_are_the_gradients_at_the_middle_along_a_dense_hessians_eigenvectors_and_add_up() -> None:
    torch.manual_seed(0)
    source = Planted("vec3", 200)
    model = nn.Sequential(nn.Linear(64, 3), nn.Tanh(), nn.Linear(3, 4))
    objective = Objective(model, source, "ce", dtype=torch.float64)
    inputs, targets = objective.batch(np.arange(200))
    shapes = {name: p.shape for name, p in objective.model.named_parameters()}

    def losses(weights: torch.Tensor) -> torch.Tensor:
        pieces = torch.split(weights, [shape.numel() for shape in shapes.values()])
        named = {name: part.view(shapes[name]) for name, part in zip(shapes, pieces, strict=True)}
        outputs = functional_call(objective.model, named, (inputs,))
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    before = flat(objective)
    values, vectors = torch.linalg.eigh(hessian(lambda w: losses(w).mean(), before))
    top = vectors[:, -3:].flip(1).T
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(len(before), generator=generator, dtype=torch.float64)
    step = 0.004 * noise + 0.06 * top[0] - 0.02 * top[2]
    delta = (losses(before + step) - losses(before)).numpy()
    slopes = (jacobian(losses, before + step / 2) @ top.T).numpy()  # (N, 3)

    found = eigen_step(objective, (0, 1), before + step, 3, seed=0)
    assert found.converged
    assert torch.equal(flat(objective), before)
    np.testing.assert_allclose(found.eigenvalues, values[-3:].flip(0).numpy(), rtol=1e-3)
    moved = (top @ step).numpy()
    np.testing.assert_allclose(found.moved[:3], moved**2 / float(step @ step), atol=1e-3)
    scale = np.abs(delta).mean()
    exact = step_parts(objective, before, before + step, top, np.arange(200))
    assert np.abs(exact[:3] - (slopes * moved).T).mean() < 0.02 * scale
    assert np.abs(exact - found.parts).mean() < 0.05 * scale  # eigenvectors by Lanczos, to its tolerance
    assert np.abs(found.parts.sum(axis=0) - delta).mean() < 0.02 * scale

    # Half of a short step has an eighth of the error, and a step along one eigenvector none.
    whole, half = (
        np.abs(
            step_parts(objective, before, before + d, top, np.arange(200)).sum(axis=0) - change.numpy()
        ).mean()
        for d, change in ((s, losses(before + s) - losses(before)) for s in (step / 2, step / 4))
    )
    assert whole / half == pytest.approx(8, rel=0.35)
    alone = step_parts(objective, before, before + 2 * top[1], top, np.arange(200))
    np.testing.assert_allclose(alone[1], (losses(before + 2 * top[1]) - losses(before)).numpy(), atol=1e-6)
    assert np.abs(alone[[0, 2, 3]]).max() < 1e-6
