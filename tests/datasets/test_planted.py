"""The planted dataset: what is in it is known, and stays the same."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from opsigcli.datasets.planted import EVERY, Planted, open_planted
from opsigcli.datasets.planted_wholes import WHOLES
from opsigcli.errors import UsageError
from opsigcli.specs import parse

PAIRS = {
    "img2": 2,
    **dict.fromkeys(("pictures2", "pictures4", "pictures2-bn", "pictures4-bn", "many", "many-bn"), 2),
    "vec3": 3,
    "pol2": 2,
    "tok3": 3,
    "relu2": 2,
    "small2": 2,
    "weak5": 2,
    "weak3.5": 2,
    "overlap": 2,
    "mixed": 4,
    "rare": 4,
    "rare16": 4,
    "several": 2,
    "three": 1,
    "twice": 2,
    "alike": 3,
    "large": 1,
    "quiet": 3,
    "conv": 2,
    "conv-bn": 2,
    "conv-several": 2,
    "conv-several-bn": 2,
    "conv-three": 1,
    "conv-three-bn": 1,
    "augmented": 3,
    "cosine": 3,
}


@pytest.mark.parametrize("scenario", EVERY)
def test_every_scenario_opens_with_the_right_shapes(scenario: str) -> None:
    source = Planted(scenario, 300, 3)
    assert len(source) == 300
    assert source.read(np.array([0, 299, 5])).shape == (3, *source.input_shape)
    assert source.read(np.array([7])).dtype == np.float32
    assert np.isfinite(source.read(np.arange(300))).all()
    assert source.labels.dtype == source.ids.dtype == np.int64
    assert source.labels.min() >= 0
    assert source.labels.max() < len(source.classes)
    assert len(source.known_pairs) == PAIRS.get(scenario, 0)
    members = np.concatenate([ids for pair in source.known_pairs for ids in pair] or [[]])
    assert (len(members) > len(set(members.tolist()))) == (scenario == "twice")


@pytest.mark.parametrize("scenario", EVERY)
def test_the_same_spec_gives_the_same_examples_and_another_seed_gives_others(scenario: str) -> None:
    first, again, other = (Planted(scenario, 250, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.read(first.ids), again.read(again.ids))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert open_planted(parse(first.spec)).fingerprint == first.fingerprint


@pytest.mark.parametrize("scenario", ["img2", "vec3", "relu2", "small2", "weak5", "overlap"])
def test_both_groups_of_a_pair_share_a_feature_that_others_lack_while_labels_differ(scenario: str) -> None:
    source = Planted(scenario, 900, 0)
    inputs = source.read(source.ids).reshape(900, -1).astype(np.float64)
    for first, second in source.known_pairs:
        assert len(set(source.labels[first])) == len(set(source.labels[second])) == 1
        assert source.labels[first[0]] != source.labels[second[0]]
        direction = inputs[first].mean(axis=0)
        direction /= np.linalg.norm(direction)
        rest = np.setdiff1d(source.ids, np.concatenate([ids for pair in source.known_pairs for ids in pair]))
        assert (inputs[second] @ direction).min() > np.quantile(np.abs(inputs[rest] @ direction), 0.98)


@pytest.mark.parametrize("scenario", ["img2", "vec3", "pol2", "pictures4"])
def test_swapped_backgrounds_are_those_of_other_examples_and_nothing_else_differs(scenario: str) -> None:
    plain, swapped = Planted(scenario), Planted(scenario, swap=True)
    np.testing.assert_array_equal(plain.labels, swapped.labels)
    everything = np.arange(len(plain))
    moved = (swapped.read(everything) - plain.read(everything)).reshape(len(plain), -1)
    before, after = (
        np.concatenate([side for pair in s.known_pairs for side in pair]) for s in (plain, swapped)
    )
    assert not set(before) & set(after)
    assert set(np.flatnonzero(np.abs(moved).max(axis=1) > 1e-3)) == set(before) | set(after)
    for old, new in zip(plain.known_pairs, swapped.known_pairs, strict=True):
        for one, other in zip(old, new, strict=True):  # the same label, and the same feature on average
            assert len(one) == len(other)
            assert set(plain.labels[one]) == set(plain.labels[other])
            np.testing.assert_allclose(moved[other].mean(axis=0), -moved[one].mean(axis=0), atol=2e-3)
    assert open_planted(parse(swapped.spec)).fingerprint == swapped.fingerprint != plain.fingerprint


@pytest.mark.parametrize("scenario", ["null-gauss", "tok3", "three", "several"])
def test_what_no_other_example_can_have_is_not_swapped(scenario: str) -> None:
    with pytest.raises(UsageError, match="share a feature"):
        Planted(scenario, swap=True)


def test_groups_of_a_same_label_pair_have_opposite_features() -> None:
    source = Planted("pol2", 900, 0)
    inputs = source.read(source.ids).astype(np.float64)
    for first, second in source.known_pairs:
        assert set(source.labels[first]) == set(source.labels[second])
        a, b = inputs[first].mean(axis=0), inputs[second].mean(axis=0)
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) < -0.9


def test_ambiguous_tokens_differ_in_their_cue_and_label_only() -> None:
    source = Planted("tok3", 900, 0)
    tokens = source.read(source.ids).reshape(900, 5, 12)
    for first, second in source.known_pairs:
        last = tokens[np.concatenate([first, second]), -1]
        assert (last == last[0]).all()
        assert not np.array_equal(tokens[first[0], 0], tokens[second[0], 0])
        assert source.labels[first[0]] != source.labels[second[0]]


def test_overlapping_pairs_share_labels_and_have_features_at_sixty_degrees() -> None:
    source = Planted("overlap", 900, 0)
    inputs = source.read(source.ids).astype(np.float64)
    means = [inputs[np.concatenate(pair)].mean(axis=0) for pair in source.known_pairs]
    cosine = means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1])
    assert cosine == pytest.approx(0.5, abs=0.05)
    labels = [{int(source.labels[side[0]]) for side in pair} for pair in source.known_pairs]
    assert labels[0] == labels[1]


@pytest.mark.slow
def test_weak_features_lean_on_one_another_and_sides_differ_in_size() -> None:
    source = Planted("mixed", 20_000, 0)
    inputs = source.read(source.ids).astype(np.float64)
    axes = []
    for first, second in source.known_pairs:
        assert len(second) <= len(first) <= 4.1 * len(second)
        common = [
            inputs[side] - [inputs[source.labels == c].mean(axis=0) for c in source.labels[side]]
            for side in (first, second)
        ]
        axes.append(np.concatenate(common).mean(axis=0))
    sizes = np.linalg.norm(axes, axis=1)
    cosines = (axes / sizes[:, None]) @ (axes / sizes[:, None]).T
    assert ((sizes > 2.5) & (sizes < 8.5)).all()
    assert ((cosines > 0.2) & (cosines < 0.8))[np.triu_indices(4, 1)].all()


def test_rare_pairs_are_at_most_half_a_percent_of_the_examples() -> None:
    for first, second in Planted("rare", 20_000, 1).known_pairs:
        assert 20 <= len(first) + len(second) <= 101


def test_a_conflict_of_three_can_be_named_in_nine_ways_and_an_axis_is_known() -> None:
    three = Planted("three", 900, 0)
    assert len(three.alternatives) == 9
    assert {len({int(x) for x in three.labels[side]}) for pair in three.alternatives for side in pair} == {
        1,
        2,
    }
    axis = Planted("axis", 900, 0)
    assert axis.axis is not None
    assert axis.known_pairs == ()
    assert np.abs(axis.axis).max() > 5 * np.median(np.abs(axis.axis))  # heavy tails
    spread = (
        np.linalg.svd(axis.read(axis.ids) - axis.read(axis.ids).mean(axis=0))[2][:3] @ axis.read(axis.ids).T
    )
    assert max(abs(np.corrcoef(row, axis.axis)[0, 1]) for row in spread) > 0.9


def test_group_sizes_scale_with_the_number_of_examples() -> None:
    assert [len(g) for pair in Planted("small2", 900).known_pairs for g in pair] == [16, 9, 16, 9]
    assert [len(g) for pair in Planted("img2", 1800).known_pairs for g in pair] == [50] * 4


def test_pictures_show_the_border_colour_of_the_pair() -> None:
    source = Planted()
    red = source.image(int(source.known_pairs[0][0][0]))
    blue = source.image(int(source.known_pairs[1][0][0]))
    assert red is not None
    assert blue is not None
    assert red.dtype == np.uint8
    assert red.shape == blue.shape == (60, 60, 3)
    assert red[0, 0, 0] == 255
    assert red[0, 0, 2] == 0
    assert blue[0, 0, 2] == 255
    assert Planted("vec3").image(0) is None


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("planted?scenario=imgg2", "'img2'"),
        ("planted?sead=1", "'seed'"),
        ("planted?n=lots", "expected n to be a whole number"),
        ("planted?n=true", "expected n to be a whole number"),
        ("planted?seed=-1", "expected seed to be a whole number"),
        ("planted?n=10", "at least 200"),
    ],
)
def test_a_wrong_spec_is_a_usage_error_that_helps(spec: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_planted(parse(spec))
    assert says in caught.value.message + caught.value.hint


def test_opening_needs_no_torch() -> None:
    code = "import sys; from opsigcli.datasets.planted import Planted; Planted(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("scenario", WHOLES)
def test_whole_classes_that_oppose_are_alike_and_an_axis_is_turned_round_in_the_second_class(
    scenario: str,
) -> None:
    source = Planted(scenario, 900, 4)
    inputs = source.read(source.ids).astype(np.float64)
    labels = range(len(source.classes))
    if source.axis is None:
        means = np.stack([inputs[source.labels == label].mean(axis=0) for label in labels])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        alike = {(a, b) for a, b in np.argwhere(means @ means.T > 0.9).tolist() if a < b}
        assert alike == set(source.opposed)
        return
    assert not source.opposed
    own = inputs - np.stack([inputs[source.labels == label].mean(axis=0) for label in labels])[source.labels]
    place = own @ np.linalg.svd(own, full_matrices=False)[2][0]
    cosines = [
        np.corrcoef(place[source.labels == label], source.axis[source.labels == label])[0, 1]
        for label in (0, 1)
    ]
    assert min(map(abs, cosines)) > 0.9
    assert cosines[0] * cosines[1] < 0
    assert not source.axis[source.labels > 1].any()
