"""Loss spikes, their attribution, and the comparison with known pairs."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.mining.recovery import membership_f1, pair_f1, recovery
from opsigcli.mining.spikes import attribute_spikes, find_spikes, largest_climb
from opsigcli.mining_records import (
    REST,
    GroupKey,
)

FIRST, SECOND = GroupKey(1, "first"), GroupKey(1, "second")


def calm(t: int = 100) -> np.ndarray:
    return 2 * np.exp(-np.arange(t) / 40) + 0.002 * np.sin(np.arange(t))


def test_a_smooth_curve_has_no_spike_and_a_planted_one_is_found_from_bottom_to_top() -> None:
    curve = calm()
    assert find_spikes(curve) == []
    curve[50:54] += [0.2, 0.5, 0.3, 0.1]
    assert find_spikes(curve) == [(49, 51)]


def test_the_largest_climb_of_a_noisy_curve_is_found_though_it_is_no_spike() -> None:
    curve = np.array([2.0, 1.0, 1.3, 0.9, 1.0, 1.4, 0.8, 1.1])
    assert find_spikes(curve) == []
    assert largest_climb(curve) == (3, 5)
    assert largest_climb(np.array([2.0, 1.0, 1.01, 0.9])) is None  # not above 2 % of the loss
    assert largest_climb(np.array([1.0, np.nan, 2.0])) is None


def test_spikes_do_not_depend_on_the_unit_of_the_loss() -> None:
    curve = calm()
    curve[30] += 0.4
    assert find_spikes(curve) == find_spikes(curve * 1000) == [(29, 30)]


def test_a_rise_of_a_hundredth_is_no_spike_however_quiet_the_loss_was() -> None:
    curve = np.linspace(2.0, 1.9, 100)
    curve[50] += 0.02
    assert find_spikes(curve) == []
    curve[50] += 0.06
    assert find_spikes(curve) == [(49, 50)]


def test_a_rise_has_to_stand_out_of_the_usual_steps_however_large_it_is() -> None:
    rng = np.random.default_rng(1)
    curve = 1 + 0.1 * rng.standard_normal(400)
    curve[200] = curve[199] + 0.5  # half of the loss, four standard deviations of its steps
    curve[201] = curve[200] - 0.5
    assert find_spikes(curve) == []
    curve[200] += 0.8
    assert find_spikes(curve) == [(199, 200)]


def test_noise_of_one_size_is_no_spike() -> None:
    rng = np.random.default_rng(0)
    assert find_spikes(1 + 0.05 * rng.standard_normal(400)) == []


def test_checkpoints_without_a_loss_end_a_climb_and_constant_curves_have_none() -> None:
    curve = calm()
    curve[50] += 0.5
    curve[51] = np.nan
    assert find_spikes(curve) == [(49, 50)]
    assert find_spikes(np.ones(20)) == find_spikes(np.full(20, np.nan)) == find_spikes(np.ones(1)) == []
    assert find_spikes(np.array([1.0, 2.0])) == []  # one change has no usual size to stand out from


def test_shares_of_a_rise_equal_a_loop_and_add_up_to_one() -> None:
    rng = np.random.default_rng(1)
    losses = np.repeat(calm()[:, None], 12, axis=1)
    losses[60] += rng.random(12) * np.array([3, 3, 3, 3, 1, 1, 1, 1, 0, 0, 0, 0]) - 0.1
    groups = {FIRST: np.array([0, 1]), SECOND: np.array([4, 5, 6])}
    (spike,) = attribute_spikes(losses, losses.mean(axis=1), np.arange(100) * 10, groups)
    assert (spike.step, spike.next_step) == (590, 600)
    up = [max(losses[60, i] - losses[59, i], 0) for i in range(12)]
    assert spike.share_of_rise[FIRST] == pytest.approx((up[0] + up[1]) / sum(up))
    assert spike.share_of_rise[SECOND] == pytest.approx(sum(up[4:7]) / sum(up))
    assert sum(spike.share_of_rise.values()) == pytest.approx(1)
    assert spike.rise == pytest.approx(losses[60].mean() - losses[59].mean())


def test_examples_without_a_loss_hold_nothing_of_a_rise() -> None:
    losses = np.repeat(calm()[:, None], 4, axis=1)
    losses[60] += 1
    mean = losses.mean(axis=1)
    losses[60, 0] = np.nan
    (spike,) = attribute_spikes(losses, mean, np.arange(100), {FIRST: np.array([0]), SECOND: np.array([1])})
    assert spike.share_of_rise == pytest.approx({FIRST: 0, SECOND: 1 / 3, REST: 2 / 3})


def test_membership_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    found, known = np.array([1, 2, 3, 4]), np.array([3, 4, 5, 6, 7, 8])
    precision, recall = 2 / 4, 2 / 6
    assert membership_f1(found, known) == pytest.approx(2 * precision * recall / (precision + recall))
    assert pair_f1((known, found), (found, known)) == 1


def test_each_known_pair_is_matched_once_and_false_pairs_cost_precision() -> None:
    known = [(np.arange(5), np.arange(5, 10)), (np.arange(10, 15), np.arange(15, 20))]
    false = (np.arange(30, 35), np.arange(40, 45))
    twice = [known[0], known[0], false]
    assert recovery(twice, known) == {"known": 2, "mined": 3, "found": 1, "f1": 0.5, "precision": 1 / 3}
    assert recovery([known[1], known[0]], known)["f1"] == 1
    nothing = recovery([], known)
    assert nothing["f1"] == nothing["found"] == 0
    assert np.isnan(nothing["precision"])
