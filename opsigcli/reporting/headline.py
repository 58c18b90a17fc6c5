"""The verdict on a case, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.command_line import command
from opsigcli.reporting.format import NOTHING, count, number, percent, signed
from opsigcli.reporting.summary import pair_members, sharpness_name, sharpness_values

if TYPE_CHECKING:
    from opsigcli.records import Case, Mining, Spike

NAMED_PAIRS = 3  # whose share of the largest spike is said
NAMED_CLASSES = 3  # of the examples in no pair, likewise
BY_CLASS = (
    0.5  # adjusted R² of high-passed loss deltas on the class from which whole classes oppose one another
)


@dataclass(frozen=True)
class Headline:
    """The verdict on a case: one sentence, what stands behind it, and what was not found or not measured."""

    title: str
    found: tuple[str, ...]
    missing: tuple[str, ...]


def headline(case: Case) -> Headline:
    """The verdict on a case. Only converged sharpness counts; what was not looked at is said."""
    titles: list[str] = []
    found: list[str] = []
    missing: list[str] = []
    for part in (_pairs, _sharpness, _spikes):
        title, yes, no = part(case)
        titles += title
        found += yes
        missing += no
    if case.mining is None and len(titles) > 1:  # said once, below
        titles = titles[1:]
    mean = case.trace.mean_loss
    if mean.words:
        missing.append(f"The mean loss is {mean.words}.")
    bad = int(np.isnan(mean.values).sum())
    if bad:
        total = len(case.trace.steps)
        missing.append(
            f"The mean loss is not a finite number at {bad} of {total} checkpoints: gaps in the curves are no data."
        )
    return Headline(_capital(_join(titles)) + ".", tuple(found), tuple(missing))


Part = tuple[list[str], list[str], list[str]]


def _pairs(case: Case) -> Part:
    mining, total = case.mining, len(case.trace.example_ids)
    if mining is None:
        return (
            ["opposing groups were not looked for"],
            [],
            [f"Nothing was mined yet: run {command('mine', store=case.store)}."],
        )
    looked = (
        f"{count(mining.candidates, 'candidate example')} of {total:,}, gradients compared at "
        f"{count(len(mining.gradient_steps), 'checkpoint')} ({case.run.axis.named(len(mining.gradient_steps))} "
        f"{', '.join(f'{step:,}' for step in mining.gradient_steps) or NOTHING})"
    )
    if not mining.pairs:
        by_class = mining.explained.get("class", 0.0)
        if by_class >= BY_CLASS:
            sides = " against ".join(_join(side) for side in mining.opposing_classes)
            kind = case.trace.naming.kind
            words = (
                f"Class-level opposition only{f', {sides}' if sides else ''}: the {kind} alone explains "
                f"{percent(by_class)} of the high-passed loss deltas (adjusted R²), and no groups of outliers oppose "
                f"one another beyond that. Looked at: {looked}."
            )
            return [f"only whole classes oppose one another{f' ({sides})' if sides else ''}"], [words], []
        return ["no pair of opposing groups was found"], [], [f"No pair was found. Looked at: {looked}."]
    numbers: dict[str, list[str]] = {}
    for i, pair in enumerate(mining.pairs, start=1):
        numbers.setdefault(pair.verdict, []).append(str(i))
    said = [
        f"pair{'s' if len(which) > 1 else ''} {_join(which)}: {verdict}" for verdict, which in numbers.items()
    ]
    members = len({int(i) for pair in mining.pairs for group in (pair.first, pair.second) for i in group.ids})
    found = [f"{_capital('; '.join(said))}. Together the groups are {percent(members / total)} of the data."]
    found += _active(mining, total)
    if len(mining.pairs) == 1:
        return ["one pair of opposing groups is proposed"], found, []
    return [f"{_words_for(len(mining.pairs))} pairs of opposing groups are proposed"], found, []


def _active(mining: Mining, total: int) -> list[str]:
    """What the pairs that were seen to swing hold of the loss changes."""
    shares = [
        (pair, pair.evidence["share_of_loss_change"].value)
        for pair in mining.pairs
        if "active" in pair.traits and "share_of_loss_change" in pair.evidence
    ]
    if not shares:
        return []
    members = len({int(i) for pair, _ in shares for group in (pair.first, pair.second) for i in group.ids})
    which = "The pair that swings" if len(shares) == 1 else f"The {len(shares)} pairs that swing"
    verb = "holds" if len(shares) == 1 else "hold"
    return [
        f"{which} {verb} {percent(sum(share for _, share in shares))} of the energy of high-passed loss deltas with "
        f"{percent(members / total)} of the data."
    ]


def _sharpness(case: Case) -> Part:
    if not case.sharpness:
        return [], [], [f"Sharpness was not measured: run {command('sharpness', store=case.store)}."]
    values = dict(zip(case.sharpness, sharpness_values(case.sharpness), strict=True))
    good = [p for p in case.sharpness if p.converged and math.isfinite(values[p])]
    open_ends = sum(not p.converged for p in case.sharpness)
    missing = []
    if open_ends:
        missing.append(
            f"Sharpness did not converge at {open_ends} of {count(len(case.sharpness), 'measured checkpoint')}; "
            "those values are left out of the verdict."
        )
    if not good:
        return [], [], missing
    name = sharpness_name(good)
    if any(p.fixed_statistics for p in good):
        name = f"eval-mode {name}"
        missing.append(
            "BatchNorm's statistics were held fixed; the steps of the run saw those of their batches, whose sharpness "
            "can be several times smaller: "
            f"{command('sharpness', store=case.store, options=('--batch-norm', 'batch'))}."
        )
    against = [p for p in good if p.ratio is not None and math.isfinite(p.ratio)]
    if not against:
        peak = max(good, key=lambda p: values[p])
        known = any(p.threshold is not None for p in good)
        what = "There is no stability ratio" if known else "The stability threshold is not known"
        why = next((f" ({p.reason.removeprefix('no ratio: ')})" for p in good if p.reason), "")
        missing.append(f"{what}{why}, so sharpness is held against nothing.")
        return [f"{name} peaked at {number(values[peak])} ({case.run.axis.at(peak.step)})"], [], missing
    unlike = [p for p in against if p.step_check is not None and p.step_check.verdict == "contradicted"]
    if unlike:
        missing.append(
            f"The stability threshold is not confirmed by the weights at {len(unlike)} of "
            f"{count(len(against), 'checkpoint')}: {unlike[0].step_check.reason if unlike[0].step_check else ''}."
        )
    peak = max(against, key=lambda p: p.ratio or 0)
    top = (
        f"{number(peak.ratio)}\u00a0\u00d7 the stability threshold at {case.run.axis.at(peak.step)} "
        f"({number(values[peak])} against {number(peak.threshold)})"
    )
    first = next((p for p in against if (p.ratio or 0) >= 1), None)
    if first is None:
        title = f"{name} stayed below the stability threshold"
        said = f"{name} came to at most {top}; {count(len(against), 'checkpoint')} measured."
        if case.run.batch_size and case.run.batch_size < len(case.trace.example_ids):
            missing.append(
                f"The run used minibatches of {case.run.batch_size:,}: sharpness on all examples then lies below the "
                "stability threshold even at the edge of stability."
            )
    else:
        title = f"{name} reached the stability threshold by {case.run.axis.at(first.step)}"
        if first is against[0]:
            title = f"{name} was at or above the stability threshold from the first measured checkpoint on"
        said = f"{name} peaked at {top}."
    return [title], [_capital(said)], missing


def _spikes(case: Case) -> Part:
    spikes = case.spikes
    top = max(spikes, key=lambda spike: spike.rise, default=None)
    if top is None:
        rise, words = case.largest_rise, ""
        if rise is not None:
            span = case.run.axis.between(rise.step, rise.next_step)
            words = f"; the largest rise, {signed(rise.rise)} nats from {span}, does not stand out from usual changes"
        return [], [], [f"No spike of the mean loss was found{words}."]
    size = (
        f"The largest spike is {signed(top.rise)} nats from {case.run.axis.between(top.step, top.next_step)}"
    )
    held = _attribution(case.mining, top, len(case.trace.example_ids)) if case.mining else ""
    found = [f"{size}; the rises in it are held {held}." if held else f"{size}."]
    times = {1: "once", 2: "twice"}.get(len(spikes), f"{_words_for(len(spikes))} times")
    return [f"the mean loss spiked {times}"], found, []


def _attribution(mining: Mining, spike: Spike, examples: int) -> str:
    """A spike's attribution: the pairs with the largest shares beside their fraction of the data, and the rest."""
    held: dict[int, float] = {}
    for key, share in spike.share_of_rise.items():
        if 0 < key.pair <= len(mining.pairs):
            held[key.pair] = held.get(key.pair, 0.0) + share
    named = sorted(held, key=lambda i: -held[i])[:NAMED_PAIRS]
    if not named:
        return ""
    parts = [
        f"{percent(held[i])} by pair {i} ({percent(pair_members(mining.pairs[i - 1]) / examples)} of the data)"
        for i in named
    ]
    rest = list(spike.cause.rest.items())[:NAMED_CLASSES] if spike.cause else []
    classes = f" ({', '.join(f'{name} {percent(share)}' for name, share in rest)} in no pair)" if rest else ""
    return _join([*parts, f"{percent(1 - sum(held[i] for i in named))} by all others{classes}"])


def _join(parts: Sequence[str]) -> str:
    if len(parts) < 3:
        return " and ".join(parts)
    return ", ".join(parts[:-1]) + ", and " + parts[-1]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _words_for(amount: int) -> str:
    """A small count as a word, for sentences."""
    small = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return small[amount] if amount < len(small) else f"{amount:,}"
