"""The critical multiple of a step, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from opsigcli.curvature.critical_rate import MOST_PASSES, critical_rate

# rise of the loss at s times the step, 0 again at s = 1, for losses that are no quadratics
CURVES = {
    "quadratic": lambda s: s * (s - 1),
    "quartic": lambda s: s * (s**3 - 1),
    "root": lambda s: s * (math.sqrt(s) - 1),
    "diverging": lambda s: s * (s - 1) if s < 1.2 else math.nan,
    "flat in between": lambda s: s * (s - 1) * (1.1 + math.sin(5 * s)),
}


@pytest.mark.parametrize("seed", range(12))
def test_a_quadratic_has_its_critical_rate_in_closed_form(seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(6, 6))
    hessian, x = root @ root.T, rng.normal(size=6)
    gradient = hessian @ x
    direction = -gradient if seed % 2 else -np.linalg.solve(np.diag(rng.uniform(0.1, 9, 6)), gradient)
    direction *= 10 ** rng.uniform(-2, 0.5) / np.abs(hessian).max()
    truth = -2 * gradient @ direction / (direction @ hessian @ direction)
    found = critical_rate(lambda s: 0.5 * (x + s * direction) @ hessian @ (x + s * direction), rounding=1e-16)
    assert found.found
    assert found.low <= truth * (1 + 1e-9)
    assert truth * (1 - 1e-9) <= found.high
    assert abs(found.value - truth) <= found.error * truth * (1 + 1e-6)
    assert found.error < 0.1
    assert found.passes <= MOST_PASSES < 10


@pytest.mark.parametrize("critical", [0.1, 0.4, 0.9, 1.0, 1.3, 2.0, 5.0])
@pytest.mark.parametrize("name", CURVES)
def test_other_losses_are_crossed_within_the_bracket(name: str, critical: float) -> None:
    found = critical_rate(lambda s: 3 + CURVES[name](s / critical), rounding=1e-16)
    assert found.low <= critical <= found.high
    assert found.error < 0.4
    assert found.passes < 10


def test_a_loss_that_only_rises_or_only_falls_has_none() -> None:
    rising = critical_rate(lambda s: 3 + s, rounding=1e-16)
    falling = critical_rate(lambda s: 3 - s, rounding=1e-16)
    assert (rising.low, rising.found, falling.high, falling.found) == (0, False, math.inf, False)
    assert rising.high < 1e-3
    assert falling.low > 1e3


def test_a_rise_that_rounding_could_have_made_is_not_believed() -> None:
    def loss(s: float) -> float:
        return 1 + 1e-9 * s * (s - 1.5)

    assert critical_rate(loss, rounding=1e-16).found
    assert not critical_rate(loss, rounding=1e-7).found
