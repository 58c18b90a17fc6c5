"""Mining a trace of which checkpoints were deleted since: those that are left are compared, and it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from opsigcli.gradients.compared import affordable
from opsigcli.mining.oscillation import checkpoints_to_compare
from opsigcli.options import MineOptions
from opsigcli.records import Run
from opsigcli.token_ids import OWN_PLACE
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


def of_tokens(context: int, labels: str = "the tokens that follow") -> Run:
    transform = {"per": "token", "labels": labels}
    return Run("", "", "", "lm", input_shape=(context,), classes=("",) * 50_304, transform=transform)


def test_of_tokens_as_many_checkpoints_are_compared_as_a_tenth_of_the_trace_pays() -> None:
    options, seen = MineOptions(), []
    for traced in (20, 143, 300, 600):
        count, said = affordable(of_tokens(2048), options, 10_000_000, traced)
        seen.append(count)
        assert (said == "") == (count == 8)
        assert said == "" or f"compared at {count} checkpoints" in said
        assert ("no fewer than 3" in said) == (traced == 20)
    assert seen == sorted(seen)
    assert seen[0] == seen[1] == 3 < seen[2] < seen[3] == 8
    both_ways = affordable(of_tokens(2048, OWN_PLACE), options, 10_000_000, 300)[0]
    assert both_ways < seen[2]  # a gradient is of its whole sequence
    assert affordable(of_tokens(2048), options, 2000, 5) == (8, "")  # all are candidates


def test_fewer_checkpoints_for_tokens_are_said_in_the_plan_and_in_the_result(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat and the dog lay on the rug " * 40)
    words = ["--data", "text:text.txt?context=8", "--model", "gpt?layers=1&width=8&heads=1", "--loss", "lm"]
    assert opsig("train", "run", *words, "--steps", 12, "-q").code == 0
    assert opsig("trace", "run", "--tokens", "-q").code == 0
    mine = ["mine", "--surrogates", 0, "--candidates", 60]
    plan = opsig(*mine, "--dry-run", "--json").json["result"]
    assert plan["gradient_checkpoints"] == 3
    assert "compared at 3 checkpoints" in opsig(*mine, "--dry-run").err
    result = opsig(*mine, "--json").json["result"]
    assert len(result["gradient_steps"]) == 3
    assert "compared at 3 checkpoints" in result["notes"][0]
    asked = opsig(*mine, "--gradient-checkpoints", 8, "--json").json["result"]
    assert len(asked["gradient_steps"]) == 8
    assert not any("compared at" in note for note in asked["notes"])
