"""Which pairs are told from one another, so that members of one do not stand between the other and the rest."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.mining import surrogate
from opsigcli.mining.chance import by_chance
from opsigcli.mining.inputs import Settings, compute_now
from opsigcli.mining.other_pairs import told_from
from opsigcli.mining.outliers import separation
from opsigcli.mining.surrogate import clearest_by_chance
from opsigcli.progress import SILENT

M, SIDE = 600, 15
LABELS = np.arange(M) % 2
Sides = tuple[np.ndarray, np.ndarray]
FIRST, SECOND = (
    (np.arange(start, start + SIDE), np.arange(start + SIDE, start + 2 * SIDE)) for start in (0, 2 * SIDE)
)


def products(rows: np.ndarray) -> np.ndarray:
    found = np.asarray(rows @ rows.T, dtype=np.float32)
    np.fill_diagonal(found, 0)
    return found


def two_pairs(cosine: float, sizes: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """Noise, and two pairs along features that are alike."""
    rng = np.random.default_rng(0)
    rows = 0.03 * rng.standard_normal((M, 50))
    other = np.array([cosine, np.sqrt(1 - cosine**2)])
    for (a, b), feature, size in zip((FIRST, SECOND), (np.array([1.0, 0.0]), other), sizes, strict=True):
        rows[a, :2] += size * feature
        rows[b, :2] -= size * feature
    return products(rows)


@pytest.mark.parametrize("sizes", [(1.0, 1.0), (1.0, 2.0), (2.0, 1.0)])
@pytest.mark.parametrize("cosine", [0.0, 0.7, -0.7])
def test_members_of_another_pair_with_a_feature_that_is_alike_do_not_stand_between(
    cosine: float, sizes: tuple[float, float]
) -> None:
    similarity = two_pairs(cosine, sizes)
    of_first, of_second = told_from(similarity, [FIRST, SECOND], LABELS)
    assert np.flatnonzero(of_first).tolist() == np.concatenate(SECOND).tolist()
    assert np.flatnonzero(of_second).tolist() == np.concatenate(FIRST).tolist()
    by_all, by_others = (
        separation(similarity, FIRST, labels=LABELS, examples=np.inf, left_out=out)
        for out in (None, of_first)
    )
    assert by_others > 2
    if cosine:
        assert by_all < 1.5 * max(1, sizes[0] / sizes[1])  # between the members and the rest


def test_slices_of_one_axis_are_not_told_from_one_another() -> None:
    rng = np.random.default_rng(1)
    rows = 0.05 * rng.standard_normal((M, 50))
    order = np.argsort(rng.permutation(M))
    rows[:, 0] = np.linspace(-1, 1, M)[order]
    ranked = np.argsort(rows[:, 0])
    slices = [
        (ranked[k * SIDE : (k + 1) * SIDE], ranked[M - (k + 1) * SIDE : M - k * SIDE]) for k in range(4)
    ]
    for out in told_from(products(rows), slices, LABELS):
        assert not out.any()


def test_of_no_pair_and_of_one_nobody_is_left_out() -> None:
    similarity = two_pairs(0.5)
    assert told_from(similarity, [], LABELS) == []
    assert not told_from(similarity, [FIRST], LABELS)[0].any()


def test_where_candidates_were_chosen_such_pairs_may_be_findings() -> None:
    similarity, pairs = two_pairs(0.8), [FIRST, SECOND]
    told = told_from(similarity, pairs, LABELS)
    settings = Settings("full", surrogates=19)
    without, by_all = (
        by_chance(similarity, LABELS, pairs, settings, 20 * M, SILENT, compute_now, None, out)
        for out in (told, [])
    )
    assert without.findable
    assert not by_all.findable


def test_pairs_are_told_from_one_another_in_surrogates_too(monkeypatch: pytest.MonkeyPatch) -> None:
    similarity, asked = two_pairs(0.8), []

    def all_others(drawn: np.ndarray, pairs: list[Sides], _labels: np.ndarray) -> list[np.ndarray]:
        asked.append(len(pairs))
        return [~np.isin(np.arange(len(drawn)), np.concatenate(sides)) for sides in pairs]

    usual = clearest_by_chance(similarity, LABELS, 3, 0, chosen=True)
    monkeypatch.setattr(surrogate, "told_from", all_others)
    nobody_left = clearest_by_chance(similarity, LABELS, 3, 0, chosen=True)
    assert min(asked) > 0
    assert (nobody_left > 10 * usual).all()  # of a separation from nobody
    assert (
        clearest_by_chance(similarity, LABELS, 3, 0).max() < 10
    )  # rotations have clarity, which has no others
