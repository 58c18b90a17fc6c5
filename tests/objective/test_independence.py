"""Losses that depend on the batch are refused at real batch sizes, and complex numbers are never cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig
from torch import Tensor, nn

from opsigcli.datasets import open_source
from opsigcli.errors import ObjectiveError
from opsigcli.objective.base import Objective
from opsigcli.objective.independence import refuse_coupling

N = 90


class Experts(nn.Module):
    """Two experts, each of which takes as many examples as the batch leaves room for, but never fewer than eight."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.experts = nn.Linear(4, 2), nn.ModuleList(nn.Linear(4, 3) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        chosen, room = self.router(x).argmax(-1), max(8, len(x) // 4)
        out = torch.zeros(len(x), 3, dtype=x.dtype)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).nonzero()[:room, 0]
            out = out.index_add(0, rows, expert(x[rows]))
        return out


class Turning(nn.Module):
    """A complex buffer, as of rotary embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(4, 3)
        self.register_buffer("turn", torch.polar(torch.ones(2), torch.tensor([0.7, 1.9])))

    def forward(self, x: Tensor) -> Tensor:
        turned = torch.view_as_complex(x.reshape(-1, 2, 2).contiguous()) * self.turn
        return self.inside(torch.view_as_real(turned).flatten(1))


def opened(folder: Path, model: nn.Module, loss: str = "ce", dtype: torch.dtype = torch.float32) -> Objective:
    rng = np.random.default_rng(0)
    np.savez(folder / "d.npz", x=rng.normal(size=(N, 4)), y=rng.integers(0, 3, N))
    return Objective(model, open_source(f"npz:{folder / 'd.npz'}"), loss, dtype=dtype)


def test_experts_that_run_full_in_large_batches_are_refused_by_the_examples_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(
        ObjectiveError, match=r"at step7\.pt that of example \d+ is .* in a batch of 90"
    ) as caught:
        refuse_coupling(opened(tmp_path, Experts()), "step7.pt")
    assert "capacity" in caught.value.hint


def test_a_contrastive_loss_is_refused_and_nothing_is_written(opsig: Opsig, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch, torch.nn.functional as F\n"
        "from torch import nn\n"
        "def make(): return nn.Linear(4, 3)\n"
        "def loss(z, y):\n"
        "    z = F.normalize(z)\n"
        "    return F.cross_entropy(z @ z.T, torch.arange(len(z)), reduction='none')\n"
    )
    opened(tmp_path, nn.Linear(4, 3))
    folder = tmp_path / "ck"
    folder.mkdir()
    for step in (1, 2):
        torch.save(nn.Linear(4, 3).state_dict(), folder / f"step_{step}.pt")
    code = f"file:{tmp_path / 'net.py'}"
    words = ("--model", f"{code}:make", "--data", f"npz:{tmp_path / 'd.npz'}", "--loss", f"{code}:loss")
    done = opsig("trace", folder, *words, "--store", tmp_path / "s.h5")
    assert done.code == 3
    assert "depend on the example alone" in done.err
    assert not (tmp_path / "s.h5").exists()


class Centred(nn.Module):
    """Outputs with a thousandth of their mean over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        found = self.inside(x)
        return found + 1e-3 * found.mean(0)


def test_a_weak_coupling_is_refused_as_well(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(ObjectiveError, match="depend on the example alone"):
        refuse_coupling(opened(tmp_path, Centred()), "step7.pt")


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e30])
def test_what_is_independent_passes_whatever_its_size(tmp_path: Path, scale: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 50), nn.ReLU(), nn.Linear(50, 3))
    with torch.no_grad():
        model[0].weight.mul_(scale)
    assert refuse_coupling(opened(tmp_path, model), "here")


WEIGHTED = """
import torch.nn.functional as F

def each(z, y):
    return F.cross_entropy(z, y, reduction="none")

def own(z, y):
    return each(z, y), 1.0 + y

def shares(z, y):
    return each(z, y), (1.0 + y) / (1.0 + y).sum()

def of_outputs(z, y):
    return each(z, y), 1.0 + z.abs().sum(1)
"""


@pytest.mark.parametrize(
    ("name", "found"),
    [("shares", r"in a batch of 90 and .* in one of 30"), ("of_outputs", "outputs of zeros")],
)
def test_weights_of_a_batch_or_of_outputs_are_refused(tmp_path: Path, name: str, found: str) -> None:
    (tmp_path / "loss.py").write_text(WEIGHTED)
    torch.manual_seed(0)
    with pytest.raises(ObjectiveError, match=f"on the targets of the example alone.*{found}") as caught:
        refuse_coupling(opened(tmp_path, nn.Linear(4, 3), f"file:{tmp_path}/loss.py:{name}"), "here")
    assert "divided by their sum" in caught.value.hint


def test_weights_of_the_targets_pass(tmp_path: Path) -> None:
    (tmp_path / "loss.py").write_text(WEIGHTED)
    torch.manual_seed(0)
    assert refuse_coupling(opened(tmp_path, nn.Linear(4, 3), f"file:{tmp_path}/loss.py:own"), "here")


def test_nothing_can_be_told_where_no_loss_is_finite(tmp_path: Path) -> None:
    model = nn.Linear(4, 3)
    nn.init.constant_(model.weight, float("nan"))
    assert not refuse_coupling(opened(tmp_path, model), "here")


def test_complex_parameters_are_refused_by_name(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    model.register_parameter("spin", nn.Parameter(torch.ones(2, dtype=torch.cfloat)))
    with pytest.raises(ObjectiveError, match="complex64 in 'spin'") as caught:
        opened(tmp_path, model)
    assert "view_as_real" in caught.value.hint


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_complex_buffers_stay_complex(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = Turning()
    x = torch.as_tensor(open_inputs(tmp_path))
    expected = F.cross_entropy(model(x), torch.as_tensor(labels(tmp_path)), reduction="none").detach()
    objective = opened(tmp_path, model, dtype=dtype)
    torch.testing.assert_close(torch.as_tensor(objective.losses()), expected)


def open_inputs(folder: Path) -> np.ndarray:
    opened(folder, nn.Linear(4, 3))
    return np.load(folder / "d.npz")["x"].astype(np.float32)


def labels(folder: Path) -> np.ndarray:
    return np.load(folder / "d.npz")["y"]
