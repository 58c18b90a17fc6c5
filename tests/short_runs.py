"""Short runs of plain torch, with states or without, and the step checks of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from conftest import Opsig
from torch import nn

NET = """
import torch
from torch import nn

class Tanh(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(12, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))
"""

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def sgd(**hyper: Any) -> Make:
    return lambda parameters: torch.optim.SGD(parameters, **hyper)


def checks(opsig: Opsig, store: Path, *words: object) -> list[dict[str, Any]]:
    result = opsig("sharpness", "--store", store, "--tolerance", 0.05, "--json", *words)
    assert result.code == 0, result.err
    return [point["step_check"] for point in result.json["result"]["points"]]


def short_run(
    opsig: Opsig,
    place: Path,
    optimizer: Make,
    *,
    smoothing: float = 0.0,
    batch: int | None = None,
    state: bool = True,
    updates: int = 1,
    counted: bool = False,
    reduction: str = "mean",
    weights: tuple[float, ...] | None = None,
    decay: float = 1.0,
    late: bool = False,
    limit: float | None = None,
) -> Path:
    """The store of a run of eight checkpoints, so many updates apart (which their steps count or not), on own data.

    The learning rate is multiplied by ``decay`` after each update: before a checkpoint is saved, or after (``late``).
    Gradients are clipped by value to ``limit``.
    """
    generator = np.random.default_rng(0)
    labels = np.arange(240) % 4
    inputs = generator.normal(size=(240, 12)).astype(np.float32) + 2 * np.eye(12, dtype=np.float32)[labels]
    np.savez(place / "data.npz", x=inputs, y=labels)
    (place / "net.py").write_text(NET)
    scope: dict[str, Any] = {}
    exec(NET, scope)
    torch.manual_seed(0)
    net, folder = scope["Tanh"](), place / "run"
    folder.mkdir()
    rule = optimizer(list(net.parameters()))
    schedule = torch.optim.lr_scheduler.ExponentialLR(rule, decay)
    of_classes = None if weights is None else torch.tensor(weights)
    for step in range(0, 8 * updates, updates) if counted else range(8):
        kept = {"model": net.state_dict(), "step": step}
        torch.save(kept | ({"optimizer": rule.state_dict()} if state else {}), folder / f"step_{step}.pt")
        if late and step:
            schedule.step()
        for _ in range(updates):
            some = torch.randperm(240)[:batch]
            rule.zero_grad()
            x, y = torch.tensor(inputs)[some], torch.tensor(labels)[some]
            F.cross_entropy(
                net(x), y, label_smoothing=smoothing, reduction=reduction, weight=of_classes
            ).backward()
            if limit is not None:
                nn.utils.clip_grad_value_(net.parameters(), limit)
            rule.step()
        if not late:
            schedule.step()
    store = place / "s.h5"
    words = (
        "--model",
        f"file:{place}/net.py:Tanh",
        "--data",
        f"npz:{place}/data.npz",
        "--loss",
        "ce",
    )
    assert opsig("trace", folder, "--store", store, *words).code == 0
    return store
