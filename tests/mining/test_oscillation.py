"""High-passed loss deltas, the checkpoints worth comparing, and the candidates."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from opsigcli.mining.oscillation import checkpoints_to_compare, choose_candidates, oscillation
from opsigcli.mining.trace_stats import first_step, survey


def naive_high_passed(losses: np.ndarray) -> np.ndarray:
    """H by its definition, one number at a time."""
    delta = np.diff(losses.astype(np.float64), axis=0)
    steps, n = delta.shape
    high_passed = np.full((steps, n), np.nan)
    for t in range(steps):
        for i in range(n):
            if steps < 5:
                high_passed[t, i] = delta[t, i]
                continue
            near = [delta[s, i] for s in range(max(t - 2, 0), min(t + 2, steps - 1) + 1)]
            near = [d for d in near if np.isfinite(d)]
            high_passed[t, i] = delta[t, i] - np.mean(near) if near and np.isfinite(delta[t, i]) else np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a checkpoint without any loss
        return high_passed - np.nanmedian(high_passed, axis=1, keepdims=True)


@pytest.mark.parametrize("t", [2, 3, 5, 6, 40])
@pytest.mark.parametrize("holes", [False, True])
def test_oscillation_is_that_of_the_definition(t: int, holes: bool) -> None:
    rng = np.random.default_rng(t)
    losses = rng.random((t, 9)).astype(np.float32)
    if holes:
        losses[rng.random((t, 9)) < 0.15] = np.nan
        losses[t // 2] = np.nan
    expected = naive_high_passed(losses)
    positions = np.array([4, 0, 8])
    high_passed, found = oscillation(losses, positions).high_passed, survey(losses)
    np.testing.assert_allclose(high_passed, expected[:, positions], atol=1e-5)
    for step in range(t - 1):
        row = np.abs(expected[step])
        if np.isfinite(row).any():
            assert found.amplitude[step] == pytest.approx(np.nanmean(row), abs=1e-5)
        else:
            assert np.isnan(found.amplitude[step])
    late = np.nan_to_num(expected[first_step(t - 1) :])
    np.testing.assert_allclose(found.energy, (late**2).sum(axis=0), atol=1e-4)
    np.testing.assert_allclose(found.peak, np.abs(late).max(axis=0), atol=1e-5)


def test_one_checkpoint_is_taken_from_the_loudest_step_of_each_segment() -> None:
    losses = np.zeros((121, 20), dtype=np.float32)
    early = [4, 9]  # one in each half of steps 2 … 11
    loud = [20, 40, 52, 66, 90, 116]  # one in each sixth of steps 12 … 119
    for t in [1, *early, *loud]:
        losses[t + 1 :, ::2] += 0.5 + t / 100  # half of the examples jump; step 1 is too early to count
    assert checkpoints_to_compare(losses) == early + loud
    assert checkpoints_to_compare(losses, window=(60, 100)) == sorted(
        set(checkpoints_to_compare(losses, window=(60, 100)))
    )
    assert {66, 90} <= set(checkpoints_to_compare(losses, window=(60, 100)))
    assert min(checkpoints_to_compare(losses, window=(60, 100))) >= 60


def test_short_traces_give_as_many_checkpoints_as_there_are() -> None:
    rng = np.random.default_rng(0)
    assert checkpoints_to_compare(rng.random((2, 5))) == [0]
    assert checkpoints_to_compare(rng.random((4, 5))) == [0, 1, 2]
    assert checkpoints_to_compare(rng.random((1, 5))) == [0]
    assert checkpoints_to_compare(np.ones((30, 5))) == sorted(set(checkpoints_to_compare(np.ones((30, 5)))))


def test_checkpoints_that_were_not_measured_are_never_compared() -> None:
    losses = np.random.default_rng(0).random((40, 6))
    losses[20:] = np.nan
    chosen = checkpoints_to_compare(losses)
    assert chosen
    assert max(chosen) < 19
    assert checkpoints_to_compare(np.full((9, 4), np.nan)) == []


def test_all_measured_examples_are_candidates_while_they_are_few() -> None:
    losses = np.random.default_rng(0).random((10, 8))
    losses[3, 5] = np.nan
    assert choose_candidates(losses, 8).tolist() == [0, 1, 2, 3, 4, 6, 7]


def test_candidates_of_a_large_set_hold_the_loudest_examples_and_a_random_part() -> None:
    rng = np.random.default_rng(0)
    losses = rng.random((30, 400)) * 0.01
    losses[::2, 100:120] += 1  # these swing every step
    losses[15:, 300:303] += 5  # these jump once
    losses[4, 110] = np.nan
    chosen = choose_candidates(losses, 60, seed=1)
    assert len(chosen) == len(set(chosen.tolist())) == 60
    assert chosen.tolist() == sorted(chosen.tolist())
    expected = set(range(100, 120)) - {110} | {300, 301, 302}
    assert expected <= set(chosen.tolist())
    assert 110 not in chosen
    np.testing.assert_array_equal(chosen, choose_candidates(losses, 60, seed=1))
    assert not np.array_equal(chosen, choose_candidates(losses, 60, seed=2))
