"""States that are numbered in another order than the model's parameters are given to the right modules, or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig
from torch import nn

from opsigcli.errors import CheckpointError
from opsigcli.runs.state_order import owners

NET = """
from torch import nn

def net():
    return nn.Sequential(
        nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 3)
    )
"""


def adam(parameters: Iterable[Any]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, 0.003)


def momentum(parameters: Iterable[Any]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, 0.05, momentum=0.9)


def ratios(
    opsig: Opsig,
    place: Path,
    numbered: Callable[[nn.Module], Iterable[Any]],
    apart: int,
    rule: Callable[[Iterable[Any]], torch.optim.Optimizer] = adam,
) -> list[float]:
    """The stability ratios of a short run on minibatches, whose parameters are numbered in some order."""
    space: dict[str, Any] = {}
    exec(NET, space)
    torch.manual_seed(0)
    net, folder = space["net"](), place / "run"
    folder.mkdir(parents=True)
    x, y = torch.randn(90, 12), torch.arange(90) % 3
    x += 2 * F.one_hot(y, 12)
    np.savez(place / "data.npz", x=x.numpy(), y=y.numpy())
    (place / "net.py").write_text(NET)
    optimizer = rule(numbered(net))
    for step in range(1, 4 * apart):
        some = torch.randperm(90)[:30]
        optimizer.zero_grad()
        F.cross_entropy(net(x[some]), y[some]).backward()
        optimizer.step()
        if step % apart == 0:
            saved = {"model": net.state_dict(), "step": step, "optimizer": optimizer.state_dict()}
            torch.save(saved, folder / f"step_{step}.pt")
    store = place / "s.h5"
    words = ("--model", f"file:{place}/net.py:net", "--data", f"npz:{place}/data.npz", "--loss", "ce")
    assert opsig("trace", folder, "--store", store, *words).code == 0
    result = opsig("sharpness", "--store", store, "--json")
    assert result.code == 0, result.err
    return [point["ratio"] for point in result.json["result"]["points"]]


@pytest.mark.parametrize("apart", [1, 5])
def test_layers_in_another_order_have_the_ratio_of_layers_by_name(
    opsig: Opsig, tmp_path: Path, apart: int
) -> None:
    def other(net: nn.Module) -> list[nn.Parameter]:
        layers = [net.get_submodule(name) for name in ("4", "0", "2", "6")]
        return [p for layer in layers for p in layer.parameters()]

    named = ratios(opsig, tmp_path / "named", lambda net: net.named_parameters(), apart)
    assert ratios(opsig, tmp_path / "model", lambda net: net.parameters(), apart) == pytest.approx(
        named, rel=1e-3
    )
    assert ratios(opsig, tmp_path / "other", other, apart) == pytest.approx(named, rel=1e-3)


def test_layers_of_equal_shapes_under_momentum_have_a_ratio(opsig: Opsig, tmp_path: Path) -> None:
    """The threshold of momentum asks nothing of its buffers, which are not read for it."""
    found = ratios(opsig, tmp_path, lambda net: net.parameters(), 5, momentum)
    named = ratios(opsig, tmp_path / "named", lambda net: net.named_parameters(), 5, momentum)
    assert found == pytest.approx(named, rel=1e-3)


def entry(average: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"exp_avg": average}


def test_a_state_that_says_nothing_stays_in_the_order_of_the_model() -> None:
    torch.manual_seed(0)
    state = {f"{name}.weight": entry(torch.randn(30, 30)) for name in "ab"}
    gradient = {name: torch.randn(30, 30) for name in state}
    assert owners(state, None, gradient) == {name: name for name in state}


def test_what_is_told_for_some_modules_and_not_for_others_is_refused() -> None:
    torch.manual_seed(0)
    gradient = {f"{name}.weight": torch.randn(30, 30) for name in "ab"}
    gradient |= {f"{name}.weight": torch.randn(3) for name in "cd"}
    state = {name: entry(value) for name, value in gradient.items()}
    state["a.weight"], state["b.weight"] = state["b.weight"], state["a.weight"]
    with pytest.raises(CheckpointError, match="another order than the model"):
        owners(state, None, gradient)
    exchanged = owners({k: v for k, v in state.items() if k[0] in "ab"}, None, gradient)
    assert exchanged == {"a.weight": "b.weight", "b.weight": "a.weight"}
