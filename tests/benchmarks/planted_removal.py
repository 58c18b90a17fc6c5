"""Do planted pairs do anything? Training again without one, beside training again without others of its classes.

    python tests/benchmarks/planted_removal.py --seeds 1-3 --scenarios pictures2,pictures4 --rows removal.jsonl
    python tests/benchmarks/planted_removal.py --seeds 5-6 --scenarios rare --optimizers gd,sgd --rows rare.jsonl

For each planted pair, what taking its members away does, beside taking away as many random examples of the same labels
that are in no pair:

- to the *swing*, where training from the same initialisation never had them: root mean square over the last two thirds
  of the steps, and the examples left that are in no pair, of the amplitude of period two,
  ``|ℓ(t+1) − 2ℓ(t) + ℓ(t−1)| / 4`` nats. Runs at the edge are chaotic; each costs a training;
- to *λ₁* of the loss of what is left, at the weights of the run that had all: the median over six late steps of the
  largest eigenvalue within the span of the first three eigenvectors of the whole Hessian, where per-example curvatures
  make 199 random removals cheap; 19 with BatchNorm, where whoever is away changes the others' losses as well. λ₁ of
  another training hovers about 2/η whoever is away, and tells nothing.

A pair counts where λ₁ falls below all but a twentieth of the random removals, or the swing falls below all that were
trained for its run. The last column of the table is how often a random removal would have counted, each in its turn
held against the others: what chance alone gives.

And without removal, whether its groups are *set against* one another at all, as all that is sought is
(``planted_against``). Removing a group whose curvature is high lowers λ₁ whether or not anybody opposes it.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from planted import mine_one
from planted_against import kept, opposed, set_against
from planted_runs import ALL, PlantedRun, network, seen, train
from torch import Tensor, nn

from opsigcli.curvature.lanczos import top_eigenvalues
from opsigcli.datasets.planted import Planted
from opsigcli.mining.recovery import pair_f1

LATE = (125, 160, 195, 230, 265, 300)  # steps, of either parity
BEGIN = 100  # of the steps that swing is measured in
SPAN = 3  # eigenvectors
DRAWS, DRAWS_BN = 199, 19  # of removals at once
LEVEL = 0.05
FOUND = 0.5  # membership F1 from which a mined pair is a planted one


def period_two(losses: np.ndarray) -> np.ndarray:
    """Amplitude of period two with its sign, nats, (T − 2, N)."""
    return (losses[2:] - 2 * losses[1:-1] + losses[:-2]) / 4


class Late:
    """The Hessian of the mean loss of some examples at one late step of a run."""

    def __init__(self, run: PlantedRun, step: int, kept: np.ndarray) -> None:
        run.objective_at(step)
        self._model = run.model.train()  # BatchNorm with the statistics of who is there
        self._inputs = torch.as_tensor(run.source.read(run.source.ids[kept]))
        self._labels = torch.as_tensor(run.source.labels[kept])
        self._weights = [p for p in self._model.parameters() if p.requires_grad]

    def _losses(self) -> Tensor:
        return nn.functional.cross_entropy(self._model(self._inputs), self._labels, reduction="none")

    def top(self, count: int) -> tuple[np.ndarray, Tensor]:
        """Largest eigenvalues, and their eigenvectors in rows."""
        gradient = torch.autograd.grad(self._losses().mean(), self._weights, create_graph=True)
        flat = torch.cat([g.reshape(-1) for g in gradient])

        def product(vector: Tensor) -> Tensor:
            rows = torch.autograd.grad(flat, self._weights, vector, retain_graph=True)
            return torch.cat([row.reshape(-1) for row in rows])

        found = top_eigenvalues(product, len(flat), count, tolerance=0.02, max_matvecs=40)
        return np.asarray(found.eigenvalues), found.vectors

    def within(self, span: Tensor) -> np.ndarray:
        """Every example's curvature in a span of k directions, ``Uᵀ ∇²ℓ_i U`` by differences of losses, (N, k, k)."""
        size = 0.005  # short enough for the fourth derivative, long enough for float32
        flat = torch.cat([w.detach().reshape(-1) for w in self._weights])

        def at(move: Tensor) -> np.ndarray:
            nn.utils.vector_to_parameters(flat + size * move, self._weights)
            with torch.no_grad():
                return self._losses().double().numpy()

        columns = list(span)
        middle = at(torch.zeros_like(flat))
        own = [at(u) + at(-u) - 2 * middle for u in columns]
        found = np.zeros((len(middle), len(columns), len(columns)))
        for a, u in enumerate(columns):
            found[:, a, a] = own[a]
            for b in range(a):
                both = at(u + columns[b]) + at(-u - columns[b]) - 2 * middle
                found[:, a, b] = found[:, b, a] = (both - own[a] - own[b]) / 2
        nn.utils.vector_to_parameters(flat, self._weights)
        return found / size**2


def like(
    groups: Sequence[np.ndarray], labels: np.ndarray, free: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """As many free positions of each label as the groups have."""
    some = []
    for label, count in zip(*np.unique(labels[np.concatenate(groups)], return_counts=True), strict=True):
        some.append(rng.permutation(free[labels[free] == label])[:count])
    return np.concatenate(some)


def swing_without(run: PlantedRun, seed: int, optimizer: str, without: np.ndarray, rest: np.ndarray) -> float:
    """Swing of the rest where training never had some examples."""
    losses, _ = train(run.source, network(run.source, seed), seed, optimizer, without)
    return float(np.sqrt((period_two(losses)[BEGIN:, np.setdiff1d(rest, without)] ** 2).mean()))


def at_once(run: PlantedRun, arms: list[np.ndarray]) -> list[float]:
    """λ₁ of what each arm leaves, within the span of the whole's first eigenvectors, the median over late steps."""
    found, everyone = [], run.source.ids
    for step in LATE:
        whole = Late(run, step, everyone)
        span = whole.top(SPAN)[1]
        curvature = whole.within(span)
        for without in arms:
            kept = np.setdiff1d(everyone, without)
            left = Late(run, step, kept).within(span) if normalised(run) else curvature[kept]
            found.append(np.linalg.eigvalsh(left.mean(axis=0))[-1])
    return [float(value) for value in np.median(np.reshape(found, (len(LATE), -1)), axis=0)]


def normalised(run: PlantedRun) -> bool:
    """Whether the losses of examples depend on who else is there."""
    return any(isinstance(module, nn.BatchNorm2d) for module in run.model.modules())


def oscillates(losses: np.ndarray, pair: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether the mean losses of two groups swing against one another, with more than their share of it."""
    swing = period_two(losses)[BEGIN:]
    first, second = (swing[:, side].mean(axis=1) for side in pair)
    energy, members = (swing**2).sum(axis=0), np.concatenate(pair)
    share = energy[members].mean() / energy.mean()
    return bool(np.corrcoef(first, second)[0, 1] < -0.3 and share > 1.3)


def measured(
    scenario: str, n: int, seed: int, optimizer: str, draws: int, surrogates: int
) -> list[dict[str, Any]]:
    """For every planted pair of a run: what removing it does, what removing others does, and whether it is found."""
    source = Planted(scenario, n or ALL[scenario].n, seed)
    model = network(source, seed)
    run = PlantedRun(source, model, *train(source, model, seed, optimizer))
    given = seen(run, 1)
    mined = mine_one(given, "full", surrogates)[0]
    planted = [np.concatenate(pair) for pair in source.known_pairs]
    rest = np.setdiff1d(source.ids, np.concatenate(planted))
    rng, rows = np.random.default_rng([seed, 17]), []
    against = set_against(given, np.random.default_rng([seed, 17]))
    for number, pair in enumerate(source.known_pairs):
        others = [like(pair, source.labels, rest, rng) for _ in range(DRAWS)]
        at_once_too = others[: DRAWS_BN if normalised(run) else DRAWS]
        arms = [planted[number], *others[:draws]]
        rows.append(
            {
                "scenario": scenario,
                "optimizer": optimizer,
                "seed": seed,
                "sides": [len(side) for side in pair],
                "curvature": at_once(run, [planted[number], *at_once_too]),
                "swing": [swing_without(run, seed, optimizer, arm, rest) for arm in arms if draws],
                "oscillates": oscillates(run.losses, pair),
                "against": against[number],
                "f1": max((pair_f1(sides, pair) for sides in mined), default=0.0),
                "mined": len(mined),
                "true": sum(
                    max(pair_f1(sides, known) for known in source.known_pairs) >= FOUND for sides in mined
                ),
            }
        )
    return rows


def below(value: float, others: list[float]) -> float:
    """Share of random removals, this one among them, that lower something as much."""
    return (1 + sum(other <= value for other in others)) / (1 + len(others))


def counts(rows: list[dict[str, Any]], row: dict[str, Any], at: int = 0) -> bool:
    """Whether a pair of a run counts; ``at`` above 0: whether that random removal would have counted."""
    hidden = [value for number, value in enumerate(row["curvature"][1:], 1) if number != at]
    others = [v for each in rows for k, v in enumerate(each["swing"][1:], 1) if each is not row or k != at]
    return below(row["curvature"][at], hidden) <= LEVEL or (bool(others) and row["swing"][at] < min(others))


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Lines of Markdown, one for each scenario and optimizer."""
    lines = [
        "| planted | runs | pairs | oscillate | set against | count | both | F1, all | F1 of those that oscillate "
        "| set against | that count | both | pairs found that were planted | random removals that would count |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    cells: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        cells[row["scenario"], row["optimizer"]].append(row)
    for (scenario, optimizer), of in cells.items():
        runs = {seed: [row for row in of if row["seed"] == seed] for seed in sorted({r["seed"] for r in of})}
        effective = [row for row in of if counts(runs[row["seed"]], row)]
        swinging = [row for row in of if row["oscillates"]]
        there = [row for row in of if opposed(row["against"])]
        both = [row for row in effective if row in there]
        chance = [counts(runs[r["seed"]], r, k) for r in of for k in range(1, len(r["swing"]))]
        mined, true = (sum(run[0][name] for run in runs.values()) for name in ("mined", "true"))
        f1 = [
            "-" if not some else f"{np.mean([r['f1'] for r in some]):.2f}"
            for some in (of, swinging, there, effective, both)
        ]
        lines.append(
            f"| {scenario}, {optimizer} | {len(runs)} | {len(of)} | {len(swinging)} | "
            f"{len(there)} | {len(effective)} | {len(both)} | "
            f"{' | '.join(f1)} | {true} of {mined} | {sum(chance)} of {len(chance)} |"
        )
    return lines


def main() -> None:
    """Measure what the file does not have, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="1-3", help="first-last")
    parser.add_argument("--scenarios", default="pictures2,pictures4,pictures2-bn,pictures4-bn")
    parser.add_argument("--optimizers", default="gd")
    parser.add_argument("--n", type=int, default=0, help="examples (default: as many as the scenario has)")
    parser.add_argument(
        "--draws", type=int, default=3, help="random removals trained again, for each pair; 0 asks λ₁ alone"
    )
    parser.add_argument("--surrogates", type=int, default=0)
    parser.add_argument("--rows", type=Path, required=True, help="JSON lines file of the pairs")
    chosen = parser.parse_args()
    rows = kept(
        chosen,
        lambda scenario, seed, optimizer: measured(
            scenario, chosen.n, seed, optimizer, chosen.draws, chosen.surrogates
        ),
    )
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
