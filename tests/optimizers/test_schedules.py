"""Learning rates over a run, against the schedulers of torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from opsigcli.errors import UsageError
from opsigcli.optimizers.schedules import SCHEDULES, Schedule

STEPS = 40
LR = 0.7


def of_torch(make: Any) -> list[float]:
    rule = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler, found = make(rule), []
    for _ in range(STEPS):
        found.append(rule.param_groups[0]["lr"])
        rule.step()
        scheduler.step()
    return found


def after_warmup(rule: torch.optim.Optimizer) -> Any:
    rise = lr_scheduler.LinearLR(rule, 1 / 8, total_iters=7)
    fall = lr_scheduler.CosineAnnealingLR(rule, STEPS - 8)
    return lr_scheduler.SequentialLR(rule, [rise, fall], [8])


CASES = {
    "constant": lambda rule: lr_scheduler.ConstantLR(rule, factor=1.0),
    "cosine": lambda rule: lr_scheduler.CosineAnnealingLR(rule, STEPS),
    "cosine?end=0.1": lambda rule: lr_scheduler.CosineAnnealingLR(rule, STEPS, eta_min=0.1 * LR),
    "cosine?warmup=8": after_warmup,
    "step?every=7&factor=0.5": lambda rule: lr_scheduler.StepLR(rule, 7, gamma=0.5),
    "step?at=5,20": lambda rule: lr_scheduler.MultiStepLR(rule, [5, 20]),
    "warmup?steps=10": lambda rule: lr_scheduler.LinearLR(rule, 0.1, total_iters=9),
    "onecycle": lambda rule: lr_scheduler.OneCycleLR(
        rule, LR, total_steps=STEPS + 1, cycle_momentum=False
    ),
    "onecycle?peak=0.6&start=0.1&end=0.001": lambda rule: lr_scheduler.OneCycleLR(
        rule, LR, total_steps=STEPS + 1, pct_start=0.6, div_factor=10, final_div_factor=100, cycle_momentum=False
    ),
}  # fmt: skip


def test_every_schedule_has_a_case() -> None:
    assert {text.partition("?")[0] for text in CASES} == set(SCHEDULES)


@pytest.mark.parametrize("text", CASES)
def test_a_schedule_has_the_learning_rates_of_torch(text: str) -> None:
    steps = STEPS + 1 if text.startswith("onecycle") else STEPS  # torch's last call asks for one more
    schedule = Schedule(text, steps)
    found = [LR * schedule.factor(step) for step in range(STEPS)]
    assert found == pytest.approx(of_torch(CASES[text]), rel=1e-9, abs=1e-12)


def test_a_schedule_knows_its_own_length_whatever_the_run_is_made_later() -> None:
    first = Schedule("cosine", 30)
    again = Schedule(first.spec, 90)
    assert again.spec == first.spec == "cosine?steps=30"
    assert [again.factor(t) for t in range(40)] == [first.factor(t) for t in range(40)]
    assert Schedule("constant", 30).spec == ""


@pytest.mark.parametrize(
    "text",
    ["linear", "cosine?steps=0", "cosine?peak=2", "step", "step?every=3&at=4", "warmup", "onecycle?peak=1",
     "cosine?end=-1", "step?every=0"],
)  # fmt: skip
def test_what_is_no_schedule_is_refused_in_words(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Schedule(text, 10)
    assert caught.value.hint
