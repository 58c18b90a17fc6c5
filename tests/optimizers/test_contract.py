"""What every optimizer of the table keeps to; a new entry needs a case here, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Opsig

from opsigcli.errors import UsageError
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.optimizers.base import Optimizer
from opsigcli.optimizers.recognise import from_state_dict

Hyper = Mapping[str, Any]
SCALES = (2.0, 0.5)  # a preconditioner of two coordinates that stays as it is
FROZEN = 1 - 1e-15  # decay of second moments that hardly move
START = 1e-9  # of a simulation
LATE = 1e9  # updates after which nothing is left of a bias correction


@dataclass(frozen=True)
class Case:
    """What the suite has to know about one optimizer.

    Attributes:
        hypers: hyper-parameters to simulate; the preconditioner has to stay as it is with them.
        recognised_as: the name that its state is given.
        state: for rules that precondition: the state of one parameter that makes the preconditioner ``scales``.
        update: for the same, of a parameter, its state and the hyper-parameters: what an update is before it is
            divided by the preconditioner.
        bad: hyper-parameters out of range.
        quadratic: its threshold is that of a quadratic with this preconditioner; others are in test_own_rules.py.
    """

    hypers: tuple[Hyper, ...]
    recognised_as: str
    state: Any = None
    update: Any = None
    bad: tuple[Hyper, ...] = ()
    quadratic: bool = True


def adam_state(scales: torch.Tensor, hyper: Hyper) -> dict[str, torch.Tensor]:
    second = (scales - 1e-8).square() * (1 - hyper["betas"][1] ** LATE)
    step = torch.tensor(LATE, dtype=torch.float64)
    return {"step": step, "exp_avg": torch.zeros_like(scales), "exp_avg_sq": second}


def rmsprop_state(scales: torch.Tensor, hyper: Hyper) -> dict[str, torch.Tensor]:
    buffer = {"momentum_buffer": torch.zeros_like(scales)} if hyper.get("momentum") else {}
    return {"step": torch.tensor(1e6), "square_avg": (scales - 1e-8).square(), **buffer}


def amsgrad_state(scales: torch.Tensor, hyper: Hyper) -> dict[str, torch.Tensor]:
    state = adam_state(scales, hyper)
    largest = {"max_exp_avg_sq": state["exp_avg_sq"].clone()} if hyper.get("amsgrad") else {}
    return state | largest


def nadam_state(scales: torch.Tensor, hyper: Hyper) -> dict[str, torch.Tensor]:
    return adam_state(scales, hyper) | {"mu_product": torch.tensor(0.0, dtype=torch.float64)}


def radam_state(scales: torch.Tensor, hyper: Hyper) -> dict[str, torch.Tensor]:
    step = torch.tensor(1e17, dtype=torch.float64)  # late enough for second moments that hardly move
    return {"step": step, "exp_avg": torch.zeros_like(scales), "exp_avg_sq": (scales - 1e-8).square()}


def adamax_state(scales: torch.Tensor, hyper: Hyper) -> dict[str, torch.Tensor]:
    step = torch.tensor(LATE, dtype=torch.float64)
    return {"step": step, "exp_avg": torch.zeros_like(scales), "exp_inf": scales.clone()}


def adagrad_state(scales: torch.Tensor, hyper: Hyper) -> dict[str, torch.Tensor]:
    return {"step": torch.tensor(1.0), "sum": scales.square()}


def tensorflow_state(scales: torch.Tensor, hyper: Hyper) -> dict[str, torch.Tensor]:
    return rmsprop_state(scales, hyper) | {"square_avg": scales.square() - hyper.get("eps", 1e-10)}


def first_moment(p: torch.nn.Parameter, state: dict[str, torch.Tensor], hyper: Hyper) -> torch.Tensor:
    return state["exp_avg"]


def gradient(p: torch.nn.Parameter, state: dict[str, torch.Tensor], hyper: Hyper) -> torch.Tensor:
    assert p.grad is not None
    return p.grad


def nesterov_moment(p: torch.nn.Parameter, state: dict[str, torch.Tensor], hyper: Hyper) -> torch.Tensor:
    """Gradient and its average, each with its share of the curvature that the threshold is for."""
    beta, step = 0.9, float(state["step"])
    mu, following = (beta * (1 - 0.5 * 0.96 ** (at * 0.004)) for at in (step, step + 1))
    newest = (1 - mu) / (1 - state["mu_product"])
    average = following / (1 - following * state["mu_product"])
    factor = (newest * (1 + beta) + average * (1 - beta)) / ((1 - beta) * (1 + 2 * beta))
    return (newest * gradient(p, state, hyper) + average * state["exp_avg"]) / factor


NOT_BELOW_ONE = {"lr": 0.1, "momentum": 1.0}
CASES = {
    "gd": Case(({"lr": 0.1}, {"lr": 0.1, "weight_decay": 0.7}), "sgd"),
    "sgd": Case(({"lr": 0.03},), "sgd"),
    "momentum": Case(
        ({"lr": 0.1, "momentum": 0.9}, {"lr": 0.02, "momentum": 0.5, "weight_decay": 3.0}),
        "momentum",
        bad=(NOT_BELOW_ONE,),
    ),
    "nesterov": Case(
        ({"lr": 0.1, "momentum": 0.9}, {"lr": 0.05, "momentum": 0.3, "weight_decay": 1.0}),
        "nesterov",
        bad=(NOT_BELOW_ONE,),
    ),
    "dampened": Case(
        (
            {"lr": 0.1, "momentum": 0.9},
            {"lr": 0.1, "momentum": 0.8, "dampening": 0.3, "weight_decay": 1.0},
        ),
        "dampened",
        bad=(NOT_BELOW_ONE, {"lr": 0.1, "dampening": 1.0}),
    ),
    "sgdw": Case(
        (
            {"lr": 0.1, "momentum": 0.9, "weight_decay": 3.0},
            {"lr": 0.1, "weight_decay": 3.0},
            {"lr": 0.1, "momentum": 0.8, "dampening": 0.3, "weight_decay": 3.0},
            {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 3.0},
        ),
        "sgdw",
        bad=(NOT_BELOW_ONE,),
    ),
    "adam": Case(
        (
            {"lr": 0.01, "betas": (0.9, FROZEN)},
            {"lr": 0.01, "betas": (0.5, FROZEN), "weight_decay": 30.0},
            {"lr": 0.01, "betas": (0.8, 0.999), "amsgrad": True},
        ),
        "adam",
        amsgrad_state,
        first_moment,
        bad=({"lr": 0.1, "betas": (0.9, 1.5)},),
    ),
    "adamw": Case(
        (
            {"lr": 0.05, "betas": (0.9, FROZEN), "weight_decay": 0.0},
            {"lr": 0.05, "betas": (0.9, FROZEN), "weight_decay": 6.0},
            {"lr": 0.05, "betas": (0.9, 0.999), "weight_decay": 6.0, "amsgrad": True},
        ),
        "adamw",
        amsgrad_state,
        first_moment,
        bad=({"lr": 0.1, "betas": (1.0, 0.9)},),
    ),
    "nadam": Case(
        (
            {"lr": 0.01, "betas": (0.9, FROZEN)},
            {"lr": 0.01, "betas": (0.5, FROZEN), "weight_decay": 30.0},
            {"lr": 0.05, "betas": (0.8, FROZEN), "weight_decay": 6.0, "decoupled_weight_decay": True},
        ),
        "nadam",
        nadam_state,
        nesterov_moment,
        bad=({"lr": 0.1, "betas": (0.9, 1.5)},),
    ),
    "radam": Case(
        (
            {"lr": 0.01, "betas": (0.9, FROZEN)},
            {"lr": 0.01, "betas": (0.5, FROZEN), "weight_decay": 30.0},
            {"lr": 0.05, "betas": (0.8, FROZEN), "weight_decay": 6.0, "decoupled_weight_decay": True},
        ),
        "radam",
        radam_state,
        first_moment,
        bad=({"lr": 0.1, "betas": (0.9, 1.5)},),
    ),
    "adamax": Case(
        (
            {"lr": 0.01, "betas": (0.9, FROZEN)},
            {"lr": 0.01, "betas": (0.5, FROZEN), "weight_decay": 30.0},
        ),
        "adamax",
        adamax_state,
        first_moment,
        bad=({"lr": 0.1, "betas": (0.9, 1.5)},),
    ),
    "adagrad": Case(
        ({"lr": 0.01}, {"lr": 0.01, "weight_decay": 30.0}),
        "adagrad",
        adagrad_state,
        gradient,
        bad=({"lr": 0.1, "lr_decay": -1.0},),
    ),
    "rmsprop": Case(
        (
            {"lr": 0.01, "alpha": 1.0},
            {"lr": 0.01, "alpha": 1.0, "momentum": 0.9, "weight_decay": 50.0},
        ),
        "rmsprop",
        rmsprop_state,
        gradient,
        bad=({"lr": 0.1, "alpha": 1.5}, NOT_BELOW_ONE),
    ),
    "rmsproptf": Case(
        (
            {"lr": 0.01, "alpha": 1.0},
            {"lr": 0.01, "alpha": 1.0, "momentum": 0.9, "weight_decay": 50.0},
            {"lr": 0.05, "alpha": 1.0, "momentum": 0.9, "weight_decay": 6.0, "decoupled_decay": True},
            {"lr": 0.01, "alpha": 1.0, "momentum": 0.9, "lr_in_momentum": False, "eps": 1e-3},
        ),
        "rmsproptf",
        tensorflow_state,
        gradient,
        bad=({"lr": 0.1, "alpha": 1.5}, NOT_BELOW_ONE),
    ),
    "sam": Case(
        ({"lr": 0.1, "rho": 0.2, "momentum": 0.9}, {"lr": 0.1, "weight_decay": 0.5}),
        "sam",
        bad=(NOT_BELOW_ONE, {"lr": 0.1, "rho": -1.0}),
        quadratic=False,
    ),
    "ngd": Case(({"lr": 0.1},), "ngd", quadratic=False),
    "signum": Case(
        ({"lr": 0.1}, {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.3}),
        "signum",
        bad=(NOT_BELOW_ONE,),
        quadratic=False,
    ),
    "split": Case(
        ({"lr": 0.1}, {"lr": 0.1, "momentum": 0.5, "dampening": 0.0, "sign_lr": 0.01, "quantile": 0.5}),
        "split",
        bad=(NOT_BELOW_ONE, {"lr": 0.1, "quantile": 1.0}),
        quadratic=False,
    ),
}
SIMULATED = [(name, hyper) for name, case in CASES.items() for hyper in case.hypers if case.quadratic]
PRECONDITIONED = [name for name, case in CASES.items() if case.state]

every = pytest.mark.parametrize("name", CASES)


def load(name: str) -> Optimizer:
    found: Optimizer = OPTIMIZERS.load(name)
    return found


def quadratic_run(name: str, hyper: Hyper, factor: float, steps: int = 4000) -> float:
    """Largest |x| at the end, over the largest at the start, at ``factor`` times the threshold.

    Two coordinates with preconditioner ``SCALES`` and curvatures such that λmax(P⁻¹(H + shift)) is the first
    one's, at ``factor`` times the threshold, and the second one's is at a tenth of that.
    """
    optimizer = load(name)
    target = factor * optimizer.stability_threshold(hyper)
    scales = torch.tensor(SCALES if optimizer.preconditions else (1.0, 1.0), dtype=torch.float64)
    curvature = torch.tensor([target, target / 10], dtype=torch.float64) * scales - optimizer.shift(hyper)
    x = torch.nn.Parameter(torch.full((2,), START, dtype=torch.float64))
    rule = optimizer.build([x], hyper)
    if optimizer.preconditions:
        rule.state[x] = CASES[name].state(scales, hyper)
        weights = optimizer.preconditioner(rule.state_dict()["state"], hyper)
        torch.testing.assert_close(weights, scales, rtol=1e-6, atol=0)
    for _ in range(steps):
        x.grad = curvature * x.detach()
        rule.step()
        if x.abs().max() > 1e3 * START:  # larger gradients would move the second moments
            break
    return float(x.detach().abs().max()) / START


def updates(
    name: str, hyper: Hyper, count: int
) -> Iterator[tuple[list[torch.Tensor], list[torch.nn.Parameter], torch.optim.Optimizer]]:
    """Parameters before and after each of ``count`` real updates with random gradients."""
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(s, generator=generator).double()) for s in ((3, 2), (4,))]
    rule = load(name).build(parameters, hyper)
    for _ in range(count):
        before = [p.detach().clone() for p in parameters]
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        rule.step()
        yield before, parameters, rule


def test_every_optimizer_of_the_table_has_a_case() -> None:
    assert list(CASES) == list(OPTIMIZERS)
    assert [load(name).name for name in OPTIMIZERS] == list(OPTIMIZERS)
    assert [
        name for name in OPTIMIZERS if load(name).preconditions and CASES[name].quadratic
    ] == PRECONDITIONED


@pytest.mark.slow
@pytest.mark.parametrize(("name", "hyper"), SIMULATED)
def test_half_a_percent_inside_the_threshold_the_rule_converges(name: str, hyper: Hyper) -> None:
    assert quadratic_run(name, hyper, 0.995) < 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "hyper"), SIMULATED)
def test_half_a_percent_outside_the_threshold_the_rule_diverges(name: str, hyper: Hyper) -> None:
    assert quadratic_run(name, hyper, 1.005) > 1e2


@every
def test_a_learning_rate_of_zero_is_always_stable_but_for_rules_without_a_threshold_which_say_why(
    name: str,
) -> None:
    if load(name).limit is not None:
        assert load(name).stability_threshold({"lr": 0.0}) == math.inf
        return
    with pytest.raises(UsageError, match=f"{name} has no threshold: .*the sharpness itself is measured"):
        load(name).stability_threshold({"lr": 0.0})


@every
@pytest.mark.parametrize("count", [0, 1])
def test_a_rule_is_recognised_by_the_state_it_makes_before_and_after_the_first_update(
    name: str, count: int
) -> None:
    for hyper in CASES[name].hypers:
        p = torch.nn.Parameter(torch.ones(3))
        rule = load(name).build([p], hyper)
        for _ in range(count):
            p.grad = torch.ones(3)
            rule.step()
        found = from_state_dict(rule.state_dict())
        expected = load(CASES[name].recognised_as)
        assert found.rule == expected.name
        if expected.limit is None:
            assert (found.name, found.reason) == ("", f"no threshold: {expected.refusal}")
            continue
        assert (found.name, found.reason) == (expected.name, "")
        assert expected.stability_threshold(found.hyper) == load(name).stability_threshold(hyper)


@every
def test_no_other_rule_recognises_a_state(name: str) -> None:
    for _, _, rule in updates(name, CASES[name].hypers[0], 1):
        group, keys = rule.param_groups[0], frozenset(rule.state[rule.param_groups[0]["params"][0]])
        rules = [load(other) for other in (*OPTIMIZERS, *OPTIMIZERS.unlisted)]
        claims = [r.name for r in rules if r.claim(group, keys or None) is not None]
        assert claims == [CASES[name].recognised_as]


@every
def test_values_that_do_not_fit_are_refused_by_name(name: str) -> None:
    for bad in (*CASES[name].bad, {}, {"lr": -1}, {"lr": math.inf}, {"lr": "fast"}, {"lr": 0.1, "other": 1}):
        with pytest.raises(UsageError, match=list(bad)[-1] if bad else "lr"):
            load(name).settle(bad)


@every
def test_settled_hyper_parameters_have_every_default_and_settle_to_themselves(name: str) -> None:
    rule = load(name)
    settled = rule.settle({"lr": 0.1})
    assert list(settled) == list(rule.defaults)
    assert rule.settle(settled) == settled


@every
def test_only_rules_that_precondition_shift_the_hessian(name: str) -> None:
    decay = {"weight_decay": 0.5} if "weight_decay" in load(name).defaults else {}
    assert load(name).preconditions or load(name).shift({"lr": 0.1} | decay) == 0


@every
def test_a_rule_that_keeps_no_state_has_none(name: str) -> None:
    *_, (_, parameters, rule) = updates(name, CASES[name].hypers[0], 2)
    tensors = [v for p in parameters for v in rule.state.get(p, {}).values() if isinstance(v, torch.Tensor)]
    assert bool(tensors) == load(name).keeps_state


@every
def test_before_the_first_update_there_is_no_preconditioner(name: str) -> None:
    state = load(name).build([torch.nn.Parameter(torch.ones(2))], {"lr": 0.1}).state_dict()["state"]
    assert load(name).preconditioner(state, {"lr": 0.1}) is None


@pytest.mark.parametrize("name", PRECONDITIONED)
def test_each_update_is_divided_by_a_positive_preconditioner(name: str) -> None:
    hyper = {"lr": 0.01, "weight_decay": 0.0, "eps": 1e-3}
    optimizer = load(name)
    for before, parameters, rule in updates(name, hyper, 4):
        found = optimizer.preconditioner(rule.state_dict()["state"], hyper, [p.shape for p in parameters])
        assert found is not None
        assert (found > 0).all()
        pieces = torch.split(found, [p.numel() for p in parameters])
        for old, p, weights in zip(before, parameters, pieces, strict=True):
            update = CASES[name].update(p, rule.state[p], hyper)
            torch.testing.assert_close(p.detach(), old - 0.01 * update / weights.view_as(p))
            assert rule.state[p][optimizer.second_moment].shape == p.shape


@every
def test_a_run_that_is_resumed_has_the_bits_of_an_undisturbed_one(
    opsig: Opsig, tmp_path: Path, name: str
) -> None:
    words = ("--data", "planted?n=200", "--model", "mlp?hidden=6", "--lr", 0.01, "--optimizer", name)
    rest = ("--batch-size", 8, "--save-every", 3)
    assert opsig("train", tmp_path / "whole", *words, *rest, "--steps", 12).code == 0
    assert opsig("train", tmp_path / "parts", *words, *rest, "--steps", 6).code == 0
    assert opsig("train", tmp_path / "parts", *words, *rest, "--steps", 12).code == 0
    whole = sorted(path.name for path in (tmp_path / "whole").glob("*.safetensors"))
    assert whole == sorted(path.name for path in (tmp_path / "parts").glob("*.safetensors"))
    for file in whole:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()
