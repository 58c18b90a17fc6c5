"""Spikes planted by class, by something visible inside one class, and by nothing, and what is said of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from opsigcli.mean_loss import mean_loss
from opsigcli.mining.causes import attribute, nulls
from opsigcli.mining.causes.attribute import LARGEST, attributed_spikes, extremes
from opsigcli.mining.causes.classes import by_class
from opsigcli.mining.causes.features import feature_splits
from opsigcli.mining.causes.nulls import false_discovery, partition_null, subset_null
from opsigcli.mining.causes.rises import CLASSES, OTHERS, halves, read_rises
from opsigcli.mining.inputs import Trace
from opsigcli.mining_records import (
    REST,
    GroupKey,
    Spike,
)
from opsigcli.spike_records import LIKELY, SEEN, UNTOLD

NAMES = ("ant", "bee", "cow", "dog")
STEPS, TOP = 60, 40  # checkpoints, and the one at the top of the spike
FIRST, SECOND = GroupKey(1, "first"), GroupKey(1, "second")


def calm(examples: int = 400, seed: int = 0) -> Trace:
    """Losses that fall smoothly, with labels in any order and two features that say nothing."""
    rng = np.random.default_rng(seed)
    losses = np.repeat(2 * np.exp(-np.arange(STEPS) / 40)[:, None], examples, axis=1)
    losses += rng.uniform(0, 0.02, losses.shape)
    seen = {name: rng.standard_normal(examples).astype(np.float32) for name in ("brightness", "contrast")}
    labels = rng.permutation(np.arange(examples) % len(NAMES))
    return Trace(
        losses, labels, np.arange(examples) + 1000, np.arange(STEPS) * 5, NAMES, seen=seen, loss="ce"
    )


def rising(trace: Trace, amounts: np.ndarray, at: int = TOP) -> Trace:
    losses = trace.losses.copy()
    losses[at] += amounts
    return replace(trace, losses=losses)


def spikes_of(trace: Trace, groups: dict[GroupKey, np.ndarray] | None = None) -> tuple[Spike, ...]:
    return attributed_spikes(trace, mean_loss(trace.losses, trace.counted, trace.weights), groups or {})


def test_shares_by_class_are_those_of_a_loop_and_add_up() -> None:
    trace = calm()
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.5, 1.5, len(trace.labels))
    trace = replace(trace, weights=weights / weights.mean())
    trace = rising(
        trace, np.array([1.0, 3.0, -0.5, 0.1])[trace.labels] * rng.exponential(1, len(trace.labels))
    )
    (spike,) = spikes_of(trace)
    cause = spike.cause
    assert cause is not None
    up = dict.fromkeys(NAMES, 0.0)
    net = dict.fromkeys(NAMES, 0.0)
    for i, label in enumerate(trace.labels.tolist()):
        delta = trace.losses[TOP, i] - trace.losses[TOP - 1, i]
        up[NAMES[label]] += trace.weights[i] * max(delta, 0)
        net[NAMES[label]] += trace.weights[i] * delta / trace.weights.sum()
    for share in cause.classes:
        assert share.share == pytest.approx(up[share.name] / sum(up.values()), abs=1e-12)
        assert share.contribution == pytest.approx(net[share.name], abs=1e-12)
        assert share.expected == pytest.approx(0.25)
    assert [share.name for share in cause.classes] == sorted(NAMES, key=lambda name: -up[name])
    assert sum(share.share for share in cause.classes) == pytest.approx(1, abs=1e-9)
    assert sum(share.contribution for share in cause.classes) == pytest.approx(spike.rise, abs=1e-9)


def test_a_spike_of_two_classes_names_them_and_what_fell() -> None:
    trace = calm()
    noise = np.random.default_rng(2).normal(0, 0.1, len(trace.labels))
    (spike,) = spikes_of(rising(trace, np.array([2.0, 0.2, 1.5, -0.5])[trace.labels] + noise))
    cause = spike.cause
    assert cause is not None
    assert (cause.strength, set(cause.named), cause.falling) == (SEEN, {"ant", "cow"}, ("dog",))
    assert cause.held is not None
    assert cause.held.share > 0.95
    assert cause.held.low < cause.held.expected < cause.held.high < cause.held.share
    assert cause.held.expected == pytest.approx(0.5, abs=0.01)
    assert cause.held.examples == 100  # the half that did not choose them
    assert "ant and cow hold" in cause.words
    assert "dog (\u22120." in cause.words


def test_what_is_chosen_is_measured_on_examples_that_did_not_choose_it() -> None:
    trace = rising(calm(), np.zeros(400))
    rows = [(TOP - 1, TOP)]
    given = read_rises(trace, np.ones(400, dtype=bool), rows, 0)
    chosen_on = given.positions[(given.half == 0) & (given.classes == 1)]
    amounts = np.full(400, 0.2)
    amounts[chosen_on] = 3.0  # only the half that chooses sees bees rise
    rises = read_rises(rising(trace, amounts), np.ones(400, dtype=bool), rows, 0)
    (found,) = by_class(rises, 0)
    assert found.held is not None
    assert found.held.name == "bee"
    assert found.held.share == pytest.approx(0.25, abs=0.1)
    assert found.named == ()


def test_brightness_inside_one_class_is_found_and_says_by_how_much() -> None:
    trace = calm()
    bright = trace.seen["brightness"]
    amounts = np.where((trace.labels == 2) & (bright > 0.4), 3.0, 0.0) + 0.05
    (spike,) = spikes_of(rising(trace, amounts))
    cause = spike.cause
    assert cause is not None
    split = next(split for split in cause.features if split.of == "cow")
    assert (split.feature, split.others) == ("brightness", 0)
    assert split.p_value <= 0.01
    assert split.correlation > 0.5
    lowest, _, highest = split.parts
    assert highest.share > 0.8
    assert highest.share > highest.high  # random thirds of the class hold less
    assert lowest.change < 0.2
    assert highest.change > 2.5
    assert sum(part.share for part in split.parts) == pytest.approx(1, abs=1e-9)
    assert "within cow the highest third by brightness" in cause.words
    assert cause.named == ("cow",)


def test_a_spike_of_everybody_alike_is_of_nobody() -> None:
    (spike,) = spikes_of(rising(calm(), np.random.default_rng(3).exponential(1.0, 400)))
    cause = spike.cause
    assert cause is not None
    assert (cause.strength, cause.named) == (UNTOLD, ())
    assert "no class stands out on held-out examples" in cause.words
    assert "no visible feature explains more" in cause.words


def test_a_class_that_holds_hardly_more_than_its_size_is_not_named() -> None:
    trace = calm()
    (spike,) = spikes_of(rising(trace, np.where(trace.labels == 2, 1.15, 1.0)))
    cause = spike.cause
    assert cause is not None
    assert cause.held is not None
    assert cause.held.p_value == 0.001  # certain, and 2.6 % of the rise more than of any other class
    assert 0.02 < cause.held.share - cause.held.expected < 0.05
    assert (cause.strength, cause.named) == (UNTOLD, ())
    (spike,) = spikes_of(rising(trace, np.where(trace.labels == 2, 1.5, 1.0)))
    assert spike.cause is not None
    assert (spike.cause.strength, spike.cause.named) == (LIKELY, ("cow",))


def test_the_few_examples_that_hold_a_rise_alone_are_named() -> None:
    trace = calm()
    amounts = np.full(400, 0.05)
    amounts[[7, 301, 13]] = 60.0, 20.0, 5.0
    (spike,) = spikes_of(rising(trace, amounts))
    cause = spike.cause
    assert cause is not None
    deltas = np.maximum(spike_deltas := rising(trace, amounts).losses[TOP] - trace.losses[TOP - 1], 0)
    assert spike_deltas[7] > spike_deltas[301]
    assert list(cause.few_ids) == [1007]  # alone more than half
    assert cause.few_share == pytest.approx(deltas[7] / deltas.sum(), rel=1e-6)
    assert cause.strength == SEEN
    assert cause.words.startswith(f"{NAMES[trace.labels[7]]} 1007 alone holds ")
    amounts[7] = 20.0
    (spike,) = spikes_of(rising(trace, amounts))
    assert spike.cause is not None
    assert sorted(spike.cause.few_ids) == [1007, 1301]
    assert " alone hold " in spike.cause.words


@pytest.mark.parametrize(("examples", "few"), [(96, 0), (100, 1)])
def test_a_few_of_a_few_are_not_said_to_be_alone(examples: int, few: int) -> None:
    trace = calm(examples)
    amounts = np.full(examples, 0.05)
    amounts[7] = 300.0
    (spike,) = spikes_of(rising(trace, amounts))
    assert spike.cause is not None
    assert len(spike.cause.few_ids) == few
    assert ("alone holds" in spike.cause.words) == bool(few)


def test_without_features_it_is_said_why() -> None:
    trace = replace(rising(calm(), np.full(400, 1.0)), seen={}, unseen="the data are numbers")
    (spike,) = spikes_of(trace)
    assert spike.cause is not None
    assert spike.cause.features == ()
    assert spike.cause.words.endswith("the data are numbers")


def test_a_class_that_splits_likewise_in_other_spikes_is_counted() -> None:
    trace = calm()
    bright = trace.seen["brightness"]
    for place, at in enumerate((20, 30, 40, 50)):
        sign = 1 if place % 2 else -1
        amounts = np.where((trace.labels == 2) & (sign * bright > 0.3), 3.0, 0.0) + 0.2
        trace = rising(trace, amounts, at)
    spikes = spikes_of(trace)
    assert len(spikes) == 4
    for place, spike in enumerate(spikes):
        assert spike.cause is not None
        split = spike.cause.features[0]
        assert (split.of, split.feature, split.again, split.others) == ("cow", "brightness", 3, 3)
        assert np.sign(split.correlation) == (1 if place % 2 else -1)


def test_groups_have_a_class_matched_null_and_the_rest_is_split_by_class() -> None:
    trace = calm()
    ants = np.flatnonzero(trace.labels == 0)
    groups = {FIRST: ants[:20], SECOND: np.flatnonzero(trace.labels == 1)[:20]}
    amounts = np.full(400, 0.2)
    amounts[ants[:20]] = 4.0
    (spike,) = spikes_of(rising(trace, amounts), groups)
    cause = spike.cause
    assert cause is not None
    first, second = cause.groups
    assert first.share == pytest.approx(spike.share_of_rise[FIRST], abs=1e-12)
    assert first.p_value is not None
    assert second.p_value is not None
    assert first.share > 5 * first.high
    assert first.p_value <= 0.01 < second.p_value
    assert second.share == pytest.approx(second.expected, rel=0.2)
    assert sum(cause.rest.values()) == pytest.approx(spike.share_of_rise[REST], abs=1e-9)
    assert set(cause.rest) == set(NAMES)


def test_a_mined_group_alone_makes_a_cause_no_more_than_likely() -> None:
    trace = calm()
    rng = np.random.default_rng(5)
    members = np.concatenate([rng.permutation(np.flatnonzero(trace.labels == k))[:10] for k in range(4)])
    amounts = np.full(400, 0.1)
    amounts[members] = 3.0
    (spike,) = spikes_of(
        replace(rising(trace, amounts), seen={}), {FIRST: members[:20], SECOND: members[20:]}
    )
    assert spike.cause is not None
    assert spike.cause.strength == LIKELY
    assert "pair 1" in spike.cause.words


def test_confidence_before_is_told_from_losses_and_adds_up() -> None:
    trace = rising(calm(), np.full(400, 1.0))
    losses = trace.losses.copy()
    losses[TOP - 1] = np.linspace(0.01, 3.0, 400)
    losses[TOP] = losses[TOP - 1] + np.linspace(4.0, 2.0, 400)
    trace = replace(trace, losses=losses)
    spike = max(spikes_of(trace), key=lambda spike: spike.rise)
    assert spike.cause is not None
    before = losses[int(spike.step) // 5]
    up = np.maximum(losses[int(spike.next_step) // 5] - before, 0)
    right, doubt, wrong = spike.cause.confidence
    assert right.share == pytest.approx(up[before < np.log(2)].sum() / up.sum(), abs=1e-12)
    assert wrong.share == pytest.approx(up[before > np.log(4)].sum() / up.sum(), abs=1e-12)
    assert right.share + doubt.share + wrong.share == pytest.approx(1, abs=1e-9)
    assert right.examples + doubt.examples + wrong.examples == 400
    other = spikes_of(replace(trace, loss="mse"))[0].cause
    assert other is not None
    assert other.confidence == ()  # no probability can be read from it


@pytest.mark.parametrize(("outputs", "doubt"), [(2, "(p = 1/2)"), (4, "(1/4 \u2264 p \u2264 1/2)")])
def test_a_network_that_says_nothing_yet_is_in_doubt_and_not_wrong(outputs: int, doubt: str) -> None:
    trace = rising(calm(), np.full(400, 1.0))
    losses = trace.losses.copy()
    losses[TOP - 1] = np.float32(
        np.log(outputs)
    )  # above log(outputs) by its rounding for one, below for the other
    losses[TOP] = losses[TOP - 1] + 2.0
    trace = replace(trace, losses=losses, labels=trace.labels % outputs, classes=NAMES[:outputs])
    cause = max(spikes_of(trace), key=lambda spike: spike.rise).cause
    assert cause is not None
    assert [(part.name, part.examples) for part in cause.confidence if part.examples] == [
        (f"in doubt before {doubt}", 400)
    ]


def test_tokens_are_named_by_their_word() -> None:
    trace = calm()
    rng = np.random.default_rng(6)
    tokens = rng.integers(0, 3, 400)
    amounts = np.where((trace.labels == 1) & (tokens == 2), 3.0, 0.0) + 0.05
    trace = replace(rising(trace, amounts), seen={"token seen": tokens})
    (spike,) = spikes_of(trace)
    assert spike.cause is not None
    split = next(split for split in spike.cause.features if "bee" in split.of)
    assert split.of == "'bee'"  # so is the class, where classes are tokens
    assert split.feature == "token seen 'cow'"  # the vocabulary's third word
    assert [part.name for part in split.parts] == ["others", "'cow'"]
    assert split.parts[1].share > 0.9


def test_classes_too_small_to_be_parted_are_parted_together() -> None:
    trace = calm()
    labels = np.arange(400) // 4
    position = np.arange(400, dtype=np.float32)
    amounts = np.where(position > 300, 2.0, 0.0) + 0.05
    trace = replace(rising(trace, amounts), labels=labels, classes=(), seen={"position": position})
    (spike,) = spikes_of(trace)
    assert spike.cause is not None
    (split,) = spike.cause.features
    assert (split.of, split.feature) == ("", "position")
    assert split.parts[2].share > 0.9
    assert "among all examples the highest third by position" in spike.cause.words


def test_more_classes_than_are_told_apart_are_one_at_the_end_and_nothing_is_lost() -> None:
    trace = calm(1200)
    trace = replace(rising(trace, np.full(1200, 1.0)), labels=np.arange(1200) % 300, classes=(), seen={})
    (spike,) = spikes_of(trace)
    assert spike.cause is not None
    assert len(spike.cause.classes) == CLASSES
    assert OTHERS in {share.name for share in spike.cause.classes}
    assert sum(share.examples for share in spike.cause.classes) == 1200
    assert sum(share.share for share in spike.cause.classes) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("examples", [1, 2, 7])
def test_the_smallest_traces_have_a_cause_and_claim_nothing(examples: int) -> None:
    trace = rising(calm(examples), np.full(examples, 1.0))
    (spike,) = spikes_of(trace)
    assert spike.cause is not None
    assert spike.cause.strength == UNTOLD
    assert sum(share.share for share in spike.cause.classes) == pytest.approx(1, abs=1e-9)


def test_examples_that_the_mean_loss_leaves_out_hold_nothing() -> None:
    trace = rising(calm(), np.full(400, 1.0))
    losses = trace.losses.copy()
    losses[3, :40] = np.nan
    losses[TOP, :40] = 100.0
    (spike,) = spikes_of(replace(trace, losses=losses))
    assert spike.cause is not None
    assert sum(share.examples for share in spike.cause.classes) == 360
    assert sum(share.contribution for share in spike.cause.classes) == pytest.approx(spike.rise, abs=1e-9)
    assert not set(spike.cause.up_ids) & set(range(1000, 1040))


def test_the_largest_spikes_alone_are_attributed_where_there_are_many() -> None:
    rng = np.random.default_rng(7)
    steps = 400
    losses = np.repeat(2 - np.arange(steps)[:, None] / 400, 40, axis=1) + rng.uniform(0, 0.001, (steps, 40))
    heights = rng.uniform(0.5, 1.5, 30)
    for at, height in zip(range(20, 400, 12), heights, strict=False):
        losses[at] += height
    spikes = spikes_of(Trace(losses, np.arange(40) % 4, np.arange(40), np.arange(steps), NAMES))
    with_cause = [spike.rise for spike in spikes if spike.cause is not None]
    assert len(spikes) == 30
    assert len(with_cause) == LARGEST
    assert min(with_cause) >= max(spike.rise for spike in spikes if spike.cause is None)


def test_the_same_trace_gives_the_same_causes() -> None:
    trace = rising(calm(), np.random.default_rng(8).exponential(1.0, 400))
    (one,), (two,) = spikes_of(trace), spikes_of(trace)
    assert repr(one.cause) == repr(two.cause)


def test_extremes_are_largest_first_and_only_of_their_sign() -> None:
    up, down = extremes(np.array([0.5, -1.0, 2.0, 0.0, -3.0]))
    assert up.tolist() == [2, 0]
    assert down.tolist() == [4, 1]


def test_halves_are_as_large_as_each_other_in_every_class() -> None:
    classes = np.repeat(np.arange(3), (10, 7, 41))
    half = halves(classes, np.random.default_rng(0))
    for k in range(3):
        sizes = [int((half[classes == k] == side).sum()) for side in (0, 1)]
        assert abs(sizes[0] - sizes[1]) <= 1
    assert sum((half == side).sum() for side in (0, 1)) == len(classes)


@pytest.mark.slow
def test_the_largest_share_of_random_classes_is_significant_as_often_as_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nulls, "MOST", 199)
    rng = np.random.default_rng(9)
    hits = 0
    for _ in range(300):
        values = rng.exponential(1, (1, 90)) ** 2  # heavy tails
        _, _, p = partition_null(values, np.array([50, 25, 15]), rng)
        hits += bool(p.min() <= 0.05)
    assert hits / 300 <= 0.07


@pytest.mark.slow
def test_named_classes_are_significant_in_random_spikes_as_often_as_they_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nulls, "MOST", 199)
    rng = np.random.default_rng(10)
    trace = calm(120)
    hits = 0
    for draw in range(300):
        given = rising(trace, rng.exponential(1, 120) ** 2)
        (found,) = by_class(read_rises(given, np.ones(120, dtype=bool), [(TOP - 1, TOP)], draw), draw)
        hits += bool(found.named)
    assert hits / 300 <= 0.07


@pytest.mark.slow
def test_features_that_say_nothing_are_significant_as_often_as_they_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nulls, "MOST", 99)
    rng = np.random.default_rng(11)
    trace = calm(160)
    hits = 0
    for draw in range(300):
        seen = {f"feature {k}": rng.standard_normal(160) for k in range(6)}
        given = rising(trace, rng.exponential(1, 160) ** 2)
        rises = read_rises(given, np.ones(160, dtype=bool), [(TOP - 1, TOP)], draw)
        (found,) = feature_splits(rises, seen, (), draw)
        hits += any(split.p_value <= 0.05 for split in found)
    assert hits / 300 <= 0.07


def test_random_sets_hold_their_size_on_average() -> None:
    values = np.random.default_rng(12).exponential(1, (2, 200))
    shares = subset_null(values, np.array([20, 100]), np.random.default_rng(0))
    assert shares.mean(axis=0) == pytest.approx([0.1, 0.5], abs=0.01)


def test_false_discovery_rates_are_those_of_the_paper() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.5])
    assert false_discovery(p) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert false_discovery(np.array([0.9, 0.8])) == pytest.approx([0.9, 0.9])


def test_data_of_one_class_are_parted_as_a_whole() -> None:
    trace = calm()
    amounts = np.where(trace.seen["brightness"] > 0.4, 3.0, 0.0) + 0.05
    trace = replace(rising(trace, amounts), labels=np.zeros(400, dtype=np.int64), classes=("<unknown>",))
    (spike,) = spikes_of(trace)
    cause = spike.cause
    assert cause is not None
    assert [share.name for share in cause.classes] == ["all examples"]
    assert (cause.strength, cause.named, cause.confidence) == (LIKELY, (), ())
    (split,) = cause.features
    assert (split.of, split.feature) == ("", "brightness")
    assert "among all examples the highest third by brightness" in cause.words


def test_fewer_spikes_of_many_examples_are_attributed(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = calm()
    for at in (10, 20, 30, 40, 50):
        trace = rising(trace, np.full(400, 0.5 + at / 50), at)
    monkeypatch.setattr(attribute, "NUMBERS", 4 * 400)
    causes = [spike.cause is not None for spike in spikes_of(trace)]
    assert causes == [False, True, True, True, True]


def test_a_split_that_is_certain_and_tiny_is_no_cause() -> None:
    trace = calm()
    amounts = 5 + 0.05 * trace.seen["brightness"] + 1.0 * (trace.labels == 2)
    (spike,) = spikes_of(rising(trace, amounts))
    cause = spike.cause
    assert cause is not None
    assert all(split.p_value <= 0.05 for split in cause.features)
    assert cause.features
    assert cause.words.endswith("no visible feature explains more")


def test_the_group_of_a_pair_that_is_no_finding_is_called_proposed() -> None:
    trace = calm()
    members = np.flatnonzero(trace.labels == 1)[:20]
    trace = rising(trace, np.where(np.isin(np.arange(400), members), 5.0, 0.05))
    mean = mean_loss(trace.losses, trace.counted, trace.weights)
    words = [
        spike.cause.words
        for proposed in ((), {2}, {1})
        for spike in attributed_spikes(trace, mean, {FIRST: members}, proposed=proposed)
        if spike.cause
    ]
    assert [text.count("proposed pair 1 first holds") for text in words] == [0, 0, 1]
    assert all("pair 1 first holds" in text for text in words)
