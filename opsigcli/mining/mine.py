"""From a loss trace and gradients to pairs with evidence, top loss deltas and attributed spikes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining import METHODS
from opsigcli.mining.causes.attribute import attributed_spikes
from opsigcli.mining.chance import Chance, by_chance
from opsigcli.mining.describe import Findings, describe
from opsigcli.mining.discovery import findings
from opsigcli.mining.eigen import eigen_changes, notes_on_parts
from opsigcli.mining.evidence import Material, Proposed
from opsigcli.mining.evidence.material import touched
from opsigcli.mining.extend import extend
from opsigcli.mining.features import explained, opposing_classes
from opsigcli.mining.inputs import Candidates, Settings, Trace, compute_now, require_fit
from opsigcli.mining.methods import NEEDS_GRADIENTS, TELL_APART
from opsigcli.mining.notes import (
    LOSSES_ALONE,
    notes_on_classes,
    notes_on_gradients,
    notes_on_nulls,
    notes_on_shares,
    notes_on_trace,
    notes_on_unseen,
)
from opsigcli.mining.oscillation import Oscillation, oscillation
from opsigcli.mining.other_pairs import told_from
from opsigcli.mining.outliers import keep_outliers
from opsigcli.mining.recovery import recovery
from opsigcli.mining.search import Search
from opsigcli.mining.similarity import gradient_similarity, residual_adjusted_cosine
from opsigcli.mining.told_apart import with_alike
from opsigcli.mining.top import top_deltas
from opsigcli.mining.trace_stats import first_step
from opsigcli.mining.window import first_window
from opsigcli.mining_records import (
    SIDES,
    GroupKey,
    Mining,
    Pair,
    proposals,
)
from opsigcli.printable import count
from opsigcli.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from opsigcli.mining.extend import Outside
    from opsigcli.mining.inputs import Keep
    from opsigcli.mining.similarity import Known
    from opsigcli.records import Ints

    Sides = tuple[Ints, Ints]


def mine(
    trace: Trace,
    candidates: Candidates,
    settings: Settings,
    known_pairs: Sequence[Sides] = (),
    progress: Progress = SILENT,
    keep: Keep = compute_now,
) -> Mining:
    """Opposing pairs with their evidence, the top loss deltas of every step, and the loss spikes attributed.

    Args:
        trace: losses of all examples, and what they are.
        candidates: what is known of the examples that pairs are sought among.
        settings: how they are sought.
        known_pairs: ids of planted pairs, to compare with; () when there are none.
        progress: told of surrogates and pairs.
        keep: keeps what takes long.

    Returns:
        The record of all that was found. The same inputs and seed give the same record.

    Raises:
        MiningError: fewer than two checkpoints, or arrays that do not fit one another.
        UsageError: the method is unknown.
    """
    METHODS.load(settings.method)
    require_fit(trace, candidates)
    usable = _usable(trace, candidates, settings)
    swings = oscillation(trace.losses, usable.positions, trace.survey)
    notes = notes_on_trace(trace)
    shares, opposed, explained_deltas = _explained(trace, usable, swings, settings)
    pairs: tuple[Proposed, ...] = ()
    records: tuple[Pair, ...] = ()
    if reason := _nothing_to_search(trace, usable, settings):
        notes.append(reason)
    else:
        found = _search(trace, usable, swings, settings, shares, progress, keep)
        pairs = found.pairs
        with progress.task("evidence", len(pairs), "pair") as task:
            for pair in pairs:
                records = (*records, describe(found, pair))
                task.advance()
        notes += _notes(
            found, settings, len(candidates.positions) - len(usable.positions), opposed, explained_deltas
        )
    order, records = _in_order(records, settings.false_discovery_rate)
    pairs = tuple(pairs[at] for at in order)
    notes += [] if usable.unseen is None else notes_on_unseen(records)
    groups = {
        GroupKey(number, side): members
        for number, pair in enumerate(pairs, 1)
        for side, members in zip(SIDES, pair.members, strict=True)
    }
    eigen = eigen_changes(candidates.eigen, trace, settings.top)
    notes += notes_on_parts(eigen, len(candidates.eigen))
    ids = [(trace.ids[first], trace.ids[second]) for first, second in (pair.members for pair in pairs)]
    return Mining(
        method=settings.method,
        pairs=records,
        top=top_deltas(trace.losses, trace.ids, trace.steps, settings.top, trace.deltas),
        spikes=attributed_spikes(trace, trace.survey.mean_loss, groups, settings.seed, proposals(records)),
        gradient_steps=tuple(int(trace.steps[at.checkpoint]) for at in usable.gradients),
        candidates=len(usable.positions) if usable.gradients or not _by_gradients(settings) else 0,
        notes=tuple(notes),
        explained=shares,
        opposing_classes=opposed,
        recovery=recovery(ids, known_pairs) if known_pairs else None,
        eigen=eigen,
    )


def _by_gradients(settings: Settings) -> bool:
    return settings.method in NEEDS_GRADIENTS


def _usable(trace: Trace, candidates: Candidates, settings: Settings) -> Candidates:
    """The candidates measured at every checkpoint, with finite gradients where the method looks at those."""
    good = trace.survey.examples[candidates.positions].copy()
    if not _by_gradients(settings):
        return candidates.without_gradients().only(good)
    for at in candidates.gradients:
        good &= np.isfinite(at.sketch).all(axis=1) & np.isfinite(at.residuals).all(axis=1)
    return candidates.only(good)


def _explained(
    trace: Trace, usable: Candidates, swings: Oscillation, settings: Settings
) -> tuple[dict[str, float], tuple[tuple[str, ...], ...], int]:
    """How much of the candidates' high-passed loss deltas their classes explain in the window, which of them oppose,
    and how many deltas these are."""
    steps = len(swings.high_passed)
    begin, end = settings.window or (first_step(steps), steps)
    if not len(usable.positions):
        return {}, (), 0
    swing, labels = swings.high_passed[begin:end], trace.labels[usable.positions]
    sides = opposing_classes(swing, labels, trace.classes)
    measured = int(np.isfinite(swing).all(axis=1).sum())
    return explained(swing, labels, usable.features), sides if all(sides) else (), measured


def _nothing_to_search(trace: Trace, usable: Candidates, settings: Settings) -> str | None:
    """Why no pairs can be sought; None where they can."""
    if not np.isfinite(trace.survey.amplitude).any():
        return "no pairs were sought: no two checkpoints that follow one another have finite losses"
    if _by_gradients(settings) and not usable.gradients:
        return (
            "no pairs were sought: they need per-example gradients, and so the model and the data of the run"
        )
    if len(usable.positions) < 2:
        return f"no pairs were sought: {count(len(usable.positions), 'example')} with losses and gradients are too few"
    return None


def _search(
    trace: Trace,
    usable: Candidates,
    swings: Oscillation,
    settings: Settings,
    shares: dict[str, float],
    progress: Progress,
    keep: Keep,
) -> Findings:
    """Pairs as the method proposes them, kept to outliers and joined by others; and what speaks for them."""
    labels, similarity = trace.labels[usable.positions], None
    known: Known = {}
    if _by_gradients(settings):
        if settings.similarity == "adjusted":
            usable = usable.without_large_groups(settings.seed)
        similarity = gradient_similarity(
            usable.gradients, labels, settings.similarity, settings.seed, usable.among, progress, known
        )
    proposed = METHODS.load(settings.method)(
        Search(
            similarity,
            swings.deltas,
            swings.high_passed,
            trace.survey.energy[usable.positions],
            usable.weights,
            touched(usable.gradients, len(swings.high_passed)),
            usable.parts,
        )
    )
    chance = Chance()
    left_out: list[NDArray[np.bool_]] = []
    chosen, examples = usable.weights is not None, len(trace.survey.energy)
    if similarity is not None:
        if chosen and settings.method in TELL_APART and settings.similarity == "adjusted":
            evened = residual_adjusted_cosine(
                usable.gradients, settings.seed, usable.among, progress, evened=True
            )
            proposed = with_alike(proposed, similarity, evened, labels, examples, usable.weights)
        proposed = keep_outliers(proposed, similarity, usable.gradients, usable.weights, labels=labels)
        left_out = told_from(similarity, proposed, labels) if chosen else []
        of = examples if chosen else 0
        chance = by_chance(
            similarity, labels, proposed, settings, of, progress, keep, usable.weights, left_out
        )
    energy, whole = trace.survey.energy, float(trace.survey.energy.sum())
    share = energy[usable.positions] / whole if whole > 0 else np.zeros(len(labels))
    material = Material(
        usable,
        labels,
        similarity,
        swings.high_passed,
        share,
        len(energy),
        settings,
        chance.surrogates,
        swings.deltas,
        chance.findable,
        known,
        chance.rotations,
    )
    pairs = tuple(
        pair.swapped() if material.strongest(pair.sides)[1] < 0 else pair
        for pair in _joined(usable, proposed, settings, left_out)
    )
    return Findings(trace, material, pairs, shares, settings.seed)


def _in_order(records: Sequence[Pair], rate: float) -> tuple[list[int], tuple[Pair, ...]]:
    """The pairs with findings first, each told whether it is one; and the order they were in."""
    found = findings(records, rate)
    order = sorted(range(len(records)), key=lambda at: not found[at])
    return order, tuple(replace(records[at], finding=found[at]) for at in order)


def _joined(
    usable: Candidates, proposed: list[Sides], settings: Settings, left_out: Sequence[NDArray[np.bool_]]
) -> tuple[Proposed, ...]:
    """The pairs with the examples outside the candidates that join them, where those are looked at."""
    out: Sequence[NDArray[np.bool_] | None] = left_out or [None] * len(proposed)
    at = usable.positions
    pairs = [Proposed((a, b), (at[a], at[b]), rows) for (a, b), rows in zip(proposed, out, strict=True)]
    outside = _asked_to_join(usable, settings)
    if outside is None:
        return tuple(pairs)
    joining = extend(usable.positions, usable.gradients, proposed, outside, settings.seed, usable.among)
    return tuple(pair.joined(others) for pair, others in zip(pairs, joining, strict=True))


def _asked_to_join(usable: Candidates, settings: Settings) -> Outside | None:
    """Others join by the residual-adjusted similarity alone."""
    return usable.outside if settings.similarity == "adjusted" else None


def _notes(
    found: Findings, settings: Settings, dropped: int, opposed: tuple[tuple[str, ...], ...], deltas: int
) -> list[str]:
    """What limits the pairs that were found."""
    material, seen, by_gradients = found.material, found.trace.survey, _by_gradients(settings)
    asked = _asked_to_join(material.candidates, settings)
    joined = sum(pair.outside for pair in found.pairs) if asked is not None else None
    # Losses alone do not know windows, and a first oscillation that lasts to the end is the whole run's.
    apart = by_gradients and settings.window is None and first_window(seen.amplitude)[1] < len(seen.amplitude)
    naming = found.trace.naming
    return [
        *(notes_on_gradients(material, dropped, joined) if by_gradients else [LOSSES_ALONE]),
        *notes_on_classes(found.explained, opposed, bool(found.pairs) and apart, naming.kind, deltas),
        *([naming.matched] if found.pairs and naming.matched else []),
        *notes_on_nulls(material.labels, [pair.sides for pair in found.pairs]),
        *notes_on_shares(seen.energy, [pair.members for pair in found.pairs], len(seen.amplitude)),
    ]
