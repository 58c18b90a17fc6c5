"""Other ways to find pairs, to hold opsig's beside: each maps what mining sees of a run to the sides of pairs."""

from __future__ import annotations

import networkx as nx
import numpy as np
from planted_runs import Seen

from opsigcli.mining.oscillation import oscillation
from opsigcli.mining.similarity import cosines
from opsigcli.mining.simple import SMALLEST, linkage_groups, match_groups
from opsigcli.mining.top import largest

Sides = tuple[np.ndarray, np.ndarray]

FACTORS = 8
NMF_ROUNDS = 200
PAPER_STEPS = 5  # spikes looked at
PAPER_K = 20


def pairwise_cosine(seen: Seen) -> list[Sides]:
    """Two examples oppose where their gradient cosine, averaged over checkpoints, is below −.5.

    Examples of alike profile (cosine above .5, connected) form groups; groups are matched by their mean cosine.
    """
    mean = sum(cosines(at.sketch) for at in seen.gradients) / len(seen.gradients)
    opposed = (mean < -0.5).any(axis=1)
    graph = nx.Graph()
    graph.add_nodes_from(np.flatnonzero(opposed))
    graph.add_edges_from(zip(*np.nonzero(np.triu((mean > 0.5) & opposed & opposed[:, None], 1)), strict=True))
    groups = [np.array(sorted(c)) for c in nx.connected_components(graph) if len(c) >= SMALLEST]
    found = nx.Graph()
    for a, first in enumerate(groups):
        for b in range(a):
            if (between := float(mean[np.ix_(first, groups[b])].mean())) < -0.5:
                found.add_edge(b, a, weight=-between)
    return [(groups[a], groups[b]) for a, b in sorted(map(sorted, nx.max_weight_matching(found)))]


def cosine_recipe(seen: Seen) -> list[Sides]:
    """Linkage and matching on plain gradient cosines: the simple method without taking residuals out."""
    mean = sum(cosines(at.sketch) for at in seen.gradients) / len(seen.gradients)
    np.fill_diagonal(mean, 0)
    mean = (mean + mean.T) / 2
    return match_groups(mean, linkage_groups(mean))


def paper(seen: Seen) -> list[Sides]:
    """The 20 most positive against the 20 most negative loss deltas at the five steps of largest change."""
    delta = np.diff(seen.losses, axis=0)
    order = np.argsort(-np.abs(delta.mean(axis=1)), kind="stable")
    ids = np.arange(delta.shape[1])
    found: list[Sides] = []
    for step in order[:PAPER_STEPS]:
        sides = largest(delta[step], PAPER_K, ids), largest(-delta[step], PAPER_K, ids)
        members = np.concatenate(sides)
        if all(len(np.intersect1d(members, np.concatenate(old))) < PAPER_K for old in found):
            found.append(sides)
    return found


def nmf(seen: Seen) -> list[Sides]:
    """Non-negative factors of the positive and negative parts of high-passed loss deltas, matched by anti-phase."""
    high_passed = np.nan_to_num(oscillation(seen.losses, seen.candidates).high_passed).astype(np.float64)
    data = np.concatenate([np.maximum(high_passed, 0), np.maximum(-high_passed, 0)]) + 1e-9
    rng = np.random.default_rng(0)
    times, examples = rng.random((len(data), FACTORS)), rng.random((FACTORS, data.shape[1]))
    for _ in range(NMF_ROUNDS):
        examples *= (times.T @ data) / (times.T @ times @ examples + 1e-9)
        times *= (data @ examples.T) / (times @ (examples @ examples.T) + 1e-9)
    owner = examples.argmax(axis=0)
    groups = []
    for factor in range(FACTORS):
        loads = examples[factor]
        rows = np.flatnonzero((owner == factor) & (loads > loads.mean() + 2 * loads.std()))
        if len(rows) >= SMALLEST:
            groups.append(rows)
    graph = nx.Graph()
    for a in range(len(groups)):
        for b in range(a):
            first, second = high_passed[:, groups[a]].mean(axis=1), high_passed[:, groups[b]].mean(axis=1)
            correlation = float(np.corrcoef(first, second)[0, 1])
            if correlation < -0.5:
                graph.add_edge(b, a, weight=-correlation)
    return [(groups[a], groups[b]) for a, b in sorted(map(sorted, nx.max_weight_matching(graph)))]


RIVALS = {"cosine": pairwise_cosine, "cosine-recipe": cosine_recipe, "paper": paper, "nmf": nmf}
