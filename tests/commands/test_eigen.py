"""``mine --method eigen``: pairs, and the loss deltas in parts, as a user meets them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Opsig


def test_parts_add_up_to_the_trace_are_kept_and_are_told(opsig: Opsig, tmp_path: Path) -> None:
    store, run = tmp_path / "s.h5", tmp_path / "run"
    model = ("--model", "mlp?hidden=12&activation=tanh", "--lr", 0.5, "--steps", 40)
    assert opsig("train", run, "--data", "planted?n=200", *model).code == 0
    assert opsig("trace", run, "--store", store).code == 0
    words = ("mine", "--store", store, "--method", "eigen", "--surrogates", 0, "--gradient-checkpoints", 3)
    plan = " ".join(opsig(*words, "--dry-run").out.split())
    assert "eigenvectors in up to 1,104 forward passes over all (the trace: 41)" in plan
    found = opsig(*words, "--eigenvectors", 2, "--json").json["result"]
    assert found["method"] == "eigen"
    with h5py.File(store) as file:
        losses, steps = file["losses"][()].astype(float), file["steps"][()].tolist()
        (name,) = (name for name in file["gradients"] if name.startswith("eigen-"))
        kept = file[f"gradients/{name}"][()]
    assert kept.shape == (len(found["eigen"]), 3, 6 + 200)
    for change, array in zip(found["eigen"], kept, strict=True):
        delta = losses[steps.index(change["next_step"])] - losses[steps.index(change["step"])]
        parts = [*change["parts"], change["outside"]]
        assert change["mean_change"] == pytest.approx(delta.mean(), abs=1e-6)
        assert sum(part["mean"] for part in parts) + change["error"] == pytest.approx(delta.mean(), abs=1e-6)
        assert sum(part["moved"] for part in parts) == pytest.approx(1, abs=1e-3)
        left = np.abs(delta - array[:, 6:].sum(axis=0)).mean() / np.abs(delta).mean()
        assert change["error_size"] == pytest.approx(left, rel=1e-3)
        assert left < 0.5
        for part, row in zip(parts, array, strict=True):
            assert part["up_ids"][0] == row[6:].argmax()
            assert part["down_parts"][0] == pytest.approx(row[6:].min())
    assert any("add up to the loss deltas with an error of" in note for note in found["notes"])

    for path in run.glob("step-*"):
        path.unlink()  # what is kept needs no checkpoints
    again = opsig(*words, "--eigenvectors", 2, "--top", 5, "--json").json["result"]
    assert [c["error"] for c in again["eigen"]] == [c["error"] for c in found["eigen"]]
    assert "Loss deltas along the top eigenvectors" in opsig("report", "--store", store, "--full").out
    page = tmp_path / "p.html"
    assert opsig("report", "--store", store, "--html", "--output", page).code == 0
    text = page.read_text()
    assert "What the top eigenvectors move" in text
    assert text.count("Moved up most by v") == 2
    refused = opsig(*words, "--eigenvectors", 3)
    assert refused.code == 3
    assert "mine with --method full" in refused.err
