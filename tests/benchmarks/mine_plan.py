"""What ``opsig mine --dry-run`` says against what mining takes: ``python tests/benchmarks/mine_plan.py [RUN …]``.

Runs are an MLP on planted data, a ResNet-18 on generated pictures and a small GPT on text; each is trained for a few
steps, traced, planned and mined, every command in a process of its own. The ratio is estimate over truth; a second
one is for mining again from the gradients that are kept. What a command takes that has nothing to do is taken off.
Estimates are of wall time: on a machine that others use both vary.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RUNS = ("mlp", "resnet", "gpt")


def specs(run: str, folder: Path, examples: int) -> list[str]:
    """Options of ``opsig train`` for a run, with its data made."""
    if run == "mlp":
        return ["--data", f"planted?n={examples}", "--lr", "1.0", "--steps", "60"]
    rng = np.random.default_rng(0)
    few = [
        "--optimizer",
        "momentum",
        "--lr",
        "0.02",
        "--batch-size",
        "100",
        "--steps",
        "44",
        "--save-every",
        "4",
    ]
    if run == "resnet":
        x = rng.standard_normal((examples, 3, 32, 32)).astype(np.float32)
        np.savez(folder / "pictures.npz", x=x, y=rng.integers(0, 10, examples))
        return [
            "--model",
            "torchvision:resnet18?num_classes=10",
            "--data",
            f"npz:{folder}/pictures.npz",
            *few,
        ]
    words = rng.zipf(1.5, 32 * examples) % 200
    (folder / "text.txt").write_text(" ".join(f"w{word}" for word in words))
    return [
        "--model",
        "gpt?layers=2&width=32&heads=2",
        "--data",
        f"text:{folder}/text.txt?context=32",
        "--loss",
        "lm",
        *few,
    ]


def opsig(*words: object) -> tuple[float, dict[str, Any]]:
    """Seconds, and the result, of a command."""
    begin = time.perf_counter()
    line = [sys.executable, "-m", "opsigcli", *map(str, words), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"opsig {words[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)["result"]
    return time.perf_counter() - begin, found


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", default=RUNS, metavar="RUN", help=" ".join(RUNS))
    parser.add_argument("--examples", type=int, default=1000)
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for run in chosen.runs:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            store = folder / "s.h5"
            opsig("train", folder / "run", *specs(run, folder, chosen.examples))
            opsig("trace", folder / "run", "--store", store)
            for what, words in (("first", ()), ("from kept gradients", ("--top", 19))):
                _, plan = opsig("mine", "--store", store, *words, "--dry-run")
                taken, _ = opsig("mine", "--store", store, *words)
                taken -= opsig("mine", "--store", store, *words)[
                    0
                ]  # which computes nothing: the start of a process
                said = plan["estimated_seconds"]
                print(f"{run:8} {what:20} said {said:6.1f} s, taken {taken:6.1f} s, ratio {said / taken:.2f}")


if __name__ == "__main__":
    main()
