"""Virtual steps: what one costs, and whether it names the examples that the next real step moves most.

``python tests/benchmarks/virtual.py``. A dense run of full-batch gradient descent near the edge of stability is traced
at every step: its real loss deltas are the truth. Then every tenth checkpoint alone is traced with ``--virtual-step``,
and held against that truth; beside it, what the deltas between those checkpoints would have named. The cost is that
of a virtual step in units of a traced checkpoint: CPU time of whole traces with and without, interleaved.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import torch

from opsigcli.cli.app import run
from opsigcli.commands.trace import _series, open_run
from opsigcli.options import TraceOptions
from opsigcli.progress import NoProgress
from opsigcli.tracing.session import Session

TOP = 20


def opsig(*words: object) -> None:
    if code := run([str(word) for word in (*words, "-q")]):
        raise SystemExit(f"opsig {words[0]} ended with {code}")


def overlaps(named: np.ndarray, truth: np.ndarray) -> Iterator[float]:
    """Share of the true top examples among those named, for rises and for falls."""
    for sign in (1, -1):
        first, second = (set(np.argsort(-sign * d, kind="stable")[:TOP].tolist()) for d in (named, truth))
        yield len(first & second) / TOP


def seconds(folder: Path, store: Path, virtual: bool) -> float:
    """CPU time of computing the units of a trace, data and model at hand."""
    store.unlink(missing_ok=True)
    options = TraceOptions(folder, store=store, virtual_step=virtual, device="cpu")
    series = _series(options)
    session = Session(options, *open_run(options, series, []), None)
    begin = time.process_time()
    session.trace(series, NoProgress())
    return time.process_time() - begin


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--data", default="planted?n=2000")
    options.add_argument("--model", default="mlp?hidden=200,200")
    options.add_argument("--lr", type=float, default=0.1)
    options.add_argument("--steps", type=int, default=300)
    options.add_argument("--every", type=int, default=10)
    options.add_argument("--repetitions", type=int, default=3)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        dense, sparse = Path("dense"), Path("sparse")
        words = ("--data", chosen.data, "--model", chosen.model, "--lr", chosen.lr, "--steps", chosen.steps)
        opsig("train", dense, *words)
        opsig("trace", dense, "--store", "dense.h5")
        sparse.mkdir()
        shutil.copy(dense / "opsig-run.toml", sparse)
        for file in sorted(dense.glob("step-*.safetensors"))[:: chosen.every]:
            shutil.copy(file, sparse)
        opsig("trace", sparse, "--store", "sparse.h5", "--virtual-step")
        with h5py.File("dense.h5") as file:
            real, steps, losses = (file[name][()] for name in ("loss_deltas", "steps", "losses"))
        with h5py.File("sparse.h5") as file:
            virtual, coarse, kept = (file[n][()] for n in ("virtual_deltas", "loss_deltas", "steps"))
            interference = file["virtual/interference"][()]
        row_of = {int(step): row for row, step in enumerate(steps)}
        pairs = [(t, row_of[int(step)]) for t, step in enumerate(kept) if row_of[int(step)] < len(real)]
        found = [share for t, row in pairs for share in overlaps(virtual[t], real[row])]
        aliased = [share for t, row in pairs if t < len(coarse) for share in overlaps(coarse[t], real[row])]
        truth = [1 - abs(real[row].sum()) / np.abs(real[row]).sum() for _, row in pairs]
        print(
            f"{len(kept)} of {len(steps)} checkpoints, mean loss {losses[0].mean():.3f} to {losses[-1].mean():.3f}\n"
            f"top {TOP} of the next real step that the virtual step names: mean {np.mean(found):.3f}, "
            f"least {min(found):.2f}; that the delta to the next kept checkpoint names: {np.mean(aliased):.3f}\n"
            f"D: largest difference from the real step {np.abs(interference[: len(truth)] - truth).max():.1e}"
        )
        ratios = []
        for _ in range(chosen.repetitions):
            plain, both = (seconds(sparse, Path("time.h5"), virtual) for virtual in (False, True))
            ratios.append((both - plain) / plain)
        print(
            f"a virtual step costs {statistics.median(ratios):.1f} traced checkpoints "
            f"({min(ratios):.1f}-{max(ratios):.1f})"
        )


if __name__ == "__main__":
    main()
