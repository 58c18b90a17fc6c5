"""What a report says first: who held each spike, how sure that is, how near the edge the run was, what to run next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.command_line import command
from opsigcli.printable import count
from opsigcli.reporting.edge import (
    against_threshold,
    covering_command,
    points_within,
    raised,
    recorded_rates,
    trusted,
    uncovered,
    uncovered_words,
)
from opsigcli.reporting.findings import of_another_trace
from opsigcli.reporting.format import number, signed
from opsigcli.reporting.summary import sharpness_name
from opsigcli.sentences import percent, say
from opsigcli.spike_records import FEWEST_CHANGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.mining_records import (
        Spike,
    )
    from opsigcli.records import Case, Floats, Ints, LossTrace

SHOWN = 3  # spikes, the largest ones
SETS = 3  # of classes that held spikes together
LISTED = 4  # shares of a set; more are given as a range


@dataclass(frozen=True)
class SpikeLine:
    """The cause of a spike."""

    span: str
    rise: str
    strength: str
    words: str


def largest(spikes: Sequence[Spike], limit: int) -> list[Spike]:
    """The spikes that rose most, in order of step."""
    return sorted(sorted(spikes, key=lambda spike: -spike.rise)[:limit], key=lambda spike: spike.step)


def told(case: Case) -> list[Spike]:
    """The spikes whose cause is known; the largest rise where there is no spike."""
    rises = case.spikes or ((case.largest_rise,) if case.largest_rise is not None else ())
    return [spike for spike in rises if spike.cause is not None]


def tells_spikes(trace: LossTrace) -> bool:
    """Whether there are usual changes of the mean loss that one could stand out from."""
    return int(np.isfinite(np.diff(trace.mean_loss.values)).sum()) >= FEWEST_CHANGES


def no_spike(trace: LossTrace, rise: Spike | None) -> str:
    """That there was none as far as checkpoints show, or that they are too few to tell.

    Args:
        trace: in which none was found.
        rise: the largest one, if there is any.
    """
    if not tells_spikes(trace):
        return say("spikes: too few", checkpoints=count(len(trace.steps), "checkpoint"))
    axis = trace.axis
    distances = axis.apart(trace.steps.tolist())
    apart = say("spikes: apart", apart=distances) if distances else ""
    if rise is None:
        return say("spikes: none", apart=apart)
    between = axis.between(rise.step, rise.next_step)
    return say(
        "spikes: none stands out", rise=f"{signed(rise.rise)}{trace.unit.after}", between=between, apart=apart
    )


def spike_lines(case: Case, limit: int = SHOWN) -> list[SpikeLine]:
    """A sentence for each of the largest spikes."""
    lines = []
    for spike in largest(told(case), limit):
        assert spike.cause is not None
        words = spike.cause.words
        ratios = [p.ratio or 0.0 for p in points_within(case, spike, trusted(case))]
        if ratios:
            name = sharpness_name(case.sharpness)
            words += say("spikes: ratio there", name=name, ratio=number(max(ratios)))
        words += _rate_there(case, spike)
        span = case.run.axis.between(spike.step, spike.next_step)
        if not case.spikes:
            span = say("spikes: no spike" if tells_spikes(case.trace) else "spikes: largest rise", span=span)
        lines.append(SpikeLine(span, signed(spike.rise), spike.cause.strength, words))
    return lines


def _rate_there(case: Case, spike: Spike) -> str:
    """That checkpoints from bottom to top record a larger learning rate than the one at the bottom; "" where none does.

    A checkpoint may record the rate of its last step or of its next one: what is said is where it stands.
    """
    if not raised(case, spike):
        return ""
    rates = recorded_rates(case, spike)
    top = max(rates, key=lambda step: rates[step])
    at, before = (case.run.axis.at(step) for step in (top, spike.step))
    rate, was = number(rates[top]), number(rates[spike.step])
    return say("spikes: rate there", rate=rate, at=at, was=was, before=before)


def held_together(case: Case) -> str:
    """Which classes held which part of how many spikes, or ""."""
    sets: dict[frozenset[str], list[Spike]] = {}
    for spike in case.spikes:
        if spike.cause is not None and spike.cause.named:
            sets.setdefault(frozenset(spike.cause.named), []).append(spike)
    if not sets:
        return ""
    order = sorted(sets.values(), key=lambda spikes: -sum(spike.rise for spike in spikes))
    parts = [_held(sorted(spikes, key=lambda spike: -spike.rise)) for spikes in order[:SETS]]
    others = sum(map(len, order[SETS:]))
    more = f"; other classes {count(others, 'more spike', 'more spikes')}" if others else ""
    return say("spikes: by whom", kind=case.trace.naming.kind, held="; ".join(parts) + more)


def _held(spikes: Sequence[Spike]) -> str:
    """What the same classes held of each of some spikes, the largest one first."""
    causes = [spike.cause for spike in spikes if spike.cause is not None]
    shares = [cause.share for cause in causes]
    each = [percent(share) for share in shares]
    held = f"{100 * min(shares):.0f} to {percent(max(shares))}"
    if len(set(each)) == 1:
        held = each[0]
    elif len(shares) <= LISTED:
        held = f"{', '.join(f'{100 * share:.0f}' for share in shares[:-1])} and {each[-1]}"
    classes, size = " + ".join(causes[0].named), percent(causes[0].part)
    spiked = count(len(shares), "spike")
    return say("spikes: together", classes=classes, part=size, shares=held, spikes=spiked)


def stability(case: Case) -> str:
    """The largest stability ratio, and at how many checkpoints and spikes there is one."""
    total = len(case.trace.steps)
    with_ratio = [p for p in case.sharpness if p.ratio is not None and math.isfinite(p.ratio)]
    if not with_ratio:
        measured = len(case.sharpness)
        why = next((f" ({p.reason.removeprefix('no ratio: ')})" for p in case.sharpness if p.reason), "")
        checkpoints = count(total, "checkpoint")
        if not measured:
            return say("ratio: nowhere", checkpoints=checkpoints)
        return say("ratio: none", amount=measured, checkpoints=checkpoints, why=why)
    converged, points = against_threshold(case), trusted(case)
    estimated = " (second moments estimated)" if any(p.estimated for p in with_ratio) else ""
    largest = more = covered = ""
    if points:
        peak = max(points, key=lambda p: p.ratio or 0.0)
        largest = say("ratio: largest", ratio=number(peak.ratio), at=case.run.axis.at(peak.step))
    if contradicted := len(converged) - len(points):
        more = say("ratio: contradicted", amount=contradicted)
    if len(converged) < len(with_ratio):
        more += say("ratio: not converged", amount=len(with_ratio) - len(converged))
    if bare := uncovered_words(case):
        covered = say("ratio: not covered", spikes=bare)
    elif case.spikes:
        covered = say("ratio: every spike")
    return say(
        "ratio: measured",
        estimated=estimated,
        amount=len(points),
        checkpoints=count(total, "checkpoint"),
        largest=largest,
        more=more,
        covered=covered,
    )


def next_steps(case: Case) -> list[str]:
    """Commands that would tell more, the most useful one first."""
    found = []
    bare = uncovered(case)
    if not case.sharpness or (against_threshold(case) and bare):
        found.append(covering_command(case))
    if case.mining is None or of_another_trace(case):
        found.append(command("mine", store=case.store))
    elif case.mining.counted and not any(causal.groups == case.mining.digest for causal in case.causal):
        found.append(command("mine", store=case.store, options=("--causal",)))
    return found


def moved(case: Case) -> list[tuple[str, Ints, Floats]]:
    """What rose and what fell most in the largest spike: words, ids and deltas."""
    known = told(case)
    if not known:
        return []
    most = max(known, key=lambda spike: spike.rise)
    assert most.cause is not None
    span = f"most from {case.run.axis.between(most.step, most.next_step)}"
    sides = (
        (f"rose {span}", most.cause.up_ids, most.cause.up_deltas),
        (f"fell {span}", most.cause.down_ids, most.cause.down_deltas),
    )
    return [
        (words, np.asarray(ids, dtype=np.int64), np.asarray(deltas))
        for words, ids, deltas in sides
        if len(ids)
    ]
