"""Which pairs are findings: the false discovery rate, what is not tested, and when surrogates are enough."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.mining.discovery import discoveries, findings
from opsigcli.mining.surrogate import ENOUGH, clearest_by_chance
from opsigcli.mining.verdict import CONTINUOUS, OUTLIERS
from opsigcli.mining_records import (
    Evidence,
    Group,
    Pair,
)


def pair(p: float | None, verdict: str = OUTLIERS) -> Pair:
    clear = {} if p is None else {"clarity": Evidence(0.5, 0.1, p)}
    nobody = Group(np.zeros(0, dtype=np.int64))
    return Pair(nobody, nobody, Evidence(0.5, 0.0), clear, verdict)


@pytest.mark.parametrize("seed", range(20))
def test_discoveries_are_those_of_the_step_up_rule_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p_values, rate = rng.random(rng.integers(0, 8)) ** 3, 0.2
    largest = 0.0
    for p in p_values:
        rank = sum(other <= p for other in p_values)
        if p <= rate * rank / len(p_values):
            largest = max(largest, float(p))
    assert discoveries(p_values, rate).tolist() == [bool(p <= largest) for p in p_values]


def test_few_runs_without_pairs_have_any_discovery() -> None:
    rng = np.random.default_rng(0)
    runs = [discoveries(rng.integers(1, 41, 4) / 40, 0.1).any() for _ in range(2000)]  # 39 surrogates
    assert np.mean(runs) <= 0.12


def test_a_finding_passes_the_rate_and_stands_apart() -> None:
    pairs = [pair(0.025), pair(0.025, CONTINUOUS), pair(0.9)]
    assert findings(pairs, 0.1) == [True, False, False]
    assert findings([pair(0.06), pair(0.5, CONTINUOUS)], 0.1) == [True, False]  # tested are outliers alone
    assert findings([pair(0.06), pair(0.5)], 0.1) == [False, False]
    assert findings([pair(0.2)], 0.1) == [False]
    assert findings([pair(0.2)], 0.3) == [True]
    assert findings([], 0.1) == []


def test_what_was_not_searched_for_in_surrogates_is_not_tested() -> None:
    assert findings([pair(None), pair(None)], 0.1) == [None, None]


def test_no_more_surrogates_are_made_once_enough_are_as_clear() -> None:
    noise = np.random.default_rng(0).standard_normal((60, 60)).astype(np.float32) * 0.05
    noise = (noise + noise.T) / 2
    labels = np.arange(60) % 2
    assert len(clearest_by_chance(noise, labels, 40, 0, clearest=0.0)) == ENOUGH
    assert len(clearest_by_chance(noise, labels, 12, 0, clearest=2.0)) == 12
