"""What the groups of one run do in another: by hand, and beside random groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reporting_case import make_case, with_losses

from opsigcli.comparison.compare import compare
from opsigcli.records import Case

N, T = 120, 41


def run(seed: int = 0, *, swing: float = 0.3, phase: float = -1.0) -> Case:
    """A run of noise in which the groups of the case's pair swing by so much; phase −1 is against one another."""
    case = make_case(checkpoints=T, examples=N, pairs=1)
    rng = np.random.default_rng(seed)
    losses = 2 + rng.normal(0, 0.05, (T, N))
    assert case.mining is not None
    first, second = (case.trace.positions(group.ids) for group in case.mining.pairs[0].groups.values())
    turns = swing * (-1.0) ** np.arange(T)
    losses[:, first] += turns[:, None]
    losses[:, second] += phase * turns[:, None]
    return with_losses(case, losses.astype(np.float32))


def naive(case: Case, ids: list[np.ndarray]) -> tuple[float, float]:
    """Correlation and distance of two groups' high-passed loss deltas, example by example and step by step."""
    losses = np.asarray(case.trace.losses, dtype=np.float64)
    deltas = np.diff(losses, axis=0)
    slow = np.array([[deltas[max(0, t - 2) : t + 3, i].mean() for i in range(N)] for t in range(T - 1)])
    high = deltas - slow
    high -= np.median(high, axis=1, keepdims=True)
    a, b = (high[round(0.1 * (T - 1)) :, case.trace.positions(each)].mean(axis=1) for each in ids)
    return float(np.corrcoef(a, b)[0, 1]), float(np.sqrt(np.square(a - b).mean()))


def sides(case: Case) -> list[np.ndarray]:
    assert case.mining is not None
    return [group.ids for group in case.mining.pairs[0].groups.values()]


def test_numbers_are_those_of_a_plain_loop_in_the_other_run() -> None:
    home, other = run(0), run(1)
    found = compare([home, replace(other, mining=None)]).elsewhere[0]
    phase, apart = naive(other, sides(home))
    assert found.anti_phase is not None
    assert found.amplitude is not None
    assert found.anti_phase.value == pytest.approx(phase, abs=1e-4)
    assert found.amplitude.value == pytest.approx(apart, rel=1e-4)
    first = other.trace.losses[:, other.trace.positions(sides(home)[0])].mean(axis=1)
    assert found.there[0] == pytest.approx(first, rel=1e-5)


@pytest.mark.parametrize(
    ("swing", "phase", "said"),
    [(0.3, -1.0, "against one another"), (0.0, -1.0, "as random groups"), (0.3, 0.3, "apart, in phase")],
)
def test_groups_are_told_from_random_ones_by_what_they_do_there(
    swing: float, phase: float, said: str
) -> None:
    other = replace(run(1, swing=swing, phase=phase), mining=None)
    found = compare([run(0), other]).elsewhere
    assert [each.said for each in found] == [said]
    assert found[0].anti_phase_before is not None
    assert found[0].anti_phase_before.value < -0.9


def test_the_p_value_of_groups_that_do_nothing_is_uniform() -> None:
    values = []
    for seed in range(40):
        other = replace(run(seed + 1, swing=0.0), mining=None)
        amplitude = compare([run(0), other]).elsewhere[0].amplitude
        assert amplitude is not None
        assert amplitude.p_value is not None
        values.append(amplitude.p_value)
    assert sum(p <= 0.05 for p in values) <= 6  # 2 expected; 7 or more: p < 0.01
    assert 0.3 < float(np.mean(values)) < 0.7


def test_members_that_the_other_run_lacks_are_counted_and_left_out() -> None:
    home, other = run(0), run(1)
    keep = ~np.isin(other.trace.example_ids, sides(home)[0][:5])
    trace = other.trace
    part = replace(
        trace,
        example_ids=trace.example_ids[keep],
        labels=trace.labels[keep],
        losses=trace.losses[:, keep],
        names=(),
    )
    found = compare([home, replace(other, trace=part, mining=None)])
    size = len(sides(home)[0])
    assert found.shared_by_all == N - 5
    assert found.elsewhere[0].sizes[0] == size
    assert found.elsewhere[0].shared[0] == size - 5
    over = np.isin(home.trace.example_ids, part.example_ids)
    assert found.runs[0].shared_losses == pytest.approx(home.trace.losses[:, over].mean(axis=1), rel=1e-5)


def test_a_run_too_short_to_correlate_has_no_numbers_and_says_so() -> None:
    home, other = run(0), run(1)
    short = replace(
        other.trace,
        steps=other.trace.steps[:6],
        losses=other.trace.losses[:6],
        complete=other.trace.complete[:6],
        files=(),
    )
    found = compare([home, replace(other, trace=short, mining=None, spikes=())]).elsewhere[0]
    assert (found.anti_phase, found.amplitude, found.said) == (None, None, "too few checkpoints")


def test_the_same_groups_mined_in_both_runs_are_known_again_whichever_side_is_first() -> None:
    home, other = run(0), run(1)
    assert other.mining is not None
    pair = other.mining.pairs[0]
    turned = replace(other.mining, pairs=(replace(pair, first=pair.second, second=pair.first),))
    found = compare([home, replace(other, mining=turned)]).elsewhere
    assert [(each.mined_in, each.again, each.overlap) for each in found] == [("A", 1, 1.0), ("B", 1, 1.0)]
