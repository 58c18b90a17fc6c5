"""Mining a trace of which checkpoints were deleted since: those that are left are compared, and it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from opsigcli.mining.oscillation import checkpoints_to_compare
from tests.conftest import Opsig


def test_of_checkpoints_that_are_left_as_many_are_compared() -> None:
    losses = np.random.default_rng(0).random((60, 5))
    everywhere = np.ones(60, dtype=bool)
    assert checkpoints_to_compare(losses, there=everywhere) == checkpoints_to_compare(losses)
    few = np.zeros(60, dtype=bool)
    few[[3, 50, 51, 52, 53, 54, 59]] = True
    assert checkpoints_to_compare(losses, there=few) == [3, 50, 51, 52, 53, 54]
    assert checkpoints_to_compare(losses, window=(10, 50), there=few) == []


@pytest.fixture
def traced(opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    words = ["--data", "planted?n=200", "--model", "mlp?hidden=8", "--steps", 24, "-q"]
    assert opsig("train", "run", *words).code == 0
    assert opsig("trace", "run", "-q").code == 0
    return tmp_path / "run"


def test_deleted_checkpoints_are_named_and_others_compared(opsig: Opsig, traced: Path) -> None:
    for step in range(4, 24, 2):
        (traced / f"step-{step:06d}.safetensors").unlink()
    result = opsig("mine", "--surrogates", 0, "--json").json["result"]
    assert result["gradient_steps"]
    assert all(step < 4 or step % 2 for step in result["gradient_steps"])
    assert "10 of 25 traced checkpoints are gone" in result["notes"][0]
    assert "step 4, 6, 8" in result["notes"][0]
    again = opsig("mine", "--surrogates", 0, "--json").json["result"]
    assert (again["gradient_steps"], again["notes"]) == (result["gradient_steps"], result["notes"])


def test_without_any_checkpoint_losses_alone_are_the_way_out(opsig: Opsig, traced: Path) -> None:
    for file in traced.glob("*.safetensors"):
        file.unlink()
    refused = opsig("mine")
    assert refused.code == 3
    assert "25 of 25 traced checkpoints are gone" in refused.err
    assert "--method losses" in refused.err
    assert opsig("mine", "--method", "losses", "-q").code == 0
