"""Which mined pairs are findings: those beyond chance after the search that chose them. The others are proposals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.command_line import command
from opsigcli.reporting.sentences import capital, in_words, joined
from opsigcli.sentences import say

if TYPE_CHECKING:
    from opsigcli.mining_records import (
        Evidence,
        Mining,
        Pair,
    )
    from opsigcli.records import Case

SIGNIFICANT = 0.05
UNCLEAR = ("not distinguishable", "class-level")  # how verdicts begin that claim no pair of outliers
UNJUDGED = "proposed"  # and those of losses alone
FOUND, PROPOSED, UNTESTED = "found", "proposed, not distinguishable", "proposed, not tested"
UNCOUNTED = "proposed, not counted"  # no finding, as mining told


def standing(pair: Pair) -> str:
    """FOUND or UNCOUNTED as mining told; in stores that do not say it, FOUND where all is beyond chance.

    These are opposition, gradients and clarity, the last one after the search for the pair. UNTESTED where no surrogate
    was searched, so that nothing says how clear a pair the search finds by chance.
    """
    if pair.finding is not None:
        return FOUND if pair.finding else UNCOUNTED
    clarity = _p_value(pair.evidence.get("clarity"))
    if pair.verdict.startswith(UNCLEAR):
        return PROPOSED
    if clarity is None or pair.verdict.startswith(UNJUDGED):
        return UNTESTED
    others = (pair.opposition, pair.evidence.get("gradient_cosine"))
    beyond = all((_p_value(evidence) or 0.0) <= SIGNIFICANT for evidence in others)
    return FOUND if clarity <= SIGNIFICANT and beyond else PROPOSED


def by_standing(mining: Mining) -> dict[str, list[tuple[int, Pair]]]:
    """The pairs with their numbers, findings first; a standing without pairs is left out."""
    found: dict[str, list[tuple[int, Pair]]] = {FOUND: [], UNCOUNTED: [], PROPOSED: [], UNTESTED: []}
    for number, pair in enumerate(mining.pairs, start=1):
        found[standing(pair)].append((number, pair))
    return {name: pairs for name, pairs in found.items() if pairs}


def title_of_pairs(mining: Mining) -> str:
    """What the heading of a report says of the pairs."""
    parted = by_standing(mining)
    found, proposed, untested = (len(parted.get(name, ())) for name in (FOUND, PROPOSED, UNTESTED))
    if found:
        return say("pairs: found", pairs=_pairs(found), were="was" if found == 1 else "were")
    if uncounted := parted.get(UNCOUNTED):
        return say("pairs: not counted", amount=len(uncounted))
    if proposed:
        more = f", {untested} more not tested" if untested else ""
        return say("pairs: like chance", amount=proposed, untested=more)
    return say("pairs: untested", pairs=_pairs(untested))


def of_another_trace(case: Case) -> list[str]:
    """That more or fewer checkpoints are traced now than were mined, so that shares are not of this trace; or nothing.

    A run that is followed goes on after it was mined, and what was found stays in the store.
    """
    mining, now = case.mining, len(case.trace.steps)
    if mining is None or mining.traced in (None, now):
        return []
    again = command("mine", store=case.store)
    return [say("pairs: of another trace", then=mining.traced, now=now, command=again)]


def _pairs(amount: int) -> str:
    return "one pair" if amount == 1 else f"{in_words(amount)} pairs"


def said_of_pairs(mining: Mining) -> list[str]:
    """A sentence for the findings with their verdicts, and one for each other standing."""
    said = []
    for name, pairs in by_standing(mining).items():
        verdicts: dict[str, list[str]] = {}
        for number, pair in pairs:
            verdicts.setdefault(pair.verdict, []).append(str(number))
        each = "; ".join(
            f"pair{'s' if len(which) > 1 else ''} {joined(which)}: {verdict}"
            for verdict, which in verdicts.items()
        )
        proposals = name != FOUND
        said.append(
            say("pairs: proposals", standing=capital(name), verdicts=each)
            if proposals
            else say("pairs: verdicts", verdicts=capital(each))
        )
    return said


def _p_value(evidence: Evidence | None) -> float | None:
    return None if evidence is None else evidence.p_value
