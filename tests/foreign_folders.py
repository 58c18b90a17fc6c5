"""Folders of checkpoints as plain PyTorch scripts leave them, on pictures prepared in one way or another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

SIZE, EACH = 8, 30
CLASSES = ("blue", "dark", "red")
NET = """
from torch import nn

def make(classes=3):
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, classes),
    )

def plain(classes=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, classes))
"""
Prepare = Callable[[torch.Tensor], torch.Tensor]


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, H, W, 3) uint8 and labels (N,): their colours overlap, so that no normalisation suits all."""
    rng = np.random.default_rng(0)
    centres = np.array([[90, 100, 130], [80, 85, 80], [130, 100, 90]])
    labels = np.repeat(np.arange(3), EACH)
    colours = centres[labels] + rng.normal(0, 12, (len(labels), 3))
    pixels = colours[:, None, None] + rng.normal(0, 30, (len(labels), SIZE, SIZE, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8), labels


def write_pictures(folder: Path) -> None:
    """The pictures as a data set with train/ and test/, a folder for each class; the test set is small."""
    x, y = pictures()
    for i, (picture, label) in enumerate(zip(x, y, strict=True)):
        for part in ("train", "test")[: 1 + (i % 10 == 0)]:
            path = folder / part / CLASSES[label] / f"{i:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)


def inputs(prepare: Prepare) -> torch.Tensor:
    """The prepared pictures (N, 3, H, W)."""
    return prepare(torch.as_tensor(pictures()[0]).permute(0, 3, 1, 2).float())


def constants(mean: tuple[float, ...], std: tuple[float, ...], unit: float = 255) -> Prepare:
    """``(x / unit − mean) / std`` by channel."""
    shape = (3, 1, 1)
    return lambda x: (x / unit - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)


IMAGENET = constants((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
WAYS: dict[str, tuple[Prepare, str]] = {
    "ImageNet": (IMAGENET, "the normalisation of ImageNet"),
    "half": (constants((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), "inputs from -1 to 1"),
    "bytes": (lambda x: x, "inputs from 0 to 255"),
    "BGR": (lambda x: IMAGENET(x).flip(1), "channels in the order BGR"),
    "Caffe": (
        lambda x: x.flip(1) - torch.tensor((103.939, 116.779, 123.68)).view(3, 1, 1),
        "the normalisation of Caffe, channels in the order BGR",
    ),
}


def make(name: str = "make", classes: int = 3) -> nn.Module:
    """A network of ``net.py``."""
    space: dict[str, Callable[..., nn.Module]] = {}
    exec(NET, space)  # type: ignore[arg-type]
    return space[name](classes)


def train(folder: Path, prepare: Prepare, pattern: str = "weights_{:05d}.pth", classes: int = 3) -> nn.Module:
    """Bare weights at 0, 20 and 40, trained on the prepared pictures, and ``net.py`` beside the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "net.py").write_text(NET)
    torch.manual_seed(0)
    net = make("make", classes)
    x, y = inputs(prepare), torch.as_tensor(pictures()[1])
    optimizer = torch.optim.Adam(net.parameters(), lr=0.03)
    for step in range(41):
        if step % 20 == 0:
            torch.save(net.state_dict(), folder / pattern.format(step))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net.train()(x), y).backward()
        optimizer.step()
    with torch.no_grad():  # statistics that belong to the weights
        for _ in range(60):
            net(x)
    torch.save(net.state_dict(), folder / pattern.format(40))
    return net
