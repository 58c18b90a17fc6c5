"""How much two examples' gradients agree beyond what their output residuals alone explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from opsigcli.mining.evened import Evened, fit_evened
from opsigcli.mining.over_checkpoints import middle, of_middle
from opsigcli.mining.side_by_side import side_by_side
from opsigcli.mining.usual_cosine import baseline, excess, usual_cosine
from opsigcli.mining.usual_gradient import REFERENCES, RIDGE, couples
from opsigcli.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from opsigcli.records import Floats, Ints

    Known = dict[int, "Remainder"]

STRIP = 64  # rows at once
EACH = 50  # references for each output, for the usual gradient to be fitted
MANY = 8  # outputs: in networks that pool, most of what features alone propose of so many classes is noise
SOME = 10  # references for each of many outputs, for the usual gradient to say something
FEATURES, COSINES = "features", "cosines"


class Gradients(NamedTuple):
    """Gradients of the M candidates at one checkpoint."""

    checkpoint: int  # index into the trace
    sketch: Floats  # (M, k) count sketches; inner products estimate the gradients'
    norms: Floats  # (M,) exact
    residuals: Floats  # (M, C) gradient of the loss with respect to the outputs

    def only(self, rows: Ints | slice | NDArray[np.bool_]) -> Gradients:
        """Those of some of the examples."""
        return Gradients(self.checkpoint, self.sketch[rows], self.norms[rows], self.residuals[rows])

    def folded(self, width: int) -> Gradients:
        """The same in at most ``width`` dimensions: entries that many apart are summed, which is a count sketch too."""
        m, k = self.sketch.shape
        padded = np.pad(np.asarray(self.sketch, dtype=np.float32), ((0, 0), (0, -k % width)))
        return self._replace(sketch=padded.reshape(m, -1, width).sum(axis=1)) if k > width else self


class Remainder(NamedTuple):
    """What the gradients of the M candidates have beyond the usual one at one checkpoint."""

    features: Floats  # φ, (M, k)
    few: bool  # whether gradients differ in few directions there


class Near(NamedTuple):
    """How some candidates are held against others at one checkpoint."""

    similarity: Callable[
        [Gradients], Floats
    ]  # takes gradients of B others, in the same projection, and gives (m, B)
    few: bool  # as of ``Remainder``


def cosines(vectors: Floats) -> Floats:
    """Cosine of every two rows, (M, M) float32; a zero row is orthogonal to all."""
    # Lengths of the rows themselves, not the exact gradient norms: near ±1 the sketch's errors then cancel.
    unit = _unit(vectors)
    return np.asarray(unit @ unit.T)


def cosines_between(first: Floats, second: Floats) -> Floats:
    """Cosine of every row of one with every row of the other."""
    return np.asarray(_unit(first) @ _unit(second).T)


def _unit(vectors: Floats) -> Floats:
    rows = np.asarray(vectors)
    rows = rows if np.issubdtype(rows.dtype, np.floating) else rows.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0))


SIMILARITIES = ("adjusted", "raw", "centred")


def gradient_similarity(
    gradients: Sequence[Gradients],
    labels: Ints,
    kind: str = "adjusted",
    seed: int = 0,
    among: Ints | None = None,
    progress: Progress = SILENT,
    known: Known | None = None,
    *,
    evened: bool = False,
) -> Floats:
    """How alike the candidates' gradients are, averaged over checkpoints.

    ``adjusted`` takes out what output residuals alone explain (``residual_adjusted_cosine``); ``raw`` is the plain
    cosine; ``centred`` the cosine after the mean gradient of each class is taken out.

    Args:
        gradients: of the same M candidates at each checkpoint compared.
        labels: (M,).
        kind: one of ``SIMILARITIES``.
        seed: of the references of the baseline.
        among: rows that stand for all examples (default: all rows).
        progress: told of checkpoints.
        known: as of ``residual_adjusted_cosine``.
        evened: likewise.

    Returns:
        (M, M) float32, symmetric, with zeros on the diagonal.
    """
    if kind == "adjusted":
        return residual_adjusted_cosine(gradients, seed, among, progress, known, evened=evened)
    total = np.zeros((len(labels),) * 2, dtype=np.float32)
    for at in gradients:
        rows = np.array(at.sketch, dtype=np.float32)
        if kind == "centred":
            for label in np.unique(labels):
                rows[labels == label] -= rows[labels == label].mean(axis=0)
        total += cosines(rows)
    total /= len(gradients)
    np.fill_diagonal(total, 0)
    return total


def residual_adjusted_cosine(
    gradients: Sequence[Gradients],
    seed: int = 0,
    among: Ints | None = None,
    progress: Progress = SILENT,
    known: Known | None = None,
    *,
    evened: bool = False,
) -> Floats:
    """How alike gradients are beyond what their output residuals explain, ``S_ij = mean_t φ_i(t) · φ_j(t)``.

    Two classes oppose one another through their residuals δ = ∂ℓ/∂z alone, whatever the inputs share. Where a network
    pools, so do any two gradients: their Jacobians are nearly the same, and a feature that few inputs have changes a
    cosine by little. Both are in the usual gradient, which the features φ (``Evened.features``) do not have. Unlike a
    cosine, φ is short where the remainder is no longer than it usually is: noise has no direction that counts. Where
    all differ in few directions, as they do where a network pools, products along these count less (``evened``).
    Products are averaged over checkpoints, never gradients: the two sides of a pair are seldom large at the same one.

    With fewer than 50 references for each output the usual gradient would follow the groups that are sought. The usual
    cosine of alike residuals takes its place: ``S_ij = mean_t excess(cos(g_i, g_j), f_t(cos(δ_i, δ_j))) / 4``, at which
    scale the same bars of ``full`` tell groups apart. Of 8 outputs and more, where each has ten references, S is the
    mean of this and of the above with a larger ridge (``couples``), which leaves something of the usual gradient in. In
    networks that pool, this alone misses most of the pairs of 20 classes; with the above alone, all examples of
    a word are told apart from those with another likely follower; with a ridge of 1, 16 % of the pairs of 10 and 14
    classes that are proposed are planted ones, and 80 % so.

    Args:
        gradients: of the same M ≥ 2 candidates at each checkpoint compared.
        seed: of the references of the baseline.
        among: rows that stand for all examples (default: all rows).
        progress: told of checkpoints.
        known: features of the same candidates by checkpoint, to be used again; those made are added.
        evened: whether features are evened wherever they differ, and not where they do in few directions alone.

    Returns:
        S, (M, M) float32, symmetric, with zeros on the diagonal.
    """
    m = len(gradients[0].sketch)
    rows = np.arange(m) if among is None else among
    parts = _parts(gradients[0], rows)
    total = np.zeros((m, m), dtype=np.float32)
    with progress.task("similarities", len(gradients) * len(parts), "checkpoint") as task:
        if COSINES in parts:
            for at in gradients:
                _add_excess(total, at, np.random.default_rng([seed, at.checkpoint]), among)
                task.advance()
            for start in range(0, m, STRIP):
                end = start + STRIP
                total[end:, start:end] = total[start:end, end:].T
        if FEATURES in parts:

            def remainder(at: Gradients) -> Remainder:
                if known is not None and at.checkpoint in known:
                    return known[at.checkpoint]
                features, usual = _features(at, np.sort(_references(at, rows, seed)), evened=evened)
                return Remainder(features, usual.few)

            found = []
            for at, each in zip(gradients, side_by_side(remainder, gradients), strict=True):
                if known is not None:
                    known[at.checkpoint] = each
                found.append(each)
                task.advance()
            _add_products(total, found)
    total /= len(parts)
    total /= len(gradients)
    np.fill_diagonal(total, 0)
    return total


def similarity_to(at: Gradients, members: Ints, seed: int = 0, among: Ints | None = None) -> Near:
    """Residual-adjusted similarity of some candidates to other examples at one checkpoint.

    Args:
        at: of the M candidates.
        members: (m,) rows of theirs.
        seed: of the references, as of ``residual_adjusted_cosine``.
        among: rows that stand for all examples, likewise.

    """
    rows = np.arange(len(at.sketch)) if among is None else among
    some, parts = _references(at, rows, seed), _parts(at, rows)
    few = False
    those_of: list[Callable[[Gradients], Floats]] = []
    if FEATURES in parts:
        features, usual = _features(at, np.sort(some))
        mine, few = features[members], usual.few
        those_of.append(lambda those: np.asarray(mine @ usual.features(those).T))
    if COSINES in parts:
        points = usual_cosine(
            *(cosines(np.asarray(part[some], dtype=np.float32)) for part in (at.sketch, at.residuals))
        )
        own = at.only(members)

        def beyond(those: Gradients) -> Floats:
            expected = np.interp(cosines_between(own.residuals, those.residuals), *points)
            return excess(cosines_between(own.sketch, those.sketch), expected) / 4

        those_of.append(beyond)
    return Near(lambda those: np.asarray(np.mean([of(those) for of in those_of], axis=0)), few)


def _parts(at: Gradients, rows: Ints) -> tuple[str, ...]:
    """What S is the mean of, so many of some rows being references."""
    references, outputs = min(len(rows), REFERENCES), at.residuals.shape[1]
    if outputs < MANY:
        return (FEATURES,) if references >= EACH * outputs else (COSINES,)
    return (COSINES, FEATURES) if references >= SOME * outputs else (COSINES,)


def _references(at: Gradients, rows: Ints, seed: int) -> Ints:
    """Random ones of some rows, in random order."""
    return np.random.default_rng([seed, at.checkpoint]).permutation(rows)[:REFERENCES]


def _features(at: Gradients, some: Ints, *, evened: bool = False) -> tuple[Floats, Evened]:
    """Features of all gradients, (M, k), by a fit to some, each of them left out; and how those of others are made."""
    references = at.only(some)
    ridge = RIDGE if _parts(at, some) == (FEATURES,) else couples(references)
    usual, of_references = fit_evened(references, always=evened, ridge=ridge)
    found = usual.features(at)
    found[some] = of_references
    return found, usual


def _add_products(total: Floats, found: Sequence[Remainder]) -> None:
    """Add the products of features to ``total``, (M, M): the sum over T checkpoints, or T times their middle."""
    if not of_middle([each.few for each in found]):
        for each in found:
            total += each.features @ each.features.T
        return
    for start in range(0, len(total), STRIP):
        part = slice(start, start + STRIP)
        products = np.stack([each.features[part] @ each.features[start:].T for each in found])
        total[part, start:] += middle(products) * len(found)
        own = total[part, part]
        own[:] = np.triu(own) + np.triu(own, 1).T  # products of other shapes round each half in its own way
        total[start:, part] = total[part, start:].T


def _add_excess(total: Floats, at: Gradients, rng: np.random.Generator, among: Ints | None) -> None:
    """Add a quarter of the excess of each gradient cosine to the upper half of ``total``, (M, M)."""
    cosine = cosines(np.asarray(at.sketch, dtype=np.float32))
    residual = cosines(np.asarray(at.residuals, dtype=np.float32))
    points = baseline(cosine, residual, rng, among)
    # All three are symmetric; a strip of one half stays in the processor's cache.
    for start in range(0, len(total), STRIP):
        part = np.s_[start : start + STRIP, start:]
        usual = np.interp(residual[part], *points).astype(np.float32)
        total[part] += excess(cosine[part], usual) / 4
