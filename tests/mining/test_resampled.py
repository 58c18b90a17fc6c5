"""Whether a pair comes back in halves of what was compared, against sets counted one by one."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.mining.evidence.material import Material
from opsigcli.mining.inputs import Candidates, Settings
from opsigcli.mining.resampled import DRAWS, HALVED, Half, recovered, recovery_in, searched_in_halves
from opsigcli.mining.similarity import Gradients, gradient_similarity
from opsigcli.mining.verdict import judge, traits
from opsigcli.mining_records import Evidence

M, K = 120, 16
LABELS = np.arange(M) % 3
Sides = tuple[np.ndarray, np.ndarray]


def gradients(checkpoints: int = 4) -> list[Gradients]:
    rng = np.random.default_rng(0)
    found = []
    for at in range(checkpoints):
        sketch = rng.standard_normal((M, K)).astype(np.float32)
        found.append(Gradients(at, sketch, np.linalg.norm(sketch, axis=1), rng.random((M, 2))))
    return found


def by_counting(half: Half, sides: Sides) -> float | None:
    """The definition, member by member, in plain numbers."""
    looked_at = set(half.rows.tolist())
    asked = [{int(i) for i in side if i in looked_at} for side in sides]
    if min(len(side) for side in asked) < 5:
        return None
    best = 0.0
    for a, b in half.pairs:
        for first, second in ((set(a.tolist()), set(b.tolist())), (set(b.tolist()), set(a.tolist()))):
            common = len(asked[0] & first) + len(asked[1] & second)
            best = max(best, common / (len(asked[0] | first) + len(asked[1] | second)))
    return best


@pytest.mark.parametrize("seed", range(10))
def test_recovery_is_the_largest_share_of_common_members(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = np.arange(4 + seed), np.arange(20, 30)
    halves = []
    for _ in range(4):
        rows = np.sort(rng.permutation(M)[: M // 2 + 20])
        drawn = [np.sort(rng.permutation(40)[: rng.integers(5, 30)]) for _ in range(3)]
        halves.append(Half("candidates", rows, [tuple(np.array_split(each, 2)) for each in drawn]))
    expected = [by_counting(half, sides) for half in halves]
    assert [recovery_in(half, sides) for half in halves] == expected
    counted = [each for each in expected if each is not None]
    assert recovered(halves, "candidates", sides) == (np.mean(counted) if counted else None)
    assert recovered(halves, "dimensions", sides) is None


def test_halves_are_those_of_the_checkpoints_the_dimensions_and_the_candidates() -> None:
    given, seen = gradients(), []

    def search(similarity: np.ndarray, rows: np.ndarray) -> list[Sides]:
        seen.append((len(rows), similarity))
        return [(np.arange(3), np.arange(3, 6))]

    settings = Settings("full", similarity="raw")
    halves = searched_in_halves(Candidates(np.arange(M), given), LABELS, settings, search)
    assert [half.halved for half in halves] == [name for name in HALVED for _ in range(DRAWS)]
    assert sorted(size for size, _ in seen) == [M // 2] * DRAWS + [M] * 2 * DRAWS
    for half in halves:  # indices into the rows become rows
        np.testing.assert_array_equal(half.pairs[0][1], half.rows[3:6])
    # Half of the checkpoints: two of the four.
    pairs = [(a, b) for a in range(4) for b in range(a)]
    whole = {gradient_similarity([given[b], given[a]], LABELS, "raw").tobytes() for a, b in pairs}
    assert sum(similarity.tobytes() in whole for _, similarity in seen) == DRAWS
    # A single checkpoint has no half, and the same seed draws the same halves.
    single = searched_in_halves(Candidates(np.arange(M), given[:1]), LABELS, settings, search)
    assert [half.halved for half in single] == [name for name in HALVED[1:] for _ in range(DRAWS)]
    again = searched_in_halves(Candidates(np.arange(M), given), LABELS, settings, search)
    assert all(np.array_equal(a.rows, b.rows) for a, b in zip(halves, again, strict=True))


def test_features_made_before_are_those_that_a_half_would_make() -> None:
    given, known = gradients(), dict[int, np.ndarray]()
    gradient_similarity(given, LABELS, known=known)
    assert sorted(known) == [at.checkpoint for at in given]
    seen = []

    def search(similarity: np.ndarray, rows: np.ndarray) -> list[Sides]:
        seen.append((len(rows), similarity.tobytes()))
        return []

    settings = Settings("full")
    searched_in_halves(Candidates(np.arange(M), given), LABELS, settings, search, known)
    alone = list(seen)
    searched_in_halves(Candidates(np.arange(M), given), LABELS, settings, search)
    assert sorted(seen) == sorted(2 * alone)
    np.testing.assert_array_equal(
        gradient_similarity(given[1:3], LABELS, known=known), gradient_similarity(given[1:3], LABELS)
    )


@pytest.mark.parametrize(
    ("surrogates", "findable", "kinds"),
    [(39, True, HALVED), (39, False, ("checkpoints", "candidates")), (0, False, ())],
)
def test_proposals_are_sought_again_too_in_halves_of_checkpoints_and_candidates(
    surrogates: int, findable: bool, kinds: tuple[str, ...]
) -> None:
    given = gradients()
    material = Material(
        Candidates(np.arange(M), given),
        LABELS,
        gradient_similarity(given, LABELS),
        np.zeros((9, M)),
        np.ones(M) / M,
        M,
        Settings("full", surrogates=surrogates),
        findable=findable,
    )
    assert [half.halved for half in material.halved] == [name for name in kinds for _ in range(DRAWS)]


@pytest.mark.parametrize(("lowest", "word"), [(0.79, "unstable"), (0.8, "stable")])
def test_a_pair_that_does_not_come_back_is_called_unstable_with_the_numbers(lowest: float, word: str) -> None:
    evidence = {
        "opposition": Evidence(0.5, 0.0),
        "gradient_cosine": Evidence(-0.5, 0.0),
        "separation": Evidence(3.0, 0.2),
        "cohesion": Evidence(0.4, 0.0),
        "stability_checkpoints": Evidence(0.9, 0.1),
        "stability_candidates": Evidence(lowest, 0.1),
    }
    _, reasons = judge(evidence, 25)
    said = next(reason for reason in reasons if "stable" in reason)
    assert said.startswith(f"{word}: ")
    assert f"checkpoints 0.90, candidates {lowest:.2f}" in said
    assert ("unstable" in traits(evidence)) is (word == "unstable")
