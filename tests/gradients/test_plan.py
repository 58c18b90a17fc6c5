"""What mine --dry-run says: pieces that were timed, multiplied by how often they come."""

from __future__ import annotations

import shutil
from dataclasses import astuple, replace
from pathlib import Path

import pytest
from conftest import Opsig

from opsigcli.gradients import plan
from opsigcli.gradients.plan import Counts, Seconds, estimated, timed


class Clock:
    """A clock that work winds on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_seconds_are_those_of_the_second_time_unless_the_first_is_long() -> None:
    clock, took = Clock(), iter([0.3, 0.1, 7.0])

    def work() -> None:
        clock.now += next(took)

    assert timed(work, clock) == pytest.approx(0.1)
    assert timed(work, clock) == pytest.approx(7.0)


def test_every_count_is_multiplied_by_its_own_seconds() -> None:
    counts, each = Counts(16_000, 8, 8, 23.5, 30, 900), Seconds(0.005, 0.5, 0.1, 0.2, 3.0, 1.0)
    assert estimated(counts, each) == pytest.approx(80 + 4 + 0.8 + 4.7 + 90 + 900)
    for name in vars(counts):
        alone = replace(Counts(0, 0, 0, 0, 0, 0), **{name: getattr(counts, name)})
        assert 0 < estimated(alone, each) < estimated(counts, each)


def test_what_is_kept_is_not_counted_and_nothing_is_written(
    opsig: Opsig, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s.h5"
    shutil.copy(finished / "opsig.h5", store)
    before = store.read_bytes()
    seen = []
    real = plan.estimated
    monkeypatch.setattr(plan, "estimated", lambda counts, each: (seen.append(counts), real(counts, each))[1])
    plans = [
        opsig("mine", "--store", store, "--dry-run", "--json", *words).json["result"]
        for words in ((), ("--top", 5), ("--seed", 1), ("--seed", 1, "--surrogates", 0, "--method", "losses"))
    ]
    assert astuple(seen[0]) == (0, 0, 0, 0, 0, 0)
    assert (seen[1].gradients, seen[1].similarities) == (0, 8 * 13)
    assert (seen[2].gradients, seen[2].loads) == (8 * 400, 8)
    assert astuple(seen[3]) == (0, 0, 0, 0, 0, 0)
    assert plans[0]["estimated_seconds"] == plans[3]["estimated_seconds"] == 0
    assert plans[1]["estimated_seconds"] > 0
    assert plans[2]["estimated_seconds"] > 0
    assert store.read_bytes() == before
    assert list(tmp_path.iterdir()) == [store]
