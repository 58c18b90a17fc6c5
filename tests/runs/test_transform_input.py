"""Models that normalise their inputs themselves: no checkpoint says whether they did, and the losses tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import Opsig
from PIL import Image
from torch import nn

from opsigcli.models.base import build

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CONSTANTS = "mean=0.485,0.456,0.406&std=0.229,0.224,0.225"
NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, transform_input=False):
        super().__init__()
        self.transform_input = transform_input
        self.body, self.head = nn.Linear(192, 32), nn.Linear(32, 3)

    def forward(self, x):
        if self.transform_input:
            mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
            x = (x * std + mean - 0.5) / 0.5
        return self.head(torch.sin(5 * self.body(x.flatten(1))))
"""


def write_pictures(
    folder: Path, size: int, each: int, bright: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures in a folder for each class, and as the inputs of ImageNet: (N, 3, H, W) and labels (N,)."""
    rng = np.random.default_rng(0)
    base = rng.normal(0, 30, (3, size, size, 3))
    labels = np.repeat(np.arange(3), each)
    pixels = np.clip(110 + base[labels] + rng.normal(0, 45, (len(labels), size, size, 3)), 0, 255).astype(
        np.uint8
    )
    for i, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        path = folder / "abc"[label] / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    return (torch.as_tensor(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std, torch.as_tensor(labels)


def train(
    model: nn.Module, x: torch.Tensor, y: torch.Tensor, folder: Path, steps: int, lr: float
) -> list[float]:
    """Checkpoints in the middle and at the end; the losses that the model itself has there in eval mode."""
    folder.mkdir()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
    rule, found = torch.optim.SGD(model.parameters(), lr, momentum=0.9), []
    for step in range(1, steps + 1):
        loss = nn.functional.cross_entropy(model.train()(x), y)
        rule.zero_grad()
        loss.backward()
        rule.step()
        if step in (steps // 2, steps):
            torch.save(model.state_dict(), folder / f"step_{step}.pt")
            with torch.no_grad():
                found.append(nn.functional.cross_entropy(model.eval()(x), y).item())
    return found


def trace(opsig: Opsig, folder: Path, model: str) -> tuple[Any, list[float]]:
    store = folder / "s.h5"
    words = (
        "--data",
        f"folder:{folder}/data?{CONSTANTS}",
        "--batch-norm",
        "stored",
        "--store",
        store,
        "--fresh",
    )
    done = opsig("trace", folder / "ck", "--model", model, *words)
    assert done.code == 0, done.err
    with h5py.File(store) as file:
        return done, file["losses"][()].mean(1).tolist()


def assert_noticed(opsig: Opsig, folder: Path, model: str, truth: list[float]) -> None:
    """Without the option the losses are others, which is said; with it they are the model's own, and nothing is."""
    done, losses = trace(opsig, folder, model)
    assert losses[-1] > 2 * truth[-1]
    assert "add transform_input=true to --model" in done.err
    done, losses = trace(opsig, folder, f"{model}{'&' if '?' in model else '?'}transform_input=true")
    np.testing.assert_allclose(losses, truth, rtol=1e-4)
    assert "transform_input" not in done.err


def test_a_model_that_normalised_its_inputs_is_noticed_by_the_losses(opsig: Opsig, tmp_path: Path) -> None:
    space: dict[str, Any] = {}
    exec(NET, space)
    (tmp_path / "net.py").write_text(NET)
    x, y = write_pictures(tmp_path / "data", 8, 20)
    torch.manual_seed(0)
    truth = train(space["Net"](transform_input=True), x, y, tmp_path / "ck", 60, 0.01)
    assert_noticed(opsig, tmp_path, f"file:{tmp_path}/net.py:Net", truth)


@pytest.mark.slow
def test_googlenet_with_the_inputs_of_its_builder_is_noticed(opsig: Opsig, tmp_path: Path) -> None:
    from torchvision.models import googlenet

    x, y = write_pictures(tmp_path / "data", 48, 8)
    torch.manual_seed(0)
    model = googlenet(num_classes=3, aux_logits=False, transform_input=True, init_weights=False)
    truth = train(model, x, y, tmp_path / "ck", 24, 0.003)
    assert_noticed(
        opsig, tmp_path, "torchvision:googlenet?num_classes=3&aux_logits=false&init_weights=false", truth
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_the_option_of_the_model_is_that_of_torchvision(name: str) -> None:
    from torchvision.models import get_model

    options: dict[str, Any] = {"num_classes": 3, "aux_logits": False, "init_weights": False}
    query = "num_classes=3&aux_logits=false&init_weights=false&transform_input=true"
    made = build(f"torchvision:{name}?{query}", input_shape=(3, 80, 80), outputs=3).eval()
    own = get_model(name, transform_input=True, **options).eval()
    own.load_state_dict(made.state_dict())
    x = torch.randn(2, 3, 80, 80, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(made(x), own(x))
    assert made.transform_input is True
