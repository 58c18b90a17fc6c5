"""Top loss deltas against a plain sort."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from opsigcli.mining.top import BLOCK, largest, top_deltas
from opsigcli.mining.trace_stats import survey


def naive(delta: np.ndarray, ids: np.ndarray, k: int) -> list[int]:
    """Ids of the k largest, by a sort of everything."""
    rows = [(-float(d), int(i)) for d, i in zip(delta, ids, strict=True) if not np.isnan(d)]
    return [i for _, i in sorted(rows)[:k]]


@pytest.mark.parametrize(
    ("n", "k"), [(1, 1), (7, 3), (7, 20), (300, 20), (40 * BLOCK + 17, 5), (9 * BLOCK, 1)]
)
@pytest.mark.parametrize("kind", ["smooth", "ties", "holes", "constant"])
def test_top_deltas_are_those_of_a_full_sort(n: int, k: int, kind: str) -> None:
    rng = np.random.default_rng(n + k)
    losses = rng.random((4, n)).astype(np.float32)
    if kind == "ties":
        losses = np.round(losses * 3)
    if kind == "holes":
        losses[rng.random(losses.shape) < 0.2] = np.nan
    if kind == "constant":
        losses[:] = 1.5
    ids = rng.permutation(10 * n)[:n].astype(np.int64)
    steps = np.array([0, 5, 7, 30])
    found = top_deltas(losses, ids, steps, k)
    assert [(f.step, f.next_step) for f in found] == [(0, 5), (5, 7), (7, 30)]
    for t, record in enumerate(found):
        delta = losses[t + 1] - losses[t]
        by_id = dict(zip(ids.tolist(), delta.tolist(), strict=True))
        assert record.up_ids.tolist() == naive(delta, ids, k)
        assert record.down_ids.tolist() == naive(-delta, ids, k)
        assert record.up_deltas.tolist() == [by_id[i] for i in record.up_ids.tolist()]
        assert record.down_deltas.tolist() == [by_id[i] for i in record.down_ids.tolist()]


def test_an_hdf5_dataset_is_read_row_by_row(tmp_path: Path) -> None:
    losses = np.random.default_rng(0).random((6, 50)).astype(np.float32)
    ids, steps = np.arange(50), np.arange(6)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        stored = file.create_dataset("losses", data=losses)
        for one, other in zip(
            top_deltas(stored, ids, steps, 4), top_deltas(losses, ids, steps, 4), strict=True
        ):
            np.testing.assert_array_equal(one.up_ids, other.up_ids)
            np.testing.assert_array_equal(one.down_deltas, other.down_deltas)


def test_a_checkpoint_without_any_loss_gives_empty_lists() -> None:
    losses = np.ones((3, 5), dtype=np.float32)
    losses[1] = np.nan
    for record in top_deltas(losses, np.arange(5), np.arange(3), 2):
        assert len(record.up_ids) == len(record.down_ids) == 0


def test_infinite_losses_count_as_changes_but_never_as_numbers_that_are_missing() -> None:
    losses = np.array([[1, 1, np.inf], [2, np.inf, np.inf]], dtype=np.float32)
    (record,) = top_deltas(losses, np.arange(3), np.arange(2), 3)
    assert record.up_ids.tolist() == [1, 0]  # inf − inf is not measured


def test_nothing_is_asked_for_and_nothing_comes_back() -> None:
    assert len(largest(np.arange(5.0), 0, np.arange(5))) == 0


def test_measured_tells_checkpoints_and_examples_apart() -> None:
    losses = np.ones((3, 4))
    losses[1] = np.nan
    losses[2, 3] = np.inf
    seen = survey(losses)
    assert seen.rows.tolist() == [True, False, True]
    assert seen.examples.tolist() == [True, True, True, False]
