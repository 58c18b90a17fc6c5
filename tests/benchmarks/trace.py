"""Speed of ``opsig trace``: ``python tests/benchmarks/trace.py [--images DIR]`` prints the table of the README.

Against two others, interleaved in one process on one thread:

- the floor: nothing but forward passes in inference mode over batches in memory, at the better of two batch sizes;
- the script a user writes today: a DataLoader over the image folder at every checkpoint, cross_entropy with
  reduction="none", a list, np.save.

"opsig" is the whole command but Python's own imports; its steady part (all but opening the data and the folder) is what
the floor is compared with. Without ``--images`` the JPEG files are made up.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import transforms
from torchvision.datasets import ImageFolder

from opsigcli.checkpoints.series import open_series
from opsigcli.commands.trace import open_run
from opsigcli.datasets import open_source
from opsigcli.models.base import build
from opsigcli.options import TraceOptions
from opsigcli.progress import NoProgress
from opsigcli.tracing.session import Session

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
CASES = {
    "MLP 3072-200-200-10": ("mlp?hidden=200,200", 4000),
    "CNN, GroupNorm": ("cnn?norm=group", 1000),
    "CNN, BatchNorm": ("cnn?norm=batch", 1000),
    "ResNet-18": ("torchvision:resnet18?num_classes=10", 1000),
}


@dataclass
class Case:
    """One model on one folder of images, with its checkpoints."""

    model: str
    images: Path
    checkpoints: Path

    @property
    def files(self) -> list[Path]:
        return sorted(self.checkpoints.glob("*.safetensors"))

    def make(self) -> nn.Module:
        return build(self.model, input_shape=(3, 32, 32), outputs=10).eval()


def floor(case: Case, batches: list[torch.Tensor]) -> float:
    """Seconds of pure forward passes at every checkpoint."""
    model = case.make()
    weights = [load_file(file) for file in case.files]
    begin = time.perf_counter()
    with torch.inference_mode():
        for one in weights:
            model.load_state_dict(one)
            for batch in batches:
                model(batch)
    return time.perf_counter() - begin


def script(case: Case, out: Path) -> float:
    """Seconds of what one writes without opsig."""
    begin = time.perf_counter()
    model = case.make()
    data = ImageFolder(
        str(case.images), transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    )
    rows = []
    for file in case.files:
        model.load_state_dict(load_file(file))
        losses = []
        with torch.no_grad():
            for inputs, labels in torch.utils.data.DataLoader(data, batch_size=256):
                losses.append(nn.functional.cross_entropy(model(inputs), labels, reduction="none"))
        rows.append(torch.cat(losses).numpy())
    np.save(out, np.stack(rows))
    return time.perf_counter() - begin


def opsig(case: Case, store: Path) -> tuple[float, float, np.ndarray]:
    """Seconds of the whole trace, of its steady part, and the losses."""
    shutil.rmtree(store.with_name(store.name + ".parts"), ignore_errors=True)
    store.unlink(missing_ok=True)
    spec = f"folder:{case.images}?mean={','.join(map(str, MEAN))}&std={','.join(map(str, STD))}"
    options = TraceOptions(
        case.checkpoints, store=store, model=case.model, data=spec, loss="ce", device="cpu"
    )
    begin = time.perf_counter()
    series = open_series(options.checkpoints)
    session = Session(options, *open_run(options, series, []), None)
    opened = time.perf_counter()
    session.trace(series, NoProgress())
    end = time.perf_counter()
    from opsigcli.store.reader import open_store

    with open_store(store) as found:
        return end - begin, end - opened, found.trace.losses


def images(folder: Path, count: int, source: Path | None) -> Path:
    """``count`` JPEG files in ten class folders, taken from ``source`` or made up."""
    rng = np.random.default_rng(0)
    places = sorted(p for p in source.iterdir() if p.is_dir())[:10] if source else []
    for label in range(10):
        target = folder / f"{label}"
        target.mkdir(parents=True)
        files = sorted(places[label].iterdir())[: count // 10] if places else []
        for number in range(count // 10):
            if files:
                shutil.copy(files[number], target / f"{number:05d}.jpg")
            else:
                coarse = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
                Image.fromarray(coarse).resize((32, 32)).save(target / f"{number:05d}.jpg")
    return folder


def checkpoints(folder: Path, model: str, count: int) -> Path:
    """A random walk of weights."""
    folder.mkdir()
    torch.manual_seed(0)
    module = build(model, input_shape=(3, 32, 32), outputs=10)
    for step in range(count):
        save_file(module.state_dict(), folder / f"step-{step:04d}.safetensors")
        with torch.no_grad():
            for p in module.parameters():
                p.add_(torch.randn_like(p), alpha=1e-3)
    return folder


def processor() -> str:
    """The name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--images", type=Path, help="folder of class folders with at least 400 images each")
    options.add_argument("--checkpoints", type=int, default=20)
    options.add_argument("--repetitions", type=int, default=3)
    options.add_argument("--cases", default="", help="part of the name of the rows wanted")
    options.add_argument("--count", type=int, help="images, instead of a number that suits the model")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    print(
        f"Microseconds per example and checkpoint, over {chosen.checkpoints} checkpoints; medians of "
        f"{chosen.repetitions} interleaved runs and, in brackets, the range of the ratio. One thread, "
        f"{processor()}, torch {torch.__version__.partition('+')[0]}.\n"
    )
    print("| | floor | opsig, steady | opsig, whole | script | steady / floor | script / whole |")
    print("|---|---|---|---|---|---|---|")
    for name, (model, usual) in CASES.items():
        count = chosen.count or usual
        if chosen.cases not in name:
            continue
        with tempfile.TemporaryDirectory() as place:
            root = Path(place)
            case = Case(
                model,
                images(root / "images", count, chosen.images),
                checkpoints(root / "checkpoints", model, chosen.checkpoints),
            )
            text = f"folder:{case.images}?mean={','.join(map(str, MEAN))}&std={','.join(map(str, STD))}"
            inputs = torch.as_tensor(open_source(text).read(np.arange(count)))
            per = 1e6 / (count * chosen.checkpoints)
            rows = []
            opsig(case, root / "warm.h5")
            for _ in range(chosen.repetitions):
                lowest = min(floor(case, list(inputs.split(size))) for size in (64, 256))
                whole, steady, losses = opsig(case, root / "s.h5")
                rows.append((lowest * per, steady * per, whole * per, script(case, root / "s.npy") * per))
            error = np.abs(losses - np.load(root / "s.npy")) / np.maximum(np.abs(losses), 1)
            assert error.max() < 1e-5, error.max()
            a, b, c, d = (statistics.median(column) for column in zip(*rows, strict=True))
            low, high = [r[1] / r[0] for r in rows], [r[3] / r[2] for r in rows]
            print(
                f"| {name}, {count:,} images | {a:.1f} | {b:.1f} | {c:.1f} | {d:.1f} "
                f"| {b / a:.2f} ({min(low):.2f}-{max(low):.2f}) | {d / c:.1f} ({min(high):.1f}-{max(high):.1f}) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
