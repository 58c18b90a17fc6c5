"""Every number beside a finding, in float64 from a store and the weights, by what opsig-evidence(7) says.

Nothing of opsig's mining is imported. What hangs on a search is searched for by a plain loop over fewer starts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import load_file

from opsigcli.datasets import open_source

Pair = tuple[np.ndarray, np.ndarray]
DRAWS = 199
STARTS = 40  # of the searches here


class Case:
    """Arrays of a store, and the tanh network behind it, in float64."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with h5py.File(folder / "opsig.h5") as store:
            self.losses = store["losses"][()].astype(np.float64)
            self.labels, self.steps = store["labels"][()], store["steps"][()]
            self.run = json.loads(store["run"][()])
            self.sharpness = json.loads(store["sharpness"][()])
            self.mining = json.loads(store["mining"][()])
            kept = store["gradients"]
            self.compared = kept["rows"][()]
            self.sketches, self.residuals = (
                kept[n][()].astype(np.float64) for n in ("sketches", "residuals")
            )
            self.norms = kept["norms"][()].astype(np.float64)
            self.seen = {n.removeprefix("feature-"): kept[n][()] for n in kept if n.startswith("feature-")}
            assert kept["positions"][()].tolist() == list(range(len(self.labels)))  # all are candidates
        ids = {name: [pair[name]["ids"] for pair in self.mining["pairs"]] for name in ("first", "second")}
        self.pairs: list[Pair] = [(np.array(a), np.array(b)) for a, b in zip(*ids.values(), strict=True)]
        source = open_source(self.run["data"])
        self.inputs = source.read(np.arange(len(source))).reshape(len(source), -1).astype(np.float64)

    def draws(self, pair: Pair, count: int = DRAWS, *, outside: bool = False) -> Iterator[Pair]:
        """Random candidates of the same labels and sizes; outside all pairs where that is asked."""
        rng, members = (
            np.random.default_rng(7),
            np.concatenate([rows for each in self.pairs for rows in each]),
        )
        among = np.arange(len(self.labels))
        among = np.setdiff1d(among, members) if outside else among
        for _ in range(count):
            shuffled = rng.permutation(among)
            taken, sides = set[int](), []
            for side in pair:
                rows = []
                for label in self.labels[side]:
                    rows.append(next(r for r in shuffled if self.labels[r] == label and r not in taken))
                    taken.add(rows[-1])
                sides.append(np.array(rows))
            yield sides[0], sides[1]

    @cached_property
    def at_checkpoints(self) -> list[np.ndarray]:
        """Features of all examples at each checkpoint compared."""
        return [features(g, d) for g, d in zip(self.sketches, self.residuals, strict=True)]

    def similarity(self, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
        return similarity([self.at_checkpoints[t] for t in np.arange(len(self.compared))[rows]])

    @cached_property
    def deltas(self) -> np.ndarray:
        return np.diff(self.losses, axis=0)

    @cached_property
    def high_passed(self) -> np.ndarray:
        found = np.empty_like(self.deltas)
        for t, row in enumerate(self.deltas):
            found[t] = row - self.deltas[max(t - 2, 0) : t + 3].mean(axis=0)
            found[t] -= np.median(found[t])
        return found

    def weights(self, row: int) -> list[np.ndarray]:
        found = load_file(self.folder / "run" / f"step-{self.steps[row]:06d}.safetensors")
        names = [f"{layer}.{part}" for layer in ("hidden1", "hidden2", "head") for part in ("weight", "bias")]
        return [found[name].astype(np.float64) for name in names]

    def losses_at(self, weights: list[np.ndarray], rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        return self.forward(weights, rows)[0]

    def gradient(self, weights: list[np.ndarray], rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Of the mean loss of some examples, in a row."""
        losses, residuals, (x, one, two) = self.forward(weights, rows)
        back, parts = residuals / len(losses), list[np.ndarray]()
        for matrix, below in ((weights[4], two), (weights[2], one), (None, x)):
            parts = [(back.T @ below).ravel(), back.sum(axis=0), *parts]
            if matrix is not None:
                back = (back @ matrix) * (1 - below**2)
        return np.concatenate(parts)

    def forward(
        self, w: list[np.ndarray], rows: np.ndarray | slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray, tuple]:
        x, labels = self.inputs[rows], self.labels[rows]
        one = np.tanh(x @ w[0].T + w[1])
        two = np.tanh(one @ w[2].T + w[3])
        z = two @ w[4].T + w[5]
        z -= np.log(np.exp(z).sum(axis=1, keepdims=True))
        every = np.arange(len(labels))
        residuals = np.exp(z)
        residuals[every, labels] -= 1
        return -z[every, labels], residuals, (x, one, two)

    def moved(self, weights: list[np.ndarray], by: np.ndarray) -> list[np.ndarray]:
        ends = np.cumsum([w.size for w in weights])[:-1]
        return [w + d.reshape(w.shape) for w, d in zip(weights, np.split(by, ends), strict=True)]

    def curvature(self, row: int, pair: Pair) -> float:
        """u'Hu, u along the difference of the groups' mean gradients."""
        weights = self.weights(row)
        u = self.gradient(weights, pair[0]) - self.gradient(weights, pair[1])
        u /= np.linalg.norm(u)
        up, down = (self.gradient(self.moved(weights, sign * 1e-4 * u)) for sign in (1, -1))
        return float(u @ (up - down) / 2e-4)


def features(gradients: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """What each gradient has beyond the usual one of its residual; each example left out of its own fit."""
    length = np.linalg.norm(residuals, axis=1, keepdims=True)
    d, g, weight = residuals / length, gradients / length, np.ones(len(length))
    for _ in range(3):
        left_hand = (d.T * weight) @ d + np.eye(d.shape[1])
        right_hand = (d.T * weight) @ g
        rest = np.empty_like(g)
        for i, (mine, w) in enumerate(zip(d, weight, strict=True)):
            without = left_hand - w * np.outer(mine, mine)
            rest[i] = g[i] - mine @ np.linalg.solve(without, right_hand - w * np.outer(mine, g[i]))
        r = np.linalg.norm(rest, axis=1)
        weight = 1 / np.sqrt(1 + (r / np.median(r)) ** 2)
    return rest / np.sqrt(r**2 + (1.5 * np.median(r)) ** 2)[:, None]


def similarity(each: list[np.ndarray]) -> np.ndarray:
    found = np.mean([f @ f.T for f in each], axis=0)
    np.fill_diagonal(found, 0)
    return found


def to_group(s: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Mean S of everybody to the members of a group, but to himself."""
    return s[:, group].sum(axis=1) / (len(group) - np.isin(np.arange(len(s)), group))


def contrast(s: np.ndarray, pair: Pair) -> np.ndarray:
    return to_group(s, pair[0]) - to_group(s, pair[1])


def opposition(s: np.ndarray, pair: Pair) -> float:
    return float(-s[np.ix_(*pair)].mean())


def cohesion(s: np.ndarray, pair: Pair) -> float:
    return min(float(to_group(s, side)[side].mean()) for side in pair)


def separation(s: np.ndarray, pair: Pair) -> float:
    lean = contrast(s, pair)
    own = np.concatenate([lean[pair[0]], -lean[pair[1]]])
    return float(np.quantile(own, 0.1) / np.quantile(np.abs(np.delete(lean, np.concatenate(pair))), 0.98))


def clarity(s: np.ndarray, pair: Pair) -> float:
    return opposition(s, pair) * min(separation(s, pair), 1.5)


def refined(s: np.ndarray, pair: Pair, share: float = 0.55, usual: Callable = np.median) -> Pair:
    to = [to_group(s, side) for side in pair]
    found = []
    for own, other, side in ((*to, pair[0]), (*to[::-1], pair[1])):
        lean = own - other
        inside = (lean > share * usual(lean[side])) & (own > 0.5 * usual(own[side])) & (other < -0.05)
        found.append(np.flatnonzero(inside))
    return found[0], found[1]


def searched(s: np.ndarray, starts: int) -> list[Pair]:
    """Pairs by refinement from the most opposed examples, the clearest first; none shares half with another."""
    found = []
    for start in np.argsort(np.sort(s, axis=1)[:, :5].mean(axis=1))[:starts]:
        near = np.argsort(-s[start])[:8]
        pair = near, np.argsort(s[near].sum(axis=0))[:8]
        for _ in range(6):
            pair = refined(s, pair, usual=np.mean)
            if min(map(len, pair)) < 5 or sum(map(len, pair)) > len(s) / 2:
                break
        else:
            apart, within = opposition(s, pair), [float(to_group(s, side)[side].mean()) for side in pair]
            loose = min(w * np.sqrt(len(side) - 1) for w, side in zip(within, pair, strict=True)) < 0.2
            uneven = max(map(len, pair)) > 6 * min(map(len, pair))
            if not (loose or uneven) and apart > max(0.07, 0.22 * np.sqrt(within[0] * within[1])):
                found += [pair] if separation(s, pair) > 1.3 else []
    kept: list[Pair] = []
    for pair in sorted(found, key=lambda each: -clarity(s, each)):
        rows = np.concatenate(pair)
        shares = (
            len(np.intersect1d(rows, np.concatenate(k))) / min(len(rows), sum(map(len, k))) for k in kept
        )
        if all(share < 0.5 for share in shares):
            kept.append(pair)
    return kept


def rotated(s: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """S of features rotated within each class, its mean held fixed."""
    turn = np.zeros_like(s)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        n = len(rows)
        basis = np.linalg.qr(np.column_stack([np.ones(n), rng.standard_normal((n, n - 1))]))[0]
        inner, upper = np.linalg.qr(rng.standard_normal((n - 1, n - 1)))
        block = np.eye(n)
        block[1:, 1:] = inner * np.sign(np.diagonal(upper))
        turn[np.ix_(rows, rows)] = basis @ block @ basis.T
    found = turn @ (s + np.eye(len(s))) @ turn.T
    size = np.sqrt(np.maximum(np.diagonal(found), 0.05))
    found /= np.outer(size, size)
    np.fill_diagonal(found, 0)
    return found


def jaccard(pair: Pair, other: Pair) -> float:
    common = sum(len(np.intersect1d(a, b)) for a, b in zip(pair, other, strict=True))
    return common / (sum(map(len, pair)) + sum(map(len, other)) - common)


def found_again(case: Case, pair: Pair) -> dict[str, float]:
    """The search in two halves of checkpoints, of dimensions and of candidates."""
    rng, k = np.random.default_rng(3), case.sketches.shape[2]
    each: dict[str, list[float]] = {"checkpoints": [], "dimensions": [], "candidates": []}
    for name, shares in each.items():
        for _ in range(2):
            rows, s = np.arange(len(case.labels)), None
            if name == "checkpoints":
                s = case.similarity(rng.permutation(len(case.compared))[: len(case.compared) // 2])
            elif name == "dimensions":
                half = rng.permutation(k)[: k // 2]
                both = zip(case.sketches[::4], case.residuals[::4], strict=True)  # of two checkpoints: time
                s = similarity([features(g[:, half], d) for g, d in both])
            else:
                rows = np.sort(rng.permutation(len(rows))[: len(rows) // 2])
                s = case.similarity()[np.ix_(rows, rows)]  # its fit is that of all: half would be too few
            asked = np.intersect1d(pair[0], rows), np.intersect1d(pair[1], rows)
            if min(map(len, asked)) >= 5:
                pairs = [(rows[a], rows[b]) for a, b in searched(s, STARTS)]
                shares.append(max(jaccard(asked, p) for two in pairs for p in (two, two[::-1])))
    return {f"stability_{name}": float(np.mean(shares)) for name, shares in each.items() if shares}


def area(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Probability that one of the first has more, or less, whichever is larger."""
    more = values[first][:, None] - values[second][None]
    share = float(((more > 0) + 0.5 * (more == 0)).mean())
    return max(share, 1 - share)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def matched(case: Case, s: np.ndarray) -> dict[str, Callable[[Pair], float]]:
    """Numbers that a random pair has as well, by name."""
    h, begin = case.high_passed, round(0.1 * len(case.deltas))
    touched = {t for c in case.compared for t in (c - 1, c)}
    held_out = [t for t in range(begin, len(h)) if t not in touched]
    energy = (h[begin:] ** 2).sum(axis=0)
    outside = np.setdiff1d(np.arange(len(case.labels)), np.concatenate([r for p in case.pairs for r in p]))

    def mean(pair: Pair, side: int, rows: list[int] | slice) -> np.ndarray:
        return np.asarray(h[rows][:, pair[side]].mean(axis=1))

    def gap(pair: Pair) -> np.ndarray:
        return mean(pair, 0, slice(begin, None)) - mean(pair, 1, slice(begin, None))

    def share(pair: Pair) -> float:
        return float(energy[np.concatenate(pair)].sum() / energy.sum())

    def best(told: Callable[[np.ndarray], float]) -> float:
        return max(told(values) for values in case.seen.values())

    def against_others(pair: Pair, values: np.ndarray) -> float:
        rows = np.concatenate(pair)
        return area(values, rows, np.setdiff1d(outside, rows))

    return {
        "opposition": lambda p: opposition(s, p),
        "cohesion": lambda p: cohesion(s, p),
        "separation": lambda p: separation(s, p),
        "gradient_cosine": lambda p: float(np.mean(cosines(case, p))),
        "gradient_ratio": lambda p: size(case, p),
        "share_of_loss_change": share,
        "share_ratio": lambda p: share(p) / (sum(map(len, p)) / len(case.labels)),
        "anti_phase": lambda p: correlation(mean(p, 0, held_out), mean(p, 1, held_out)),
        "alternation": lambda p: correlation(gap(p)[:-1], gap(p)[1:]),
        "amplitude": lambda p: float(np.sqrt((gap(p) ** 2).mean())),
        "members": lambda p: best(lambda values: against_others(p, values)),
        "sides": lambda p: best(lambda values: area(values, *p)),
    }


def cosines(case: Case, pair: Pair) -> np.ndarray:
    a, b = (case.sketches[:, side].mean(axis=1) for side in pair)
    return np.asarray((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


def size(case: Case, pair: Pair) -> float:
    return float(np.sqrt(np.mean([(case.sketches[:, side].mean(axis=1) ** 2).sum(axis=1) for side in pair])))


def replication(case: Case, pair: Pair) -> float:
    halves = case.similarity(slice(None, None, 2)), case.similarity(slice(1, None, 2))
    found = []
    for seen, other in (halves, halves[::-1]):
        again = pair
        for _ in range(6):
            again = refined(seen, again) if min(map(len, again)) >= 5 else again
        found.append(separation(other, again) if min(map(len, again)) >= 5 else 0.0)
    return min(found)


def along(case: Case, pair: Pair) -> dict[str, tuple[float, float]]:
    """What the model says: value and null of curvature, of growth, and of the swing that is held."""
    held = []
    for row in case.compared[[1, 4, 6]]:  # the middles of thirds
        weights = case.weights(row)
        u = case.gradient(weights, pair[0]) - case.gradient(weights, pair[1])
        moved = [case.losses_at(case.moved(weights, sign * u / (u @ u))) for sign in (1, -1)]
        swing = np.abs(moved[0] - moved[1])
        members = np.concatenate(pair)
        held.append(np.log(swing[members].sum() / swing.sum() * len(swing) / len(members)))
    known = [(abs(case.compared - point["step"]).min(), point["step"], point) for point in case.sharpness]
    point = min(each for each in known if each[2]["converged"])[2]
    row, top = int(np.flatnonzero(case.steps == point["step"])[0]), point["eigenvalues"][0]
    null = [case.curvature(row, p) for p in case.draws(pair, 3, outside=True)]
    lean = case.deltas[:, pair[0]].mean(axis=1) - case.deltas[:, pair[1]].mean(axis=1)
    h = case.high_passed[:, pair[0]].mean(axis=1) - case.high_passed[:, pair[1]].mean(axis=1)
    begin = round(0.1 * len(h))
    last = first = begin + int(np.argmax(np.abs(h[begin:])))
    while lean[first - 1] * lean[first] < 0 and abs(lean[first - 1]) < abs(lean[first]):
        first -= 1
    rows = sorted({first + round(part * (last - 1 - first)) for part in (0.25, 0.5, 0.75)})
    predicted = np.median([abs(1 - case.run["hyper"]["lr"] * case.curvature(r, pair)) for r in rows])
    found = {
        "swing_held": (float(max(held)), 0.0),
        "curvature": (case.curvature(row, pair) / top, float(np.mean(null)) / top),
    }
    if last - first >= 3:
        factors = np.abs(lean[first + 1 : last + 1] / lean[first:last])
        found["growth"] = (float(np.median(factors)), float(predicted))
    return found
