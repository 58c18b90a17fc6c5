"""Speed and memory of the store at the size of ImageNet: ``python tests/benchmarks/store.py``.

Synthetic losses go through the real writer. Prints bytes per second, peak memory, and the time to read one example
over time and one checkpoint over examples.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from opsigcli.records import Provenance, Run
from opsigcli.store.reader import Store, open_store
from opsigcli.store.writer import TraceContent, write_trace


def rows(examples: int, checkpoints: int) -> Iterator[np.ndarray]:
    """Rows that cost next to nothing to make: windows of one array."""
    pool = np.random.default_rng(0).exponential(size=examples + checkpoints).astype(np.float32)
    for t in range(checkpoints):
        yield pool[t : t + examples].copy()


def content(examples: int, checkpoints: int) -> TraceContent:
    return TraceContent(
        run=Run("ckpts", "mlp", "planted", "ce"),
        signature="",
        steps=list(range(checkpoints)),
        files=[f"step-{t}" for t in range(checkpoints)],
        sha256=[f"{t:064x}" for t in range(checkpoints)],
        lrs=[0.1] * checkpoints,
        example_ids=np.arange(examples, dtype=np.int64),
        labels=np.zeros(examples, dtype=np.int64),
        names=(),
        rows=rows(examples, checkpoints),
        provenance=Provenance("trace", {}, "0"),
    )


def peak() -> float:
    """Peak resident memory of this process so far, GiB; that of getrusage would be that of who began it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


def timed(store: Path, read: Callable[[Store, int], object], indices: np.ndarray) -> float:
    """Median milliseconds of a read in an open store."""
    with open_store(store) as opened:
        found = []
        for index in map(int, indices):
            begin = time.perf_counter()
            read(opened, index)
            found.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(found)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--examples", type=int, default=1_280_000)
    options.add_argument("--checkpoints", type=int, default=200)
    options.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    chosen = options.parse_args()
    base = peak()
    with tempfile.TemporaryDirectory(dir=chosen.folder if chosen.folder.is_dir() else None) as folder:
        for examples in (chosen.examples // 4, chosen.examples):
            store = Path(folder) / "s.h5"
            begin = time.perf_counter()
            write_trace(store, content(examples, chosen.checkpoints))
            seconds = time.perf_counter() - begin
            size = store.stat().st_size
            rng = np.random.default_rng(1)
            column = timed(
                store, lambda opened, i: opened.file["losses"][:, i], rng.integers(0, examples, 50)
            )
            row = timed(store, Store.losses_at, rng.integers(0, chosen.checkpoints, 50))
            print(
                f"{examples:,} examples x {chosen.checkpoints} checkpoints: {size / 1e9:.2f} GB "
                f"(losses and deltas) in {seconds:.2f} s = {size / seconds / 1e9:.2f} GB/s; "
                f"peak memory {peak():.2f} GiB ({base:.2f} before); "
                f"one example over time {column:.2f} ms, one checkpoint {row:.2f} ms"
            )
            store.unlink()


if __name__ == "__main__":
    main()
