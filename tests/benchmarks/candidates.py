"""Pairs that are a thousandth of many examples: are their members among the candidates, and are they found?

``python tests/benchmarks/candidates.py`` trains an MLP on planted vectors with pairs of 25 + 25 among 50,000, traces
and mines it with the real commands, and prints the recall of the candidates, the membership F1 of what was mined, who
joined from outside the candidates, how long each part took, and the peak memory.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from opsigcli.commands.mine import mine
from opsigcli.commands.trace import trace
from opsigcli.commands.train import train
from opsigcli.datasets.planted import EVERY
from opsigcli.datasets.planted_draft import STANDARD_N, Scenario
from opsigcli.datasets.planted_scenarios import vectors
from opsigcli.gradients.sketch_store import Sketches
from opsigcli.mining.trace_stats import survey
from opsigcli.options import MineOptions, TraceOptions, TrainOptions
from opsigcli.progress import NoProgress
from opsigcli.store.reader import open_store

SHARES = (0.01, 0.02, 0.03, 0.05, 0.1)


def plant(examples: int, side: int) -> str:
    """Register a scenario of three pairs with so many members a side; its data spec without the seed."""
    sides = (side * STANDARD_N / examples,) * 2
    EVERY["few"] = Scenario("vectors; 3 small pairs", partial(vectors, pairs=3, sides=sides), 0.4)
    return f"planted?scenario=few&n={examples}"


def evaluate(folder: Path, data: str, seed: int, chosen: argparse.Namespace) -> None:
    """One run from training to pairs."""
    clock = time.perf_counter()
    store = folder / "opsig.h5"
    train(
        TrainOptions(
            directory=folder / "run",
            model="mlp?hidden=64,64",
            data=f"{data}&seed={seed}",
            lr=chosen.lr,
            steps=chosen.steps,
            save_every=chosen.every,
            seed=seed,
        ),
        NoProgress(),
    )
    trace(TraceOptions(checkpoints=folder / "run", store=store), NoProgress())
    print(f"seed {seed}: trained and traced in {time.perf_counter() - clock:.0f} s", flush=True)
    options = MineOptions(store=store, candidates=chosen.candidates, surrogates=chosen.surrogates, seed=seed)
    with open_store(store) as opened:
        known = opened.known_pairs
        members = np.concatenate([ids for pair in known for ids in pair])
        clock = time.perf_counter()
        sketches = Sketches(options, opened, survey(opened.losses), None, NoProgress())
        degree = sketches.screen().degree()
        seconds = time.perf_counter() - clock
    rank = np.empty(len(degree), dtype=np.int64)
    rank[np.argsort(-degree, kind="stable")] = np.arange(len(degree))
    found = "  ".join(f"{share:.0%}: {(rank[members] < share * len(degree)).mean():.3f}" for share in SHARES)
    print(f"  members among the most opposed {found}; screened in {seconds:.0f} s", flush=True)
    clock = time.perf_counter()
    mined = mine(options, NoProgress())
    seconds = time.perf_counter() - clock
    with open_store(store) as opened:
        gradients = opened.file["gradients"]
        positions = gradients["positions"][()]
        joined = sum(len(gradients[name]) for name in gradients if name.startswith("joined-"))
    recall = np.isin(members, positions).mean()
    recovery = mined.result["recovery"]
    print(
        f"  {len(positions)} candidates hold {recall:.3f} of the members; mined in {seconds:.0f} s: "
        f"{recovery['found']:.0f} of {recovery['known']:.0f} pairs, {recovery['mined']:.0f} mined, membership F1 "
        f"{recovery['f1']:.3f}; {joined} joined from outside",
        flush=True,
    )
    for pair in mined.result["pairs"]:
        ids = np.concatenate([pair.first.ids, pair.second.ids])
        inside = np.isin(ids, positions)
        print(
            f"    {len(ids)} members, {np.isin(ids, members).sum()} of them planted; outside the candidates "
            f"{(~inside).sum()}, {np.isin(ids[~inside], members).sum()} of them planted: {pair.verdict}",
            flush=True,
        )


def main() -> None:
    """Train, trace, mine, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--side", type=int, default=25, help="members on each side of a pair")
    parser.add_argument("--candidates", type=int, default=MineOptions.candidates)
    parser.add_argument("--surrogates", type=int, default=0)
    parser.add_argument("--seeds", default="0-1", help="first-last")
    parser.add_argument("--lr", type=float, default=0.4)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=5, help="steps between checkpoints")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    data = plant(chosen.examples, chosen.side)
    first, _, last = chosen.seeds.partition("-")
    for seed in range(int(first), int(last or first) + 1):
        with tempfile.TemporaryDirectory() as folder:
            evaluate(Path(folder), data, seed, chosen)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
