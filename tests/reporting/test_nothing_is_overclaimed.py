"""Each sentence of a verdict beside a case in which it must not be said."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from reporting_case import make_case, show

from opsigcli.mining.causes.attribute import with_causes
from opsigcli.mining.spikes import attribute_spikes
from opsigcli.mining_records import (
    REST,
    Evidence,
    GroupKey,
)
from opsigcli.records import Case
from opsigcli.reporting.edge import covering_command
from opsigcli.reporting.findings import FOUND, PROPOSED, UNCOUNTED, UNTESTED, by_standing
from opsigcli.reporting.first_screen import stability
from opsigcli.reporting.headline import headline
from opsigcli.reporting.terminal import render_report
from opsigcli.sharpness_records import StepCheck


def with_ratios(case: Case, ratios: dict[int, float], **more: Any) -> Case:
    """The case with sharpness at some steps, held against a threshold of 25."""
    first = next(p for p in case.sharpness if p.converged)
    points = [
        replace(first, step=step, eigenvalues=(25 * ratio,), threshold=25.0, ratio=ratio, **more)
        for step, ratio in ratios.items()
    ]
    return replace(case, sharpness=tuple(points))


def with_pairs(case: Case, verdict: str = "opposing outliers", **evidence: Evidence | None) -> Case:
    """The case with another verdict, or other evidence, on its first pair."""
    assert case.mining is not None
    first, *others = case.mining.pairs
    known = {name: item for name, item in (first.evidence | evidence).items() if item is not None}
    pair = replace(first, verdict=verdict, evidence=known)
    return replace(case, mining=replace(case.mining, pairs=(pair, *others)))


def title(case: Case) -> str:
    return headline(case).title


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ({0: 0.5}, "whether sharpness reached the stability threshold is not known (1 of 41 checkpoints measured)"),
        ({0: 0.5, 40: 0.5}, "whether sharpness reached the stability threshold is not known (2 of 41"),
        ({0: 0.5, 20: 0.8}, "sharpness was below the stability threshold at the 2 of 41 checkpoints measured"),
        (dict.fromkeys(range(41), 0.5), "sharpness was below the stability threshold at every checkpoint"),
        ({0: 1.5, 20: 1.2}, "at or above the stability threshold at the 2 of 41 checkpoints measured"),
        ({0: 1.5, 20: 0.4, 30: 1.1}, "at or above the stability threshold at 2 of 3 measured checkpoints"),
        ({0: 0.5, 20: 1.2}, "sharpness reached the stability threshold by step 20"),
        ({0: 1.5}, "at or above the stability threshold at step 0, the one of 41 checkpoints measured"),
    ],
)  # fmt: skip
def test_stability_is_spoken_of_as_far_as_it_is_measured(ratios: dict[int, float], said: str) -> None:
    assert said in title(with_ratios(make_case(), ratios))


def test_below_the_threshold_is_not_said_of_a_run_whose_spike_was_not_measured() -> None:
    case = with_ratios(make_case(), {0: 0.5, 4: 0.6})
    said = headline(case)
    assert "below" not in said.title
    (line,) = (line for line in said.missing if "not covered" in line)
    assert line == (
        "2 of 41 checkpoints measured; the spike from step 20 is not covered: run opsig sharpness --every 2."
    )
    assert "every spike is covered" not in stability(case)
    assert not any("not covered" in line for line in headline(with_ratios(make_case(), {20: 0.5})).missing)


def test_a_spike_is_not_covered_by_a_value_that_did_not_converge() -> None:
    case = with_ratios(make_case(), {0: 0.5, 20: 0.6})
    loose = replace(case, sharpness=(case.sharpness[0], replace(case.sharpness[1], converged=False)))
    assert "every spike is covered" in stability(case)
    assert "not covered" in stability(loose)


def test_no_sentence_stands_on_a_threshold_that_the_weights_contradict() -> None:
    check = StepCheck("contradicted", "another learning rate")
    case = with_ratios(make_case(), {0: 0.5, 20: 1.2}, step_check=check)
    assert "sharpness is held against a threshold that the weights contradict" in title(case)
    assert "reached" not in title(case)
    assert "reached" in title(with_ratios(make_case(), {0: 0.5, 20: 1.2}))


def test_a_pair_is_found_only_if_it_is_beyond_chance_after_the_search() -> None:
    case = make_case()
    assert "One pair of opposing groups was found" in title(case)
    for p_value in (0.1, 0.35, 1.0):
        clear = with_pairs(case, clarity=Evidence(1.5, 0.9, p_value))
        assert "No pair of opposing groups is distinguishable from chance (1 proposed)" in title(clear)
        assert (
            headline(clear).found[0].startswith("Proposed, not distinguishable: pair 1: opposing outliers.")
        )
    untested = with_pairs(case, clarity=None)
    assert "One pair of opposing groups proposed, not tested against chance" in title(untested)
    for verdict in ("not distinguishable from chance", "class-level opposition only"):
        assert "distinguishable from chance (1 proposed)" in title(with_pairs(case, verdict))
    weak = with_pairs(case, gradient_cosine=Evidence(-0.3, -0.3, 0.5))
    assert "found" not in title(weak)


def test_proposals_are_not_counted_among_the_findings() -> None:
    case = with_pairs(make_case(pairs=3), clarity=Evidence(1.0, 0.9, 0.35))
    assert title(case).startswith("Two pairs of opposing groups were found")
    assert case.mining is not None
    parted = by_standing(case.mining)
    assert {name: [n for n, _ in pairs] for name, pairs in parted.items()} == {FOUND: [2, 3], PROPOSED: [1]}
    assert UNTESTED not in parted


def test_what_mining_tells_of_findings_counts_whatever_else_is_known() -> None:
    case = make_case(pairs=3)
    assert case.mining is not None
    told = tuple(
        replace(pair, finding=finding)
        for pair, finding in zip(case.mining.pairs, (True, False, False), strict=True)
    )
    some = replace(case, mining=replace(case.mining, pairs=told))
    assert title(some).startswith("One pair of opposing groups was found")
    assert some.mining is not None
    assert some.mining.counted == told[:1]
    parted = by_standing(some.mining)
    assert {name: [n for n, _ in pairs] for name, pairs in parted.items()} == {FOUND: [1], UNCOUNTED: [2, 3]}
    none = replace(case, mining=replace(case.mining, pairs=told[1:]))
    assert title(none).startswith("No pair of opposing groups stands apart beyond chance (2 proposed)")


def test_shares_of_a_spike_add_up_also_where_groups_overlap() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        losses = 1 + 0.01 * rng.normal(size=(12, 30)).astype(np.float32)
        losses[6] += 3 + rng.normal(size=30).astype(np.float32)
        groups = {
            GroupKey(pair, side): rng.choice(30, 18, replace=False)  # type: ignore[arg-type]
            for pair in (1, 2, 3)
            for side in ("first", "second")
        }
        (spike,) = attribute_spikes(losses, losses.mean(1, dtype=np.float64), np.arange(12), groups)
        shares = spike.share_of_rise
        assert sum(shares.values()) == pytest.approx(1)
        assert all(0 <= share <= 1 for share in shares.values())
        bottom, top = losses[[spike.step, spike.next_step]].astype(float)
        up = np.maximum(top - bottom, 0)
        for key, ids in groups.items():
            held = sum(up[i] / sum(i in group for group in groups.values()) for i in ids)
            assert shares[key] == pytest.approx(held / up.sum())
        outside = ~np.isin(np.arange(30), np.concatenate([*groups.values()]))
        assert shares[REST] == pytest.approx(up[outside].sum() / up.sum())


def test_the_energy_of_pairs_is_added_up_only_where_no_example_is_in_two() -> None:
    case = make_case(pairs=2)
    assert case.mining is not None
    pairs = tuple(replace(pair, traits=("active",)) for pair in case.mining.pairs)
    apart = headline(replace(case, mining=replace(case.mining, pairs=pairs)))
    assert any("hold 100% of the energy" in line for line in apart.found)
    same = replace(case.mining, pairs=(pairs[0], replace(pairs[1], first=pairs[0].first)))
    both = headline(replace(case, mining=same))
    assert any("hold 50% and 50%, with examples in common, of the energy" in line for line in both.found)
    assert not any("100%" in line for line in both.found)


def test_shares_in_sentences_are_those_of_the_table() -> None:
    case = with_causes(make_case(pairs=3), None)
    (held,) = (line for line in headline(case).found if "are held" in line)
    said = {int(pair): share for share, pair in re.findall(r"(\d+%) by pair (\d)", held)}
    (spike,) = case.spikes
    for number, share in said.items():
        both = sum(value for key, value in spike.share_of_rise.items() if key.pair == number)
        assert share == f"{100 * both:.0f}%"
    rest = re.search(r"(\d+%) by examples in no pair", held)
    assert rest is not None
    assert rest[1] in re.sub(r"\s+", " ", show(render_report(case), 160))


def test_the_run_is_not_said_to_be_without_spikes_where_there_is_one() -> None:
    case = make_case()
    assert "spiked once" in title(case)
    calm = headline(replace(case, spikes=()))
    assert "spiked" not in calm.title
    assert any("No spike of the mean loss was found" in line for line in calm.missing)
    assert not any("No spike" in line for line in headline(case).missing)


def test_a_ratio_at_the_rate_before_a_jump_says_nothing_of_the_spike_that_the_jump_made() -> None:
    case = make_case()
    spike = case.spikes[0]
    rates = np.where(case.trace.steps <= spike.step, 0.05, 0.6)
    before = with_ratios(replace(case, spikes=(spike,)), {0: 0.3, spike.step: 0.32}, lr=0.05)
    assert "every spike among them" in " ".join(headline(before).found)
    jumped = replace(before, lrs=rates)
    said = headline(jumped)
    assert "not known" in said.title
    assert "every spike" not in " ".join([*said.found, stability(jumped)])
    assert f"the spike from step {spike.step} is not covered" in " ".join(said.missing)
    assert covering_command(jumped).split()[:2] == ["opsig", "sharpness"]
    assert "--every" not in covering_command(jumped)  # it has to be at the top
    top = replace(before.sharpness[0], step=spike.next_step, lr=0.6)
    assert "every spike among them" in " ".join(
        headline(replace(jumped, sharpness=(*before.sharpness, top))).found
    )
    told_rate = tuple(replace(p, lr=0.6) for p in before.sharpness)  # as by --lr, at all of them
    assert "every spike among them" in " ".join(headline(replace(jumped, sharpness=told_rate)).found)
    assert "every spike among them" in " ".join(
        headline(replace(before, lrs=np.full(len(rates), 0.05))).found
    )
