"""The verdict on a case, in plain sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.command_line import command
from opsigcli.mean_loss import unmoved_rows
from opsigcli.mining_records import (
    REST,
    WINDOW,
)
from opsigcli.printable import count
from opsigcli.reporting.edge import edge
from opsigcli.reporting.findings import of_another_trace, said_of_pairs, title_of_pairs
from opsigcli.reporting.first_screen import no_spike
from opsigcli.reporting.format import signed
from opsigcli.reporting.sentences import Part, capital, in_words, joined, made_by
from opsigcli.reporting.summary import looked_at, pair_members
from opsigcli.sentences import percent, say

if TYPE_CHECKING:
    from opsigcli.mining_records import (
        Mining,
        Spike,
    )
    from opsigcli.records import Case, Ints

NAMED_STEPS = 5
NAMED_PAIRS = 3  # whose share of the largest spike is said
NAMED_CLASSES = 3  # of the examples in no pair, likewise
LEAST = 0.005  # of a rise, of which classes are named
BY_CLASS = (
    0.4  # adjusted R² of high-passed loss deltas on the class from which whole classes oppose one another
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
    if case.look is not None:
        found += [say("look: doubt", doubt=doubt) for doubt in case.look.doubts[:1]]
        found += [f"{capital(case.look.lost_words)}."] if case.look.lost else []
    for part in (_pairs, edge, _spikes):
        title, yes, no = part(case)
        titles += title
        found += yes
        missing += no
    if case.mining is None and len(titles) > 1:  # said once, below
        titles = titles[1:]
    if case.failed:
        amount, files = len(case.failed), list(case.failed)
        more = f" and {amount - NAMED_STEPS} more" if amount > NAMED_STEPS else ""
        named = f"{', '.join(files[:NAMED_STEPS])}{more}"
        be = "is" if amount == 1 else "are"
        missing.append(say("trace: failed", amount=count(amount, "checkpoint"), files=named, be=be))
    mean = case.trace.mean_loss
    if mean.words:
        missing.append(say("mean: over what", words=mean.words))
    total = len(case.trace.steps)
    bad = np.flatnonzero(np.isnan(mean.values))
    if len(bad):
        missing.append(say("mean: gaps", amount=len(bad), all=total, where=_where(case, bad)))
        if bad[-1] == total - 1:
            titles.append(say("mean: gone", at=case.run.axis.at(int(case.trace.steps[_since(bad, total)]))))
    still = unmoved_rows(case.trace.losses, mean.values)
    if len(still):
        missing.append(say("mean: unmoved", amount=len(still), all=total, where=_where(case, still)))
    return Headline(capital(joined(titles)) + ".", tuple(found), tuple(missing))


def _since(rows: Ints, total: int) -> int:
    """The first of the rows in a row up to the last checkpoint."""
    ends = rows[rows - np.arange(len(rows)) == total - len(rows)]
    return int(ends[0])


def _where(case: Case, rows: Ints) -> str:
    """Some checkpoints in words: ``step 210 and on``, ``steps 3 to 9`` or ``steps 3, 9``."""
    axis, steps = case.run.axis, [int(step) for step in case.trace.steps[rows]]
    if len(rows) == 1:
        return axis.at(steps[0])
    if rows[-1] - rows[0] == len(rows) - 1:
        last = rows[-1] == len(case.trace.steps) - 1
        return f"{axis.at(steps[0])} and on" if last else axis.span(steps[0], steps[-1])
    more = " \u2026" if len(steps) > NAMED_STEPS else ""
    return f"{axis.named(2)} {', '.join(f'{step:,}' for step in steps[:NAMED_STEPS])}{more}"


def _pairs(case: Case) -> Part:
    mining, total = case.mining, len(case.trace.example_ids)
    if mining is None:
        return (
            [say("pairs: not looked for")],
            [],
            [say("pairs: to mine", command=command("mine", store=case.store))],
        )
    looked = looked_at(mining, case.trace)
    if not mining.pairs:
        by_class = mining.explained.get("class", 0.0)
        if by_class >= BY_CLASS and mining.opposing_classes and len(case.trace.steps) > WINDOW:
            named = (map(case.trace.naming.named, side) for side in mining.opposing_classes)
            sides = " against ".join(joined(list(side)) for side in named)
            words = say(
                "pairs: classes, how much",
                sides=f", {sides}",
                kind=case.trace.naming.kind,
                share=percent(by_class),
                looked=looked,
            )
            title = say("pairs: classes", sides=f" ({sides})")
            return [title], [words, *of_another_trace(case)], []
        return [say("pairs: none")], [], [say("pairs: none, where", looked=looked), *of_another_trace(case)]
    found = said_of_pairs(mining)
    members = len({int(i) for pair in mining.pairs for group in (pair.first, pair.second) for i in group.ids})
    share = percent(members / total)
    found[-1] += f" {say('pairs: of the data', share=share, result=made_by(case, 'mine'))}"
    found += _unstable(mining)
    found += _active(mining, total)
    return [title_of_pairs(mining)], [*found, *of_another_trace(case)], []


def _unstable(mining: Mining) -> list[str]:
    """The pairs that halves of what was compared do not bring back."""
    numbers = [str(number) for number, pair in enumerate(mining.pairs, 1) if "unstable" in pair.traits]
    if not numbers:
        return []
    return [say("pairs: unstable", pairs=f"pair{'s' if len(numbers) > 1 else ''} {joined(numbers)}")]


def _active(mining: Mining, total: int) -> list[str]:
    """What the pairs that were seen to swing hold of the loss changes; proposals only where no finding was."""
    swinging = [
        pair for pair in mining.pairs if "active" in pair.traits and "share_of_loss_change" in pair.evidence
    ]
    counted = [pair for pair in swinging if pair.finding is not False]
    shares = [(pair, pair.evidence["share_of_loss_change"].value) for pair in counted or swinging]
    if not shares:
        return []
    ids = [int(i) for pair, _ in shares for group in (pair.first, pair.second) for i in group.ids]
    # The energies of examples add up only where no example is counted twice.
    held = percent(sum(share for _, share in shares))
    if len(set(ids)) < len(ids):
        held = f"{joined([percent(share) for _, share in shares])}, with examples in common,"
    name = "pairs: one swings" if len(shares) == 1 else "pairs: several swing"
    name += "" if counted else ", proposed"
    return [say(name, amount=len(shares), share=held, data=percent(len(set(ids)) / total))]


def _spikes(case: Case) -> Part:
    spikes, axis = case.spikes, case.run.axis
    top = max(spikes, key=lambda spike: spike.rise, default=None)
    if top is None:
        return [], [], [no_spike(case.trace, case.largest_rise)]
    held = _attribution(case.mining, top, len(case.trace.example_ids)) if case.mining else ""
    largest = say(
        "spikes: largest",
        rise=f"{signed(top.rise)}{case.run.loss_unit.after}",
        between=axis.between(top.step, top.next_step),
        held=say("spikes: held", shares=held) if held else "",
    )
    times = {1: "once", 2: "twice"}.get(len(spikes), f"{in_words(len(spikes))} times")
    return [say("spikes: some", times=times)], [largest], []


def _called(mining: Mining, number_of: int) -> str:
    """A pair by its number, and whether it is no finding."""
    return f"{'proposed ' if mining.pairs[number_of - 1].finding is False else ''}pair {number_of}"


def _attribution(mining: Mining, spike: Spike, examples: int) -> str:
    """A spike's attribution: the pairs with the largest shares beside their fraction of the data, and the rest."""
    held: dict[int, float] = {}
    for key, share in spike.share_of_rise.items():
        if 0 < key.pair <= len(mining.pairs):
            held[key.pair] = held.get(key.pair, 0.0) + share
    named = sorted(held, key=lambda i: -held[i])[:NAMED_PAIRS]
    if not named:
        return ""
    size = {i: percent(pair_members(mining.pairs[i - 1]) / examples) for i in named}
    parts = [f"{percent(held[i])} by {_called(mining, i)} ({size[i]} of the data)" for i in named]
    others = sum(share for i, share in held.items() if i not in named)
    if others:
        parts.append(f"{percent(others)} by other pairs")
    rest = list(spike.cause.rest.items())[:NAMED_CLASSES] if spike.cause else []
    whole = spike.share_of_rise.get(REST, 0.0)
    rest = rest if whole >= LEAST else []
    classes = f" ({', '.join(f'{name} {percent(share)}' for name, share in rest)})" if rest else ""
    return joined([*parts, f"{percent(whole)} by examples in no pair{classes}"])
