"""How well mining finds planted pairs, and how often it finds pairs where there are none.

    python tests/benchmarks/planted.py --seeds 10-12 --methods full,simple,cosine,paper,nmf --cells gd-1,adam-30
    python tests/benchmarks/planted.py --seeds 10-12 --scenarios hard --cells gd-1,sgd-1,adam-1
    OPSIG_TEST_CIFAR=cifar10 python tests/benchmarks/planted.py --seeds 10-12 --scenarios tinted

Every scenario is trained under each optimizer and mined from every k-th checkpoint; rows are printed per cell and
scenario: mean membership F1 (over known pairs, 0 for one that was missed), share of known pairs found, share of mined
pairs that are known ones. For scenarios without pairs: mined pairs per run, the share of runs with any, and the share
of runs with any that is not called class level or chance. For the continuous axis: pairs per run, rank correlation of
the strongest pair's contrast with the axis, and the share of its members within the outer tenth of their side. And
verdicts against what is true of each run (``planted_verdicts``).
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
from planted_runs import ALL, TINTED, Seen, Tinted, seen, trained
from planted_verdicts import FOUND, Sides, called, confusion
from rivals import RIVALS

from opsigcli.datasets.planted import Planted
from opsigcli.datasets.planted_hard import HARD
from opsigcli.datasets.planted_pictures import PICTURES
from opsigcli.datasets.planted_scenarios import SCENARIOS
from opsigcli.datasets.planted_wholes import WHOLES
from opsigcli.mining.inputs import Candidates, Settings, Trace
from opsigcli.mining.methods import NEEDS_GRADIENTS, NEEDS_PARTS, NEEDS_SWINGS
from opsigcli.mining.mine import mine
from opsigcli.mining.recovery import pair_f1, recovery
from opsigcli.mining.similarity import residual_adjusted_cosine
from opsigcli.mining.simple import closeness
from opsigcli.mining.verdict import CHANCE, CLASS_LEVEL

MAIN = (
    "vec3",
    "pol2",
    "img2",
    "tok3",
    "relu2",
    "small2",
)  # averaged over; the others have goals of their own
SPACINGS = (1, 10, 30)
CELLS = tuple(f"{optimizer}-{every}" for optimizer in ("gd", "sgd", "adam") for every in SPACINGS)
METHODS = (*NEEDS_GRADIENTS, *RIVALS)
LEVELS = (0.05, 0.1, 0.2, 0.5)  # at which p-values are checked on runs without pairs
OUTER = 0.2  # of the examples, both ends of an axis together

Row = tuple[str, str, int, str, dict[str, float]]  # cell, scenario, seed, method, recovery


def mine_one(given: Seen, method: str, surrogates: int) -> tuple[list[Sides], list[Sides], dict[str, float]]:
    """Ids of the pairs one method finds, of those that are findings, and what the verdicts on them are."""
    source = given.run.source
    if method in RIVALS:
        # The paper's rule looks at all losses, the others at the candidates.
        ids = source.ids if method == "paper" else source.ids[given.candidates]
        return [(ids[a], ids[b]) for a, b in RIVALS[method](given)], [], {}
    steps = np.arange(len(given.losses)) * given.every
    found = mine(
        Trace(given.losses, source.labels, source.ids, steps, source.classes),
        Candidates(
            given.candidates,
            given.gradients,
            given.weights,
            swings=given.swings if method in NEEDS_SWINGS else None,
            eigen=given.eigen if method in NEEDS_PARTS else (),
        ),
        Settings(method, surrogates=surrogates),
    )
    claimed = [pair for pair in found.pairs if pair.verdict not in (CHANCE, CLASS_LEVEL)]
    clear = [pair.evidence["clarity"].p_value for pair in found.pairs if "clarity" in pair.evidence]
    facts = {
        "claimed": float(len(claimed)),
        "active": float(sum("active" in pair.traits for pair in found.pairs)),
        "p": min((p for p in clear if p is not None), default=1.0),
    }
    sides = [(pair.first.ids, pair.second.ids) for pair in found.pairs]
    findings = [both for both, pair in zip(sides, found.pairs, strict=True) if pair.finding]
    return sides, findings, facts | (called(found, source, given.losses) if method in NEEDS_GRADIENTS else {})


def score(pairs: list[Sides], source: Planted | Tinted) -> dict[str, float]:
    """Recovery; where a pair can be named in several ways, by the name that fits best."""
    if not source.alternatives:
        return recovery(pairs, source.known_pairs)
    tried = [recovery(pairs, [name]) for name in (*source.known_pairs, *source.alternatives)]
    hits = [any(pair_f1(pair, name) >= FOUND for name in source.alternatives) for pair in pairs]
    best = max(tried, key=lambda entry: entry["f1"])
    return best | {"precision": float(np.mean(hits)) if hits else float("nan")}


def along_axis(pairs: list[Sides], given: Seen) -> dict[str, float]:
    """How the strongest pair lies on the continuous axis: (rank correlation, share of members in its ends)."""
    from scipy.stats import spearmanr

    axis = given.run.source.axis
    if axis is None or not pairs:
        return {}
    similarity = residual_adjusted_cosine(given.gradients)
    first, second = pairs[0]
    contrast = closeness(similarity, first) - closeness(similarity, second)
    correlation = float(spearmanr(contrast, axis)[0])
    low, high = np.quantile(axis, [OUTER / 2, 1 - OUTER / 2])
    up, down = (first, second) if correlation > 0 else (second, first)
    inside = np.concatenate([axis[up] >= high, axis[down] <= low])
    return {"rank": abs(correlation), "tail": float(inside.mean())}


def evaluate(
    job: tuple[str, int | None, int, str, tuple[int, ...], tuple[str, ...], int, Path | None],
) -> list[Row]:
    """All methods on one training run, at every spacing of its checkpoints."""
    torch.set_num_threads(1)
    scenario, n, seed, optimizer, spacings, methods, surrogates, cache = job
    run = trained(scenario, seed, optimizer, cache, n)
    rows = []
    for every in spacings:
        given = seen(run, every)
        for method in methods:
            pairs, findings, facts = mine_one(given, method, surrogates)
            found = score(pairs, run.source) | facts | along_axis(pairs, given)
            if findings:
                found["findings"] = len(findings)
                found["planted"] = round(score(findings, run.source)["precision"] * len(findings))
            rows.append((f"{optimizer}-{every}", scenario, seed, method, found))
    return rows


def report(rows: list[Row], say: Callable[[str], None] = print) -> None:
    """Tables over what was found."""
    table: dict[tuple[str, str, str], list[dict[str, float]]] = defaultdict(list)
    for cell, scenario, _, method, found in rows:
        table[method, cell, scenario].append(found)
    cells = [c for c in CELLS if any(key[1] == c for key in table)]
    confusion([(cell, found) for cell, _, _, _, found in rows], say)
    for method in dict.fromkeys(key[0] for key in table):
        say(
            f"\n{method}: F1 / pair recall / precision; without pairs: pairs per run / runs with any / and claimed"
        )
        say("scenario         " + "".join(f"{cell:>16}" for cell in cells))
        for scenario in ALL:
            texts = [_text(table[method, cell, scenario]) for cell in cells]
            if any(text != "-" for text in texts):
                say(f"{scenario:17}" + "".join(f"{text:>16}" for text in texts))
        for name, of in (("mean of six", MAIN), ("all without", [n for n in ALL if n.startswith("null")])):
            found = {cell: [e for n in of for e in table[method, cell, n]] for cell in cells}
            if any(found.values()):
                say(f"{name:17}" + "".join(f"{_text(found[cell]):>16}" for cell in cells))
                if name == "all without":
                    say(f"{'runs':17}" + "".join(f"{len(found[cell]):>16}" for cell in cells))
                    _calibration(found, say)
        for scenario in ALL:
            texts = [_findings(table[method, cell, scenario]) for cell in cells]
            if any(texts):
                say(
                    f"{scenario:17}"
                    + "".join(f"{text:>16}" for text in texts)
                    + "  findings that are planted"
                )


def _calibration(found: dict[str, list[dict[str, float]]], say: Callable[[str], None]) -> None:
    """Among runs without pairs, the share with a pair of at most each p after selection."""
    if any(e.get("p", 1.0) < 1 for entries in found.values() for e in entries):
        for level in LEVELS:
            shares = [
                np.mean([e["p"] <= level for e in entries]) if entries else np.nan
                for entries in found.values()
            ]
            say(f"{f'p <= {level:g}':17}" + "".join(f"{share:>16.3f}" for share in shares))


def _findings(found: list[dict[str, float]]) -> str:
    """How many findings are planted pairs, of how many, where there are planted ones."""
    counts = [sum(entry.get(name, 0) for entry in found) for name in ("planted", "findings")]
    return f"{counts[0]:.0f} of {counts[1]:.0f}" if any(entry["known"] for entry in found) else ""


def _text(found: list[dict[str, float]]) -> str:
    if not found:
        return "-"
    mined = np.array([entry["mined"] for entry in found])
    if any("rank" in entry for entry in found):
        means = [np.mean([e[name] for e in found if name in e]) for name in ("rank", "tail")]
        return f"{mined.mean():.1f}/{means[0]:.2f}/{means[1]:.2f}"
    if not found[0]["known"]:
        claimed = np.array([entry.get("claimed", entry["mined"]) for entry in found])
        return f"{mined.mean():.2f}/{(mined > 0).mean():.2f}/{(claimed > 0).mean():.2f}"
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
    parser.add_argument("--methods", default="full,simple", help=f"of {', '.join(METHODS)}")
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument(
        "--scenarios", default="standard", help="names, or standard, hard, pictures, null, tinted, wholes"
    )
    parser.add_argument("--n", default="", help="numbers of examples; several make several data sets a seed")
    parser.add_argument("--surrogates", type=int, default=0, help="rotations for p-values after selection")
    parser.add_argument("--cache", type=Path, help="folder where training runs are kept")
    parser.add_argument("--rows", type=Path, help="write every result to this JSON lines file")
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args()
    first, _, last = chosen.seeds.partition("-")
    spacings = defaultdict(list)
    for cell in chosen.cells.split(","):
        optimizer, every = cell.split("-")
        spacings[optimizer].append(int(every))
    named = {
        "standard": SCENARIOS,
        "hard": HARD,
        "pictures": PICTURES,
        "tinted": TINTED,
        "wholes": WHOLES,
        "null": [n for n in SCENARIOS if n.startswith("null")],
    }
    jobs = [
        (
            scenario,
            int(n) if n else None,
            seed,
            optimizer,
            tuple(every),
            tuple(chosen.methods.split(",")),
            chosen.surrogates,
            chosen.cache,
        )
        for n in chosen.n.split(",")
        for seed in range(int(first), int(last or first) + 1)
        for scenario in (named.get(chosen.scenarios) or chosen.scenarios.split(","))
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
