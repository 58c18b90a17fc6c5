"""Each checkpoint is judged by its own groups: against a dense Hessian, and a simulated quadratic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Opsig
from torch import nn
from trained_run import Trained

from opsigcli.errors import UsageError
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.runs.given_hyper import rate_of, rates_of, require_rates

Tensor = torch.Tensor


@pytest.fixture
def run(tmp_path: Path, opsig: Opsig) -> Trained:
    return Trained(tmp_path, opsig)


def adam_weights(entry: dict[str, Any], betas: tuple[float, float]) -> Tensor:
    step = float(entry["step"])
    root = (entry["exp_avg_sq"].double() / (1 - betas[1] ** step)).sqrt() + 1e-8
    return root.reshape(-1) * (1 - betas[0] ** step)


def split(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    parameters = list(model.parameters())
    return [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim < 2]


def test_learning_rates_by_group_are_one_operator(run: Trained) -> None:
    run.train(
        lambda m: [
            torch.optim.SGD(
                [{"params": m.body.parameters(), "lr": 0.05}, {"params": m.head.parameters(), "lr": 5.0}]
            )
        ]
    )
    for point in run.sharpness():
        truth = run.scaled(point["step"], lambda name: 0.05 if "body" in name else 5.0)
        assert point["ratio"] == pytest.approx(truth / 2, rel=1e-4)
        assert point["threshold"] == 2
        assert "differ in lr (0.05, 5)" in point["units"]
    assert any("differ in lr" in warning for warning in run.warnings)
    refused = run.sharpness("--optimizer", "sgd", "--lr", 0.05)
    assert all(p["ratio"] is None and "differ in lr" in p["reason"] for p in refused)
    given = run.sharpness("--lr-groups", "0.1,0.2")
    truth = run.scaled(10, lambda name: 0.1 if "body" in name else 0.2)
    assert given[0]["ratio"] == pytest.approx(truth / 2, rel=1e-4)
    mixed = run.sharpness("--lr-groups", "body=0.1,body.bias=0.3,1=0.2")  # the longest name decides
    truth = run.scaled(10, lambda name: {"body.weight": 0.1, "body.bias": 0.3}.get(name, 0.2))
    assert mixed[0]["ratio"] == pytest.approx(truth / 2, rel=1e-4)
    for words, found in (("0.1,0.2,0.3", "of group 3"), ("body=0.1,rest=0.2", "'rest'")):
        with pytest.raises(AssertionError, match=f"2 parameter groups.*{found}"):
            run.sharpness("--lr-groups", words)


def test_a_number_is_a_group_also_where_modules_are_called_by_numbers() -> None:
    rates = rates_of("0.1,0.01")
    assert [rate_of(rates, name, 0.5) for name in ("0.weight", "1.weight")] == [0.5, 0.5]
    require_rates(rates, 2, ["0.weight", "1.weight"])
    with pytest.raises(UsageError, match=r"no parameter groups.*group 1"):
        require_rates(rates, 0, ["0.weight", "1.weight"])


def test_groups_that_differ_in_decay_alone_keep_their_own_betas(run: Trained) -> None:
    def make(model: nn.Module) -> list[torch.optim.Optimizer]:
        decayed, rest = split(model)
        groups = [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
        return [torch.optim.AdamW(groups, lr=1e-3, betas=(0.8, 0.95))]

    run.train(make)
    order = ("body.weight", "head.weight", "body.bias", "head.bias")
    for point in run.sharpness():
        state = run.saved(point["step"])["optimizer_0"]["state"]

        def scale(name: str, state: Any = state) -> Tensor:
            limit = 18_000 * (1 - 1e-3 * (0.1 if "weight" in name else 0.0) / 2)
            return 1 / (adam_weights(state[order.index(name)], (0.8, 0.95)) * limit)

        assert point["ratio"] == pytest.approx(run.scaled(point["step"], scale), rel=1e-4)
        assert point["threshold"] == pytest.approx(18_000, rel=1e-4)
    kept = run.sharpness("--optimizer", "adamw", "--lr", 1e-3)
    assert kept[0]["threshold"] == pytest.approx(18_000, rel=1e-4)
    assert not any("is used, but" in warning for warning in run.warnings)
    other = run.sharpness("--betas", "0.9,0.95")
    assert other[0]["threshold"] == pytest.approx(38_000, rel=1e-4)
    assert any("--betas 0.9,0.95 is used, but the checkpoint has 0.8,0.95" in w for w in run.warnings)


def test_l2_penalties_by_group_are_on_the_diagonal_of_the_hessian(run: Trained) -> None:
    def make(model: nn.Module) -> list[torch.optim.Optimizer]:
        decayed, rest = split(model)
        return [
            torch.optim.SGD(
                [{"params": decayed, "weight_decay": 0.5}, {"params": rest}], lr=0.5, momentum=0.9
            )
        ]

    run.train(make)
    for point in run.sharpness():
        hessian, sizes = run.hessian(point["step"])
        pieces = [torch.full((n,), 0.5 if "weight" in k else 0.0).double() for k, n in sizes.items()]
        truth = torch.linalg.eigvalsh(hessian + torch.diag(torch.cat(pieces)))[-1]
        assert point["ratio"] == pytest.approx(float(truth) / 7.6, rel=1e-4)


def test_two_optimizers_over_disjoint_weights_are_one_problem(run: Trained) -> None:
    run.train(
        lambda m: [
            torch.optim.AdamW(m.body.parameters(), 1e-2, weight_decay=0.1),
            torch.optim.SGD(m.head.parameters(), 0.5, momentum=0.9),
        ]
    )
    for point in run.sharpness():
        state = run.saved(point["step"])["optimizer_0"]["state"]

        def scale(name: str, state: Any = state) -> Any:
            if "head" in name:
                return 0.5 / 3.8
            weights = adam_weights(state[("body.weight", "body.bias").index(name)], (0.9, 0.999))
            return 1 / (weights * 3800 * (1 - 1e-2 * 0.1 / 2))

        assert point["ratio"] == pytest.approx(run.scaled(point["step"], scale), rel=1e-4)
        assert point["optimizer"] == "adamw, momentum"


def test_a_change_of_the_optimizer_half_way_is_seen_at_its_step(run: Trained) -> None:
    run.train(lambda m: [torch.optim.SGD(m.parameters(), 0.1, momentum=0.9)])
    late = run.saved(20)
    run.train(lambda m: [torch.optim.Adam(m.parameters(), 1e-2)])
    torch.save(late, run.folder / "ck/step20.pt")
    points = run.sharpness()
    assert [p["threshold"] for p in points] == pytest.approx([3800, 38])
    assert [p["optimizer"] for p in points] == ["adam", "momentum"]
    assert points[0]["preconditioned"] > 0
    assert points[1]["preconditioned"] is None


def test_a_schedule_of_lr_and_momentum_is_that_of_each_file_and_a_file_without_is_not_guessed(
    run: Trained,
) -> None:
    def schedule(step: int, rules: Any) -> None:
        for group in rules[0].param_groups:
            group["lr"], group["momentum"] = 0.1 / step, 0.5 + step / 100

    run.train(lambda m: [torch.optim.SGD(m.parameters(), 0.1, momentum=0.5)], schedule=schedule)
    bare = run.saved(20)
    torch.save({"model": bare["model"], "step": 30}, run.folder / "ck/step30.pt")
    points = run.sharpness()
    assert [p["threshold"] for p in points] == [pytest.approx(3.2 / 0.01), pytest.approx(3.4 / 0.005), None]
    assert "the optimizer is not known" in points[2]["reason"]


@pytest.mark.parametrize("whole", [False, True])
def test_sharpness_is_over_the_weights_that_train(run: Trained, whole: bool) -> None:
    """The optimizer holds the head alone, or everything, with a body that was frozen."""
    run.train(
        lambda m: [torch.optim.Adam(m.parameters() if whole else m.head.parameters(), 1e-2)], frozen=("body",)
    )
    for point in run.sharpness():
        state = run.saved(point["step"])["optimizer_0"]["state"]
        first = 2 if whole else 0

        def scale(name: str, state: Any = state, first: int = first) -> Tensor:
            return 1 / adam_weights(state[first + ("head.weight", "head.bias").index(name)], (0.9, 0.999))

        truth = run.scaled(point["step"], scale, ["head"])
        assert point["ratio"] == pytest.approx(truth / 3800, rel=1e-4)
        assert point["eigenvalues"][0] == pytest.approx(
            run.scaled(point["step"], lambda _: 1.0, ["head"]), rel=1e-4
        )
        assert (point["parameters"], point["untrained"]) == (21, 36)
    assert any("21 weights that train" in warning for warning in run.warnings)
    everything = run.sharpness("--all-parameters")[0]
    assert everything["eigenvalues"][0] == pytest.approx(run.scaled(10, lambda _: 1.0), rel=1e-4)
    assert everything["ratio"] is None


def test_parameters_in_another_order_than_the_models_are_found_by_their_shapes(run: Trained) -> None:
    run.train(lambda m: [torch.optim.Adam([*m.head.parameters(), *m.body.parameters()], 1e-2)])
    order = ("head.weight", "head.bias", "body.weight", "body.bias")
    for point in run.sharpness():
        state = run.saved(point["step"])["optimizer_0"]["state"]
        truth = run.scaled(
            point["step"], lambda name, s=state: 1 / adam_weights(s[order.index(name)], (0.9, 0.999))
        )
        assert point["ratio"] == pytest.approx(truth / 3800, rel=1e-4)


def test_a_decay_that_makes_weights_grow_is_told_and_has_no_threshold(run: Trained) -> None:
    run.train(lambda m: [torch.optim.SGD(m.parameters(), 0.1)])
    point = run.sharpness("--weight-decay", 50)[0]
    assert point["threshold"] is None
    assert point["ratio"] is None
    assert "unstable at any sharpness" in point["reason"]


def test_weights_that_are_not_finite_have_no_sharpness_and_say_so(run: Trained) -> None:
    run.train(lambda m: [torch.optim.SGD(m.parameters(), 0.1)])
    broken = run.saved(20)
    broken["model"]["body.weight"][0, 0] = float("inf")
    torch.save(broken, run.folder / "ck/step20.pt")
    first, last = run.sharpness()
    assert first["ratio"] > 0
    assert last["eigenvalues"] == [None]
    assert "the weights are not finite (body.weight)" in last["reason"]


RULES = ("sgd", "momentum", "nesterov", "dampened", "adamw")


@pytest.mark.parametrize("seed", range(8))
def test_a_quadratic_with_a_rule_of_its_own_for_each_weight_is_stable_below_one_and_not_above(
    seed: int,
) -> None:
    """The iteration's spectral radius passes 1 where λmax(T^-½ H T^-½) does, T the threshold of each weight alone."""
    generator = torch.Generator().manual_seed(seed)
    n = len(RULES)
    root = torch.randn(n, n, generator=generator, dtype=torch.float64)
    hessian = root @ root.T / n + 0.01 * torch.eye(n, dtype=torch.float64)
    draws = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    hypers = []
    for name, (a, b, c) in zip(RULES, draws.tolist(), strict=True):
        hyper: dict[str, Any] = {"lr": 10 ** (2 * a - 1)}
        if name in ("momentum", "nesterov", "dampened"):
            hyper["momentum"] = 0.98 * b
        if name == "adamw":
            hyper |= {"betas": (0.98 * b, 0.999), "weight_decay": c / hyper["lr"]}
        hypers.append(hyper)
    limits = [OPTIMIZERS.load(name).stability_threshold(h) for name, h in zip(RULES, hypers, strict=True)]
    scale = torch.tensor(limits, dtype=torch.float64).rsqrt()
    ratio = float(torch.linalg.eigvalsh(scale[:, None] * hessian * scale)[-1])
    for factor in (0.995, 1.005):
        update = torch.zeros(2 * n, 2 * n, dtype=torch.float64)  # of (m, θ)
        for i, (name, hyper) in enumerate(zip(RULES, hypers, strict=True)):
            row, rate = hessian[i] * factor / ratio, hyper["lr"]
            beta = hyper["betas"][0] if name == "adamw" else hyper.get("momentum", 0.0)
            gain = 1 - beta if name in ("dampened", "adamw") else 1.0
            update[i, i], update[i, n:] = beta, gain * row
            step = update[i].clone() if name != "nesterov" else beta * update[i]
            step[n:] += row if name == "nesterov" else 0
            update[n + i] = -rate * step
            update[n + i, n + i] += 1 - rate * hyper.get("weight_decay", 0.0)
        radius = float(torch.linalg.eigvals(update).abs().max())
        assert (radius < 1) == (factor < 1)
