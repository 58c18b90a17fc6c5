"""Token ids with class labels and maps of labels, from every kind of source, through trace, sharpness and mine; and the
mean that was trained."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig
from torch import nn

N = 24
RNG = np.random.default_rng(0)
TOKENS, TEXT_LABELS = RNG.integers(0, 9, (N, 6)), RNG.integers(0, 3, N)
PIXELS = RNG.normal(size=(N, 1, 4, 4)).astype(np.float32)
MAPS = (PIXELS[:, 0] > 0).astype(np.int64) + (PIXELS[:, 0] > 1)
MAPS[: N // 2, :3] = 255

CODE = """
import numpy as np, torch
from torch import nn
class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(9, 4), nn.Linear(4, 3)
    def forward(self, x):
        return self.out(torch.tanh(self.embed(x)).mean(1))
def text(): return Text()
def maps(): return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 3, 1))
def data(file):
    found = np.load(file)
    return [(torch.as_tensor(x), torch.as_tensor(y)) for x, y in zip(found["x"], found["y"])]
"""
KINDS = {
    "text": (TOKENS, TEXT_LABELS, "ce", "input_ids"),
    "maps": (PIXELS, MAPS, "ce?ignore_index=255", "pixel_values"),
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Both kinds of data as npz and on the Hugging Face library's disk, and checkpoints trained on torch's own mean."""
    (tmp_path / "net.py").write_text(CODE)
    made: dict[str, object] = {}
    exec(CODE, made)
    for name, (x, y, _, _) in KINDS.items():
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
        torch.manual_seed(0)
        model: nn.Module = made[name]()  # type: ignore[operator]
        optimizer = torch.optim.SGD(model.parameters(), 0.5)
        (tmp_path / name).mkdir()
        for step in range(1, 7):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(torch.as_tensor(x)), torch.as_tensor(y), ignore_index=255)
            loss.backward()
            (tmp_path / name / f"mean_{step - 1}.txt").write_text(str(loss.item()))
            optimizer.step()
            torch.save(
                {"model": model.state_dict(), "optimizer": optimizer.state_dict()},
                tmp_path / name / f"step_{step}.pt",
            )
    return tmp_path


@pytest.mark.parametrize("source", ["npz", "file", "hfds"])
@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_texts_and_pixels_work_from_every_source(
    opsig: Opsig, run: Path, kind: str, source: str
) -> None:
    x, y, loss, column = KINDS[kind]
    data = f"npz:{run / f'{kind}.npz'}"
    if source == "file":
        data = f"file:{run / 'net.py'}:data?file={run / f'{kind}.npz'}"
    elif source == "hfds":
        datasets = pytest.importorskip("datasets")
        datasets.Dataset.from_dict({column: x.tolist(), "label": y.tolist()}).save_to_disk(str(run / "hf"))
        data = f"hfds:{run / 'hf'}"
    words = ("--model", f"file:{run / 'net.py'}:{kind}", "--data", data, "--loss", loss)
    traced = opsig("trace", run / kind, *words, "--store", run / "s.h5", "--json")
    assert traced.code == 0, traced.err
    trained = [float((run / kind / f"mean_{step}.txt").read_text()) for step in range(1, 6)]
    assert traced.json["result"]["mean_losses"][:5] == pytest.approx(trained, rel=1e-4)
    for command in (("sharpness", "--per-example"), ("mine", "--surrogates", 0), ("report",)):
        done = opsig(*command, "--store", run / "s.h5")
        assert done.code == 0, done.err


def test_a_void_label_leads_to_the_option_that_ignores_it(opsig: Opsig, run: Path) -> None:
    words = ("--model", f"file:{run / 'net.py'}:maps", "--data", f"npz:{run / 'maps.npz'}")
    done = opsig("trace", run / "maps", *words, "--store", run / "s.h5")
    assert done.code == 3
    assert "found label 255 (example 0)" in done.err
    assert "--loss 'ce?ignore_index=255'" in done.err


@pytest.mark.parametrize(("shift", "way"), [(1, "y = y - 1"), (None, "y = (y + 1) // 2")])
def test_labels_that_begin_elsewhere_are_never_said_to_be_ignored(
    opsig: Opsig, tmp_path: Path, shift: int | None, way: str
) -> None:
    outputs = 3 if shift else 2
    y = np.arange(12) % outputs
    np.savez(tmp_path / "d.npz", x=np.ones((12, 4), np.float32), y=y + 1 if shift else 2 * y - 1)
    (tmp_path / "ck").mkdir()
    torch.save(nn.Sequential(nn.Linear(4, outputs)).state_dict(), tmp_path / "ck/1.pt")
    (tmp_path / "n.py").write_text(
        f"from torch import nn\ndef build(): return nn.Sequential(nn.Linear(4, {outputs}))\n"
    )
    words = ("--model", f"file:{tmp_path / 'n.py'}:build", "--data", f"npz:{tmp_path / 'd.npz'}")
    done = opsig("trace", tmp_path / "ck", *words, "--store", tmp_path / "s.h5")
    assert done.code == 3
    assert way in done.err
    assert "ignore" not in done.err


def test_losses_are_the_examples_own_and_the_mean_is_weighted_and_said(opsig: Opsig, run: Path) -> None:
    np.save(run / "w.npy", np.arange(N) % 4)
    data = f"npz:{run / 'text.npz'}?weights={run / 'w.npy'}"
    words = ("--model", f"file:{run / 'net.py'}:text", "--data", data, "--loss", "ce?weight=1,2,4")
    done = opsig("trace", run / "text", *words, "--store", run / "s.h5", "--json")
    assert done.code == 0, done.err
    w = (np.arange(N) % 4) * np.array([1, 2, 4])[TEXT_LABELS]
    assert "its weight in the data × the weight of its class (1, 2, 4)" in done.json["result"]["mean"]
    with h5py.File(run / "s.h5") as file:
        losses = file["losses"][()]
        np.testing.assert_allclose(file["weights"][()], w / w.mean())
    assert done.json["result"]["mean_losses"] == pytest.approx(
        np.average(losses, axis=1, weights=w), rel=1e-6
    )
    sharp = opsig("sharpness", "--store", run / "s.h5", "--json")
    assert sharp.json["result"]["mean"] == done.json["result"]["mean"]
    again = opsig("trace", run / "text", *words[:-1], "ce", "--store", run / "s.h5")
    assert again.code != 0
