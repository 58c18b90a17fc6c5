"""No model is evaluated slower than eagerly: ``python tests/benchmarks/forms.py [--models SPEC ...]``.

For a dozen architectures: the losses of one shard of examples at a checkpoint, by the evaluator in the form it chooses
(batch size, memory layout, folded BatchNorms, and the check that the folded form agrees), against forward passes of
the model as it was built, in inference mode at the better of two batch sizes, with the same loss. One thread,
interleaved; CPU time of that thread in microseconds per example, medians, and the ratio with its range.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time

import numpy as np
import torch

from opsigcli.datasets import open_source
from opsigcli.examples import ExampleSource
from opsigcli.objective.base import Objective
from opsigcli.objective.evaluate import Evaluator
from opsigcli.runs.build_objective import build_objective

MODELS = (
    "mlp?hidden=200,200",
    "cnn?norm=group",
    "cnn?norm=batch",
    "resnet?norm=group",
    "resnet?norm=batch",
    "vgg",
    "vit",
    "torchvision:resnet18?num_classes=10",
    "torchvision:densenet121?num_classes=10",
    "torchvision:mobilenet_v2?num_classes=10",
    "torchvision:efficientnet_b0?num_classes=10",
    "torchvision:shufflenet_v2_x1_0?num_classes=10",
    "torchvision:resnext50_32x4d?num_classes=10",
    "torchvision:convnext_tiny?num_classes=10",
    "torchvision:regnet_y_400mf?num_classes=10",
)


def pictures(examples: int) -> ExampleSource:
    """Random pictures."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (examples, 32, 32, 3)).astype(np.uint8), rng.integers(0, 10, examples)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/pictures.npz", x=x, y=y)
        return open_source(f"npz:{folder}/pictures.npz?standardize=channel")


@torch.inference_mode()
def eager(objective: Objective, inputs: torch.Tensor, targets: torch.Tensor, size: int) -> float:
    begin = time.thread_time()
    for x, y in zip(inputs.split(size), targets.split(size), strict=True):
        objective.loss_fn(objective.model(x), y)
    return time.thread_time() - begin


def chosen(evaluator: Evaluator) -> float:
    begin = time.thread_time()
    evaluator.losses()
    return time.thread_time() - begin


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--models", nargs="+", default=MODELS)
    options.add_argument("--examples", type=int, default=512)
    options.add_argument("--repetitions", type=int, default=3)
    given = options.parse_args()
    torch.set_num_threads(1)
    source = pictures(given.examples)
    everything = np.arange(given.examples)
    inputs = torch.as_tensor(source.read(everything))
    print("| model | batch | channels-last | folded | eager | opsig | opsig / eager |")
    print("|---|---|---|---|---|---|---|")
    for spec in given.models:
        plain = build_objective(spec, source, "ce", device="cpu", batch_size=256)
        evaluator = Evaluator(copy.deepcopy(plain))
        evaluator.hold(everything)
        targets = plain.targets(everything)
        chosen(evaluator)
        rows = []
        for _ in range(given.repetitions):
            best = min(eager(plain, inputs, targets, size) for size in (64, 256))
            rows.append((best, chosen(evaluator)))
        before, after = (1e6 * statistics.median(c) / given.examples for c in zip(*rows, strict=True))
        ratios = [b / a for a, b in rows]
        print(
            f"| `{spec}` | {evaluator.batch_size} | {'yes' if evaluator.channels_last else 'no'} "
            f"| {'yes' if evaluator.folded else 'no'} | {before:.0f} | {after:.0f} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
