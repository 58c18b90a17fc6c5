"""opsig train: its checkpoints, and resuming after a stop."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Opsig
from safetensors.torch import load_file

SMALL = ("--data", "planted?n=200", "--model", "mlp?hidden=6", "--lr", "0.01")


def test_full_batch_descent_is_the_textbook_update(opsig: Opsig, tmp_path: Path) -> None:
    from opsigcli.datasets import open_source
    from opsigcli.runs.build_objective import build_objective

    opsig("train", tmp_path / "run", *SMALL, "--steps", 2)
    source = open_source("planted?n=200")
    objective = build_objective("mlp?hidden=6", source, "ce", device="cpu", batch_size=200)
    inputs, labels = torch.as_tensor(source.read(np.arange(200))), torch.as_tensor(source.labels)
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(objective.model(inputs), labels)
        gradient = torch.autograd.grad(loss, objective.parameters)
        with torch.no_grad():
            for parameter, g in zip(objective.parameters, gradient, strict=True):
                parameter.sub_(0.01 * g)
    found = load_file(tmp_path / "run" / "step-000002.safetensors")
    for name, value in objective.model.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7)


def test_an_epoch_of_minibatches_visits_every_example_once(opsig: Opsig) -> None:
    from opsigcli.datasets import open_source
    from opsigcli.runs.build_objective import build_objective
    from opsigcli.runs.trainer import Trainer

    source = open_source("planted?n=200")
    objective = build_objective("mlp?hidden=6", source, "ce", device="cpu", batch_size=200)
    trainer = Trainer(objective, torch.optim.SGD(objective.parameters, lr=0.1), 32, seed=3)
    seen = []
    for step in range(14):
        trainer.step = step
        seen.append(trainer._positions())
    first, second = np.concatenate(seen[:7]), np.concatenate(seen[7:])
    assert sorted(first) == sorted(second) == list(range(200))
    assert list(first) != list(second)


def test_checkpoints_are_readable_as_the_umask_says(opsig: Opsig, tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        opsig("train", tmp_path / "run", *SMALL, "--steps", 1)
    finally:
        os.umask(old)
    for path in (tmp_path / "run").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_run_with_other_options_is_not_touched(opsig: Opsig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    opsig("train", run, *SMALL, "--steps", 2)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    refused = opsig("train", run, *SMALL, "--steps", 2, "--seed", 5)
    assert refused.code == 2
    assert "seed 0" in refused.err
    assert before == {path.name: path.read_bytes() for path in run.iterdir()}
    assert opsig("train", run, *SMALL, "--steps", 2, "--seed", 5, "--fresh").code == 0


def test_a_diverging_run_stops_and_says_so(opsig: Opsig, tmp_path: Path) -> None:
    words = (
        "--data",
        "planted?n=200",
        "--model",
        "mlp?hidden=8&activation=relu",
        "--lr",
        "1e20",
        "--steps",
        50,
    )
    result = opsig("train", tmp_path / "run", *words, "--json")
    assert result.code == 0
    assert result.json["result"]["diverged"]
    assert "no longer finite" in result.err


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_is_done_and_says_how_to_go_on(tmp_path: Path, number: int, code: int) -> None:
    words = [sys.executable, "-m", "opsigcli", "train", str(tmp_path / "run"), *SMALL, "--steps", "1000000"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "run").glob("step-00000[3-9].safetensors")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "resume with: opsig train" in err
    assert "Traceback" not in err
    from opsigcli.checkpoints.manifest import read_manifest

    manifest = read_manifest(tmp_path / "run")
    assert manifest is not None
    assert len(manifest.checkpoints) == len(list((tmp_path / "run").glob("step-*.safetensors")))


def test_full_batch_checkpoints_have_the_batch_statistics_of_their_own_weights(
    opsig: Opsig, tmp_path: Path
) -> None:
    from opsigcli.datasets import open_source
    from opsigcli.runs.build_objective import build_objective

    words = ("--data", "planted?n=200", "--model", "cnn?norm=batch&widths=4", "--lr", "0.3", "--steps", 4)
    assert opsig("train", tmp_path / "run", *words).code == 0
    assert opsig("train", tmp_path / "parts", *words[:-1], 2).code == 0
    assert opsig("train", tmp_path / "parts", *words).code == 0
    source = open_source("planted?n=200")
    objective = build_objective("cnn?norm=batch&widths=4", source, "ce", device="cpu", batch_size=64)
    inputs, labels = torch.as_tensor(source.read(np.arange(200))), torch.as_tensor(source.labels)
    for step in (1, 4):
        name = f"step-{step:06d}.safetensors"
        weights = load_file(tmp_path / "run" / name)
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
        objective.load(weights)
        evaluated = objective.losses()
        with torch.no_grad():
            trained = torch.nn.functional.cross_entropy(
                objective.model.train()(inputs), labels, reduction="none"
            )
        np.testing.assert_allclose(evaluated, trained, rtol=1e-3)  # up to n - 1 in the variance
        assert int(weights[next(k for k in weights if k.endswith("num_batches_tracked"))]) == step


def test_a_trainer_knows_whether_batch_statistics_are_settled_and_leaves_them_alone() -> None:
    from opsigcli.datasets import open_source
    from opsigcli.runs.build_objective import build_objective
    from opsigcli.runs.trainer import Trainer

    source = open_source("planted?n=200")
    torch.manual_seed(0)
    objective = build_objective("cnn?norm=batch&widths=4", source, "ce", device="cpu", batch_size=200)
    trainer = Trainer(objective, torch.optim.SGD(objective.parameters, 0.3), None, seed=0)
    trainer.update()
    before = {name: value.clone() for name, value in objective.model.state_dict().items()}
    assert not trainer.is_settled()  # a tenth of the way from the statistics of an untrained layer
    for name, value in objective.model.state_dict().items():
        assert torch.equal(value, before[name])
    trainer.weights()
    assert trainer.is_settled()
    minibatches = Trainer(objective, torch.optim.SGD(objective.parameters, 0.3), 50, seed=0)
    minibatches.update()
    lagging = {name: value.clone() for name, value in objective.model.state_dict().items()}
    for name, value in minibatches.weights().items():
        assert torch.equal(value, lagging[name])
