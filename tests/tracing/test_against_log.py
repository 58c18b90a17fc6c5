"""The traced mean loss is held against the training loss that the run logged."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Opsig

from opsigcli.checkpoints.training_log import TrainingLog, find_log
from opsigcli.tracing.against_log import against_log

LOG = TrainingLog(Path("log.csv"), np.arange(0, 100, 2), np.linspace(2.0, 1.0, 50))
STEPS = np.array([0, 20, 40, 60, 80])


def test_the_loss_of_the_run_itself_is_not_spoken_of() -> None:
    found = against_log(STEPS, 2.0 - STEPS / 98, LOG)
    assert found is not None
    assert found.steps.tolist() == [20, 40, 60, 80]  # the log's mean about the start is over a falling loss
    np.testing.assert_allclose(found.traced, found.logged, atol=0.05)
    assert (found.above, found.below, found.words) == (False, False, "")


@pytest.mark.parametrize(
    ("shift", "above", "below"), [(1.0, True, False), (-0.9, False, True), (0.1, False, False)]
)
def test_a_larger_loss_is_not_that_of_the_run_and_a_smaller_one_has_innocent_causes(
    shift: float, above: bool, below: bool
) -> None:
    found = against_log(STEPS, 2.0 - STEPS / 98 + shift, LOG)
    assert found is not None
    assert (found.above, found.below) == (above, below)
    assert ("labels" in found.words, "ugmentation, dropout" in found.words) == (above, below)


def test_one_checkpoint_of_many_decides_nothing() -> None:
    traced = 2.0 - STEPS / 98
    traced[2] += 5
    found = against_log(STEPS, traced, LOG)
    assert found is not None
    assert not found.above


def test_the_noise_of_minibatches_is_allowed_for() -> None:
    rng = np.random.default_rng(0)
    noisy = TrainingLog(LOG.path, LOG.steps, LOG.losses + rng.normal(0, 1.0, 50))
    found = against_log(STEPS, LOG.losses[STEPS // 2] + 0.6, noisy)
    assert found is not None
    assert not found.above


def test_checkpoints_outside_the_log_and_without_a_loss_are_not_compared() -> None:
    assert against_log(np.array([500, 600]), np.array([1.0, 1.0]), LOG) is None
    assert against_log(np.array([20, 40]), np.array([np.nan, np.nan]), LOG) is None


def test_logs_are_read_as_frameworks_write_them(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for step, losses in ((9, [3.0]), (10, [3.0, 2.0])):
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        history = [{"step": 5 * n, "loss": loss, "epoch": 0.1} for n, loss in enumerate(losses, 1)]
        state = {"log_history": [*history, {"step": 10, "eval_loss": 9.0}, "odd", {"step": "x", "loss": 1}]}
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    found = find_log(folder)
    assert found is not None
    assert (found.steps.tolist(), found.losses.tolist()) == ([5, 10], [3.0, 2.0])  # of the last checkpoint

    other = tmp_path / "version_0" / "checkpoints"
    other.mkdir(parents=True)
    with (other.parent / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["epoch", "step", "train_loss", "val_loss"], [0, 1, 2.5, ""], [0, 3, "", 2.0]]
        )
    found = find_log(other)
    assert found is not None
    assert (found.path.name, found.steps.tolist(), found.losses.tolist()) == ("metrics.csv", [1], [2.5])


@pytest.mark.parametrize(
    "text", ["", "step,accuracy\n1,0.5\n", "\x00\xff", "step,loss\n1e400,nan\n", '{"a": [' * 9]
)
def test_what_is_no_log_of_training_losses_is_passed_over(tmp_path: Path, text: str) -> None:
    for name in ("a.csv", "b.jsonl", "trainer_state.json"):
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    assert find_log(tmp_path) is None


def test_trace_warns_where_the_log_beside_the_checkpoints_says_another_loss(
    opsig: Opsig, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ("--data", "planted?n=200", "--model", "mlp?hidden=8", "--steps", 20)
    assert opsig("train", run, *words).code == 0
    true = opsig("trace", run, "--store", tmp_path / "a.h5", "--json").json["result"]["mean_losses"]
    for name, shift, warns in (("own", 0.0, False), ("other", -0.8, True)):
        lines = [{"step": step, "loss": loss + shift} for step, loss in enumerate(true)]
        (run / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
        done = opsig("trace", run, "--store", tmp_path / f"{name}.h5", "--json")
        assert done.code == 0
        assert any("log.jsonl says" in warning for warning in done.json["warnings"]) == warns
        assert len(done.json["result"]["training_log"]["steps"]) == 20
