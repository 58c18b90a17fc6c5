"""Speed and memory of mining: ``python tests/benchmarks/mine.py [top] [whole] [group]``.

``top``: the 20 largest and smallest loss deltas of every step of a store of 1.28 M examples × 200 checkpoints, against
``np.diff`` and ``argpartition`` on losses that are in memory already; the results are compared. ``whole``: the peak
memory of ``opsig mine`` on that store. ``group``: gradients of a ResNet-18 (11 M parameters) by the sketch that mining
uses, and the grouping of 5,000 candidates. Times are medians of interleaved runs with the range beside them; memory is
the peak of a process of its own above what it had before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import store as stores

from opsigcli.mining.top import top_deltas
from opsigcli.store.reader import open_store
from opsigcli.store.writer import write_trace

TOP = 20
CHECKPOINTS_COMPARED = 6
CORES = 2
SURROGATES = 2


def peak() -> float:
    """Peak resident memory of this process so far, MB."""
    return stores.peak() * 2**30 / 1e6


def streamed(store: Path) -> list[np.ndarray]:
    """From the store, in blocks."""
    with open_store(store) as opened:
        steps, ids = opened.file["steps"][()], opened.file["example_ids"][()]
        found = top_deltas(opened.losses, ids, steps, TOP, opened.loss_deltas)
    return [np.concatenate([top.up_deltas, top.down_deltas]) for top in found]


def in_memory(losses: np.ndarray) -> list[np.ndarray]:
    """What one would write: all deltas, then a partial sort of each step."""
    rows = []
    for delta in np.diff(losses, axis=0):
        up, down = (np.argpartition(sign * delta, TOP - 1)[:TOP] for sign in (-1, 1))
        rows.append(np.concatenate([np.sort(delta[up])[::-1], np.sort(delta[down])]))
    return rows


def top(store: Path, chosen: argparse.Namespace) -> None:
    """Interleaved times, and the memory of each."""
    with open_store(store) as opened:
        losses = opened.losses[()]
    ways: dict[str, Callable[[], list[np.ndarray]]] = {
        "streamed from the store": lambda: streamed(store),
        "np.diff in memory": lambda: in_memory(losses),
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    results = {}
    for _ in range(chosen.repeats):
        for name, way in ways.items():
            begin, used = time.perf_counter(), time.process_time()
            results[name] = way()
            wall[name].append(time.perf_counter() - begin)
            cpu[name].append(time.process_time() - used)
    one, other = results.values()
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True)), "the results differ"
    print(f"top {TOP} of every step, {losses.shape[1]:,} examples x {losses.shape[0]} checkpoints:")
    for name in ways:
        print(f"  {name:24} {spread(wall[name])} s wall, {spread(cpu[name])} s CPU")
    ratio = [statistics.median(times["np.diff in memory"]) for times in (wall, cpu)]
    ratio = [
        r / statistics.median(times["streamed from the store"])
        for r, times in zip(ratio, (wall, cpu), strict=True)
    ]
    print(f"  ratio of medians {ratio[0]:.1f} (wall), {ratio[1]:.1f} (CPU); the same deltas from both")
    for name, part in (("streamed from the store", "memory-streamed"), ("np.diff in memory", "memory-naive")):
        print(f"  {name:24} {alone(part, store)['mb']:.0f} MB above base")


def spread(times: list[float]) -> str:
    return f"{statistics.median(times):6.3f} ({min(times):.3f}-{max(times):.3f})"


def memory(part: str, store: Path) -> dict[str, Any]:
    """In a process of its own: peak memory of one way, above what it had before (the losses, for the naive one)."""
    naive = part == "memory-naive"
    with open_store(store) as opened:
        losses = opened.losses[()] if naive else None
        np.asarray(opened.file["example_ids"][()])
    before = peak()
    in_memory(losses) if losses is not None else streamed(store)
    return {"mb": peak() - before}


def whole(store: Path, chosen: argparse.Namespace) -> None:
    """Peak memory of whole commands, above that of the same command on a small store."""
    print("whole commands on the store:")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        small = Path(folder) / "small.h5"
        make(small, 1000, 20)
        html = ["--html", "--output", str(Path(folder) / "report.html")]
        for words in (["mine", "--method", "top"], ["mine", "--method", "losses"], ["report", *html]):
            tiny, full = (
                alone("command", None, words=[*words, "--store", str(path)]) for path in (small, store)
            )
            print(
                f"  opsig {words[0]} {words[1]} {words[2] if words[0] == 'mine' else '':8}{full['mb']:.0f} MB peak, "
                f"{full['mb'] - tiny['mb']:.0f} above the same on 1,000 x 20 ({tiny['mb']:.0f}); "
                f"{full['seconds']:.1f} s wall, {full['cpu']:.1f} s CPU"
            )


def run_command(words: list[str]) -> dict[str, float]:
    """The command in this process, its output left out."""
    from opsigcli.cli.app import run

    begin = time.perf_counter()
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        code = run(words)
    assert code == 0, code
    return {"mb": peak(), "seconds": time.perf_counter() - begin, "cpu": time.process_time()}


def make(store: Path, examples: int, checkpoints: int) -> None:
    """A store by the real writer, with data beside it that can be opened."""
    data = store.with_suffix(".npz")
    np.savez(data, x=np.zeros((examples, 1), dtype=np.float32), y=np.zeros(examples, dtype=np.int64))
    content = stores.content(examples, checkpoints)
    write_trace(store, replace(content, run=replace(content.run, data=f"npz:{data}")))


def group(chosen: argparse.Namespace) -> None:
    """Rate of gradients, and the grouping, each in a process of its own."""
    found = alone("gradients", None, chosen)
    wall, cpu = (found[name] * chosen.candidates * CHECKPOINTS_COMPARED / 60 for name in ("seconds", "cpu"))
    matrix = found["parameters"] * chosen.candidates * 4 / 1e9
    print(
        f"gradients of ResNet-18 ({found['parameters'] / 1e6:.1f} M parameters, 3 x {chosen.side} x {chosen.side}): "
        f"{1e3 * found['seconds']:.1f} ms wall, {1e3 * found['cpu']:.1f} ms CPU an example on one core; "
        f"{chosen.candidates:,} at {CHECKPOINTS_COMPARED} checkpoints {wall:.1f} minutes wall, {cpu:.1f} CPU, so "
        f"{wall / CORES:.1f} and {cpu / CORES:.1f} on {CORES} cores; {found['mb']:.0f} MB above base "
        f"(one P x M matrix would be {matrix:.0f} GB)"
    )
    found = alone("grouping", None, chosen)
    print(
        f"grouping of {chosen.candidates:,} candidates, CPU: similarities {found['similarities']:.1f} s, search "
        f"{found['search']:.1f} s, each surrogate {found['surrogate']:.2f} s; {found['pairs']} of 3 planted pairs; "
        f"{found['mb']:.0f} MB above base"
    )


def gradients(chosen: argparse.Namespace) -> dict[str, float]:
    """Seconds per gradient by the sketch that mining uses."""
    import torch

    from opsigcli.datasets import open_source
    from opsigcli.derivatives.gradient_sketch import gradient_sketches
    from opsigcli.models.base import build
    from opsigcli.objective.base import Objective

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((chosen.images, 3, chosen.side, chosen.side)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/images.npz", x=images, y=rng.integers(0, 10, chosen.images))
        source = open_source(f"npz:{folder}/images.npz")
    model = build("torchvision:resnet18?num_classes=10", input_shape=images.shape[1:], outputs=10, seed=0)
    objective = Objective(model, source, "ce")
    every = np.arange(chosen.images)
    objective.losses(every[:16])
    before = peak()
    gradient_sketches(objective, every[:16])
    times = []
    for _ in range(3):
        begin, used = time.perf_counter(), time.process_time()
        gradient_sketches(objective, every)
        times.append((time.perf_counter() - begin, time.process_time() - used))
    wall, cpu = (statistics.median(column) / chosen.images for column in zip(*times, strict=True))
    parameters = sum(p.numel() for p in objective.parameters)
    return {"seconds": wall, "cpu": cpu, "mb": peak() - before, "parameters": parameters}


def grouping(chosen: argparse.Namespace) -> dict[str, float]:
    """The real similarity and search on sketches with three planted pairs of 25 + 25."""
    from opsigcli.mining.fixed_point import fixed_point_pairs
    from opsigcli.mining.similarity import Gradients, residual_adjusted_cosine
    from opsigcli.mining.surrogate import clearest_by_chance

    m, k, classes = chosen.candidates, 512, 10
    rng = np.random.default_rng(0)
    pairs = rng.permutation(m)[:150].reshape(3, 2, 25)
    axes = rng.standard_normal((3, k)) / np.sqrt(k)
    held = []
    for t in range(CHECKPOINTS_COMPARED):
        sketch = rng.standard_normal((m, k)).astype(np.float32) / np.float32(np.sqrt(k))
        for pair, axis in zip(pairs, axes, strict=True):
            for sign, side in zip((1, -1), pair, strict=True):
                sketch[side] += (sign * 1.5 * axis).astype(np.float32)
        residuals = rng.standard_normal((m, classes)).astype(np.float32)
        held.append(Gradients(t, sketch, np.linalg.norm(sketch, axis=1), residuals))
    before, begin = peak(), time.process_time()  # one thread's work, whoever else is on the machine
    similarity = residual_adjusted_cosine(held)
    middle = time.process_time()
    found = fixed_point_pairs(similarity)
    end = time.process_time()
    clearest_by_chance(
        similarity, rng.integers(0, classes, m), SURROGATES, 0, clearest=np.inf, apart=[np.inf]
    )
    surrogate = (time.process_time() - end) / SURROGATES
    planted = {tuple(sorted(map(int, pair.ravel()))) for pair in pairs}
    hits = sum(tuple(sorted(map(int, np.concatenate(sides)))) in planted for sides in found)
    seconds = {"similarities": middle - begin, "search": end - middle, "surrogate": surrogate}
    return seconds | {"pairs": hits, "mb": peak() - before}


def alone(
    part: str, store: Path | None, chosen: argparse.Namespace | None = None, words: Sequence[str] = ()
) -> dict[str, Any]:
    """What ``part`` finds in a process of its own."""
    words = [sys.executable, __file__, part, *words, *([] if store is None else ["--store", str(store)])]
    if chosen is not None:
        words += [
            "--candidates",
            str(chosen.candidates),
            "--images",
            str(chosen.images),
            "--side",
            str(chosen.side),
        ]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure, and print."""
    if sys.argv[1:2] == ["command"]:
        print(json.dumps(run_command(sys.argv[2:])))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=["top", "whole", "group"])
    parser.add_argument("--examples", type=int, default=1_280_000)
    parser.add_argument("--checkpoints", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=5000)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--side", type=int, default=32, help="pixels of an image's side")
    parser.add_argument("--folder", type=Path, help="where the store is made")
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parts = set(chosen.parts)
    for name, measure in (("gradients", gradients), ("grouping", grouping)):
        if name in parts:
            print(json.dumps(measure(chosen)))
    for name in parts & {"memory-streamed", "memory-naive"}:
        print(json.dumps(memory(name, chosen.store)))
    if parts & {"top", "whole"}:
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            store = Path(folder) / "s.h5"
            make(store, chosen.examples, chosen.checkpoints)
            for name, show in (("top", top), ("whole", whole)):
                if name in parts:
                    show(store, chosen)
    if "group" in parts:
        group(chosen)


if __name__ == "__main__":
    main()
