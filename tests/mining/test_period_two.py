"""Where period two begins, and where there is none."""

from __future__ import annotations

import numpy as np

from opsigcli.mining.period_two import period_two


def test_it_begins_where_the_losses_begin_to_alternate() -> None:
    losses = np.cos(np.arange(80) / 20)
    losses[30:] += 0.1 * (-1.0) ** np.arange(50)
    begins = period_two(np.diff(losses))
    assert begins[0] in (29, 30)
    assert begins.tolist() == list(range(begins[0], 80 - 20))


def test_one_that_grows_is_seen_from_where_it_outweighs_the_slow_fall() -> None:
    steps = np.arange(60)
    losses = 1 - steps / 100 + 1e-3 * np.minimum(1.5**steps, 1e3) * (-1.0) ** steps
    expected = next(t for t in range(59) if 2.5e-3 * 1.5**t > 0.01)
    assert abs(period_two(np.diff(losses))[0] - expected) <= 1


def test_one_that_slips_now_and_then_is_seen_and_one_that_slips_often_is_not() -> None:
    for every, expected in ((13, True), (6, False)):
        deltas = 0.1 * np.cumprod(np.where(np.arange(100) % every == every - 1, 1.0, -1.0))
        assert bool(len(period_two(deltas))) == expected


def test_smooth_losses_slow_swings_and_swings_too_small_to_matter_have_none() -> None:
    steps = np.arange(300)
    for losses in (np.exp(-steps / 50), np.cos(steps / 3), 5e-5 * (-1.0) ** steps):
        assert not len(period_two(np.diff(losses)))


def test_it_is_not_seen_across_checkpoints_that_are_farther_apart() -> None:
    deltas = 0.1 * (-1.0) ** np.arange(60)
    deltas[10::11] = np.nan
    assert not len(period_two(deltas))


def test_noise_about_a_smooth_course_is_seldom_taken_for_it() -> None:
    rng = np.random.default_rng(0)
    taken = sum(bool(len(period_two(np.diff(rng.standard_normal(301))))) for _ in range(400))
    assert taken <= 20


def test_too_short_a_run_has_none() -> None:
    assert not len(period_two((-1.0) ** np.arange(20)))
