"""Groups that are one example again and again, as a dataset with duplicates has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining_records import SIDES, GroupKey
from opsigcli.reporting.format import group_mark
from opsigcli.sentences import say

if TYPE_CHECKING:
    from opsigcli.records import Case

FEWEST = 3  # copies that are said: of two alike any dataset has some


def copies_in(case: Case) -> list[str]:
    """A sentence for each side of a pair half of whose examples have the same inputs and target."""
    trace, pairs = case.trace, case.mining.pairs if case.mining else ()
    if trace.digests is None:
        return []
    lines = []
    for number, pair in enumerate(pairs, start=1):
        for side, group in zip(SIDES, (pair.first, pair.second), strict=True):
            found, first, amounts = np.unique(
                trace.digests[trace.positions(group.ids)], return_index=True, return_counts=True
            )
            most = int(amounts.argmax()) if len(found) else 0
            if len(found) and amounts[most] >= max(FEWEST, len(group.ids) / 2):
                lines.append(
                    say(
                        "pairs: copies",
                        amount=int(amounts[most]),
                        size=len(group.ids),
                        group=group_mark(GroupKey(number, side)),
                        example=trace.naming.id(int(group.ids[first[most]])),
                    )
                )
    return lines
