"""The traced mean loss is held against the training loss that the run logged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Opsig

from opsigcli.checkpoints.training_log import TrainingLog
from opsigcli.tracing.against_log import against_log

LOG = TrainingLog(Path("log.csv"), np.arange(0, 100, 2), np.linspace(2.0, 1.0, 50))
STEPS = np.array([0, 20, 40, 60, 80])


def test_the_loss_of_the_run_itself_is_not_spoken_of() -> None:
    found = against_log(STEPS, 2.0 - STEPS / 98, LOG)
    assert found is not None
    assert found.steps == (20, 40, 60, 80)  # the log's mean about the start is over a falling loss
    np.testing.assert_allclose(found.traced, found.logged, atol=0.05)
    assert found.verdict == "alike"


@pytest.mark.parametrize(
    ("shift", "verdict", "cause"),
    [(1.0, "above", "labels"), (-0.9, "below", "mixup"), (0.1, "alike", "agrees")],
)
def test_a_larger_loss_is_not_that_of_the_run_and_a_smaller_one_has_innocent_causes(
    shift: float, verdict: str, cause: str
) -> None:
    found = against_log(STEPS, 2.0 - STEPS / 98 + shift, LOG)
    assert found is not None
    assert found.verdict == verdict
    assert cause in found.words


def test_one_checkpoint_of_many_decides_nothing() -> None:
    traced = 2.0 - STEPS / 98
    traced[2] += 5
    found = against_log(STEPS, traced, LOG)
    assert found is not None
    assert found.verdict == "alike"


def test_the_noise_of_minibatches_is_allowed_for() -> None:
    rng = np.random.default_rng(0)
    noisy = TrainingLog(LOG.path, LOG.steps, LOG.losses + rng.normal(0, 1.0, 50))
    found = against_log(STEPS, LOG.losses[STEPS // 2] + 0.6, noisy)
    assert found is not None
    assert found.verdict == "alike"


def test_checkpoints_outside_the_log_and_without_a_loss_are_not_compared() -> None:
    for steps, traced in (([500, 600], [1.0, 1.0]), ([20, 40], [np.nan, np.nan])):
        found = against_log(np.array(steps), np.array(traced), LOG)
        assert found is not None
        assert (found.verdict, found.steps) == ("", ())
        assert "no checkpoint" in found.not_read[0]


def test_what_is_not_read_is_kept_without_a_log() -> None:
    assert against_log(STEPS, LOG.losses[:5], None) is None
    found = against_log(STEPS, LOG.losses[:5], None, ("run.wandb: it is cut off",))
    assert found is not None
    assert (found.file, found.verdict, found.not_read) == ("", "", ("run.wandb: it is cut off",))


def test_a_log_of_another_loss_is_said_by_trace_and_by_what_builds_on_it(
    opsig: Opsig, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ("--data", "planted?n=200", "--model", "mlp?hidden=8", "--steps", 20)
    assert opsig("train", run, *words).code == 0
    true = opsig("trace", run, "--store", tmp_path / "a.h5", "--json").json["result"]["mean_losses"]
    for name, shift, verdict in (("own", 0.0, "alike"), ("other", -0.8, "above"), ("higher", 0.8, "below")):
        store = tmp_path / f"{name}.h5"
        lines = [{"step": step, "loss": loss + shift} for step, loss in enumerate(true)]
        (run / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
        done = opsig("trace", run, "--store", store, "--json")
        assert done.code == 0
        assert any("log.jsonl (loss) says" in line for line in done.json["warnings"]) == (verdict == "above")
        kept = opsig("report", "--full", "--store", store, "--json").json["result"]["training_log"]
        assert kept == done.json["result"]["training_log"]
        assert (kept["verdict"], len(kept["steps"])) == (verdict, 20)
        np.testing.assert_allclose(kept["logged"], np.array(kept["traced"]) + shift, atol=0.1)
        for command in (("mine",), ("sharpness", "--every", 20), ("sharpness", "--quick", "--every", 20)):
            said = opsig(*command, "--store", store, "--json").json["warnings"]
            assert any("see opsig report" in line for line in said) == (verdict != "alike")
        shown = opsig("report", "--full", "--store", store).out
        assert "Training beside the trace" in shown
        assert "log.jsonl" in shown


def test_a_log_that_comes_later_is_kept_by_the_next_trace_and_nothing_else_changes(
    opsig: Opsig, tmp_path: Path
) -> None:
    run, store = tmp_path / "run", tmp_path / "a.h5"
    assert opsig("train", run, "--data", "planted?n=200", "--model", "mlp?hidden=8", "--steps", 10).code == 0
    first = opsig("trace", run, "--store", store, "--json").json["result"]
    assert first["training_log"] is None
    assert opsig("mine", "--store", store).code == 0
    before = opsig("report", "--full", "--store", store, "--json").json["result"]
    lines = [{"step": step, "loss": loss} for step, loss in enumerate(first["mean_losses"])]
    (run / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert opsig("trace", run, "--store", store).code == 0
    changed = store.stat().st_mtime_ns
    after = opsig("report", "--full", "--store", store, "--json").json["result"]
    assert after.pop("training_log")["verdict"] == "alike"
    assert before.pop("training_log") is None
    assert after["metrics"].pop("log.gap.max")["value"] < 0.1  # of logged losses the nearest few are averaged
    assert before["metrics"].pop("log.gap.max")["value"] is None
    assert after == before
    assert opsig("trace", run, "--store", store).code == 0
    assert store.stat().st_mtime_ns == changed
