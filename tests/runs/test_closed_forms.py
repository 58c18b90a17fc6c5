"""Two models whose training is known in closed form: training, losses and sharpness against the formulas.

The loss ``mse`` is twice the ½(ŷ − y)² of the formulas: its curvature is twice theirs, and its time runs twice as fast.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Opsig
from torch import Tensor

from opsigcli.datasets import open_source
from opsigcli.objective.base import Objective
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.runs.build_objective import build_objective
from opsigcli.runs.trainer import Trainer

ALPHA, BETA, D = 10.0, 4.0, 5
DATA = f"two-layer-linear?d={D}&alpha={ALPHA}&beta={BETA}&copies=4"


def linear(model: str, data: str = DATA) -> Objective:
    return build_objective(
        model, open_source(data), "mse", device="cpu", batch_size=4096, precision="float64"
    )


def descend(objective: Objective, lr: float, steps: int) -> list[dict[str, Tensor]]:
    """Parameters along full-batch gradient descent."""
    rule = OPTIMIZERS.load("gd").build(objective.parameters, {"lr": lr})
    trainer, found = Trainer(objective, rule, None, 0), [parameters(objective)]
    for _ in range(steps):
        trainer.update()
        found.append(parameters(objective))
    return found


def parameters(objective: Objective) -> dict[str, Tensor]:
    return {
        name: p.detach().clone()
        for name, p in zip(objective.parameter_names, objective.parameters, strict=True)
    }


def hessian(at: dict[str, Tensor], alpha: float = ALPHA, beta: float = BETA) -> np.ndarray:
    """In the order b, c, a, of the ½(ŷ − y)² loss."""
    b, c, a = at["b"].numpy(), float(at["c"]), float(at["a"])
    target = np.full(len(b), beta / math.sqrt(len(b)))
    size = len(b)
    found = np.zeros((size + 2, size + 2))
    found[:size, :size] = c * c * np.eye(size)
    found[:size, size] = found[size, :size] = 2 * c * b - target
    found[size, size] = b @ b + alpha * a * a
    found[size, size + 1] = found[size + 1, size] = 2 * alpha * c * a
    found[size + 1, size + 1] = alpha * c * c
    return found


def conserved(at: dict[str, Tensor]) -> float:
    return float(at["c"] ** 2 - at["b"] @ at["b"] - at["a"] ** 2)


def end_sharpness(conserved_: float, beta: float = BETA) -> float:
    return ALPHA * (conserved_ + math.sqrt(conserved_**2 + 4 * beta**2)) / 2


@pytest.mark.parametrize(
    "start",
    [
        (1.0, 0.8, 0.6),
        pytest.param((1.0, 0.2, 0.6), marks=pytest.mark.slow),
        pytest.param((0.8, 1.2, 0.6), marks=pytest.mark.slow),
    ],
)
def test_small_steps_conserve_what_the_flow_conserves_and_end_at_its_sharpness(
    start: tuple[float, float, float],
) -> None:
    c, a, b = start
    path = descend(linear(f"two-layer-linear?c={c}&a={a}&b={b}"), 4e-3, 400)
    first = c * c - a * a - b * b
    assert conserved(path[0]) == pytest.approx(first, abs=1e-6)
    assert conserved(path[-1]) == pytest.approx(first, abs=0.2)
    found = np.linalg.eigvalsh(hessian(path[-1]))[-1]
    assert found == pytest.approx(end_sharpness(conserved(path[-1])), rel=1e-3)
    assert found == pytest.approx(end_sharpness(first), rel=0.04)
    assert float(path[-1]["a"].abs()) < 1e-3


def test_from_a_balanced_aligned_start_sharpness_grows_along_a_logistic_curve() -> None:
    lr, q = 2e-3, 0.01
    model = f"two-layer-linear?c={math.sqrt(q)}&a=0&b={math.sqrt(q)}&aligned=true"
    path = descend(linear(model), lr, 400)
    for step in (0, 100, 180, 250, 400):
        time = 2 * lr * step
        expected = ALPHA * BETA / (1 + (BETA / q - 1) * math.exp(-2 * BETA * time))
        assert ALPHA * float(path[step]["c"] ** 2) == pytest.approx(expected, rel=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("beta", [2.0, 4.0])
def test_the_sharpness_at_the_end_is_linear_in_the_size_of_the_signal(beta: float) -> None:
    data = f"two-layer-linear?d={D}&alpha={ALPHA}&beta={beta}"
    path = descend(linear(f"two-layer-linear?c=1&a=0.2&b={math.sqrt(0.96)}", data), 1e-3, 900)
    assert np.linalg.eigvalsh(hessian(path[-1], beta=beta))[-1] == pytest.approx(ALPHA * beta, rel=0.03)


@pytest.mark.parametrize(("share", "flips"), [(0.25, False), (1.02, True)])
def test_the_gap_of_the_groups_moves_at_half_the_slope_of_the_excess_and_flips_beyond_the_edge(
    share: float, flips: bool
) -> None:
    kappa, root = 0.3, math.sqrt(BETA)
    objective = linear(f"two-layer-linear?c={root}&a=0.02&b={root}&aligned=true", f"{DATA}&kappa={kappa}")
    lr = share * 2 / (2 * ALPHA * BETA)  # the edge is 2 over twice S of the formulas
    path, gaps, excess = descend(objective, lr, 6), [], []
    up, down = objective.source.known_pairs[0]
    floor, _ = linear(
        f"two-layer-linear?c={root}&a=0&b={root}&aligned=true", f"{DATA}&kappa={kappa}"
    ).mean_loss_and_gradient()
    assert floor == pytest.approx(kappa**2 * ALPHA, rel=1e-5)
    for at in path:
        objective.load(at)
        losses = objective.losses().astype(np.float64)
        gaps.append(losses[up].mean() - losses[down].mean())
        f = float(at["c"] * at["a"])
        assert gaps[-1] == pytest.approx(-4 * ALPHA * kappa / 0.5 * f, rel=1e-2, abs=1e-6)
        mean, _ = objective.mean_loss_and_gradient()
        excess.append(mean - floor)
    ratios = np.array(gaps[1:]) / np.array(gaps[:-1])
    assert ratios == pytest.approx(1 - 2 * share, rel=0.02)
    assert (ratios < 0).all() == flips
    slope = np.log(np.array(excess[1:]) / np.array(excess[:-1])) / np.log(np.abs(ratios))
    assert slope == pytest.approx(2.0, rel=0.1)


def _ends(u: float) -> tuple[float, float]:
    return math.log1p(math.exp(-2 * u)), math.log1p(math.exp(2 * u))


def test_on_one_axis_descent_beyond_the_edge_ends_in_the_two_cycle_of_the_formula(
    opsig: Opsig, tmp_path: Path
) -> None:
    p, s, lr = 0.5, 4.0, 1.25
    curvature = p * s * s / 4
    u = next(iter([x for x in np.linspace(1e-3, 5, 200_000) if math.tanh(x) / x <= 2 / lr / curvature]))
    words = ("--model", "one-axis", "--data", f"one-axis?n=40&p={p}&s={s}", "--lr", lr, "--steps", 60)
    assert opsig("train", tmp_path / "run", *words).code == 0
    store = tmp_path / "o.h5"
    assert opsig("trace", tmp_path / "run", "--store", store).code == 0
    import h5py

    with h5py.File(store) as file:
        losses: Any = file["losses"][-2:]
    assert sorted(losses[0, :2].tolist()) == pytest.approx(_ends(u), rel=2e-3)
    assert losses[1, :2].tolist() == pytest.approx(losses[0, :2].tolist()[::-1], rel=2e-3)
    point = opsig("sharpness", "--store", store, "--steps", "60:61", "--json").json["result"]["points"][0]
    assert point["eigenvalues"][0] == pytest.approx(curvature / math.cosh(u) ** 2, rel=5e-3)
    assert point["threshold"] == pytest.approx(2 / lr)
    # mine finds the pair that the theory says opposes, with the signs of the axis for its sides and 2u for its gap.
    (pair,) = opsig("mine", "--store", store, "--surrogates", 0, "--json").json["result"]["pairs"]
    sides = [pair[side]["ids"] for side in ("first", "second")]
    assert sorted(sorted(ids) for ids in sides) == [list(range(0, 20, 2)), list(range(1, 20, 2))]
    with h5py.File(store) as file:
        ends = file["losses"][-1]
    assert abs(ends[sides[0]].mean() - ends[sides[1]].mean()) == pytest.approx(2 * u, rel=2e-3)


def test_on_one_axis_below_the_edge_the_groups_do_not_oppose_and_mine_finds_none(
    opsig: Opsig, tmp_path: Path
) -> None:
    words = ("--preset", "one-axis", "--lr", 0.8)  # the edge is at 1
    store = tmp_path / "o.h5"
    assert opsig("train", tmp_path / "run", *words, "--record-losses", "--store", store).code == 0
    found = opsig("mine", "--store", store, "--surrogates", 0, "--json")
    assert found.code == 0
    assert found.json["result"]["pairs"] == []


def test_sharpness_of_the_two_layer_model_is_that_of_its_hessian_written_out(
    opsig: Opsig, tmp_path: Path
) -> None:
    words = ("--model", "two-layer-linear?c=1&a=0.8&b=0.6", "--data", DATA, "--loss", "mse", "--lr", 1e-3)
    assert opsig("train", tmp_path / "run", *words, "--steps", 3).code == 0
    assert opsig("trace", tmp_path / "run", "--store", tmp_path / "o.h5").code == 0
    point = opsig("sharpness", "--store", tmp_path / "o.h5", "--steps", "0:1", "--json").json["result"][
        "points"
    ][0]
    objective = linear("two-layer-linear?c=1&a=0.8&b=0.6")
    expected = 2 * np.linalg.eigvalsh(hessian(parameters(objective)))[-1]
    assert point["eigenvalues"][0] == pytest.approx(expected, rel=1e-4)


def test_the_data_have_the_moments_that_the_formulas_assume() -> None:
    source = open_source(f"{DATA}&kappa=0.3")
    inputs = source.read(np.arange(len(source))).astype(np.float64)
    x, z = inputs[:, :-1], inputs[:, -1]
    np.testing.assert_allclose(x.T @ x / len(x), np.eye(D), atol=1e-6)
    np.testing.assert_allclose(x.T @ z, 0, atol=1e-4)
    np.testing.assert_allclose(x.T @ np.abs(z), 0, atol=1e-4)
    assert (z**2).mean() == pytest.approx(ALPHA, rel=1e-6)
