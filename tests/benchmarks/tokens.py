"""What tokens as examples cost: ``python tests/benchmarks/tokens.py [--tokens 100000] [--checkpoints 10]``.

A GPT of four layers, width 64, on sequences of 64 words out of 1,000, at checkpoints of a random walk. Bare forward
passes are those of the model in batches of the size that opsig takes, without a loss, a store or a start. Times are CPU
seconds of whole commands, and their ratios; each row is a process of its own, with its peak memory. ``--paper`` prints
what the same counts come to for Pythia-160M (``opsig-scaling``), from the sizes of the model alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from memory import checkpoints

CONTEXT, VOCABULARY, MODEL = 64, 1000, "gpt?layers=4&width=64&heads=4"

BARE = """
import sys, time, torch
from opsigcli.models.base import build
torch.set_num_threads(1)
model = build(sys.argv[1], input_shape=(64,), outputs=1000).eval()
tokens = torch.randint(0, 1000, (int(sys.argv[2]), 64))
with torch.inference_mode():
    model(tokens)
    begin = time.process_time()
    for _ in range(int(sys.argv[3])):
        model(tokens)
print(time.process_time() - begin)
"""


class Used(NamedTuple):
    """What a command took."""

    seconds: float  # of CPU
    gib: float


def opsig(*words: object) -> Used:
    """Run a command to its end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "opsigcli", *map(str, words), "-q"], env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"opsig {words[0]} ended with {process.returncode}")
    return Used(used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20)


def bare(sequences: int, batch: int = 16) -> float:
    """Seconds of forward passes over so many sequences."""
    times = max(1, sequences // batch)
    words = [sys.executable, "-c", BARE, MODEL, str(batch), str(times)]
    return (
        float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        * sequences
        / (times * batch)
    )


def paper(
    tokens: float = 1e7,
    steps: int = 143,
    context: int = 2048,
    weights: float = 162e6,
    width: int = 768,
    layers: int = 12,
    vocabulary: int = 50_304,
    candidates: int = 2000,
    compared: int = 8,
    sketch: int = 512,
) -> None:
    """Counts for Pythia-160M at its 143 evenly spaced checkpoints."""
    at_one = (
        2 * (weights - vocabulary * width) + 2 * layers * context * width
    )  # the embedding is looked up; causal
    forward = at_one * tokens
    references = min(65_536, 0.05 * steps * weights / (2 * sketch))
    rows = [
        ("a forward pass over all tokens", forward),
        (f"the trace: {steps} of them", forward * steps),
        ("mine: last-layer gradients, up to 2 passes to screen", 2 * forward),
        (f"mine: {references:,.0f} references for every token", 2 * references * 2 * sketch * tokens),
        (
            f"mine: whole gradients, {candidates} × {compared} sequences up to their tokens",
            3 * at_one * context / 2 * candidates * compared,
        ),
        (f"mine: who joins the pairs, up to {compared} passes", compared * forward),
    ]
    print("| | PFLOP | share of the trace |\n|---|---|---|")
    for what, flop in rows:
        print(f"| {what} | {flop / 1e15:,.0f} | {flop / (forward * steps):.3f} |")
    stored = 4 * steps * tokens / 2**30
    print(
        f"\nlosses {stored:.1f} GiB, with their deltas {2 * stored:.1f} GiB; one row {4 * tokens / 2**20:.0f} MiB;"
    )
    print(f"logits of one sequence {4 * context * vocabulary / 2**20:.0f} MiB;")
    print(f"checkpoints to read {4 * weights * steps / 2**30:.0f} GiB")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--tokens", type=int, default=100_000)
    options.add_argument("--checkpoints", type=int, default=10)
    options.add_argument("--candidates", type=int, nargs="+", default=[2000, 200])
    options.add_argument(
        "--paper", action="store_true", help="print the counts for Pythia-160M, and run nothing"
    )
    chosen = options.parse_args()
    if chosen.paper:
        paper()
        return
    rng = np.random.default_rng(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        words = np.minimum(rng.zipf(1.3, chosen.tokens * 65 // 64), VOCABULARY - 2)
        (root / "text.txt").write_text(" ".join(f"w{n}" for n in [*range(VOCABULARY - 1), *words]))
        folder = checkpoints(root / "c", MODEL, (CONTEXT,), VOCABULARY, chosen.checkpoints)
        store = root / "s.h5"
        data = f"text:{root / 'text.txt'}?context={CONTEXT}&vocabulary={VOCABULARY}&per=token"
        words = ("trace", folder, "--model", MODEL, "--loss", "lm", "--store", store)
        start = opsig(*words, "--data", f"{data}&limit=640", "--fresh").seconds
        floor = bare(chosen.checkpoints * chosen.tokens // CONTEXT)
        traced = opsig(*words, "--data", data, "--fresh")
        print(f"bare forward passes {floor:.1f} s; a trace of 640 tokens {start:.1f} s")
        print("| | CPU, s | over bare passes | without what 640 tokens take | over the trace | peak GiB |")
        print("|---|---|---|---|---|---|")
        print(
            f"| trace | {traced.seconds:.1f} | {traced.seconds / floor:.2f} | {(traced.seconds - start) / floor:.2f} | "
            f"1 | {traced.gib:.2f} |",
            flush=True,
        )
        for candidates in chosen.candidates:
            mined = opsig("mine", "--store", store, "--candidates", candidates, "--surrogates", 0)
            print(
                f"| mine, {candidates} candidates | {mined.seconds:.1f} | {mined.seconds / floor:.2f} | | "
                f"{mined.seconds / traced.seconds:.2f} | {mined.gib:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
