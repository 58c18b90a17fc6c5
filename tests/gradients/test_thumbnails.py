"""What is looked at in the data: features, tokens and the pictures of a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Opsig
from reporting_case import make_case

from opsigcli.datasets import open_source
from opsigcli.gradients.thumbnails import look, same_groups, take_pictures, wanted_ids
from opsigcli.mining.causes.attribute import moved_ids
from opsigcli.store.reader import open_store


class Pictures:
    """Examples 0 … 9 as flat grey pictures of level 20·i; ids start at 100."""

    ids = np.arange(100, 110)

    def image(self, position: int) -> np.ndarray:
        return np.full((3, 2, 3), 20 * position, dtype=np.uint8)


def mining_of(first: list[int], second: list[int]):  # type: ignore[no-untyped-def]
    mining = make_case().mining
    pair = mining.pairs[0]
    sides = [replace(group, ids=np.array(ids)) for group, ids in ((pair.first, first), (pair.second, second))]
    return replace(mining, pairs=(replace(pair, first=sides[0], second=sides[1]),))


def test_mean_pictures_are_over_all_members_and_their_difference_is_about_grey() -> None:
    found = take_pictures(Pictures(), [105], mining_of([101, 102, 106], [109, 107]))
    first, second, gap = found.means
    assert first.shape == (3, 2, 3)
    assert (first == 60).all()
    assert (second == 160).all()
    assert (gap == 1).all()  # the largest difference is 127 levels from grey
    same = take_pictures(Pictures(), [105], mining_of([101, 103], [102]))
    assert (same.means[2] == 128).all()


def test_pictures_of_different_sizes_have_no_mean() -> None:
    class Uneven(Pictures):
        def image(self, position: int) -> np.ndarray:
            return np.zeros((2 + position, 2, 3), dtype=np.uint8)

    assert take_pictures(Uneven(), [105], mining_of([101, 102], [103])).means == ()


def test_mean_pictures_are_those_of_the_same_groups() -> None:
    one, other = mining_of([101, 102], [103]), mining_of([101, 102], [104])
    assert same_groups(one, mining_of([101, 102], [103]))
    assert not same_groups(one, other)
    assert not same_groups(None, one)


def test_the_nearest_prototype_is_among_the_pictures() -> None:
    case = make_case(examples=200)
    pair = case.mining.pairs[0]
    assert len(pair.first.ids) > 24
    for member in map(int, pair.first.ids):
        named = replace(pair, first=replace(pair.first, nearest=member))
        assert member in wanted_ids(replace(case.mining, pairs=(named,), top=()), case.trace)


def test_images_are_looked_at_for_features_and_texts_for_tokens() -> None:
    images = open_source("planted?n=200")
    found = look(images, np.array([5, 1, 30]))
    np.testing.assert_allclose(
        found["brightness"], images.read(np.array([5, 1, 30])).mean(axis=(1, 2, 3)), rtol=1e-5
    )
    texts = open_source("babble?sentences=20&context=8&per=token")
    positions = np.array([3, 17, 40])
    tokens = look(texts, positions)
    np.testing.assert_array_equal(tokens["token predicted"], texts.labels[positions][:, None])
    assert tokens["token seen"].shape == (3, 1)
    assert look(open_source("planted?scenario=vec3&n=300"), np.arange(3)) == {}


@pytest.mark.slow
def test_the_store_keeps_mean_pictures_and_prototypes(opsig: Opsig, tmp_path: Path) -> None:
    store = tmp_path / "o.h5"
    words = ("--data", "planted?n=300", "--model", "mlp?hidden=32&activation=tanh", "--lr", 0.3)
    assert opsig("train", tmp_path / "run", *words, "--steps", 60).code == 0
    assert opsig("trace", tmp_path / "run", "--store", store).code == 0
    shown = opsig("mine", "--store", store)
    assert "nearest to the centroid: ▲" in shown.out
    with open_store(store) as opened:
        mining, pictures = opened.mining, opened.thumbnails
    assert mining is not None
    assert pictures is not None
    assert len(pictures.means) == 3 * len(mining.pairs) > 0
    source = open_source("planted?n=300")
    for pair, mean in zip(mining.pairs, pictures.means[::3], strict=True):
        members = [source.image(int(np.flatnonzero(source.ids == i)[0])) for i in pair.first.ids]
        np.testing.assert_allclose(mean, np.mean(members, axis=0), atol=0.51)
        assert pair.first.nearest in pair.first.ids
        assert pair.second.nearest in pair.second.ids
    before = opsig("mine", "--store", store, "--method", "losses", "--json").json["result"]["pairs"]
    assert all(pair["first"]["nearest"] is None for pair in before)


@pytest.mark.slow
def test_who_moved_most_in_the_largest_rise_keeps_a_picture_where_no_spike_stands_out(
    opsig: Opsig, tmp_path: Path
) -> None:
    store = tmp_path / "o.h5"
    words = ("--data", "planted?n=200", "--model", "mlp?hidden=8", "--lr", 2.0, "--batch-size", 20)
    assert opsig("train", tmp_path / "run", *words, "--steps", 20).code == 0
    assert opsig("trace", tmp_path / "run", "--store", store).code == 0
    for verb in ("trace", "mine"):
        if verb == "mine":
            assert opsig("mine", "--store", store, "--surrogates", 0).code == 0
        with open_store(store) as opened:
            moved, pictures = moved_ids(opened.trace), opened.thumbnails
            assert verb == "trace" or not opened.mining.spikes
        assert moved
        assert set(moved) <= set(pictures.ids.tolist())
