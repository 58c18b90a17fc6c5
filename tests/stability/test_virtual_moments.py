"""Adam without its second moments: an estimate that is marked as one, or nothing, and never raw sharpness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig
from torch import nn

BATCH, FACTOR = 16, 3.0
NET = "from torch import nn\ndef net():\n    return nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 3))\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AdamW on minibatches: each checkpoint with its state in one folder, as bare weights in another."""
    folder = tmp_path_factory.mktemp("adam")
    (folder / "net.py").write_text(NET)
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = (rng.normal(size=(3, 8))[y] + rng.normal(size=(120, 8))).astype("f4")
    np.savez(folder / "d.npz", x=x, y=y)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 3))
    steps = torch.optim.AdamW(model.parameters(), 1e-3, betas=(0.9, 0.99))
    for name in ("whole", "bare"):
        (folder / name).mkdir()
    for step in range(1, 401):
        batch = rng.choice(120, BATCH, replace=False)
        steps.zero_grad()
        F.cross_entropy(model(torch.tensor(x[batch])), torch.tensor(y[batch])).backward()
        steps.step()
        if step in (200, 400):
            file = {"model": model.state_dict(), "step": step}
            torch.save(file, folder / "bare" / f"step_{step}.pt")
            torch.save(file | {"optimizer": steps.state_dict()}, folder / "whole" / f"step_{step}.pt")
    return folder


def store(opsig: Opsig, run: Path, name: str) -> Path:
    made = run / f"{name}.h5"
    if not made.exists():
        given = ("--model", f"file:{run / 'net.py'}:net", "--data", f"npz:{run / 'd.npz'}", "--store", made)
        assert opsig("trace", run / name, *given).code == 0
    return made


RULE = ("--optimizer", "adamw", "--lr", "1e-3", "--betas", "0.9,0.99", "--no-step-check")


def test_without_second_moments_nothing_is_held_against_the_threshold(opsig: Opsig, run: Path) -> None:
    kept = store(opsig, run, "bare")
    result = opsig("sharpness", "--store", kept, *RULE, "--json").json
    for point in result["result"]["points"]:
        assert point["threshold"] is None
        assert point["ratio"] is None
        assert "--minibatch" in point["reason"]
    assert "no stability threshold known" in opsig("report", "--full", "--store", kept).out


def test_an_estimate_is_marked_and_near_to_the_second_moments_of_the_run(opsig: Opsig, run: Path) -> None:
    true = opsig("sharpness", "--store", store(opsig, run, "whole"), *RULE, "--json").json["result"]["points"]
    kept = store(opsig, run, "bare")
    found = opsig("sharpness", "--store", kept, *RULE, "--minibatch", BATCH, "--json").json
    for point, own in zip(found["result"]["points"], true, strict=True):
        assert own["estimated"] == ""
        assert f"batches of {BATCH}" in point["estimated"]
        assert 1 / FACTOR < point["ratio"] / own["ratio"] < FACTOR
        assert point["threshold"] == own["threshold"]
    assert any("estimated, not the run's own" in line for line in found["warnings"])
    assert "second moments estimated" in " ".join(opsig("report", "--full", "--store", kept).out.split())
