"""From a loss trace and gradients to pairs with evidence, top loss deltas and attributed spikes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.errors import MiningError
from opsigcli.mining import METHODS
from opsigcli.mining.describe import describe
from opsigcli.mining.evidence import Material, touched
from opsigcli.mining.extend import extend
from opsigcli.mining.features import explained
from opsigcli.mining.methods import NEEDS_GRADIENTS
from opsigcli.mining.notes import (
    LOSSES_ALONE,
    notes_on_classes,
    notes_on_gradients,
    notes_on_shares,
    notes_on_trace,
)
from opsigcli.mining.oscillation import oscillation
from opsigcli.mining.outliers import keep_outliers
from opsigcli.mining.recovery import recovery
from opsigcli.mining.search import Search
from opsigcli.mining.similarity import Gradients, gradient_similarity
from opsigcli.mining.spikes import attribute_spikes
from opsigcli.mining.surrogate import clearest_by_chance
from opsigcli.mining.top import top_deltas
from opsigcli.mining.trace_stats import Survey, first_step, survey
from opsigcli.mining.window import first_window
from opsigcli.records import Mining, Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from opsigcli.mining.extend import Outside
    from opsigcli.mining.search import Probe
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]
    PositionProbe = Callable[[Ints, Ints, Ints], Floats]


def mine(
    losses: Any,
    labels: Ints,
    ids: Ints,
    steps: Ints,
    classes: Sequence[str] = (),
    *,
    gradients: Sequence[Gradients] = (),
    candidates: Ints | None = None,
    method: str = "simple",
    top: int = 20,
    seed: int = 0,
    known_pairs: Sequence[Sides] = (),
    similarity: str = "adjusted",
    window: tuple[int, int] | None = None,
    probe: PositionProbe | None = None,
    features: Mapping[str, Floats] | None = None,
    surrogates: int = 0,
    weights: Floats | None = None,
    seen: Survey | None = None,
    outside: Outside | None = None,
    deltas: Any = None,
) -> Mining:
    """Opposing pairs with their evidence, the top loss deltas of every step, and the loss spikes attributed.

    Args:
        losses: (T, N) nats, array or h5py dataset (no more than a few rows are held); NaN = not measured.
        labels: (N,) class indices.
        ids: (N,) example ids.
        steps: (T,) optimizer updates.
        classes: names of the classes; () = the indices are the names.
        gradients: of the candidates, one per checkpoint compared (``checkpoints_to_compare``); without any,
            only the methods on losses alone seek pairs.
        candidates: (M,) positions that the gradients' rows belong to (``choose_candidates``).
        method: a name in ``METHODS``.
        top: examples on each side of a step.
        seed: of everything random.
        known_pairs: ids of planted pairs, to compare with; () when there are none.
        similarity: what gradients are compared by, one of ``residual.SIMILARITIES``.
        window: loss deltas that the loss changes of classes are explained over (default: after the first 10 %).
        probe: (first, second, watched) positions to loss swings (K, M) along the pair's direction.
        features: name to (M,) of the candidates, what can be seen in them.
        weights: (M,) how many of all examples each candidate stands for (default: one).
        seen: the survey of these losses, where it was made before.
        outside: the other examples' gradients, to say who of them belongs to the pairs found (default: nobody).
        deltas: (T−1, N) loss deltas, where they are stored.
        surrogates: rotations of the similarities that the search is repeated in, for p-values after selection.

    Returns:
        The record of all that was found. The same inputs and seed give the same record.

    Raises:
        MiningError: fewer than two checkpoints, or arrays that do not fit one another.
        UsageError: the method is unknown.
    """
    find = METHODS.load(method)
    _check(losses, labels, ids, steps, gradients, candidates)
    seen = survey(losses) if seen is None else seen
    notes = notes_on_trace(losses, steps, seen.rows, seen.examples)
    by_gradients = method in NEEDS_GRADIENTS
    good = _usable(gradients if by_gradients else (), candidates, seen.examples)
    kept = candidates[good] if candidates is not None else np.zeros(0, dtype=np.int64)
    found = oscillation(losses, kept, seen)
    visible = {name: values[good] for name, values in (features or {}).items()}
    begin, end = window or (first_step(len(found.chosen)), len(found.chosen))
    shares = explained(found.chosen[begin:end], labels[kept], visible) if len(kept) else {}
    pairs: list[Pair] = []
    positions: list[Sides] = []
    if len(kept) >= 2 and (gradients or not by_gradients):
        usable = [
            Gradients(g.checkpoint, g.sketch[good], g.norms[good], g.residuals[good]) for g in gradients
        ]
        counts = None if weights is None else weights[good]
        among = None if counts is None else np.flatnonzero(counts > 1)
        compared = (
            gradient_similarity(usable, labels[kept], similarity, seed, among) if by_gradients else None
        )
        along = _on_rows(probe, kept)
        proposed = find(
            Search(
                compared,
                found.deltas,
                found.chosen,
                found.energy[kept],
                along,
                counts,
                touched(usable, len(found.chosen)),
            )
        )
        if compared is not None:
            proposed = keep_outliers(proposed, compared, usable, counts)
        by_chance: Floats = np.zeros(0)
        if compared is not None and proposed and surrogates:
            by_chance = clearest_by_chance(compared, labels[kept], surrogates, seed)
        material = Material.of(compared, usable, labels[kept], found, kept, visible, by_chance, counts)
        taken = np.concatenate([rows for sides in proposed for rows in sides]) if proposed else kept[:0]
        joined: list[Sides] | None = None
        if outside is not None and similarity == "adjusted":
            joined = extend(usable, proposed, outside, seed, among)
        for number, sides in enumerate(proposed):
            rng = np.random.default_rng(seed)
            pair, ordered = describe(
                material,
                sides,
                joined[number] if joined else None,
                taken,
                kept,
                labels,
                ids,
                steps,
                classes,
                rng,
                shares,
                along if by_gradients else None,
            )
            pairs.append(pair)
            positions.append(ordered)
        found_outside = None if joined is None else sum(len(side) for sides in joined for side in sides)
        notes += (
            notes_on_gradients(material, int((~good).sum()), found_outside)
            if by_gradients
            else [LOSSES_ALONE]
        )
        # Losses alone do not know windows, and a first oscillation that lasts to the end is the whole run's.
        apart = by_gradients and window is None and first_window(seen.amplitude)[1] < len(found.chosen)
        notes += notes_on_classes(shares, bool(pairs) and apart)
        notes += notes_on_shares(found.energy, positions)
    else:
        notes.append(
            "no pairs were sought: they need per-example gradients, and so the model and the data of the run"
            if by_gradients and not gradients
            else f"no pairs were sought: {len(kept)} examples with losses and gradients are too few"
        )
    groups = {
        f"pair {p} {name}": members
        for p, sides in enumerate(positions, 1)
        for name, members in zip(("first", "second"), sides, strict=True)
    }
    return Mining(
        method=method,
        pairs=tuple(pairs),
        top=top_deltas(losses, ids, steps, top, deltas),
        spikes=attribute_spikes(losses, seen.mean_losses, steps, groups),
        gradient_steps=tuple(int(steps[at.checkpoint]) for at in gradients),
        candidates=len(kept) if gradients or not by_gradients else 0,
        notes=tuple(notes),
        explained=shares,
        recovery=recovery([(ids[a], ids[b]) for a, b in positions], known_pairs) if known_pairs else None,
    )


def require_two(checkpoints: int) -> None:
    """Mining compares checkpoints.

    Raises:
        MiningError: there are fewer than two.
    """
    if checkpoints < 2:
        raise MiningError(
            f"expected at least two checkpoints to compare, found {checkpoints} in the trace",
            "trace a folder with more checkpoints",
        )


def _check(
    losses: Any,
    labels: Ints,
    ids: Ints,
    steps: Ints,
    gradients: Sequence[Gradients],
    candidates: Ints | None,
) -> None:
    t, n = losses.shape
    require_two(t)
    if not (len(labels) == len(ids) == n and len(steps) == t):
        raise MiningError(
            f"expected {n} labels and ids and {t} steps for losses of shape ({t}, {n}), "
            f"found {len(labels)}, {len(ids)} and {len(steps)}",
            "trace again into a new store",
        )
    m = 0 if candidates is None else len(candidates)
    for at in gradients:
        if len(at.sketch) != m or len(at.residuals) != m or not 0 <= at.checkpoint < t:
            raise MiningError(
                f"expected gradients of {m} candidates at one of {t} checkpoints, found "
                f"{len(at.sketch)} at checkpoint {at.checkpoint}",
                "compute the gradients again",
            )


def _usable(
    gradients: Sequence[Gradients], candidates: Ints | None, examples: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which candidates were measured at every checkpoint, with finite gradients, (M,)."""
    if candidates is None:
        return np.zeros(0, dtype=bool)
    good = examples[candidates].copy()
    for at in gradients:
        good &= np.isfinite(at.sketch).all(axis=1) & np.isfinite(at.residuals).all(axis=1)
    return good


def _on_rows(probe: PositionProbe | None, kept: Ints) -> Probe | None:
    """The probe for rows of the candidates that were kept."""
    if probe is None:
        return None
    known: dict[bytes, Floats] = {}

    def along(sides: Sides) -> Floats:
        key = sides[0].tobytes() + b"|" + sides[1].tobytes()
        if key not in known:
            known[key] = probe(kept[sides[0]], kept[sides[1]], kept)
        return known[key]

    return along
