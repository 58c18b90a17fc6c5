"""Numbers of mined pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.gates.measured import Measured, missing
from opsigcli.printable import count as counted
from opsigcli.reporting.findings import FOUND, UNTESTED, by_standing

if TYPE_CHECKING:
    from opsigcli.mining_records import Mining, Pair
    from opsigcli.records import Case

ENERGY = "share_of_loss_change"
UNMINED = "nothing was mined: opsig mine"


def count(case: Case) -> Measured:
    """Findings."""
    found = _findings(case)
    return found if isinstance(found, Measured) else Measured(float(len(found)))


def energy_max(case: Case) -> Measured:
    """The largest share of energy."""
    found = _findings(case)
    if isinstance(found, Measured):
        return found
    if any(ENERGY not in pair.evidence for _, pair in found):
        return missing(f"a finding has no {ENERGY}")
    return _largest([(pair.evidence[ENERGY].value, number) for number, pair in found])


def opposition_max(case: Case) -> Measured:
    """The largest opposition."""
    found = _findings(case)
    if isinstance(found, Measured):
        return found
    return _largest([(pair.opposition.value, number) for number, pair in found])


def examples(case: Case) -> Measured:
    """The share of examples."""
    found = _findings(case)
    if isinstance(found, Measured):
        return found
    ids = {i for _, pair in found for group in pair.groups.values() for i in group.ids.tolist()}
    return Measured(len(ids) / len(case.trace.example_ids), counted(len(ids), "example"))


def proposed(case: Case) -> Measured:
    """Pairs, findings or not."""
    mined = _mined(case)
    return mined if isinstance(mined, Measured) else Measured(float(len(mined.pairs)))


def _findings(case: Case) -> list[tuple[int, Pair]] | Measured:
    """The findings with their numbers; or why they are not known."""
    mined = _mined(case)
    if isinstance(mined, Measured):
        return mined
    parted = by_standing(mined)
    if untested := parted.get(UNTESTED):
        return missing(f"{len(untested)} of {len(mined.pairs)} proposed pairs were not tested against chance")
    return parted.get(FOUND, [])


def _mined(case: Case) -> Mining | Measured:
    """What was mined of this trace; or why nothing was: a run that goes on has checkpoints that were not looked at."""
    mining, now = case.mining, len(case.trace.steps)
    if mining is None:
        return missing(UNMINED)
    if mining.traced not in (None, now):
        return missing(f"mined among {mining.traced} checkpoints, and {now} are traced now: opsig mine")
    return mining


def _largest(values: list[tuple[float, int]]) -> Measured:
    if not values:
        return Measured(0.0, "there is no finding")
    value, number = next(
        (v for v in values if v[0] != v[0]), max(values)
    )  # a NaN is no number, and none is above it
    return Measured(value, f"pair {number}")
