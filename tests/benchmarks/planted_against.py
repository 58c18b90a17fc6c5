"""Are planted groups set against one another at all? What tells one from its classes, asked of the other.

    python tests/benchmarks/planted_against.py --seeds 0-9 --scenarios pictures2,pictures4-bn --rows against.jsonl
    python tests/benchmarks/planted_against.py --seeds 0-9 --scenarios conv-several,conv-several-bn --rows several.jsonl

A network may learn a planted feature in a way that does not set its groups against one another: nothing is there to be
found then, whatever was planned. This is asked with the members known, and so more sharply than a search can. Gradients
are compared by their cosines, in the mean over the checkpoints that mining compares. The ridge discriminant that tells
the members of one group from the others of their labels is a direction of gradients; where the groups are opposed the
members of the other group lie farther back along it than the others of *their* labels. The area under that curve
(``reach``: .5 says nothing, 0 opposed, 1 the same way), the larger of the two ways round, has to be below that of all
but a twentieth of 99 random pairs of groups of the same labels and sizes: those the pair is *set against*.

A side of several labels is several groups. Their second table has every two of the groups that share a feature: planned
to be opposed or not, by their reach, and whether a mined pair has half of each on different sides.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from planted import mine_one
from planted_runs import Seen, seen, trained

from opsigcli.mining.recovery import pair_f1

RIDGE = 1.0  # of the discriminant, in mean squared norms
DRAWN = 99  # random pairs of groups
LEVEL = 0.05
FOUND = 0.5  # membership F1 from which a mined pair is a planted one
BOUNDS = (0.01, 0.05, 0.2, 0.5)  # of reach, between the rows of the second table

Pair = tuple[np.ndarray, np.ndarray]


def cosines(given: Seen) -> np.ndarray:
    """Mean cosine of the candidates' gradients over the checkpoints compared, (N, N)."""
    unit = [at.sketch / np.linalg.norm(at.sketch, axis=1, keepdims=True) for at in given.gradients]
    return np.asarray(np.mean([rows @ rows.T for rows in unit], axis=0, dtype=np.float64))


def reach(kernel: np.ndarray, labels: np.ndarray, told: np.ndarray, asked: np.ndarray) -> float:
    """Area under the curve of one group among its labels, along what tells another from its own.

    Args:
        kernel: inner products of all, (N, N).
        labels: (N,).
        told: positions of the group that the direction is fitted to.
        asked: positions of the other.

    Returns:
        The share of members of ``asked`` and others of their labels of whom the member lies farther along.
    """
    among = np.flatnonzero(np.isin(labels, labels[told]))
    others = np.setdiff1d(np.flatnonzero(np.isin(labels, labels[asked])), asked)
    middle = kernel[:, among].mean(axis=1)
    centred = kernel[:, among] - middle[:, None] - middle[among] + middle[among].mean()
    ridge = RIDGE * np.trace(kernel[np.ix_(among, among)]) / len(among)
    member = np.isin(among, told).astype(float)
    weights = np.linalg.solve(centred[among] + ridge * np.eye(len(among)), member - member.mean())
    along = centred @ weights
    return float((along[asked][:, None] > along[others]).mean())


def both_ways(kernel: np.ndarray, labels: np.ndarray, pair: Pair) -> float:
    """The larger reach of two groups, each in its turn the one that is told from its class."""
    first, second = pair
    return max(reach(kernel, labels, first, second), reach(kernel, labels, second, first))


def like(groups: Pair, labels: np.ndarray, free: np.ndarray, rng: np.random.Generator) -> Pair:
    """Two groups of free positions, with as many of each label as the pair's, and none in both."""
    found: list[np.ndarray] = []
    for group in groups:
        free = np.setdiff1d(free, np.concatenate([*found, []]))
        counted = zip(*np.unique(labels[group], return_counts=True), strict=True)
        found.append(
            np.concatenate([rng.permutation(free[labels[free] == label])[:count] for label, count in counted])
        )
    return found[0], found[1]


def set_against(given: Seen, rng: np.random.Generator) -> list[list[float]]:
    """For each known pair, its larger reach and those of random pairs of the same labels."""
    labels = given.run.source.labels[given.candidates]
    kernel, pairs = cosines(given), among_candidates(given)
    free = np.setdiff1d(np.arange(len(labels)), np.concatenate([side for pair in pairs for side in pair]))
    return [
        [both_ways(kernel, labels, p) for p in (pair, *(like(pair, labels, free, rng) for _ in range(DRAWN)))]
        for pair in pairs
    ]


def among_candidates(given: Seen) -> list[Pair]:
    """The known pairs, as positions among the candidates."""
    known = given.run.source.known_pairs
    first, second = ([np.flatnonzero(np.isin(given.candidates, pair[k])) for pair in known] for k in (0, 1))
    return list(zip(first, second, strict=True))


def opposed(values: list[float]) -> bool:
    """Whether a pair's reach is below that of all but a twentieth of random pairs: those after it."""
    return (1 + sum(value <= values[0] for value in values[1:])) / len(values) <= LEVEL


def groups_of(given: Seen, mined: list[Pair]) -> list[list[float]]:
    """Of every two groups of one label that share a feature: reach, planned to be opposed, found on two sides."""
    labels, kernel, found = given.run.source.labels[given.candidates], cosines(given), []
    for pair in among_candidates(given):
        groups = [
            (k, side[labels[side] == at]) for k, side in enumerate(pair) for at in np.unique(labels[side])
        ]
        for (k, first), (j, second) in combinations(groups, 2):
            half = [
                [np.isin(given.candidates[g], side).mean() >= 0.5 for side in p]
                for p in mined
                for g in (first, second)
            ]
            apart = any(
                (a[0] and b[1]) or (a[1] and b[0]) for a, b in zip(half[::2], half[1::2], strict=True)
            )
            found.append([both_ways(kernel, labels, (first, second)), float(k != j), float(apart)])
    return found


def measured(scenario: str, n: int | None, seed: int, optimizer: str) -> list[dict[str, Any]]:
    """For every planted pair of a run: whether it is set against itself, and found."""
    given = seen(trained(scenario, seed, optimizer, n=n), 1)
    known = given.run.source.known_pairs
    mined = mine_one(given, "full", 0)[0]
    true = sum(max(pair_f1(sides, pair) for pair in known) >= FOUND for sides in mined)
    common = {"scenario": scenario, "optimizer": optimizer, "seed": seed, "mined": len(mined), "true": true}
    groups = groups_of(given, mined)
    return [
        common
        | {"against": values, "f1": max((pair_f1(sides, pair) for sides in mined), default=0.0)}
        | ({"groups": groups} if not number else {})
        for number, (pair, values) in enumerate(
            zip(known, set_against(given, np.random.default_rng([seed, 17])), strict=True)
        )
    ]


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Lines of Markdown, one for each scenario and optimizer."""
    lines = [
        "| planted | runs | pairs | set against | F1, all | F1 of those set against | F1 of the others "
        "| pairs found that were planted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    cells: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        cells[f"{row['scenario']}, {row['optimizer']}"].append(row)
    for name, of in cells.items():
        runs = {row["seed"]: row for row in of}.values()
        there = [row for row in of if opposed(row["against"])]
        others = [row for row in of if not opposed(row["against"])]
        f1 = [f"{np.mean([r['f1'] for r in some]):.2f}" if some else "-" for some in (of, there, others)]
        true, mined = (sum(row[key] for row in runs) for key in ("true", "mined"))
        lines.append(
            f"| {name} | {len(runs)} | {len(of)} | {len(there)} | {' | '.join(f1)} | {true} of {mined} |"
        )
    return lines


def by_reach(rows: list[dict[str, Any]]) -> list[str]:
    """Lines of Markdown: of two groups with one feature, how many were found on different sides."""
    lines = [
        "| planted | reach below | planned | found apart | not planned | found apart |",
        "|---|---|---|---|---|---|",
    ]
    cells: dict[str, list[list[float]]] = defaultdict(list)
    for row in rows:
        cells[f"{row['scenario']}, {row['optimizer']}"] += row.get("groups", [])
    for name, of in cells.items():
        values = np.array(of)
        for low, high in zip((-1.0, *BOUNDS), (*BOUNDS, 1.01), strict=True):
            here = values[(values[:, 0] >= low) & (values[:, 0] < high)]
            counted = [
                f"{len(h)} | {int(h[:, 2].sum())}" for h in (here[here[:, 1] == 1], here[here[:, 1] == 0])
            ]
            lines.append(f"| {name} | {min(high, 1):g} | {' | '.join(counted)} |")
    return lines


def kept(
    chosen: argparse.Namespace, measure: Callable[[str, int, str], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """The rows of the file, and of what it does not have yet: ``measure(scenario, seed, optimizer)``."""
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in chosen.rows.read_text().splitlines()] if chosen.rows.exists() else []
    known = {(row["scenario"], row["optimizer"], row["seed"]) for row in rows}
    first, _, last = chosen.seeds.partition("-")
    for seed in range(int(first), int(last or first) + 1):
        for scenario in chosen.scenarios.split(","):
            for optimizer in chosen.optimizers.split(","):
                if (scenario, optimizer, seed) not in known:
                    found = measure(scenario, seed, optimizer)
                    rows += found
                    with chosen.rows.open("a") as file:
                        file.writelines(json.dumps(row) + "\n" for row in found)
    return rows


def main() -> None:
    """Measure what the file does not have, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="0-2", help="first-last")
    parser.add_argument("--scenarios", default="pictures2,pictures4,pictures2-bn,pictures4-bn")
    parser.add_argument("--optimizers", default="gd")
    parser.add_argument("--n", type=int, help="examples (default: as many as the scenario has)")
    parser.add_argument("--rows", type=Path, required=True, help="JSON lines file of the pairs")
    chosen = parser.parse_args()
    rows = kept(chosen, lambda *run: measured(run[0], chosen.n, *run[1:]))
    print("\n".join([*table(rows), "", *by_reach(rows)]))


if __name__ == "__main__":
    main()
