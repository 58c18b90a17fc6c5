"""Losses and names that stay in the store's file until somebody looks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.store import content

from opsigcli.records import LossTrace
from opsigcli.store import schema
from opsigcli.store.reader import open_store
from opsigcli.store.writer import write_trace


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[LossTrace, np.ndarray]:
    """A trace from a store that is closed again, and the losses that were written."""
    monkeypatch.setattr(schema, "CHUNK", (4, 7))
    losses = np.random.default_rng(0).random((9, 30)).astype(np.float32)
    names = tuple(f"class/{i}.jpg" for i in range(30))
    write_trace(tmp_path / "s.h5", replace(content(30, 9), rows=iter(losses), names=names))
    with open_store(tmp_path / "s.h5") as store:
        return store.trace, losses


def test_losses_are_read_like_an_array_also_after_the_store_was_closed(
    written: tuple[LossTrace, np.ndarray],
) -> None:
    trace, losses = written
    stored = trace.losses
    assert stored.shape == (9, 30)
    assert len(stored) == 9
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(np.asarray(stored), losses)
    np.testing.assert_array_equal(np.stack(list(stored)), losses)
    np.testing.assert_array_equal(stored[4], losses[4])
    np.testing.assert_array_equal(stored[2:7], losses[2:7])
    assert stored[3, 29] == losses[3, 29]
    columns = np.array([29, 0, 7, 7, 13])  # in any order, more than once
    np.testing.assert_array_equal(stored[:, columns], losses[:, columns])
    np.testing.assert_array_equal(stored[np.int64(5), columns], losses[5, columns])
    np.testing.assert_array_equal(stored[2:7, [1, 8]], losses[2:7, [1, 8]])
    np.testing.assert_array_equal(stored[3:5, columns], losses[3:5, columns])
    np.testing.assert_array_equal(stored[-3:20:2, columns], losses[-3:20:2, columns])
    np.testing.assert_array_equal(stored[7:2, columns], losses[7:2, columns])
    np.testing.assert_array_equal(trace.around(6, columns), losses[6:8, columns])
    assert stored[:, columns[:0]].shape == (9, 0)
    np.testing.assert_allclose(trace.mean_losses, losses.mean(axis=1, dtype=np.float64))


def test_names_are_read_one_by_one(written: tuple[LossTrace, np.ndarray]) -> None:
    names = written[0].names
    assert len(names) == 30
    assert names
    assert names[7] == "class/7.jpg"
    assert names[np.int64(29)] == "class/29.jpg"
    assert tuple(names[1:3]) == ("class/1.jpg", "class/2.jpg")
    assert next(iter(names)) == "class/0.jpg"
    assert written[0].names_at(np.array([9, 2, 9])) == ("class/9.jpg", "class/2.jpg", "class/9.jpg")
    assert written[0].names_at(np.array([], dtype=np.int64)) == ()
