"""Pairs in the directions of the oscillation: losses propose, gradients decide."""

from __future__ import annotations

import numpy as np

from opsigcli.mining.evidence.material import touched
from opsigcli.mining.loss_pca import oscillating_pairs, oscillating_sides
from opsigcli.mining.search import Search
from opsigcli.mining.similarity import Gradients

M = 200
GROUPS = [np.arange(at, at + 10) for at in (0, 10, 20, 30)]  # 0 opposes 1, 2 opposes 3


def oscillation(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Loss deltas in which groups 0 and 2 swing against 1 and 3 in one direction, and the similarity of gradients."""
    rng = np.random.default_rng(seed)
    high_passed = rng.standard_normal((12, M)) * 0.02
    for group, sign in zip(GROUPS, (1, -1, 1, -1), strict=True):
        high_passed[:, group] += sign * (-1.0) ** np.arange(12)[:, None]
    similarity = rng.standard_normal((M, M)) * 0.05
    for a, b in ((0, 1), (2, 3)):
        side = np.zeros(M)
        side[GROUPS[a]], side[GROUPS[b]] = 1, -1
        similarity += 0.6 * np.outer(side, side)
    similarity = ((similarity + similarity.T) / 2).astype(np.float32)
    np.fill_diagonal(similarity, 0)
    return high_passed, similarity


def sets(sides: list[tuple[np.ndarray, np.ndarray]]) -> set[tuple[tuple[int, ...], ...]]:
    return {tuple(sorted(tuple(side.tolist()) for side in pair)) for pair in sides}


def searched(**changes: object) -> Search:
    high_passed, similarity = oscillation()
    rows = np.concatenate([high_passed, np.full((3, M), np.nan)])
    given = {"energy": (high_passed**2).sum(axis=0), "steps": tuple(range(13)), **changes}
    return Search(similarity, rows, rows, **given)  # type: ignore[arg-type]


BOTH = {tuple(sorted(tuple(GROUPS[g].tolist()) for g in pair)) for pair in ((0, 1), (2, 3))}


def test_one_direction_is_split_into_the_pairs_it_carries() -> None:
    high_passed, similarity = oscillation()
    high_passed[3, 7] = np.nan  # a step that was not measured everywhere
    assert sets(oscillating_sides(high_passed, similarity)) == BOTH


def test_without_swings_or_without_groups_nothing_is_proposed() -> None:
    high_passed, similarity = oscillation()
    noise = np.random.default_rng(1).standard_normal((M, M)).astype(np.float32) * 0.05
    assert oscillating_sides(np.zeros_like(high_passed), similarity) == []
    assert oscillating_sides(high_passed, (noise + noise.T) / 2) == []
    assert oscillating_sides(high_passed[:2], similarity) == []
    assert oscillating_sides(high_passed[:, :15], similarity[:15, :15]) == []


def test_only_pairs_that_are_new_and_active_are_added() -> None:
    assert sets(oscillating_pairs(searched(), [])) == BOTH
    known = (GROUPS[0][:8], GROUPS[1])
    assert sets(oscillating_pairs(searched(), [known])) == BOTH - {
        tuple(sorted(tuple(GROUPS[g].tolist()) for g in (0, 1)))
    }
    assert oscillating_pairs(searched(energy=np.ones(M)), []) == []


def test_held_out_steps_are_not_looked_at() -> None:
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((M, 4)).astype(np.float32)
    gradients = [Gradients(c, noise, np.ones(M), noise) for c in (1, 5, 15)]
    assert touched(gradients, 15) == (0, 1, 4, 5, 14)
    high_passed, similarity = oscillation()
    assert (
        oscillating_pairs(Search(similarity, high_passed, high_passed, (high_passed**2).sum(axis=0)), [])
        == []
    )
