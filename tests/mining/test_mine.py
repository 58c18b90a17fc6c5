"""Mining from end to end on real training runs whose opposing pairs are known."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from mining_case import Given, case, given, mined, mined_case, trained, white_noise

from opsigcli.derivatives.gradient_sketch import gradient_sketches
from opsigcli.errors import MiningError
from opsigcli.mining import METHODS
from opsigcli.mining.inputs import Candidates, Settings, Trace
from opsigcli.mining.methods import NEEDS_GRADIENTS, NEEDS_PARTS
from opsigcli.mining.mine import mine
from opsigcli.mining.recovery import pair_f1
from opsigcli.mining.search import PAPER_EXAMPLES
from opsigcli.mining.similarity import Gradients
from opsigcli.mining.trace_stats import survey
from opsigcli.mining.verdict import CHANCE, OUTLIERS, UNJUDGED
from opsigcli.mining.window import first_window
from opsigcli.mining_records import (
    REST,
    SIDES,
    GroupKey,
    Mining,
)
from opsigcli.objective.base import Objective
from opsigcli.outcome import plain

PLANTED = ("img2", "vec3", "pol2", "tok3", "relu2", "small2", "overlap")
Sides = tuple[np.ndarray, np.ndarray]
NULLS = ("null-gauss", "null-decoys", "null-labels", "null-imbalanced")
FROM_LOSSES = [method for method in METHODS if method not in NEEDS_GRADIENTS]


def asked(
    scenarios: tuple[str, ...], methods: tuple[str, ...], spacings: tuple[int, ...] = (1,)
) -> list[object]:
    """Scenarios at spacings of checkpoints by methods; where gradients are compared the first one alone is quick."""
    return [
        pytest.param(
            *(scenario, every, method),
            marks=pytest.mark.slow
            if method in NEEDS_GRADIENTS and (scenario != scenarios[0] or every > 1)
            else (),
        )
        for scenario in scenarios
        for every in spacings
        for method in methods
        # The bars of the plain rule are too high for the scale that similarities have with many outputs.
        if (scenario, method) != ("tok3", "simple")
        # One run tells whether the starts of another method lead to the same pairs.
        and (method not in NEEDS_PARTS or (scenario in ("vec3", "overlap", "null-decoys") and every == 1))
    ]


@pytest.mark.parametrize(("scenario", "every", "method"), asked(PLANTED, NEEDS_GRADIENTS, (1, 16)))
def test_planted_pairs_are_recovered_and_called_opposing_outliers(
    scenario: str, every: int, method: str
) -> None:
    found = mined_case(scenario, method, every)
    assert found.method == method
    assert found.recovery is not None
    assert found.recovery["found"] == found.recovery["known"]
    assert found.recovery["f1"] >= 0.95
    claimed = [pair for pair in found.pairs if pair.verdict != CHANCE]  # what else is proposed is taken back
    assert len(claimed) == found.recovery["known"]
    assert {pair.verdict for pair in claimed} == {OUTLIERS}
    for pair in claimed:
        assert pair.reasons
        assert sum(pair.first.labels.values()) == len(pair.first.ids)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", PLANTED)
@pytest.mark.parametrize("method", FROM_LOSSES)
def test_losses_alone_never_put_opposing_groups_on_one_side_and_are_not_judged(
    scenario: str, method: str
) -> None:
    found = mined_case(scenario, method)
    assert found.pairs
    for pair in found.pairs:
        assert pair.verdict == UNJUDGED
        assert pair.traits == ()
        for known in trained(scenario)[0].known_pairs:
            inside = [
                [len(np.intersect1d(group, side.ids)) for group in known]
                for side in (pair.first, pair.second)
            ]
            assert min(inside[0]) == min(inside[1]) == 0
            assert not any(all(one) for one in zip(*inside, strict=True))


@pytest.mark.parametrize("scenario", ["img2", "vec3", "pol2", "relu2", "overlap"])
def test_the_plain_rule_names_planted_examples_of_one_pair_or_of_several(scenario: str) -> None:
    members = np.concatenate([group for pair in trained(scenario)[0].known_pairs for group in pair])
    found = mined_case(scenario, "top")
    assert len(found.pairs) <= 5
    for pair in found.pairs:
        assert len(pair.first.ids) == len(pair.second.ids) == PAPER_EXAMPLES
    strongest = np.concatenate([found.pairs[0].first.ids, found.pairs[0].second.ids])
    assert np.isin(strongest, members).mean() > 0.7  # of all examples they are a ninth


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "every", "method"), asked(NULLS, tuple(METHODS)))
def test_data_without_pairs_give_no_outliers_where_gradients_were_asked(
    scenario: str, every: int, method: str
) -> None:
    found = mined_case(scenario, method, every)
    assert found.recovery is None
    assert found.candidates == 900
    if method in NEEDS_GRADIENTS:  # what is proposed is told from outliers, and never counted
        assert OUTLIERS not in {pair.verdict for pair in found.pairs}
    else:  # losses swing without pairs too: such proposals are documented, and never judged
        assert {pair.verdict for pair in found.pairs} == {UNJUDGED}


@pytest.mark.slow
def test_a_pair_that_holds_more_than_a_fifth_of_all_is_one_of_outliers_with_all_its_members() -> None:
    found = mined(case("large"), surrogates=19)
    (pair,) = found.counted
    assert pair.verdict == OUTLIERS
    assert pair_f1((pair.first.ids, pair.second.ids), trained("large")[0].known_pairs[0]) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["conv", "pictures4", "null-pictures"])
def test_in_networks_that_pool_whatever_is_a_finding_was_planted(scenario: str) -> None:
    found = mined(case(scenario), surrogates=19)
    known = trained(scenario)[0].known_pairs
    counted = [(pair.first.ids, pair.second.ids) for pair in found.counted]
    best = [max(pair_f1(sides, pair) for pair in known) if known else 0.0 for sides in counted]
    assert all(f1 > 0.85 for f1 in best)
    assert len(counted) == len(known) or scenario == "pictures4"  # whose other pair does not swing


@pytest.mark.parametrize("method", list(METHODS))
def test_white_noise_gives_no_pairs_except_to_the_plain_rule_which_always_has_some(method: str) -> None:
    found = mined(white_noise(), method)
    assert {pair.verdict for pair in found.pairs} == ({UNJUDGED} if method == "top" else set())


def test_the_pair_swings_at_its_strongest_step_and_holds_the_spikes() -> None:
    source, _, losses, _ = trained("img2")
    found = mined_case("img2")
    for pair in found.pairs:
        delta = losses[pair.strongest_step + 1] - losses[pair.strongest_step]
        assert delta[pair.first.ids].mean() > 0 > delta[pair.second.ids].mean()
        assert pair.evidence["anti_phase"].value < -0.5
        assert pair.evidence["share_ratio"].value > 3
    assert found.spikes
    for spike in found.spikes:
        shares = spike.share_of_rise
        assert set(shares) == {GroupKey(p, s) for p in (1, 2) for s in SIDES} | {REST}
        assert sum(shares.values()) == pytest.approx(1)
        assert shares[REST] < 0.5  # four groups of 25 hold most of it
    assert len(found.top) == 160
    members = set(np.concatenate([ids for pair in source.known_pairs for ids in pair]).tolist())
    strongest = found.top[found.pairs[0].strongest_step]
    assert set(strongest.up_ids.tolist()) <= members


@pytest.mark.slow
def test_the_same_inputs_give_the_same_record_also_from_an_hdf5_dataset(tmp_path: Path) -> None:
    inputs = case("img2")
    first = plain(mined_case("img2"))
    assert first == plain(mined(inputs))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        assert first == plain(mined(inputs, losses=file.create_dataset("losses", data=inputs["losses"])))


def of_more(method: str, surrogates: int = 0) -> Mining:
    """What mining finds where the examples are said to be candidates that were chosen out of twice as many."""
    of = case("vec3")
    trace = Trace(**{name: of[name] for name in ("losses", "labels", "ids", "steps", "classes")})  # type: ignore[arg-type]
    candidates = Candidates(of["positions"], of["gradients"], np.full(900, 2.0))  # type: ignore[arg-type]
    return mine(trace, candidates, Settings(method, surrogates=surrogates))


def test_where_candidates_were_chosen_pairs_alike_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    def none(
        pairs: list[Sides],
        similarity: np.ndarray,
        evened: np.ndarray,
        labels: np.ndarray,
        examples: int,
        weights: np.ndarray,
    ) -> list[Sides]:
        told.append((len(pairs), examples, np.array_equal(similarity, evened)))
        assert len(weights) == len(labels)
        return []

    monkeypatch.setattr("opsigcli.mining.mine.with_alike", none)
    assert not of_more("full").pairs
    assert told == [(3, 900, False)]
    assert len(of_more("simple").pairs) == len(mined(case("vec3"), "full").pairs) == 3
    assert len(told) == 1


def test_where_candidates_were_chosen_pairs_are_held_against_mixtures() -> None:
    found = of_more("full", surrogates=19)
    clear = [pair.evidence["clarity"] for pair in found.pairs]
    assert len(clear) == 3
    for each in clear:
        assert each.null is not None
        assert each.value > 2 > each.null > 1  # rotations have no pairs
        assert each.p_value == 1 / 20
    assert all(pair.finding for pair in found.pairs)


def test_ids_are_reported_and_not_positions() -> None:
    inputs = case("img2")
    ids = np.arange(900) * 7 + 1000
    plainly, renamed = mined_case("img2", "simple"), mined(inputs, "simple", ids=ids, known_pairs=())
    for one, other in zip(plainly.pairs, renamed.pairs, strict=True):
        np.testing.assert_array_equal(one.first.ids * 7 + 1000, other.first.ids)


@pytest.mark.slow
@pytest.mark.parametrize(("last", "named"), [(70, True), (161, False)])
def test_the_first_oscillation_is_named_only_where_mining_it_by_itself_helps(last: int, named: bool) -> None:
    inputs = case("img2")
    labels, steps = np.asarray(inputs["labels"]), np.arange(161)
    swing = np.where(steps % 2, 5.0, -5.0) * ((steps >= 40) & (steps < last))
    losses = inputs["losses"] + np.outer(swing, (labels == 0).astype(float) - (labels == 1))

    def note(**changes: object) -> str:
        (found,) = [
            note
            for note in mined(inputs, "simple", losses=losses, **changes).notes
            if "of whole classes" in note
        ]
        return found

    assert ("--window first" in note()) is named
    assert "--window" not in note(window=first_window(survey(losses).amplitude))


def test_examples_and_checkpoints_without_a_loss_are_left_out_and_noted() -> None:
    source, model, losses, weights = trained("img2")
    holes = losses.copy()
    holes[30] = np.nan
    holes[100, source.known_pairs[0][0][:2]] = np.nan
    holes[50:, source.known_pairs[1][1][0]] = np.inf
    found = mined(given((source, model, holes, weights)), "simple")
    assert found.recovery is not None
    assert found.recovery["found"] == 2
    assert found.recovery["f1"] > 0.95
    assert any("1 of 161 checkpoints hold no finite loss" in note for note in found.notes)
    assert any("3 of 900 examples" in note for note in found.notes)


def test_candidates_with_broken_gradients_are_left_out_and_noted() -> None:
    source, model, _, weights = trained("img2")
    objective = Objective(model, source, "ce")
    objective.load(weights[73])
    candidates = np.arange(900)
    broken = Gradients(73, *gradient_sketches(objective, candidates))
    broken.sketch[[5, 9]] = np.nan
    found = mined(case("img2"), "full", gradients=[broken], positions=candidates)
    assert found.candidates == 898
    assert any("2 candidates" in note for note in found.notes)
    assert len(found.pairs) == 2


def test_a_method_has_to_be_named() -> None:
    with pytest.raises(TypeError, match="method"):
        Settings()  # type: ignore[call-arg]


def test_without_gradients_there_are_top_deltas_and_spikes_and_a_note() -> None:
    found = mined({**case("img2", compare=False), "positions": np.zeros(0, dtype=np.int64)})
    assert found.pairs == ()
    assert len(found.top) == 160
    assert found.spikes
    assert all(spike.share_of_rise == {REST: 1} for spike in found.spikes)
    assert any("need per-example gradients" in note for note in found.notes)


def test_two_checkpoints_are_mined_and_called_few() -> None:
    source, model, losses, weights = trained("img2")
    found = mined(given((source, model, losses[73:75], weights[73:75])), steps=np.array([73, 74]))
    assert len(found.top) == 1
    assert found.gradient_steps == (73,)
    assert found.recovery is not None
    assert found.recovery["found"] >= 1  # gradients of one checkpoint tell who opposes whom there
    assert all("anti_phase" not in pair.evidence for pair in found.pairs)
    assert any("2 checkpoints are few" in note for note in found.notes)
    assert any("anti-phase on held-out steps is not measured" in note for note in found.notes)


def test_sparse_checkpoints_are_noted() -> None:
    assert any("16 steps apart" in note for note in mined_case("img2", "simple", every=16).notes)


def random_case(t: int, n: int) -> Given:
    rng = np.random.default_rng(0)
    sketch = rng.standard_normal((n, 16)).astype(np.float32)
    return {
        "losses": rng.random((t, n)).astype(np.float32),
        "labels": np.zeros(n, dtype=np.int64),
        "ids": np.arange(n),
        "steps": np.arange(t),
        "gradients": [Gradients(0, sketch, np.linalg.norm(sketch, axis=1), sketch[:, :3])],
        "positions": np.arange(n),
    }


@pytest.mark.parametrize("n", [1, 2, 3, 12])
@pytest.mark.parametrize("t", [2, 3, 12])
def test_tiny_traces_are_no_trouble(t: int, n: int) -> None:
    found = mined(random_case(t, n))
    assert found.pairs == ()
    assert len(found.top) == t - 1
    assert len(found.top[0].up_ids) == n


def test_constant_losses_and_zero_gradients_are_no_trouble_and_noted() -> None:
    inputs = random_case(12, 30)
    zero = np.zeros((30, 16), dtype=np.float32)
    inputs |= {"losses": np.ones((12, 30)), "gradients": [Gradients(3, zero, zero[:, 0], zero[:, :3])]}
    found = mined(inputs)
    assert found.pairs == found.spikes == ()
    assert any("no loss changes" in note for note in found.notes)


def test_a_trace_without_any_finite_loss_is_no_trouble() -> None:
    found = mined(random_case(12, 30), losses=np.full((12, 30), np.nan))
    assert found.pairs == found.spikes == ()
    assert any("12 of 12 checkpoints" in note for note in found.notes)


@pytest.mark.parametrize(
    "change",
    [
        {"losses": np.ones((1, 12)), "steps": np.arange(1)},
        {"ids": np.arange(3)},
        {"steps": np.arange(4)},
        {"positions": np.arange(5)},
    ],
)
def test_inputs_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(MiningError, match="expected"):
        mined(random_case(12, 12), **change)
