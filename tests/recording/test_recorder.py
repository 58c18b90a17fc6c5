"""A training loop of one's own with a recorder, and what the commands make of it without options."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Opsig
from torch import Tensor, nn

import opsigcli
from opsigcli import Recorder
from opsigcli.checkpoints.manifest import read_manifest
from opsigcli.errors import DatasetError, ModelError, UsageError
from opsigcli.recording.spikes import Jumps

NET = """
from torch import nn

def build(width=8):
    return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 3))
"""


@pytest.fixture
def specs(tmp_path: Path) -> dict[str, str]:
    """A model and data as files, as specs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5)).astype(np.float32)
    np.savez(tmp_path / "train.npz", x=x, y=(np.abs(x).sum(1) * 0.7).astype(np.int64) % 3)
    (tmp_path / "net.py").write_text(NET)
    return {"model": f"file:{tmp_path / 'net.py'}:build", "data": f"npz:{tmp_path / 'train.npz'}"}


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


def _examples(specs: dict[str, str]) -> tuple[Tensor, Tensor]:
    with np.load(specs["data"].removeprefix("npz:")) as arrays:
        return torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])


def _train(
    recorder: Recorder,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    specs: dict[str, str],
    steps: int,
) -> dict[int, dict[str, Tensor]]:
    """Full-batch updates; the weights after each, by step."""
    x, y = _examples(specs)
    kept = {recorder.updates: {k: v.clone() for k, v in net.state_dict().items()}}
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        recorder.step(loss)
        kept[recorder.updates] = {k: v.clone() for k, v in net.state_dict().items()}
    return kept


def _double(weights: dict[str, Tensor]) -> nn.Module:
    net = _net().double()
    net.load_state_dict({k: v.double() for k, v in weights.items()})
    return net


RULES: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "gd": lambda net: torch.optim.SGD(net.parameters(), lr=0.3),
    "momentum": lambda net: torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.8),
    "adam": lambda net: torch.optim.Adam(net.parameters(), lr=0.01),
    "groups": lambda net: torch.optim.AdamW(
        [
            {"params": list(net.parameters())[::2]},
            {"params": list(net.parameters())[1::2], "weight_decay": 0.0},
        ],
        lr=0.01,
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_after_a_recorder_trace_and_sharpness_need_no_options(
    opsig: Opsig, specs: dict[str, str], tmp_path: Path, rule: str
) -> None:
    net = _net()
    optimizer = RULES[rule](net)
    with Recorder(tmp_path / "run", net, optimizer, **specs, every=4) as recorder:
        kept = _train(recorder, net, optimizer, specs, 10)
    store = tmp_path / "o.h5"
    traced = opsig("trace", tmp_path / "run", "--store", store, "--json")
    assert traced.code == 0, traced.err
    assert traced.json["result"]["steps"] == [0, 4, 8, 10]
    x, y = _examples(specs)
    run = opsigcli.open(store)
    for row, step in enumerate([0, 4, 8, 10]):
        own = nn.functional.cross_entropy(_double(kept[step])(x.double()), y, reduction="none")
        np.testing.assert_allclose(run.losses[row], own.detach().numpy(), rtol=2e-6, atol=2e-6)
    found = opsig("sharpness", "--store", store, "--json")
    assert found.code == 0, found.err
    points = found.json["result"]["points"]
    last = _double(kept[10])
    flat = torch.cat([p.detach().reshape(-1) for p in last.parameters()])
    names = [name for name, _ in last.named_parameters()]
    shapes = [p.shape for p in last.parameters()]

    def mean_loss(weights: Tensor) -> Tensor:
        parts = dict(zip(names, weights.split([s.numel() for s in shapes]), strict=True))
        views = {n: parts[n].view(s) for n, s in zip(names, shapes, strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(last, views, (x.double(),)), y)

    hessian = torch.autograd.functional.hessian(mean_loss, flat)
    assert points[-1]["eigenvalues"][0] == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]), rel=2e-3)
    thresholds = {"gd": 2 / 0.3, "momentum": 2 * 1.8 / 0.05}
    if rule in thresholds:
        assert [p["threshold"] for p in points] == pytest.approx([thresholds[rule]] * 4)
        return
    # Adam's threshold is of the preconditioned Hessian, with the second moments that the optimizer has.
    state = [optimizer.state[p] for p in net.parameters()]
    v = torch.cat([s["exp_avg_sq"].double().reshape(-1) for s in state]) / (1 - 0.999**10)
    p = (1 - 0.9**10) * (v.sqrt() + 1e-8)
    own_top = torch.linalg.eigvalsh(hessian / (p.sqrt()[:, None] * p.sqrt()[None]))[-1]
    assert points[-1]["ratio"] == pytest.approx(float(own_top) / (2 * (1.9 / 0.1) / 0.01), rel=5e-3)


def test_the_learning_rate_of_a_schedule_is_that_of_each_checkpoint(
    opsig: Opsig, specs: dict[str, str], tmp_path: Path
) -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    x, y = _examples(specs)
    with Recorder(tmp_path / "run", net, optimizer, **specs, every=1) as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
            schedule.step()
            recorder.step()
    store = tmp_path / "o.h5"
    assert opsig("trace", tmp_path / "run", "--store", store).code == 0
    points = opsig("sharpness", "--store", store, "--json").json["result"]["points"]
    assert [p["threshold"] for p in points] == pytest.approx([5, 10, 20, 40])
    assert [p["step_check"]["verdict"] for p in points[:-1]] == ["confirmed"] * 3


def test_steps_are_dense_before_and_after_a_jump_of_the_loss(specs: dict[str, str], tmp_path: Path) -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    recorder = Recorder(tmp_path / "run", net, optimizer, **specs, every=50, dense_on_spike=3)
    weight = next(iter(net.parameters()))
    for step in range(1, 61):
        with torch.no_grad():
            weight.fill_(step)
        recorder.step(5.0 if step == 30 else 1.0 + 0.01 * math.sin(step))
    recorder.close()
    manifest = read_manifest(tmp_path / "run")
    assert manifest is not None
    steps = [row.step for row in manifest.checkpoints]
    assert steps == [0, 27, 28, 29, 30, 31, 32, 33, 50, 60]
    for row in manifest.checkpoints[1:]:  # those from memory hold the weights of their own step
        saved = torch.load(tmp_path / "run" / row.file, weights_only=True)
        assert saved["model"]["0.weight"][0, 0] == row.step


def test_a_run_goes_on_and_what_came_after_is_of_another_future(
    specs: dict[str, str], tmp_path: Path
) -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with Recorder(tmp_path / "run", net, optimizer, **specs, every=2) as recorder:
        _train(recorder, net, optimizer, specs, 6)
    with pytest.raises(UsageError, match="holds a run of 6 steps"):
        Recorder(tmp_path / "run", net, optimizer, **specs)
    with Recorder(tmp_path / "run", net, optimizer, **specs, every=3, step=4) as recorder:
        _train(recorder, net, optimizer, specs, 3)
    manifest = read_manifest(tmp_path / "run")
    assert manifest is not None
    assert [row.step for row in manifest.checkpoints] == [0, 2, 4, 6, 7]
    Recorder(tmp_path / "run", net, optimizer, **specs, fresh=True).close()
    manifest = read_manifest(tmp_path / "run")
    assert manifest is not None
    assert [row.step for row in manifest.checkpoints] == [0]


def test_what_does_not_belong_together_is_refused_before_training(
    specs: dict[str, str], tmp_path: Path
) -> None:
    net, other = _net(), nn.Linear(5, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ModelError, match="the module that is trained"):
        Recorder(tmp_path / "a", other, torch.optim.SGD(other.parameters(), lr=0.1), **specs)
    with pytest.raises(UsageError, match="optimizer over parameters of the module"):
        Recorder(tmp_path / "a", other, optimizer, **specs)
    with pytest.raises(DatasetError):
        Recorder(tmp_path / "a", net, optimizer, **{**specs, "data": "npz:nowhere.npz"})
    with pytest.raises(UsageError, match="unknown loss 'cee'"):
        Recorder(tmp_path / "a", net, optimizer, **specs, loss="cee")
    with pytest.raises(UsageError, match="expected an object for data, found the class TensorDataset"):
        Recorder(tmp_path / "a", net, optimizer, data=torch.utils.data.TensorDataset)
    with pytest.raises(UsageError, match="every"):
        Recorder(tmp_path / "a", net, optimizer, **specs, every=0)
    assert not (tmp_path / "a").exists()


def test_wrappers_of_a_module_are_taken_off(specs: dict[str, str], tmp_path: Path) -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with Recorder(tmp_path / "run", nn.DataParallel(net), optimizer, **specs):
        pass
    saved = torch.load(tmp_path / "run" / "step-00000000.pt", weights_only=True)
    assert set(saved["model"]) == set(net.state_dict())


@pytest.mark.parametrize("scatter", [0.0, 0.05, 0.3])
def test_losses_of_minibatches_make_few_jumps_and_a_spike_makes_one(scatter: float) -> None:
    rng = np.random.default_rng(1)
    jumps = Jumps()
    losses = 2.0 * np.exp(-np.arange(400) / 300) * (1 + scatter * rng.normal(size=400))
    assert sum(jumps.jumped(float(loss)) for loss in losses) <= 1
    assert jumps.jumped(float(losses[-1]) * 5)
    assert jumps.jumped(math.nan)
    assert jumps.jumped(math.inf)


def test_a_module_and_a_data_set_of_the_program_need_no_specs(
    opsig: Opsig, specs: dict[str, str], tmp_path: Path
) -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    data = torch.utils.data.TensorDataset(*_examples(specs))
    with Recorder(tmp_path / "run", net, optimizer, data=data, every=2) as recorder:
        kept = _train(recorder, net, optimizer, specs, 4)
    done = opsigcli.trace(tmp_path / "run", model=net, data=data, store=tmp_path / "o.h5")
    x, y = _examples(specs)
    own = [
        nn.functional.cross_entropy(_double(kept[step])(x.double()), y, reduction="none")
        for step in (0, 2, 4)
    ]
    np.testing.assert_allclose(done.run.losses[:], torch.stack(own).detach().numpy(), rtol=2e-6, atol=2e-6)
    assert not [text for text in done.warnings if "--model" in text or "--data" in text]
    lost = opsig("trace", tmp_path / "run", "--store", tmp_path / "p.h5")
    assert lost.code == 3
    assert "give it again" in lost.err
