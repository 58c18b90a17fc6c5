"""Groups so large that a fit to all examples would take them for usual."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.mining.inputs import Candidates
from opsigcli.mining.large_groups import large_groups
from opsigcli.mining.outliers import stands_apart
from opsigcli.mining.similarity import Gradients, gradient_similarity

M, OUTPUTS, WIDTH = 700, 4, 64
LABELS = np.random.default_rng(0).integers(0, OUTPUTS, M)


def gradients(side: int, size: float = 2.0, checkpoints: int = 4) -> tuple[list[Gradients], list[np.ndarray]]:
    """J'd, with a Jacobian J of which all inputs have a part; one feature of ``side`` of class 0 and of class 1.

    The others' residuals are of all classes, the members' of their own two.
    """
    rng = np.random.default_rng(1)
    labels = np.random.default_rng(0).permutation(M) % OUTPUTS
    pair = [np.flatnonzero(labels == label)[:side] for label in (0, 1)]
    inputs = rng.standard_normal((M, WIDTH)) / np.sqrt(WIDTH)
    feature = np.zeros(WIDTH)
    feature[0] = size
    for group in pair:
        inputs[group] += feature
    found = []
    for checkpoint in range(checkpoints):
        common = rng.standard_normal((OUTPUTS, WIDTH))
        scores = rng.standard_normal((M, OUTPUTS)) * 0.5
        for group in pair:
            scores[group, :2] += 3
        odds = np.exp(scores)
        residuals = odds / odds.sum(axis=1, keepdims=True) - np.eye(OUTPUTS)[labels]
        own = np.einsum("mc,mk->mck", residuals, inputs).reshape(M, -1)
        sketch = np.concatenate([residuals @ common, own], axis=1).astype(np.float32)
        found.append(
            Gradients(checkpoint, sketch, np.linalg.norm(sketch, axis=1), residuals.astype(np.float32))
        )
    return found, pair


def shared(found: np.ndarray, pair: list[np.ndarray]) -> float:
    members = np.concatenate(pair)
    return len(np.intersect1d(found, members)) / max(len(np.union1d(found, members)), 1)


@pytest.mark.parametrize("side", [60, 80, 110])
def test_members_of_a_pair_up_to_a_third_of_all_are_left_out_of_what_is_usual(side: int) -> None:
    given, pair = gradients(side)
    assert shared(large_groups(given), pair) > 0.95
    usable = Candidates(np.arange(M), given).without_large_groups(seed=0)
    similarity = gradient_similarity(given, LABELS, among=usable.among)
    assert stands_apart(similarity, (pair[0], pair[1]))
    assert -similarity[np.ix_(*pair)].mean() > 0.2


def test_a_fit_to_all_hides_such_a_pair() -> None:
    given, pair = gradients(110)
    similarity = gradient_similarity(given, LABELS)
    assert not stands_apart(similarity, (pair[0], pair[1]))


def test_without_a_pair_or_with_a_small_one_nothing_is_left_out() -> None:
    for side in (0, 15):
        given, _ = gradients(side)
        assert len(large_groups(given)) == 0
        assert Candidates(np.arange(M), given).without_large_groups(seed=0).among is None


def test_too_few_examples_to_fit_a_gradient_to_the_rest_have_no_large_groups() -> None:
    given, _ = gradients(80)
    assert len(large_groups(given, among=np.arange(240))) == 0
    assert len(large_groups([at.only(slice(0, 1)) for at in given])) == 0


def test_of_chosen_candidates_as_large_a_share_is_held_for_usual_as_of_those_drawn() -> None:
    weights = np.repeat([1.0, 4.0], [1500, 500])
    among = Candidates(np.arange(2000), (), weights).among
    assert among is not None
    assert among[-500:].tolist() == list(range(1500, 2000))  # drawn for 2,000
    assert len(among) - 500 == pytest.approx(1500 / 4, rel=0.1)
    assert np.diff(among[:-500]).min() < 2 < np.diff(among[:-500]).max()  # at random
    assert Candidates(np.arange(2000)).among is None


def test_rows_that_stand_for_all_are_those_of_weight_but_for_large_groups() -> None:
    given, pair = gradients(80)
    weights = np.ones(M)
    weights[: M - 50] = 1e9
    usable = Candidates(np.arange(M), given, weights).without_large_groups(seed=0)
    among = usable.among
    assert among is not None
    assert among.max() < M - 50
    assert len(np.intersect1d(among, np.concatenate(pair))) < 5
    half = usable.only(np.arange(M) % 2 == 0)
    assert half.apart is not None
    assert half.apart.sum() == usable.apart[::2].sum()  # type: ignore[index]
