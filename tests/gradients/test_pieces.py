"""What a signal leaves of mining is not computed again, and the end is that of an undisturbed command."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Opsig

from opsigcli.gradients import ablation, fork
from opsigcli.mining import surrogate
from opsigcli.store.reader import open_store

WORDS = ("--gradient-checkpoints", 2, "--surrogates", 9, "--causal", "--json")
KILLED = 9


class Counted:
    """A function that counts its calls, and at one of them does something else."""

    def __init__(self, real: Callable[..., Any], last: int = 0, end: Callable[[], object] = int) -> None:
        self.real, self.last, self.end, self.calls = real, last, end, 0

    def __call__(self, *given: Any) -> Any:
        self.calls += 1
        if self.calls == self.last:
            self.end()
        return self.real(*given)


@pytest.fixture(autouse=True)
def one_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arms enough to be stopped among."""
    monkeypatch.setattr(fork, "FORKS", 1)
    monkeypatch.setattr(ablation, "DRAWS", 1)


def signalled() -> None:
    raise KeyboardInterrupt


def mined(opsig: Opsig, store: Path) -> dict[str, Any]:
    found: dict[str, Any] = opsig("mine", "--store", store, *WORDS).json["result"]
    return found


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Any]:
    """What mining says that nothing stopped, once the first test has asked."""
    return {}


# Of surrogates several are begun side by side: at the sixth the first two were finished.
@pytest.mark.parametrize(
    ("room", "name", "all_calls", "last"), [(surrogate, "_clearest", 9, 6), (ablation, "train_on", 6, 3)]
)
@pytest.mark.parametrize("how", ["a signal", "a kill"])
def test_pieces_finished_before_the_end_are_not_computed_again(
    opsig: Opsig,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    room: Any,
    name: str,
    all_calls: int,
    last: int,
    how: str,
    undisturbed: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if not undisturbed:
        whole = Path(shutil.copy(finished / "opsig.h5", tmp_path_factory.mktemp("whole")))
        undisturbed |= mined(opsig, whole) | {"store": whole}
    stores = [undisturbed["store"], tmp_path / "stopped.h5"]
    expected = {key: value for key, value in undisturbed.items() if key != "store"}
    assert expected["pairs"]
    assert expected["causal"]["arms"]
    shutil.copy(finished / "opsig.h5", stores[1])

    real = getattr(room, name)
    if how == "a kill":
        child = os.fork()
        if not child:
            setattr(room, name, Counted(real, last, lambda: os._exit(KILLED)))
            mined(opsig, stores[1])
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED
    else:
        with monkeypatch.context() as patch:
            patch.setattr(room, name, Counted(real, last, signalled))
            assert opsig("mine", "--store", stores[1], *WORDS).code == 130
    again = Counted(real)
    with monkeypatch.context() as patch:
        patch.setattr(room, name, again)
        found = mined(opsig, stores[1])
    assert 0 < again.calls <= all_calls - 1
    assert found == expected
    assert not stores[1].with_name("stopped.h5.parts").exists()
    made = []
    for path in stores:
        with open_store(path) as store:
            made.append((store.provenance["mine"].device, store.provenance["mine"].torch_version))
    assert made[0] == made[1]
    assert made[0][0]


def test_a_piece_of_another_choice_is_not_used(
    opsig: Opsig, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s.h5"
    shutil.copy(finished / "opsig.h5", store)
    real = surrogate._clearest
    with monkeypatch.context() as patch:
        patch.setattr(surrogate, "_clearest", Counted(real, 3, signalled))
        assert opsig("mine", "--store", store, *WORDS).code == 130
    other = Counted(real)
    monkeypatch.setattr(surrogate, "_clearest", other)
    assert opsig("mine", "--store", store, *WORDS, "--similarity", "raw").code == 0
    assert other.calls in (0, 9)  # none where no pair is found, and then no surrogate is asked


def test_swings_are_measured_until_one_checkpoint_holds_them() -> None:
    from opsigcli.mining.inputs import Candidates

    asked = []

    def swings(*_: np.ndarray):
        for row in range(4):
            asked.append(row)
            yield np.full(6, float(row))

    probe = Candidates(np.arange(6), swings=swings).probe
    assert probe is not None
    sides = np.array([0, 1]), np.array([2, 3])
    assert next(iter(probe(sides)))[0] == 0.0
    assert asked == [0]
    assert [row[0] for row in probe(sides)] == [0, 1, 2, 3]
    assert [row[0] for row in probe(sides)] == [0, 1, 2, 3]
    assert asked == [0, 1, 2, 3]
