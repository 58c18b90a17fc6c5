"""A small run by a loop of plain torch, with optimizers in its checkpoints, and the dense Hessian of each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import Opsig
from torch import nn
from torch.func import functional_call

NET = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(5, 6), nn.Linear(6, 3)
    def forward(self, x):
        return self.head(torch.tanh(self.body(x)))
"""
Tensor = torch.Tensor
Make = Callable[[nn.Module], Sequence[torch.optim.Optimizer]]


class Trained:
    """A run of a small net by a loop of plain torch, with its optimizers in every checkpoint."""

    def __init__(self, folder: Path, opsig: Opsig) -> None:
        self.folder, self.opsig = folder, opsig
        (folder / "ck").mkdir()
        (folder / "net.py").write_text(NET)
        space: dict[str, Any] = {}
        exec(NET, space)
        self.make = space["Net"]
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(40, 5, generator=generator)
        self.y = torch.randint(0, 3, (40,), generator=generator)
        np.savez(folder / "d.npz", x=self.x.numpy(), y=self.y.numpy())

    def train(self, make: Make, frozen: tuple[str, ...] = (), schedule: Any = None) -> None:
        """20 updates of the full batch, checkpoints at 10 and 20."""
        torch.manual_seed(0)
        model = self.make()
        for name, p in model.named_parameters():
            p.requires_grad_(not name.startswith(frozen) if frozen else True)
        rules = make(model)
        for step in range(1, 21):
            for rule in rules:
                rule.zero_grad()
            nn.functional.cross_entropy(model(self.x), self.y).backward()
            for rule in rules:
                rule.step()
            if schedule:
                schedule(step, rules)
            if step % 10 == 0:
                saved = {f"optimizer_{i}": rule.state_dict() for i, rule in enumerate(rules)}
                torch.save(
                    {"model": model.state_dict(), "step": step, **saved}, self.folder / f"ck/step{step}.pt"
                )

    def sharpness(self, *words: object) -> list[dict[str, Any]]:
        store = self.folder / "s.h5"
        if not store.exists():
            model = (
                "--model",
                f"file:{self.folder / 'net.py'}:Net",
                "--data",
                f"npz:{self.folder / 'd.npz'}",
            )
            traced = self.opsig("trace", self.folder / "ck", *model, "--store", store)
            assert traced.code == 0, traced.err
        done = self.opsig("sharpness", "--store", store, "--fresh", "--json", "--tolerance", 1e-5, *words)
        assert done.code == 0, done.err
        self.warnings = done.json["warnings"]
        points: list[dict[str, Any]] = done.json["result"]["points"]
        return points

    def saved(self, step: int) -> dict[str, Any]:
        found: dict[str, Any] = torch.load(self.folder / f"ck/step{step}.pt")
        return found

    def hessian(self, step: int, names: Sequence[str] = ("body", "head")) -> tuple[Tensor, dict[str, int]]:
        """The dense float64 Hessian over the parameters of some layers, and their sizes."""
        weights = {name: value.double() for name, value in self.saved(step)["model"].items()}
        own = {name: value for name, value in weights.items() if name.split(".")[0] in names}
        sizes = {name: value.numel() for name, value in own.items()}
        model = self.make().double()

        def loss(flat: Tensor) -> Tensor:
            pieces = flat.split(list(sizes.values()))
            parts = {name: piece.view_as(own[name]) for name, piece in zip(own, pieces, strict=True)}
            return nn.functional.cross_entropy(
                functional_call(model, weights | parts, (self.x.double(),)), self.y
            )

        return torch.autograd.functional.hessian(
            loss, torch.cat([v.reshape(-1) for v in own.values()])
        ), sizes

    def scaled(
        self, step: int, scale: Callable[[str], Any], names: Sequence[str] = ("body", "head")
    ) -> float:
        """λmax(S^½ H S^½) with S by the name of each parameter."""
        hessian, sizes = self.hessian(step, names)
        pieces = [torch.ones(n, dtype=torch.float64) * torch.as_tensor(scale(k)) for k, n in sizes.items()]
        root = torch.cat(pieces).sqrt()
        return float(torch.linalg.eigvalsh(root[:, None] * hessian * root)[-1])
