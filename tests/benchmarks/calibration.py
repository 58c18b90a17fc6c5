"""How often a run without pairs has a finding, beside the rate that findings are asked to pass.

    python tests/benchmarks/calibration.py --seeds 10-19 --rows calibration.jsonl
    python tests/benchmarks/calibration.py --seeds 10-11 --rows calibration.jsonl --screened

Small runs of many kinds in which nothing is planted, each mined with all defaults: surrogates, evidence and the false
discovery rate; with ``--screened`` larger ones, of whose examples a third are chosen to be candidates. Rows that the
file has are not computed again. A continuous axis is no pair either: a finding there is
as wrong as one among Gaussian classes. The interval of a rate is that of Clopper and Pearson, 95 %.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from planted_runs import ALL, PlantedRun, network, seen, train

from opsigcli.datasets.planted import Planted
from opsigcli.datasets.planted_draft import Scenario
from opsigcli.examples import ExampleSource
from opsigcli.mining.inputs import Candidates, Settings, Trace
from opsigcli.mining.mine import mine
from opsigcli.options import MineOptions

SIZES = (300, 600)  # examples: two runs for each seed
SCREENED = (6000,)  # of which 2,000 are candidates, the fewest that `mine` chooses among more
GLYPHS = (
    "0e11131519110e", "040c040404040e", "0e11010204081f", "1f02040201110e", "02060a121f0202",
    "1f101e0101110e", "0608101e11110e", "1f010204080808", "0e11110e11110e", "0e11110f01020c",
)  # fmt: skip
Made = tuple[np.ndarray, np.ndarray]  # inputs, labels


def _digits(n: int, rng: np.random.Generator) -> Made:
    """Ten digits of 5 × 7 dots, moved about in 10 × 10, with strokes of unequal strength, in noise."""
    labels, inputs = rng.integers(0, 10, n), 0.25 * rng.standard_normal((n, 10, 10))
    for at, label in enumerate(labels):
        rows = np.array(
            [[byte >> bit & 1 for bit in range(4, -1, -1)] for byte in bytes.fromhex(GLYPHS[label])]
        )
        y, x = rng.integers(0, 4), rng.integers(0, 6)
        inputs[at, y : y + 7, x : x + 5] += rows * rng.uniform(0.5, 1.5)
    return inputs.reshape(n, -1), labels


def _tabular(n: int, rng: np.random.Generator) -> Made:
    """Correlated numbers with skewed margins beside one-hot categories; the label hangs on both, not wholly."""
    loadings = rng.standard_normal((4, 12))
    numbers = rng.standard_normal((n, 4)) @ loadings + rng.standard_normal((n, 12))
    numbers[:, ::3] = np.exp(numbers[:, ::3] / 3)
    category = rng.choice(5, n, p=[0.4, 0.25, 0.2, 0.1, 0.05])
    numbers = (numbers - numbers.mean(0)) / numbers.std(0)
    score = numbers[:, :6].sum(1) + 2 * rng.standard_normal(5)[category] + 2 * rng.standard_normal(n)
    return np.hstack([numbers, np.eye(5)[category]]), np.digitize(score, np.quantile(score, [0.5, 0.8]))


def _tokens(n: int, rng: np.random.Generator) -> Made:
    """The last three words of 30, and the next by a chain in which every word has a few likely followers."""
    following = rng.dirichlet(np.full(30, 0.1), 30)
    words = [int(rng.integers(30))]
    while len(words) < n + 3:
        words.append(int(rng.choice(30, p=following[words[-1]])))
    context = np.stack([words[at : at + n] for at in range(3)], axis=1)
    return np.eye(30)[context].reshape(n, -1), np.array(words[3 : n + 3])


def _heavy(n: int, rng: np.random.Generator) -> Made:
    """Four classes in noise of Student's t with 2 degrees of freedom."""
    labels = rng.integers(0, 4, n)
    return np.linalg.qr(rng.standard_normal((64, 4)))[0].T[labels] + 0.3 * rng.standard_t(2, (n, 64)), labels


def _scales(n: int, rng: np.random.Generator) -> Made:
    """Four classes, every example with noise of a size of its own."""
    labels = rng.integers(0, 4, n)
    noise = rng.standard_normal((n, 64)) * np.exp(rng.standard_normal((n, 1))) * 0.4
    return np.linalg.qr(rng.standard_normal((64, 4)))[0].T[labels] + noise, labels


MADE: dict[str, tuple[Callable[[int, np.random.Generator], Made], float]] = {
    "digits": (_digits, 0.3),
    "tabular": (_tabular, 0.5),
    "tokens": (_tokens, 3.0),
    "heavy tails": (_heavy, 0.5),
    "random scales": (_scales, 0.5),
}  # with the learning rate of gradient descent
ALL.update({name: Scenario(name, lambda draft: None, lr) for name, (_, lr) in MADE.items()})

KINDS: dict[str, tuple[str, str, int]] = {
    "Gaussian classes": ("null-gauss", "gd", 1),
    "Gaussian classes, every 10th step": ("null-gauss", "gd", 10),
    "Gaussian classes, SGD": ("null-gauss", "sgd", 1),
    "Gaussian classes, Adam": ("null-gauss", "adam", 1),
    "class hierarchy": ("null-hierarchy", "gd", 1),
    "class hierarchy, SGD": ("null-hierarchy", "sgd", 1),
    "continuous axis": ("axis", "gd", 1),
    "random labels": ("null-labels", "gd", 1),
    "a fifth of the labels random": ("null-noisy", "gd", 1),
    "decoys": ("null-decoys", "gd", 1),
    "unequal classes": ("null-imbalanced", "gd", 1),
    "pictures, conv": ("null-pictures", "gd", 1),
    "pictures, conv, BatchNorm": ("null-pictures-bn", "gd", 1),
    "20 classes, conv": ("null-many", "gd", 1),
    "20 classes, conv, BatchNorm": ("null-many-bn", "gd", 1),
    "digits": ("digits", "gd", 1),
    "tabular": ("tabular", "gd", 1),
    "tokens": ("tokens", "gd", 1),
    "heavy tails": ("heavy tails", "gd", 1),
    "random scales": ("random scales", "gd", 1),
}  # scenario, optimizer, steps between checkpoints


class Unplanted(ExampleSource):
    """Examples of one of ``MADE``, drawn by a seed."""

    known_pairs = alternatives = ()
    axis = None

    def __init__(self, scenario: str, n: int, seed: int) -> None:
        self.scenario, self.spec = scenario, f"{scenario}?n={n}&seed={seed}"
        self._inputs, labels = MADE[scenario][0](n, np.random.default_rng([seed, n]))
        self.ids, self.labels = np.arange(n), labels.astype(np.int64)
        self.classes = tuple(f"class {label}" for label in range(int(labels.max()) + 1))
        self.input_shape = self._inputs.shape[1:]

    def read(self, positions: np.ndarray) -> np.ndarray:
        """(B, features) float32."""
        return self._inputs[positions].astype(np.float32)


def measured(kind: str, n: int, seed: int, rate: float, surrogates: int) -> dict[str, Any]:
    """One run of a kind, trained and mined: how many pairs were proposed, and how many were findings."""
    scenario, optimizer, every = KINDS[kind]
    source = (Unplanted if scenario in MADE else Planted)(scenario, n, seed)
    model = network(source, seed)
    given = seen(PlantedRun(source, model, *train(source, model, seed, optimizer)), every)
    found = mine(
        Trace(given.losses, source.labels, source.ids, np.arange(len(given.losses)) * every, source.classes),
        Candidates(given.candidates, given.gradients, given.weights, swings=given.swings),
        Settings("full", seed=seed, surrogates=surrogates, false_discovery_rate=rate),
    )
    verdicts = [pair.verdict for pair in found.pairs]
    clear = [pair.evidence["clarity"].p_value for pair in found.pairs if "clarity" in pair.evidence]
    findings = sum(pair.finding is True for pair in found.pairs)
    return {
        "kind": kind, "n": n, "seed": seed, "rate": rate, "proposals": len(verdicts), "findings": findings,
        "verdicts": verdicts, "p": min((p for p in clear if p is not None), default=1.0),
    }  # fmt: skip


def interval(hits: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a rate from ``hits`` of so many."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = beta.ppf(tail, hits, of - hits + 1) if hits else 0.0
    high = beta.ppf(1 - tail, hits + 1, of - hits) if hits < of else 1.0
    return float(low), float(high)


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of Markdown: each kind, and all together beside the stated rate."""
    yield "| nothing planted | runs | with a finding | proposals |"
    yield "|---|---|---|---|"
    for kind in KINDS:
        of = [row for row in rows if row["kind"] == kind]
        if of:
            hits = sum(row["findings"] > 0 for row in of)
            yield f"| {kind} | {len(of)} | {hits} | {sum(row['proposals'] for row in of)} |"
    hits = sum(row["findings"] > 0 for row in rows)
    low, high = interval(hits, len(rows))
    stated = ", ".join(f"{rate:g}" for rate in sorted({row["rate"] for row in rows}))
    yield (
        f"| all | {len(rows)} | {hits} | {sum(row['proposals'] for row in rows)} |\n\nstated {stated}; measured "
        f"{hits / len(rows):.3f} ({low:.3f} to {high:.3f})"
    )


def main() -> None:
    """Measure what the file does not have, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="10-19", help="first-last")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--rate", type=float, default=MineOptions.false_discovery_rate)
    parser.add_argument("--surrogates", type=int, default=MineOptions.surrogates)
    parser.add_argument("--screened", action="store_true", help="runs of so many that candidates are chosen")
    parser.add_argument("--rows", type=Path, required=True, help="JSON lines file of the runs")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in chosen.rows.read_text().splitlines()] if chosen.rows.exists() else []
    known = {(row["kind"], row["n"], row["seed"]) for row in rows}
    first, _, last = chosen.seeds.partition("-")
    for seed in range(int(first), int(last or first) + 1):
        for kind in KINDS:
            for n in SCREENED if chosen.screened else SIZES:
                if kind in chosen.kinds and (kind, n, seed) not in known:
                    rows.append(measured(kind, n, seed, chosen.rate, chosen.surrogates))
                    with chosen.rows.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
