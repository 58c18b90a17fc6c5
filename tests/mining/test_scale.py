"""What makes mining bounded: blocks, one survey, candidates among many, and members from outside the candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from growth import growth, linux

from opsigcli.mining import opposition
from opsigcli.mining.blocks import columns_of, delta_blocks
from opsigcli.mining.extend import LARGEST, extend
from opsigcli.mining.opposition import NEAREST, References, all_degrees, directions, either
from opsigcli.mining.similarity import Gradients, residual_adjusted_cosine
from opsigcli.mining.simple import refine
from opsigcli.mining.top import top_deltas
from opsigcli.mining.trace_stats import survey
from opsigcli.mining.usual_cosine import usual_cosine
from opsigcli.mining.usual_gradient import fit, per_residual


@pytest.mark.parametrize("t", [1, 2, 3, 9, 16, 17, 33])
@pytest.mark.parametrize("chunks", [None, (4, 10), (16, 64)])
def test_blocks_of_deltas_cover_every_step_and_example_once(
    tmp_path: Path, t: int, chunks: tuple[int, int] | None
) -> None:
    losses = np.random.default_rng(t).random((t, 37)).astype(np.float32)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        fits = chunks and (min(chunks[0], t), min(chunks[1], 37))
        stored = file.create_dataset("x", data=losses, chunks=fits) if fits else losses
        found = np.full((t - 1, 37), np.nan, dtype=np.float32)
        order = []
        for steps, examples, deltas in delta_blocks(stored):
            assert np.isnan(found[steps, examples]).all()
            found[steps, examples] = deltas
            order.append((steps.start, examples.start))
        np.testing.assert_array_equal(found, losses[1:] - losses[:-1])
        assert order == sorted(order)
        np.testing.assert_array_equal(columns_of(stored, np.array([30, 2, 2])), losses[:, [30, 2, 2]])


def naive_top(losses: np.ndarray, ids: np.ndarray, t: int, k: int, sign: int) -> list[tuple[int, float]]:
    """Ids and deltas by a sort of everything, one number at a time."""
    rows = []
    for i, example in enumerate(ids.tolist()):
        with np.errstate(invalid="ignore"):
            delta = float(losses[t + 1, i] - losses[t, i])
        if not np.isnan(delta) and delta != -sign * np.inf:
            rows.append((-sign * delta, example, delta))
    return [(example, delta) for _, example, delta in sorted(rows)[:k]]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_top_deltas_are_a_naive_loops_whatever_the_values_and_the_shape(seed: int) -> None:
    rng = np.random.default_rng(seed)
    t, n, k = int(rng.integers(2, 20)), int(rng.integers(1, 3000)), int(rng.integers(1, 40))
    losses = rng.standard_normal((t, n)).astype(np.float32)
    kind = seed % 5
    if kind == 1:  # many ties
        losses = np.round(losses)
    if kind == 2:  # holes, and what is not finite
        losses[rng.random(losses.shape) < 0.2] = np.nan
        losses[rng.random(losses.shape) < 0.05] = np.inf
        losses[rng.random(losses.shape) < 0.05] = -np.inf
    if kind == 3:  # nothing moves but a few
        losses[:] = losses[0]
        losses[:, : n // 50] = rng.standard_normal((t, n // 50))
    if kind == 4:  # sorted: every block is better than the last
        losses.sort(axis=1)
        losses *= np.arange(t, dtype=np.float32)[:, None]
    ids = np.arange(n) if seed % 2 else rng.permutation(5 * n)[:n]
    with np.errstate(invalid="ignore"):
        stored = losses[1:] - losses[:-1]
    found = top_deltas(losses, ids, np.arange(t), k, stored if seed % 3 == 0 else None)
    assert len(found) == t - 1
    for step, record in enumerate(found):
        for sign, side, deltas in (
            (1, record.up_ids, record.up_deltas),
            (-1, record.down_ids, record.down_deltas),
        ):
            assert list(zip(side.tolist(), deltas.tolist(), strict=True)) == naive_top(
                losses, ids, step, k, sign
            )


def test_values_are_sorted_out_when_too_many_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    import opsigcli.mining.top as module

    losses = np.zeros((3, 50_000), dtype=np.float32)
    losses[1, 49_990:] = 1
    ids = np.arange(50_000)[::-1].copy()  # ties go to whom is seen last
    plainly = top_deltas(losses, ids, np.arange(3), 20)
    monkeypatch.setattr(module, "HELD", 100)
    for one, other in zip(plainly, top_deltas(losses, ids, np.arange(3), 20), strict=True):
        np.testing.assert_array_equal(one.up_ids, other.up_ids)
        np.testing.assert_array_equal(one.down_ids, other.down_ids)
    assert plainly[0].up_ids.tolist() == list(range(20))
    assert plainly[1].up_ids.tolist() == list(range(10, 30))


@pytest.mark.parametrize("holes", [False, True])
def test_the_survey_says_what_numpy_says_of_the_whole_matrix(holes: bool) -> None:
    rng = np.random.default_rng(3)
    losses = rng.random((30, 50)).astype(np.float32)
    if holes:
        losses[4] = np.nan
        losses[9, 3] = np.inf
        losses[20:, 7] = np.nan
    seen = survey(losses)
    finite = np.isfinite(losses)
    np.testing.assert_array_equal(seen.rows, finite.any(axis=1))
    np.testing.assert_array_equal(seen.examples, finite[seen.rows].all(axis=0))
    expected = losses[:, seen.examples].mean(axis=1, dtype=np.float64)
    np.testing.assert_allclose(seen.mean_loss.values, expected, rtol=1e-12)
    assert np.isnan(seen.amplitude).sum() == (2 if holes else 0)


class Crowd:
    """Sketches and residuals in which small groups oppose one another, at several checkpoints."""

    def __init__(
        self, n: int = 3000, members: int = 12, seed: int = 0, checkpoints: int = 3, wide: float = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self.n, k, classes = n, 64, 4
        self.pairs = rng.permutation(n)[: 2 * 2 * members].reshape(2, 2, members)
        axes = np.linalg.qr(rng.standard_normal((k, 2)))[0].T
        self.gradients = []
        for t in range(checkpoints):
            sketch = rng.standard_normal((n, k)) / np.sqrt(k)
            sketch[:, :2] *= 1 + wide  # what all examples differ in
            for pair, axis in zip(self.pairs, axes, strict=True):
                for sign, side in zip((1, -1), pair, strict=True):
                    sketch[side] += sign * 1.5 * axis
            residuals = rng.standard_normal((n, classes))
            residuals /= np.linalg.norm(residuals, axis=1, keepdims=True)
            size = rng.uniform(0.5, 5, (n, 1))
            sketch, residuals = size * sketch, size * residuals  # a large residual makes a large gradient
            norms = np.linalg.norm(sketch, axis=1)
            self.gradients.append(
                Gradients(10 * t, *(x.astype(np.float32) for x in (sketch, norms, residuals)))
            )

    @property
    def members(self) -> np.ndarray:
        return self.pairs.ravel()

    def of(self, rows: np.ndarray) -> list[Gradients]:
        return [Gradients(at.checkpoint, *(part[rows] for part in at[1:])) for at in self.gradients]


def directed(gradients: list[Gradients]) -> list[Gradients]:
    """Gradients per unit of residual, and residuals of length 1."""
    return [
        Gradients(at.checkpoint, per_unit, at.norms, direction)
        for at in gradients
        for direction, per_unit in [per_residual(at)]
    ]


@pytest.mark.parametrize(("wide", "checkpoints"), [(0, 1), (4, 2)])
def test_members_of_small_groups_have_the_highest_opposition_degrees(wide: float, checkpoints: int) -> None:
    crowd = Crowd(seed=1, checkpoints=checkpoints, wide=wide)
    there = directed(crowd.gradients)
    order = np.random.default_rng(0).permutation(crowd.n)
    number = np.empty(crowd.n, dtype=np.int64)
    number[order] = np.arange(crowd.n)
    kinds = all_degrees([at.only(order) for at in there])
    degree = either(np.stack([kind.degree(there, number) for kind in kinds]))
    rank = np.argsort(np.argsort(-degree))
    assert (rank[crowd.members] < 0.05 * crowd.n).mean() > 0.9


def test_the_better_rank_of_an_example_counts() -> None:
    degrees = np.array([[0.1, 0.9, 0.5, 0.0], [3.0, -1.0, 2.0, -2.0]])
    np.testing.assert_array_equal(either(degrees), [0, 0, -1, -3])
    np.testing.assert_array_equal(np.argsort(-either(degrees[:1]), kind="stable"), [1, 2, 0, 3])


@pytest.mark.parametrize(
    ("references", "outputs", "kinds"), [(400, 10, 2), (400, 8, 3), (400, 41, 1), (40, 1, 1)]
)
def test_what_is_ranked_follows_from_the_references_of_each_output(
    references: int, outputs: int, kinds: int
) -> None:
    rng = np.random.default_rng(0)
    rows = [directions(rng.standard_normal((references, size))) for size in (16, outputs)]
    assert len(all_degrees([Gradients(0, rows[0], np.ones(references), rows[1])])) == kinds


def test_features_as_they_are_are_ranked_where_gradients_differ_in_few_directions() -> None:
    rng = np.random.default_rng(0)
    residuals = directions(rng.standard_normal((400, 4)))
    # Directions: 64 of noise, and 3 that hold nearly everything.
    noise = rng.standard_normal((400, 64))
    few = noise * np.where(np.arange(64) < 3, 10, 1)
    counts = [
        len(all_degrees([Gradients(at, directions(rows), np.ones(400), residuals) for at, rows in pair]))
        for pair in ([(0, noise), (9, noise)], [(0, noise), (9, few)])
    ]
    assert counts == [2, 3]


@pytest.mark.parametrize("kind", ["straight", "usual", "evened"])
def test_the_opposition_degree_is_that_of_its_definition(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, r = np.random.default_rng(1), 160
    gradients, residuals = (directions(rng.standard_normal((r + 10, size))) for size in (16, 3))
    gradients *= rng.uniform(0.1, 10, (r + 10, 1)).astype(np.float32)
    own = np.concatenate([np.arange(r), np.full(10, -1)])
    monkeypatch.setattr(opposition, "STRIP", 500)  # several strips
    monkeypatch.setattr(opposition, "BLOCK", 1)  # of which the most extreme one is every one
    lengths = np.linalg.norm(gradients, axis=1)
    given = [
        Gradients(0, gradients, lengths, residuals),
        Gradients(3, gradients[:, ::-1], lengths, residuals),
    ]
    found = References([at.only(slice(r)) for at in given], kind).degree(given, own)
    cosines = [rows.astype(np.float64) @ rows[:r].T for rows in (directions(gradients), residuals)]
    slope, level = np.polyfit(*usual_cosine(*(c[:r] for c in cosines)), 1)
    similarity = cosines[0] - slope * cosines[1] - level
    if kind != "straight":
        usual, own_features = fit(given[0].only(slice(r)))
        features = np.concatenate([own_features, usual.features(given[0])[r:]]).astype(np.float64)
        similarity = features @ features[:r].T
    if kind == "evened":
        spread = features[:r].T @ features[:r] / r
        level = np.trace(spread) / len(spread)
        similarity = level * features @ np.linalg.inv(spread + level * np.eye(len(spread))) @ features[:r].T
    for row in range(r + 10):
        line = similarity[row].copy()
        if own[row] >= 0:
            line[own[row]] = 0
        near, opposed = np.argsort(-line)[:NEAREST], np.argsort(line)[:NEAREST]
        assert found[row] == pytest.approx(-similarity[np.ix_(near, opposed)].mean(), abs=1e-5)


def test_examples_without_a_gradient_do_not_count_as_opposed() -> None:
    crowd = Crowd(600)
    broken = crowd.gradients[0].sketch.copy()
    broken[5] = np.nan
    broken[6] = 0
    residuals = directions(crowd.gradients[0].residuals)
    there = [Gradients(0, directions(broken), crowd.gradients[0].norms, residuals)]
    degree = either(np.stack([kind.degree(there, np.arange(600)) for kind in all_degrees(there)]))
    assert np.isfinite(degree).all()
    assert max(degree[5], degree[6]) < np.median(degree[crowd.members])


class FromOutside:
    """All examples but the candidates."""

    def __init__(self, crowd: Crowd, positions: np.ndarray) -> None:
        self.crowd, self.positions, self.examples = crowd, positions, crowd.n
        self.asked = 0

    def pieces(self) -> Iterator[tuple[np.ndarray, list[Gradients]]]:
        for part in np.array_split(self.positions, 3):
            yield part, [at.folded(32) for at in self.crowd.of(part)[1:]]

    def beside(self, positions: np.ndarray, compared: list[Gradients]) -> list[Gradients]:
        return compared

    def gradients(self, positions: np.ndarray) -> Iterator[tuple[slice, Gradients]]:
        self.asked += len(positions)
        for number in range(len(self.crowd.gradients)):
            for part in (slice(0, 7), slice(7, None)):
                yield part, self.crowd.of(positions[part])[number]

    def once(self, of: object, compute: Callable[[], np.ndarray]) -> np.ndarray:
        return compute()


def test_members_outside_the_candidates_join_as_if_all_had_been_candidates() -> None:
    crowd = Crowd(2000, 20)
    left_out = crowd.pairs[:, :, 14:].ravel()
    others = np.setdiff1d(np.arange(2000), crowd.members)
    candidates = np.sort(np.concatenate([crowd.pairs[:, :, :14].ravel(), others[:400]]))
    outside = FromOutside(crowd, np.setdiff1d(np.arange(2000), candidates))
    pairs = [tuple(np.flatnonzero(np.isin(candidates, side)) for side in pair) for pair in crowd.pairs]
    joined = extend(candidates, crowd.of(candidates), pairs, outside)
    found = np.concatenate([np.concatenate(sides) for sides in joined])
    assert set(left_out) <= set(found)
    assert len(found) <= len(left_out) + 4
    assert outside.asked < 300  # few are looked at on all checkpoints
    whole = residual_adjusted_cosine(crowd.gradients)
    for sides, more, pair in zip(pairs, joined, crowd.pairs, strict=True):
        expected = refine(whole, (candidates[sides[0]], candidates[sides[1]]))
        for side, new, all_of_it in zip(more, expected, pair, strict=True):
            assert set(side) >= set(new) & set(all_of_it) & set(left_out)


def test_nobody_joins_where_nobody_belongs_and_sides_stay_small() -> None:
    crowd = Crowd(1000, 20)
    candidates = np.sort(crowd.members)
    pairs = [tuple(np.flatnonzero(np.isin(candidates, side)) for side in pair) for pair in crowd.pairs]
    outside = FromOutside(crowd, np.setdiff1d(np.arange(1000), candidates))
    joined = extend(candidates, crowd.of(candidates), pairs, outside)
    assert sum(len(side) for sides in joined for side in sides) <= 4
    assert extend(candidates, crowd.of(candidates), [], outside) == []
    outside.examples = int(20 / LARGEST)  # the sides are as large as sides may be
    outside.positions = crowd.members
    assert (
        sum(len(side) for sides in extend(candidates, crowd.of(candidates), pairs, outside) for side in sides)
        == 0
    )


@pytest.mark.slow
@linux
def test_memory_of_mining_losses_does_not_grow_with_the_number_of_checkpoints(tmp_path: Path) -> None:
    grown = growth(
        tmp_path,
        "import numpy as np\n"
        "from opsigcli.mining.inputs import Candidates, Settings, Trace\n"
        "from opsigcli.mining.mine import mine\n"
        "with open_store(store) as opened:\n"
        "    trace = opened.trace\n"
        "    given = Trace(opened.losses, trace.labels, trace.example_ids, trace.steps)\n"
        "    mine(given, Candidates(np.arange(50)), Settings('losses'))\n"
        "    trace.mean_losses\n",
    )
    assert grown < 0.03
