"""Numbers of mined pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.gates.measured import Measured, missing
from opsigcli.reporting.findings import FOUND, UNTESTED, by_standing

if TYPE_CHECKING:
    from opsigcli.mining_records import Pair
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
    return Measured(len(ids) / len(case.trace.example_ids), f"{len(ids):,} examples")


def proposed(case: Case) -> Measured:
    """Pairs, findings or not."""
    return missing(UNMINED) if case.mining is None else Measured(float(len(case.mining.pairs)))


def _findings(case: Case) -> list[tuple[int, Pair]] | Measured:
    """The findings with their numbers; or why they are not known."""
    if case.mining is None:
        return missing(UNMINED)
    parted = by_standing(case.mining)
    if untested := parted.get(UNTESTED):
        return missing(
            f"{len(untested)} of {len(case.mining.pairs)} proposed pairs were not tested against chance"
        )
    return parted.get(FOUND, [])


def _largest(values: list[tuple[float, int]]) -> Measured:
    if not values:
        return Measured(0.0, "there is no finding")
    value, number = next(
        (v for v in values if v[0] != v[0]), max(values)
    )  # a NaN is no number, and none is above it
    return Measured(value, f"pair {number}")
