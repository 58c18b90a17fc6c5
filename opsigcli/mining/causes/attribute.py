"""The spikes of a trace, each attributed to groups and to names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.loss_unit import unit_of
from opsigcli.mining.causes.classes import by_class
from opsigcli.mining.causes.confidence import by_confidence
from opsigcli.mining.causes.features import feature_splits
from opsigcli.mining.causes.few import by_few
from opsigcli.mining.causes.groups import by_groups, rest_by_class
from opsigcli.mining.causes.rises import read_rises
from opsigcli.mining.causes.words import sentence, strength
from opsigcli.mining.inputs import UNSEEN, Trace
from opsigcli.mining.spikes import attribute_spikes, find_spikes, largest_climb
from opsigcli.mining_records import proposals
from opsigcli.spike_records import SpikeCause

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from opsigcli.mean_loss import MeanLoss
    from opsigcli.mining_records import (
        GroupKey,
        Spike,
    )
    from opsigcli.records import Case, Floats, Ints, LossTrace

LARGEST, FEWEST = 24, 3  # spikes that are attributed to names
NUMBERS = 3_000_000  # spikes times examples, above which there are fewer
EXTREMES = 6  # examples on either side that a report shows
PICTURED = 6  # spikes of which a report shows pictures
PLAIN = ("ce",)  # losses whose exp(-loss) is the probability of the label


def attributed_spikes(
    trace: Trace,
    mean: MeanLoss,
    groups: Mapping[GroupKey, Ints],
    seed: int = 0,
    proposed: Collection[int] = (),
) -> tuple[Spike, ...]:
    """All spikes of the mean loss; the largest ones with their cause.

    Args:
        trace: losses, what the examples are, and what can be seen in them.
        mean: the mean loss.
        groups: positions of the groups of mined pairs, disjoint; {} where none are known.
        seed: of halves and nulls.
        proposed: numbers of pairs that are no findings, which the words say of them.
    """
    return _attributed(trace, mean, groups, seed, proposed, find_spikes(mean.values))


def largest_rise(
    trace: Trace,
    mean: MeanLoss,
    groups: Mapping[GroupKey, Ints],
    seed: int = 0,
    proposed: Collection[int] = (),
) -> Spike | None:
    """The largest climb of a mean loss in which none is sudden, attributed as a spike is; None where it never climbs.

    Checkpoints far apart, or a run that is noisy throughout, have no step that stands out from the others.

    Args:
        trace, mean, groups, seed, proposed: as of ``attributed_spikes``.
    """
    climb = largest_climb(mean.values)
    if climb is None or find_spikes(mean.values):
        return None
    return next(iter(_attributed(trace, mean, groups, seed, proposed, [climb])), None)


def _attributed(
    trace: Trace,
    mean: MeanLoss,
    groups: Mapping[GroupKey, Ints],
    seed: int,
    proposed: Collection[int],
    rows: Sequence[tuple[int, int]],
) -> tuple[Spike, ...]:
    """The rises from bottom to top in ``rows``, and the cause of the largest ones."""
    spikes = attribute_spikes(
        trace.losses, mean.values, trace.steps, groups, trace.weights, mean.examples, rows
    )
    most = int(np.clip(NUMBERS // max(mean.over, 1), FEWEST, LARGEST))
    asked = sorted(sorted(range(len(spikes)), key=lambda s: -spikes[s].rise)[:most])
    if not asked or not mean.over:
        return spikes
    rises = read_rises(trace, mean.examples, [rows[s] for s in asked], seed)
    classes = by_class(rises, seed)
    features = feature_splits(rises, trace.seen, trace.classes, seed)
    held_by_groups = by_groups(rises, groups, seed)
    unsure = {str(key) for key in groups if key.pair in proposed}
    unit = unit_of(trace.loss)
    plain = trace.loss in PLAIN and len(rises.names) > 1
    found = list(spikes)
    for at, s in enumerate(asked):
        of, deltas = classes[at], rises.deltas[at]
        up, down = extremes(deltas)
        ids = trace.ids[rises.positions]
        few, few_share = by_few(rises, at)
        alone = [trace.naming.before(rises.names[rises.classes[row]]) for row in few.tolist()]
        alone = [f"{name} {trace.naming.id(ids[row])}".strip() for name, row in zip(alone, few, strict=True)]
        why = "" if trace.seen else trace.unseen
        cause = SpikeCause(
            strength(of, features[at], held_by_groups[at], len(few)),
            sentence(of, features[at], held_by_groups[at], why, unsure, unit, (alone, few_share)),
            of.table,
            of.named,
            of.held,
            of.falling,
            by_confidence(rises, at, trace.outputs) if plain else (),
            features[at],
            held_by_groups[at],
            rest_by_class(rises, at, groups) if groups else {},
            ids[up],
            deltas[up],
            ids[down],
            deltas[down],
            ids[few],
            few_share,
        )
        found[s] = replace(spikes[s], cause=cause)
    return tuple(found)


def moved_ids(trace: LossTrace) -> list[int]:
    """Ids of the examples that rose and fell most in the spikes, or in the largest rise, that a report pictures."""
    mean = trace.mean_loss
    climb = largest_climb(mean.values)
    sudden = find_spikes(mean.values) or ([] if climb is None else [climb])
    rows = sorted(sudden, key=lambda row: mean.values[row[0]] - mean.values[row[1]])[:PICTURED]
    found: list[int] = []
    for bottom, top in rows:
        deltas = np.asarray(trace.losses[top], dtype=np.float64) - np.asarray(
            trace.losses[bottom], dtype=np.float64
        )
        inside = np.flatnonzero(mean.examples)
        up, down = extremes(deltas[inside])
        found += trace.example_ids[inside[np.concatenate([up, down])]].tolist()
    return list(dict.fromkeys(found))


def extremes(deltas: Floats) -> tuple[Ints, Ints]:
    """Rows of the largest positive deltas, largest first, and of the most negative ones."""
    order = np.argsort(-deltas, kind="stable")
    up, down = order[:EXTREMES], order[::-1][:EXTREMES]
    return up[deltas[up] > 0], down[deltas[down] < 0]


def with_causes(case: Case, seen: tuple[Mapping[str, NDArray[Any]], str] | None) -> Case:
    """A case with its spikes attributed, or its largest rise where there is none, from what the store holds of it.

    Args:
        case: the losses, and what was mined.
        seen: feature to (N,), as in ``Trace.seen``, and why there are none; None where nobody looked.
    """
    trace, run = case.trace, case.run
    if len(trace.steps) < 2:
        return case
    groups = (
        {key: trace.positions(group.ids) for key, group in case.mining.groups.items()} if case.mining else {}
    )
    given = Trace(
        trace.losses,
        trace.labels,
        trace.example_ids,
        trace.steps,
        run.classes,
        None,
        trace.measured,
        trace.weights,
        *(seen or ({}, UNSEEN)),
        run.loss,
        naming=trace.naming,
    )
    made = case.mining.provenance if case.mining else None
    proposed = proposals(case.mining.pairs) if case.mining else ()
    of = (given, trace.mean_loss, groups, made.seed if made else 0, proposed)
    return replace(case, spikes=attributed_spikes(*of), largest_rise=largest_rise(*of))
