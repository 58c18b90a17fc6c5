"""A body that is unfrozen bit by bit: every point is measured over the weights that train there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig
from torch import nn

NET = """
from torch import nn

def net():
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3))
"""


def dense_sharpness(net: nn.Module, x: torch.Tensor, y: torch.Tensor, names: list[str]) -> float:
    """The largest eigenvalue of the Hessian over some parameters, from the dense matrix in float64."""
    net = net.double()
    fixed = {name: p.detach() for name, p in net.named_parameters()}
    sizes = [fixed[name].numel() for name in names]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        own = {n: part.reshape(fixed[n].shape) for n, part in zip(names, flat.split(sizes), strict=True)}
        return F.cross_entropy(torch.func.functional_call(net, {**fixed, **own}, (x.double(),)), y)

    flat = torch.cat([fixed[name].reshape(-1) for name in names])
    hessian: torch.Tensor = torch.autograd.functional.hessian(loss, flat)  # type: ignore[no-untyped-call]
    return float(torch.linalg.eigvalsh(hessian)[-1])


@pytest.mark.parametrize("rule", [torch.optim.SGD, torch.optim.Adam])
def test_each_point_is_over_the_weights_that_train_there(
    opsig: Opsig, tmp_path: Path, rule: type[torch.optim.Optimizer]
) -> None:
    space: dict[str, object] = {}
    exec(NET, space)
    torch.manual_seed(0)
    net, folder = space["net"](), tmp_path / "run"  # type: ignore[operator]
    folder.mkdir()
    x, y = torch.randn(40, 6), torch.arange(40) % 3
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=y.numpy())
    (tmp_path / "net.py").write_text(NET)
    optimizer = rule(net.parameters(), lr=0.1 if rule is torch.optim.SGD else 0.01)  # type: ignore[call-arg]
    everything = list(dict(net.named_parameters()))
    training = {0: everything[4:], 3: everything[2:], 6: everything}
    truth = {}
    for step in range(9):
        if step in training:
            for name, p in net.named_parameters():
                p.requires_grad_(name in training[step])
        saved = {"model": net.state_dict(), "step": step, "optimizer": optimizer.state_dict()}
        torch.save(saved, folder / f"step_{step}.pt")
        own = training[max(s for s in training if s <= step)]
        copy = space["net"]()  # type: ignore[operator]
        copy.load_state_dict(net.state_dict())
        truth[step] = dense_sharpness(copy, x, y, own)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    words = ("--model", f"file:{tmp_path}/net.py:net", "--data", f"npz:{tmp_path}/data.npz", "--loss", "ce")
    store = tmp_path / "s.h5"
    assert opsig("trace", folder, "--store", store, *words).code == 0
    result = opsig("sharpness", "--store", store, "--tolerance", 1e-5, "--json")
    assert result.code == 0, result.err
    points = result.json["result"]["points"]
    found = {point["step"]: point["eigenvalues"][0] for point in points}
    assert found == pytest.approx(truth, rel=1e-3)
    checks = [point["step_check"]["verdict"] for point in points]
    assert checks[1:8] == ["confirmed"] * 7
    if rule is torch.optim.Adam:  # the file holds no second moments yet of those that were unfrozen
        assert [point["step"] for point in points if point["ratio"] is None] == [0, 3, 6]


def test_a_body_that_joins_the_optimizer_trains_from_the_checkpoint_at_which_it_joins(
    opsig: Opsig, tmp_path: Path
) -> None:
    """The head alone is in the optimizer, then ``add_param_group`` takes the body, at a tenth of the rate."""
    space: dict[str, object] = {}
    exec(NET, space)
    torch.manual_seed(0)
    net, folder = space["net"](), tmp_path / "run"  # type: ignore[operator]
    folder.mkdir()
    x, y = torch.randn(40, 6), torch.arange(40) % 3
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=y.numpy())
    (tmp_path / "net.py").write_text(NET)
    everything = list(dict(net.named_parameters()))
    optimizer = torch.optim.SGD(net[4].parameters(), lr=0.2, momentum=0.9)
    truth = {}
    for step in range(7):
        if step == 3:
            optimizer.add_param_group({"params": [*net[0].parameters(), *net[2].parameters()]})
        saved = {"model": net.state_dict(), "step": step, "optimizer": optimizer.state_dict()}
        torch.save(saved, folder / f"step_{step}.pt")
        copy = space["net"]()  # type: ignore[operator]
        copy.load_state_dict(net.state_dict())
        truth[step] = dense_sharpness(copy, x, y, everything[4:] if step < 3 else everything)
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    words = ("--model", f"file:{tmp_path}/net.py:net", "--data", f"npz:{tmp_path}/data.npz", "--loss", "ce")
    store = tmp_path / "s.h5"
    assert opsig("trace", folder, "--store", store, *words).code == 0
    result = opsig("sharpness", "--store", store, "--tolerance", 1e-5, "--json")
    points = result.json["result"]["points"]
    assert {p["step"]: p["eigenvalues"][0] for p in points} == pytest.approx(truth, rel=1e-3)
    assert {p["step"]: p["ratio"] for p in points} == pytest.approx(
        {step: sharpness * 0.2 / 3.8 for step, sharpness in truth.items()}, rel=1e-3
    )
    assert [p["step_check"]["verdict"] for p in points][:6] == ["confirmed"] * 6
