"""Runs with BatchNorm of a plain training loop: losses by each kind of statistics, against own float64 code."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig
from torch import nn

N = 48
NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.second, self.norm2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.norm1(self.first(x)).relu()
        return self.head((x + self.norm2(self.second(x))).relu().mean((2, 3)))
"""


def net() -> nn.Module:
    space: dict[str, type[nn.Module]] = {}
    exec(NET, space)
    return space["Net"]()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SGD with momentum on small batches, a file before the first update and after every second one."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "net.py").write_text(NET)
    rng = np.random.default_rng(0)
    y = np.arange(N) % 3
    x = (4 * rng.normal(size=(N, 3, 6, 6)) + 3 * y[:, None, None, None] - 5).astype("f4")
    np.savez(folder / "d.npz", x=x, y=y)
    torch.manual_seed(0)
    model = net()
    steps = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    (folder / "run").mkdir()
    for step in range(7):
        if step % 2 == 0:
            torch.save(
                {"model": model.state_dict(), "optimizer": steps.state_dict(), "step": step},
                folder / "run" / f"step_{step}.pt",
            )
        batch = rng.permutation(N)[:16]
        steps.zero_grad()
        F.cross_entropy(model.train()(torch.tensor(x[batch])), torch.tensor(y[batch])).backward()
        steps.step()
    return folder


def truth(run: Path, train: bool) -> np.ndarray:
    """Losses (T, N) in float64: in train mode, of one batch that holds all; else with the stored statistics."""
    data, rows = np.load(run / "d.npz"), []
    x, y = torch.tensor(data["x"]).double(), torch.tensor(data["y"])
    for step in range(0, 7, 2):
        model = net()
        model.load_state_dict(torch.load(run / "run" / f"step_{step}.pt")["model"])
        with torch.no_grad():
            rows.append(F.cross_entropy(model.double().train(train)(x), y, reduction="none").numpy())
    return np.stack(rows)


def words(run: Path, store: str, *more: str) -> list[str]:
    given = [
        "trace",
        f"{run / 'run'}",
        "--model",
        f"file:{run / 'net.py'}:Net",
        "--data",
        f"npz:{run / 'd.npz'}",
    ]
    return [*given, "--store", str(run / store), *more]


def test_losses_are_of_the_statistics_that_were_asked_for(opsig: Opsig, run: Path) -> None:
    for name, mode in (("default.h5", None), ("stored.h5", "stored"), ("fixed.h5", "re-estimate")):
        found = opsig(*words(run, name, "--json", *(["--batch-norm", mode] if mode else []))).json["result"]
        assert found["batch_norm"]["statistics"] == (mode or "batch")
        stored, trained = truth(run, False), truth(run, True)
        with h5py.File(run / name) as file:
            expected = stored if mode == "stored" else trained
            np.testing.assert_allclose(file["losses"][()], expected, rtol=1e-4, atol=1e-6)
        gaps = found["batch_norm"]["gaps"]
        assert [gap["step"] for gap in gaps] == [0, 4, 6]
        for gap in gaps:
            row = gap["step"] // 2
            assert gap["stored"] == pytest.approx(stored[row].mean(), rel=1e-4)
            assert gap["re_estimated"] == pytest.approx(trained[row].mean(), rel=1e-4)


def test_the_gap_is_said_by_trace_and_report(opsig: Opsig, run: Path) -> None:
    before, after = truth(run, False)[0].mean(), truth(run, True)[0].mean()
    said = f"{before:.3g} against {after:.3g} at step 0"
    for mode, told in (("stored", "may be those of stale statistics"), ("re-estimate", "are not used")):
        result = opsig(*words(run, f"said-{mode}.h5", "--batch-norm", mode))
        assert said in " ".join(result.err.split())
        assert told in " ".join(result.err.split())
        assert said in " ".join(opsig("report", "--full", "--store", run / f"said-{mode}.h5").out.split())


def test_a_trace_is_not_continued_with_other_statistics(opsig: Opsig, run: Path) -> None:
    opsig(*words(run, "kept.h5", "--batch-norm", "stored"))
    assert opsig(*words(run, "kept.h5", "--json")).json["result"]["batch_norm"]["statistics"] == "stored"
    for result in (
        opsig(*words(run, "kept.h5", "--batch-norm", "re-estimate")),
        opsig("mine", "--store", run / "kept.h5", "--batch-norm", "re-estimate"),
    ):
        assert result.code == 3
        assert "--batch-norm stored" in " ".join(result.err.split())


def test_statistics_that_were_frozen_in_training_are_told_by_their_standing_still(
    opsig: Opsig, run: Path
) -> None:
    folder = run / "frozen"
    folder.mkdir()
    first = torch.load(run / "run" / "step_0.pt")["model"]
    for step in (0, 2, 4):
        state = torch.load(run / "run" / f"step_{step}.pt")
        kept = {name: value for name, value in first.items() if "running" in name}
        torch.save({"model": state["model"] | kept, "step": step}, folder / f"step_{step}.pt")
    given = words(run, "frozen.h5")
    given[1] = str(folder)
    taken = opsig(*given, "--json")
    assert taken.json["result"]["batch_norm"]["statistics"] == "stored"
    assert "never change" in " ".join(taken.err.split())
    again = opsig(*given, "--fresh", "--batch-norm", "batch")
    assert "trace with --batch-norm stored" in " ".join(again.err.split())


def test_sharpness_is_by_default_of_the_statistics_of_the_trace(opsig: Opsig, run: Path) -> None:
    opsig(*words(run, "sharp.h5"))
    asked = ("sharpness", "--store", run / "sharp.h5", "--steps", "0:0", "--no-step-check", "--json")
    found = {
        mode: opsig(*asked, *(["--batch-norm", mode] if mode else [])).json
        for mode in (None, "stored", "re-estimate")
    }
    points = {mode: one["result"]["points"][0] for mode, one in found.items()}
    assert [point["batch_norm"] for point in points.values()] == ["batch", "stored", "re-estimate"]
    assert len({point["eigenvalues"][0] for point in points.values()}) == 3
    assert points[None]["eigenvalues"][0] == pytest.approx(_sharpness_in_training(run), rel=1e-2)


def _sharpness_in_training(run: Path) -> float:
    """The largest eigenvalue of the dense float64 Hessian of the train-mode loss at step 0."""
    data, model = np.load(run / "d.npz"), net()
    model.load_state_dict(torch.load(run / "run" / "step_0.pt")["model"])
    model.double().train()
    for norm in (model.norm1, model.norm2):
        norm.track_running_stats = False
    weights = list(model.parameters())
    loss = F.cross_entropy(model(torch.tensor(data["x"]).double()), torch.tensor(data["y"]))
    flat = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, weights, create_graph=True)])
    rows = [
        torch.cat([g.reshape(-1) for g in torch.autograd.grad(one, weights, retain_graph=True)])
        for one in flat
    ]
    return float(torch.linalg.eigvalsh(torch.stack(rows))[-1])


def test_layers_that_store_no_statistics_have_those_of_the_data(opsig: Opsig, run: Path) -> None:
    bare = run / "bare"
    bare.mkdir()
    for file in (run / "run").iterdir():
        found = torch.load(file)
        found["model"] = {
            k: v for k, v in found["model"].items() if "running" not in k and "batches" not in k
        }
        torch.save(found, bare / file.name)
    (run / "bare.py").write_text(NET.replace("BatchNorm2d(4)", "BatchNorm2d(4, track_running_stats=False)"))
    given = words(run, "bare.h5", "--json")
    given[1], given[3] = str(bare), f"file:{run / 'bare.py'}:Net"
    taken = opsig(*given).json["result"]
    assert taken["batch_norm"]["statistics"] == "batch"
    assert not taken["batch_norm"]["gaps"]
    with h5py.File(run / "bare.h5") as file:
        np.testing.assert_allclose(file["losses"][:], truth(run, train=True), rtol=1e-4)
    asked = ("sharpness", "--store", run / "bare.h5", "--steps", "0:0", "--no-step-check", "--json")
    point = opsig(*asked).json["result"]["points"][0]
    assert point["eigenvalues"][0] == pytest.approx(_sharpness_in_training(run), rel=1e-2)
    refused = opsig(*given, "--fresh", "--batch-norm", "stored")
    assert refused.code == 3
    assert "track_running_stats=False" in refused.err
    assert "--batch-norm batch" in refused.err
