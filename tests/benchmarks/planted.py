"""How well mining finds planted pairs, and how often it finds pairs where there are none.

    python tests/benchmarks/planted.py --seeds 10-12 --methods full,simple,cosine,paper,nmf --cells gd-1,adam-30

Every scenario is trained under each optimizer and mined from every k-th checkpoint; rows are printed per cell and
scenario: mean membership F1 (over known pairs, 0 for one that was missed), share of known pairs found, share of mined
pairs that are known ones, and for scenarios without pairs the false pairs per run and the share of runs with any.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from planted_runs import Seen, seen, trained
from rivals import RIVALS

from opsigcli.datasets.planted_scenarios import SCENARIOS
from opsigcli.mining.full import full
from opsigcli.mining.recovery import recovery
from opsigcli.mining.residual import residual_adjusted_cosine
from opsigcli.mining.simple import simple

MAIN = (
    "vec3",
    "pol2",
    "img2",
    "tok3",
    "relu2",
    "small2",
)  # averaged over; the others have goals of their own
EVERY = (1, 10, 30)
CELLS = tuple(f"{optimizer}-{every}" for optimizer in ("gd", "sgd", "adam") for every in EVERY)
METHODS = ("full", "simple", *RIVALS)

Row = tuple[str, str, int, str, dict[str, float]]  # cell, scenario, seed, method, recovery


def mine_one(given: Seen, method: str, similarity: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pairs one method finds."""
    if method in RIVALS:
        return RIVALS[method](given)
    if method == "simple":
        return simple(similarity)

    def probe(sides: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return np.stack([given.probe(at.checkpoint, *sides) for at in given.gradients])

    return full(similarity, probe)


def evaluate(job: tuple[str, int, int, str, tuple[int, ...], tuple[str, ...], Path | None]) -> list[Row]:
    """All methods on one training run, at every spacing of its checkpoints."""
    torch.set_num_threads(1)
    scenario, n, seed, optimizer, spacings, methods, cache = job
    run = trained(scenario, seed, optimizer, cache, n)
    rows = []
    for every in spacings:
        given = seen(run, every)
        similarity = residual_adjusted_cosine(given.gradients)
        for method in methods:
            ids = run.source.ids[given.candidates]
            pairs = [(ids[a], ids[b]) for a, b in mine_one(given, method, similarity)]
            rows.append(
                (f"{optimizer}-{every}", scenario, seed, method, recovery(pairs, run.source.known_pairs))
            )
    return rows


def report(rows: list[Row], say: Callable[[str], None] = print) -> None:
    """Tables over what was found."""
    table: dict[tuple[str, str, str], list[dict[str, float]]] = defaultdict(list)
    for cell, scenario, _, method, found in rows:
        table[method, cell, scenario].append(found)
    cells = [c for c in CELLS if any(key[1] == c for key in table)]
    for method in dict.fromkeys(key[0] for key in table):
        say(
            f"\n{method}: F1 / pair recall / pair precision; without pairs: false pairs per run / runs with any"
        )
        say("scenario         " + "".join(f"{cell:>16}" for cell in cells))
        for scenario in SCENARIOS:
            texts = [_text(table[method, cell, scenario]) for cell in cells]
            if any(text != "-" for text in texts):
                say(f"{scenario:17}" + "".join(f"{text:>16}" for text in texts))
        means = []
        for cell in cells:
            found = [entry for name in MAIN for entry in table[method, cell, name]]
            means.append(_text(found))
        say(f"{'mean of six':17}" + "".join(f"{text:>16}" for text in means))
        nulls = []
        for cell in cells:
            found = [e for name in SCENARIOS if name.startswith("null") for e in table[method, cell, name]]
            nulls.append(f"{_text(found)} of {len(found)}" if found else "-")
        say(f"{'all without':17}" + "".join(f"{text:>16}" for text in nulls))


def _text(found: list[dict[str, float]]) -> str:
    if not found:
        return "-"
    mined = np.array([entry["mined"] for entry in found])
    if not found[0]["known"]:
        return f"{mined.mean():.2f}/{(mined > 0).mean():.2f}"
    recall = sum(entry["found"] for entry in found) / sum(entry["known"] for entry in found)
    # A run without any mined pair made no claim; it costs recall and F1, not precision.
    precision = [entry["precision"] for entry in found if entry["mined"]]
    return (
        f"{np.mean([e['f1'] for e in found]):.3f}/{recall:.2f}/{np.mean(precision) if precision else 0:.2f}"
    )


def main() -> None:
    """Train, mine, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="10-12", help="first-last")
    parser.add_argument("--methods", default="full,simple")
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument(
        "--n", default="900", help="numbers of examples; several make several data sets a seed"
    )
    parser.add_argument("--cache", type=Path, help="folder where training runs are kept")
    parser.add_argument("--rows", type=Path, help="write every result to this JSON lines file")
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args()
    first, _, last = chosen.seeds.partition("-")
    spacings = defaultdict(list)
    for cell in chosen.cells.split(","):
        optimizer, every = cell.split("-")
        spacings[optimizer].append(int(every))
    jobs = [
        (scenario, int(n), seed, optimizer, tuple(every), tuple(chosen.methods.split(",")), chosen.cache)
        for n in chosen.n.split(",")
        for seed in range(int(first), int(last or first) + 1)
        for scenario in chosen.scenarios.split(",")
        for optimizer, every in spacings.items()
    ]
    rows: list[Row] = []
    with ProcessPoolExecutor(chosen.processes, mp_context=get_context("spawn")) as pool:
        for found in pool.map(evaluate, jobs):
            rows += found
            if chosen.rows is not None:
                with chosen.rows.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in found)
    report(rows)


if __name__ == "__main__":
    main()
