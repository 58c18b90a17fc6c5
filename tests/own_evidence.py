"""Every number beside a finding, in float64 from a store and the weights, by what opsig-evidence(7) says.

Nothing of opsig's mining is imported. What hangs on a search is searched for by a plain loop over fewer starts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import load_file
from scipy.stats import trim_mean

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
            self.sharpness = json.loads(store["sharpness"][()]) if "sharpness" in store else []
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
        source = open_source(self.run["data"].replace("$STORE", str(folder)))  # beside it
        self.inputs = source.read(np.arange(len(source))).reshape(len(source), -1).astype(np.float64)

    def draws(self, pair: Pair, count: int = DRAWS, *, outside: bool = False) -> Iterator[Pair]:
        """Random candidates of the same labels and sizes; outside all pairs where that is asked."""
        among = np.arange(len(self.labels))
        if outside:
            among = np.setdiff1d(among, np.concatenate([rows for each in self.pairs for rows in each]))
        return drawn(self.labels, pair, count, among)

    @cached_property
    def at_checkpoints(self) -> list[np.ndarray]:
        """Features of all examples at each checkpoint compared, before they are evened."""
        return [features(g, d) for g, d in zip(self.sketches, self.residuals, strict=True)]

    def similarity(self, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
        return similarity([self.at_checkpoints[t] for t in np.arange(len(self.compared))[rows]])

    @cached_property
    def deltas(self) -> np.ndarray:
        return np.diff(self.losses, axis=0)

    @cached_property
    def high_passed(self) -> np.ndarray:
        return high_passed(self.losses)

    @cached_property
    def held_out(self) -> list[int]:
        """Steps after the first tenth that no compared checkpoint begins or ends."""
        touched = {t for c in self.compared for t in (c - 1, c)}
        return [t for t in range(round(0.1 * len(self.deltas)), len(self.deltas)) if t not in touched]

    def weights(self, row: int) -> list[np.ndarray]:
        found = load_file(self.folder / "run" / f"step-{self.steps[row]:06d}.safetensors")
        names = [f"{layer}.{part}" for layer in ("hidden1", "hidden2", "head") for part in ("weight", "bias")]
        return [found[name].astype(np.float64) for name in names]

    def losses_at(self, weights: list[np.ndarray], rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        return self.forward(weights, rows)[0]

    def gradient(
        self, weights: list[np.ndarray], rows: np.ndarray | slice = slice(None), data: Pair | None = None
    ) -> np.ndarray:
        """Of the mean loss of some examples, in a row."""
        losses, residuals, (x, one, two) = self.forward(weights, rows, data)
        back, parts = residuals / len(losses), list[np.ndarray]()
        for matrix, below in ((weights[4], two), (weights[2], one), (None, x)):
            parts = [(back.T @ below).ravel(), back.sum(axis=0), *parts]
            if matrix is not None:
                back = (back @ matrix) * (1 - below**2)
        return np.concatenate(parts)

    def forward(
        self, w: list[np.ndarray], rows: np.ndarray | slice = slice(None), data: Pair | None = None
    ) -> tuple[np.ndarray, np.ndarray, tuple]:
        x, labels = (part[rows] for part in data or (self.inputs, self.labels))
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


def drawn(labels: np.ndarray, pair: Pair, count: int, among: np.ndarray) -> Iterator[Pair]:
    """Random examples among some, of the same labels and sizes as a pair's."""
    rng = np.random.default_rng(7)
    for _ in range(count):
        shuffled = rng.permutation(among)
        taken, sides = set[int](), []
        for side in pair:
            rows = []
            for label in labels[side]:
                rows.append(next(r for r in shuffled if labels[r] == label and r not in taken))
                taken.add(rows[-1])
            sides.append(np.array(rows))
        yield sides[0], sides[1]


def high_passed(losses: np.ndarray) -> np.ndarray:
    """Loss deltas minus their mean over five steps, and minus the median of that over all examples."""
    deltas = np.diff(losses.astype(np.float64), axis=0)
    found = np.empty_like(deltas)
    for t, row in enumerate(deltas):
        found[t] = row - deltas[max(t - 2, 0) : t + 3].mean(axis=0)
        found[t] -= np.median(found[t])
    return found


def features(
    gradients: np.ndarray, residuals: np.ndarray, others: Pair | None = None, ridge: float = 1
) -> np.ndarray:
    """What each gradient has beyond the usual one of its residual; each example left out of its own fit.

    With gradients and residuals of ``others``, those of them beyond the same fit follow.
    """
    length = np.linalg.norm(residuals, axis=1, keepdims=True)
    d, g, weight = residuals / length, gradients / length, np.ones(len(length))
    for _ in range(3):
        left_hand = (d.T * weight) @ d + ridge * np.eye(d.shape[1])
        right_hand = (d.T * weight) @ g
        rest = np.empty_like(g)
        for i, (mine, w) in enumerate(zip(d, weight, strict=True)):
            without = left_hand - w * np.outer(mine, mine)
            rest[i] = g[i] - mine @ np.linalg.solve(without, right_hand - w * np.outer(mine, g[i]))
        r = np.linalg.norm(rest, axis=1)
        weight = 1 / np.sqrt(1 + (r / np.median(r)) ** 2)
    if others is not None:
        usual, length = (
            np.linalg.solve(left_hand, right_hand),
            np.linalg.norm(others[1], axis=1, keepdims=True),
        )
        rest = np.concatenate([rest, (others[0] - others[1] @ usual) / length])
    level = 1.5 * np.median(r)
    return rest / np.sqrt((rest**2).sum(axis=1) + level**2)[:, None]


def directions(own: np.ndarray) -> float:
    """In how many the references' features differ."""
    some = own[np.unique(np.linspace(0, len(own) - 1, 200).astype(int))]
    products = some @ some.T
    apart = products[~np.eye(len(some), dtype=bool)]
    return float(np.diagonal(products).mean() ** 2 / np.square(apart).mean())


def evened(found: np.ndarray, references: int) -> np.ndarray:
    """Where they differ in 6 to 20 directions, such that they differ more alike along all; else the same."""
    own = found[:references]
    if not 6 <= directions(own) < 20:
        return found
    c = own.T @ own / len(own)
    values, axes = np.linalg.eigh(c)
    usual = (values**2).sum() / values.sum()
    weights = 1 / (values + usual)
    weights *= np.sqrt((values**2).sum() / ((values * weights) ** 2).sum())
    return found @ axes * np.sqrt(weights)


def over_checkpoints(values: list[np.ndarray], directions_at: list[float]) -> np.ndarray:
    """The mean, or that of the middle half where features are evened at a quarter of the checkpoints."""
    if sum(6 <= count < 20 for count in directions_at) / len(values) < 0.25:
        return np.mean(values, axis=0)
    return trim_mean(values, 0.25, axis=0)


def similarity(each: list[np.ndarray]) -> np.ndarray:
    both = [evened(f, len(f)) for f in each]
    found = over_checkpoints([f @ f.T for f in both], [directions(f) for f in each])
    np.fill_diagonal(found, 0)
    return found


def beyond_alike_residuals(
    gradients: np.ndarray, residuals: np.ndarray, references: np.ndarray
) -> np.ndarray:
    """S at one checkpoint where references are few: of cosines beyond those of residuals as alike, and of many outputs
    also of features by a fit with a ridge for couples of classes."""
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (gradients, residuals)]
    c, r = (unit @ unit.T for unit in units)
    those, upper = np.ix_(references, references), np.triu_indices(len(references), 1)
    near, cosines = r[those][upper], c[those][upper]
    bins: dict[float, list[float]] = {}  # those whose medians agree to five digits are one
    for part in np.array_split(np.argsort(near, kind="stable"), 20):
        bins.setdefault(round(float(np.median(near[part])), 5), []).extend(cosines[part])
    f = np.interp(r, sorted(bins), [np.median(bins[at]) for at in sorted(bins)])
    found = np.where(c > f, (c - f) / np.maximum(1 - f, 0.02), (c - f) / np.maximum(1 + f, 0.02)) / 4
    outputs = residuals.shape[1]
    if outputs < 8 or len(references) < 10 * outputs:
        np.fill_diagonal(found, 0)
        return found
    several = 1 / (r[those] ** 2).mean()
    others = np.setdiff1d(np.arange(len(c)), references)
    rest = gradients[others], residuals[others]
    of_all = features(gradients[references], residuals[references], rest, max(several * (several + 1) / 2, 1))
    of_all = evened(of_all, len(references))
    beyond = of_all[np.argsort(np.concatenate([references, others]))]
    found = (found + beyond @ beyond.T) / 2
    np.fill_diagonal(found, 0)
    return found


def of_tokens(store: Path) -> Iterator[tuple[dict, dict[str, tuple[float, ...]]]]:
    """Each pair of tokens as it was told, and from the store its numbers: the value, and where they hang on no draw the
    null and p."""
    with h5py.File(store) as file:
        losses, ids, labels = (file[name][()] for name in ("losses", "example_ids", "labels"))
        kept, mined = {n: a[()] for n, a in file["gradients"].items()}, json.loads(file["mining"][()])
        words = json.loads(file["run"][()])["classes"]
    sketches, residuals = (kept[name].astype(np.float64) for name in ("sketches", "residuals"))
    standing, rows = kept["weights"], kept["positions"]
    share = np.random.default_rng(0).random(len(rows)) < 1 / standing.max()
    references = np.flatnonzero((standing > 1) | share)
    s = np.mean(
        [beyond_alike_residuals(g, d, references) for g, d in zip(sketches, residuals, strict=True)], axis=0
    )
    of_all, begin = high_passed(losses), round(0.1 * (len(losses) - 1))
    h, energy = of_all[:, rows], (of_all[begin:] ** 2).sum(axis=0)
    touched = {t for c in kept["rows"] for t in (c - 1, c)}
    free = [t for t in range(begin, len(h)) if t not in touched]
    labels, classes = labels[rows], len(np.unique(labels[rows]))
    of_all_pairs = [
        tuple(np.flatnonzero(np.isin(ids[rows], told[side]["ids"])) for side in ("first", "second"))
        for told in mined["pairs"]
    ]
    for told, pair in zip(mined["pairs"], of_all_pairs, strict=True):
        found: dict[str, tuple[float, ...]] = {}
        first, second = (h[:, side].mean(axis=1) for side in pair)
        gap, members, lean = (first - second)[begin:], np.concatenate(pair), contrast(s, pair)
        means = np.array([lean[labels == label].mean() for label in labels])
        held = energy[rows[members]].sum() / energy.sum()
        groups = [sketches[:, side].mean(axis=1) for side in pair]
        lengths = np.prod([np.linalg.norm(group, axis=1) for group in groups], axis=0)
        found["opposition"], found["cohesion"] = (opposition(s, pair),), (cohesion(s, pair),)
        others = others_of(s, pair, of_all_pairs)
        found["separation"] = (separation(s, pair, weights=standing, others=others),)
        found["contrast_by_class"] = means.var() / lean.var(), (classes - 1) / (len(labels) - 1)
        found["gradient_cosine"] = (float(((groups[0] * groups[1]).sum(axis=1) / lengths).mean()),)
        found["share_of_loss_change"], found["share_ratio"] = (held,), (held * len(losses[0]) / len(members),)
        found["anti_phase"] = (correlation(first[free], second[free]),)
        found["alternation"] = (correlation(gap[:-1], gap[1:]),)
        found["amplitude"] = (float(np.sqrt((gap**2).mean())),)
        roles = {name: kept[f"feature-{name}"] for name in ("token seen", "token predicted")}
        tried = 2 * sum(len(np.unique(table[table >= 0])) for table in roles.values())
        for side, group in zip(("first", "second"), pair, strict=True):
            for role, table in roles.items():
                for token in np.unique(table[table >= 0]):
                    has = (table == token).any(axis=1)
                    k, n, m, every = int(has[group].sum()), len(group), len(has), int(has.sum())
                    ways = sum(
                        math.comb(every, j) * math.comb(m - every, n - j) for j in range(k, min(n, every) + 1)
                    )
                    p = min(tried * (ways / math.comb(m, n)), 1)
                    found[f"{side}: {role} '{words[token]}'"] = k / n, every / m, p
        yield told, found


def to_group(s: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Mean S of everybody to the members of a group, but to himself."""
    return s[:, group].sum(axis=1) / (len(group) - np.isin(np.arange(len(s)), group))


def contrast(s: np.ndarray, pair: Pair) -> np.ndarray:
    return to_group(s, pair[0]) - to_group(s, pair[1])


def opposition(s: np.ndarray, pair: Pair) -> float:
    return float(-s[np.ix_(*pair)].mean())


def cohesion(s: np.ndarray, pair: Pair) -> float:
    return min(float(to_group(s, side)[side].mean()) for side in pair)


def beyond(sizes: np.ndarray, counted: np.ndarray) -> float:
    """What 2 % of all exceed, of whom each size counts for several."""
    order = np.argsort(sizes)
    places = np.array([counted[order[:k]].sum() + counted[order[k]] / 2 for k in range(len(order))])
    return float(np.interp(0.98, (places - places[0]) / (places[-1] - places[0]), sizes[order]))


def others_of(s: np.ndarray, pair: Pair, pairs: list[Pair]) -> np.ndarray:
    """Everybody but members of the pair and of those pairs that nine tenths of the members of both tell from it."""

    def leans(to: Pair) -> np.ndarray:
        size = np.abs(contrast(s, to))
        size[to[1]], size[to[0]] = -contrast(s, to)[to[1]], contrast(s, to)[to[0]]
        return size / np.sqrt(size[np.concatenate(to)].mean())

    out = set(np.concatenate(pair).tolist())
    for other in pairs:
        if other is not pair:
            here, there = np.concatenate(pair), np.concatenate(other)
            shares = (leans(pair) > leans(other))[here].mean(), (leans(other) > leans(pair))[there].mean()
            out |= set(there.tolist()) if min(shares) >= 0.9 else set()
    return np.array(sorted(set(range(len(s))) - out))


def separation(
    s: np.ndarray,
    pair: Pair,
    labels: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    others: np.ndarray | None = None,
) -> float:
    lean, members = contrast(s, pair), np.concatenate(pair)
    own = np.concatenate([lean[pair[0]], -lean[pair[1]]])
    if others is not None:
        bulk = beyond(np.abs(lean[others]), weights[others])
        return float(np.quantile(own, 0.1) / bulk)
    others = np.abs(np.delete(lean, members))
    bulk = np.quantile(others, 0.98) if weights is None else beyond(others, np.delete(weights, members))
    if labels is not None:
        near = np.sort(others[np.isin(np.delete(labels, members), labels[members])])
        rare = len(own) < 0.02 * len(labels)
        bulk = max(bulk, near[-math.ceil(0.1 * len(own))] if rare else np.quantile(near, 0.98))
    return float(np.quantile(own, 0.1) / bulk)


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
                found += [pair] if separation(s, pair) > 1.5 else []
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
    h, begin, held_out = case.high_passed, round(0.1 * len(case.deltas)), case.held_out
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
        "separation": lambda p: separation(s, p, case.labels),
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
    null = [case.curvature(row, p) for p in case.draws(pair, 12, outside=True)]
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


def in_unseen(case: Case, pair: Pair, inputs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers of ``--test-data``, with whole gradients in place of sketches; behind each those of random examples."""
    members, at_each, directions_at, losses = np.concatenate(pair), [], [], []
    for row in case.compared:
        weights = case.weights(row)
        those = [
            case.forward(weights, data=given)[1] for given in ((case.inputs, case.labels), (inputs, labels))
        ]
        gradients = [
            np.array([case.gradient(weights, data=(x[i : i + 1], y[i : i + 1])) for i in range(len(y))])
            for x, y in ((case.inputs, case.labels), (inputs, labels))
        ]
        raw, n = features(gradients[0], those[0], (gradients[1], those[1])), len(case.labels)
        known, there = np.split(evened(raw, n), [n])
        at_each.append(np.stack([(known[side] @ there.T).mean(axis=0) for side in pair]))
        directions_at.append(directions(raw[:n]))
    standing = over_checkpoints(at_each, directions_at)
    for row in range(len(case.losses)):
        losses.append(case.forward(case.weights(row), data=(inputs, labels))[0])
    s, sides = case.similarity(), []
    to = [to_group(s, side) for side in pair]
    for own, other, side in ((0, 1, pair[0]), (1, 0, pair[1])):
        lean = standing[own] - standing[other]
        inside = lean > 0.55 * np.median((to[own] - to[other])[side])
        inside &= (standing[own] > 0.5 * np.median(to[own][side])) & (standing[other] < -0.05)
        sides.append(np.flatnonzero(inside))
    h, mined = high_passed(np.array(losses))[case.held_out], case.high_passed[case.held_out]
    energy = (h**2).sum(axis=0)
    gap = mined[:, pair[0]].mean(axis=1) - mined[:, pair[1]].mean(axis=1)
    found: dict[str, list[float]] = {"anti_phase": [], "agreement": [], "share_ratio": []}
    for a, b in ((sides[0], sides[1]), *drawn(labels, (sides[0], sides[1]), DRAWS, np.arange(len(labels)))):
        first, second, rows = h[:, a].mean(axis=1), h[:, b].mean(axis=1), np.concatenate([a, b])
        found["anti_phase"].append(-correlation(first, second))  # as large ones are extreme in the others
        found["agreement"].append(correlation(first - second, gap))
        found["share_ratio"].append(energy[rows].sum() / energy.sum() * len(labels) / len(rows))
    found["members"] = [sum(map(len, sides)) / len(labels), len(members) / len(case.labels)]
    return {f"unseen_{name}": np.array(values) for name, values in found.items()}
