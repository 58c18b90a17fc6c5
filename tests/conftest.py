"""What tests share: opsig run in this process, and one small finished case."""

from __future__ import annotations

import os

# Tests are small: more threads than one only get in one another's way. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gc
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opsigcli.cli.app import run

# Nobody pulls the plug here, and what a disk takes milliseconds to confirm is thousands of small files.
os.fsync = lambda handle: None

# Whose tests take longest begins first, so that no worker is left with one of them at the end.
LONGEST = (
    "test_paper.py",
    "test_examples.py",
    "test_cifar.py",
    "test_package.py",
    "test_survival.py",
    "test_foreign_runs.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files by that."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_collection_finish() -> None:
    """What imports and collection made stays: no later collection of garbage looks at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and environment of the person who runs the tests stay out of them."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
    for name in ("OPSIG_STORE", "NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_hang() -> Iterator[Callable[[int], object]]:
    """What takes longer than a minute fails, also while it waits for the system; ``no_hang(60)`` begins anew."""

    def late(*_: object) -> None:
        raise TimeoutError("this waits without end")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield signal.alarm
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Result:
    """One run of opsig."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The object on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found


Opsig = Callable[..., Result]


@pytest.fixture
def opsig(capsys: pytest.CaptureFixture[str]) -> Opsig:
    """``opsig(*words)`` as the command line runs it; a traceback on stderr fails the test."""

    def call(*words: object) -> Result:
        capsys.readouterr()
        code = run([str(word) for word in words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        assert "unexpected error" not in captured.err
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished case on planted data: ``run/`` and ``opsig.h5``. Copy it before changing it."""
    folder = tmp_path_factory.mktemp("finished")
    store = folder / "opsig.h5"
    os.environ.setdefault("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
    for words in (
        ["train", folder / "run", "--data", "planted?n=400", "--model", "mlp?hidden=32,32", "--steps", 120],
        ["trace", folder / "run", "--store", store],
        ["sharpness", "--store", store, "--every", 20],
        ["mine", "--store", store],
    ):
        assert run([str(word) for word in [*words, "--quiet"]]) == 0
    return folder


@pytest.fixture
def case(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished case that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "case"))
