"""What tokens as examples cost: ``python tests/benchmarks/tokens.py [--tokens 16384] [--checkpoints 143]``.

A GPT of four layers, width 128, on sequences of 128 words out of 512, at checkpoints of a random walk: Pythia-160M's
143, as many candidates for a sequence as 2,000 of 10 million tokens in 4,883 sequences are, sketches of 128 dimensions.
Both commands are run on all tokens and on half of them: what they take is a part that tokens do not change (starting,
reading checkpoints) and a part for each token, which is what is left where there are millions. Bare forward passes are
those of the model in batches of the size that opsig takes, without a loss, a store or a start. Times are CPU seconds of
whole commands; each row is a process of its own, with its peak memory. ``--paper`` prints what the same counts come to
for Pythia-160M (``opsig-scaling``), from the sizes of the model alone.
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

from opsigcli.gradients.candidate_screening import REFERENCES
from opsigcli.gradients.compared import GRADIENT, OPPOSITION, affordable
from opsigcli.options import MineOptions
from opsigcli.records import Run

CONTEXT, VOCABULARY, MODEL = 128, 512, "gpt?layers=4&width=128&heads=4"
CANDIDATES = 2000 * 2048 / 1e7  # for a sequence

BARE = """
import sys, time, torch
from opsigcli.models.base import build
torch.set_num_threads(1)
model = build(sys.argv[1], input_shape=(128,), outputs=512).eval()
tokens = torch.randint(0, 512, (int(sys.argv[2]), 128))
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
    times = max(20, sequences // batch)
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
    sketch: int = 512,
) -> None:
    """Counts for Pythia-160M at its 143 evenly spaced checkpoints."""
    at_one = (
        2 * (weights - vocabulary * width) + 2 * layers * context * width
    )  # the embedding is looked up; causal
    forward = at_one * tokens
    run = Run(
        "", "", "", "lm", input_shape=(context,), classes=("",) * vocabulary, transform={"per": "token"}
    )
    compared, said = affordable(run, MineOptions(), int(tokens), steps)
    references = min(REFERENCES, OPPOSITION * steps * weights / (2 * sketch))
    kept = MineOptions().screening_space * 2**30 / (4 * sketch * tokens)
    beside = candidates * context * at_one
    rows = [
        ("a forward pass over all tokens", forward),
        (f"the trace: {steps} of them", forward * steps),
        (
            "mine: last-layer gradients, for the references, for all, and again where not kept",
            (3 - kept) * forward,
        ),
        (f"mine: {references:,.0f} references for every token", 2 * references * 2 * sketch * tokens),
        (
            f"mine: whole gradients, {candidates} × {compared} sequences up to their tokens",
            GRADIENT * at_one * context * candidates * compared,
        ),
        (f"mine: the candidates in the last layer, × {compared}", compared * beside),
        (f"mine: who joins the pairs, up to {compared} passes", compared * forward),
    ]
    rows.append(("mine, in all", sum(flop for _, flop in rows[2:])))
    print("| | PFLOP | share of the trace |\n|---|---|---|")
    for what, flop in rows:
        print(f"| {what} | {flop / 1e15:,.0f} | {flop / (forward * steps):.3f} |")
    print(f"\n{said}")
    stored = 4 * steps * tokens / 2**30
    print(
        f"\nlosses {stored:.1f} GiB, with their deltas {2 * stored:.1f} GiB; one row {4 * tokens / 2**20:.0f} MiB;"
    )
    print(f"logits of one sequence {4 * context * vocabulary / 2**20:.0f} MiB;")
    print(f"checkpoints to read {4 * weights * steps / 2**30:.0f} GiB")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--tokens", type=int, default=16_384)
    options.add_argument("--checkpoints", type=int, default=143)
    options.add_argument("--sketch-dimensions", type=int, default=128)
    options.add_argument(
        "--paper", action="store_true", help="print the counts for Pythia-160M, and run nothing"
    )
    chosen = options.parse_args()
    if chosen.paper:
        paper()
        return
    rng = np.random.default_rng(0)
    torch.set_num_threads(1)
    taken = []
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        words = np.minimum(rng.zipf(1.3, chosen.tokens * 2), VOCABULARY - 2)
        (root / "text.txt").write_text(" ".join(f"w{n}" for n in [*range(VOCABULARY - 1), *words]))
        folder = checkpoints(root / "c", MODEL, (CONTEXT,), VOCABULARY, chosen.checkpoints)
        floor = bare(chosen.tokens // CONTEXT) * chosen.checkpoints
        print(f"bare forward passes over {chosen.tokens:,} tokens {floor:.1f} s")
        print("| tokens | trace, CPU s | over bare passes | GiB | mine, CPU s | over the trace | GiB |")
        print("|---|---|---|---|---|---|---|")
        for tokens in (chosen.tokens // 2, chosen.tokens):
            data = (
                f"text:{root / 'text.txt'}?context={CONTEXT}&vocabulary={VOCABULARY}&per=token&limit={tokens}"
            )
            store = root / f"{tokens}.h5"
            traced = opsig(
                "trace", folder, "--model", MODEL, "--loss", "lm", "--store", store, "--data", data
            )
            words = ("--surrogates", 0, "--sketch-dimensions", chosen.sketch_dimensions)
            m = max(10, round(CANDIDATES * tokens / CONTEXT))
            mined = opsig("mine", "--store", store, "--candidates", m, *words)
            taken.append((traced.seconds, mined.seconds))
            print(
                f"| {tokens:,} | {traced.seconds:.1f} | {traced.seconds * chosen.tokens / tokens / floor:.2f} | "
                f"{traced.gib:.2f} | {mined.seconds:.1f} | {mined.seconds / traced.seconds:.2f} | {mined.gib:.2f} |",
                flush=True,
            )
    trace, mine = np.diff(taken, axis=0)[0] * 2  # of what grows with the tokens
    print(f"| for each more | {trace:.1f} | {trace / floor:.2f} | | {mine:.1f} | {mine / trace:.3f} | |")


if __name__ == "__main__":
    main()
