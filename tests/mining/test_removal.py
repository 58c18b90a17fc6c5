"""Effects of the mined groups beside those of controls, with intervals over the forks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from opsigcli.mining.removal import STUDENT, effect, effects
from opsigcli.result_records import MINED, NOBODY, RANDOM, CausalArm, CausalEffect

LOSS, GRADIENT = "examples of high loss", "examples of large gradient"
FORKS = (10, 20, 30)


def arm(removed: str, step: int, sharpness: float, **others: float) -> CausalArm:
    """One that leaves this share of sharpness."""
    told = {"rises": 0.0, "mean_loss": 0.2, "rises_with_all": 0.0, "mean_loss_with_all": 0.5}
    return CausalArm(
        removed=removed, examples=4, members=0, sharpness_start=40 * sharpness, sharpness_end=1.0, step=step,
        sharpness_with_all=40.0, **(told | others),
    )  # fmt: skip


def compared(values: dict[str, list[list[float]]]) -> dict[tuple[str, str], CausalEffect]:
    """Effects by outcome and control, of the shares that draws of each set leave at each fork."""
    arms = [arm(NOBODY, step, 1.0) for step in FORKS]
    for name, forks in values.items():
        arms += [arm(name, step, left) for step, draws in zip(FORKS, forks, strict=False) for left in draws]
    return {(found.outcome, found.control): found for found in effects(arms)}


def test_an_effect_is_the_share_that_is_gone_with_students_interval_over_the_forks() -> None:
    found = compared({MINED: [[0.7], [0.72], [0.65]]})["sharpness", ""]
    gone = np.array([0.3, 0.28, 0.35])
    low, high = student.interval(0.95, 2, gone.mean(), gone.std(ddof=1) / np.sqrt(3))
    assert (found.mean, found.low, found.high) == pytest.approx((gone.mean(), low, high), rel=1e-3)
    assert found.beats
    assert found.forks == 3
    for forks, quantile in STUDENT.items():
        assert quantile == pytest.approx(student.ppf(0.975, forks - 1), rel=1e-4)


def test_a_control_is_beaten_only_where_it_lowers_less_at_every_fork_and_in_every_draw() -> None:
    mined = [[0.7], [0.72], [0.65]]
    random = [[1.0, 0.98], [1.01, 0.99], [0.97, 0.99]]
    found = compared(
        {MINED: mined, RANDOM: random, LOSS: [[0.5], [0.52], [0.44]], GRADIENT: [[0.7], [0.73], [0.6]]}
    )
    assert found["sharpness", RANDOM].beats
    assert not found["sharpness", RANDOM].beaten
    assert found["sharpness", LOSS].beaten
    assert not found["sharpness", LOSS].beats
    assert not found["sharpness", GRADIENT].beats
    assert not found["sharpness", GRADIENT].beaten
    at_one_fork_alone = compared({MINED: [[0.7], [0.99], [0.98]], RANDOM: [[1.0], [1.0], [1.0]]})
    assert not at_one_fork_alone["sharpness", RANDOM].beats  # more at every fork, and no interval above 0
    one_draw_does_as_much = [[1.0, 0.98], [1.01, 0.99], [1.3, 0.6]]
    assert not compared({MINED: mined, RANDOM: one_draw_does_as_much})["sharpness", RANDOM].beats


def test_losses_are_compared_in_nats_and_what_is_not_known_is_left_out() -> None:
    known = arm(MINED, 10, 0.7)
    assert effect(known, "mean_loss") == pytest.approx(0.3)
    assert np.isnan(effect(known, "rises"))  # nothing rises with all examples
    assert np.isnan(effect(known, "amplitude"))
    assert np.isnan(effect(replace(known, sharpness_start=np.inf), "sharpness"))
    found = compared({MINED: [[0.7], [np.nan], [0.65]], RANDOM: [[1.0], [1.0], [np.nan]]})
    assert found["sharpness", ""].forks == 2
    assert ("sharpness", RANDOM) not in found  # one fork is left
    assert not effects([replace(known, step=None, sharpness_with_all=None, mean_loss_with_all=None)])


def test_one_fork_has_no_interval_and_so_no_effect() -> None:
    assert not compared({MINED: [[0.1]], RANDOM: [[1.0]]})


def test_sets_that_are_alike_seldom_beat_one_another() -> None:
    rng = np.random.default_rng(0)
    beats = beaten = 0
    for _ in range(400):
        drawn = 1 - 0.1 * rng.standard_normal((3, 6))
        found = compared({MINED: drawn[:, :1].tolist(), RANDOM: drawn[:, 1:].tolist()})["sharpness", RANDOM]
        beats, beaten = beats + found.beats, beaten + found.beaten
    assert beats <= 8
    assert beaten <= 8
