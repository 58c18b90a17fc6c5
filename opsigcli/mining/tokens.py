"""What a group's examples share where examples are text: tokens that stand in more of its members than in others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.mining_records import (
    Evidence,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from opsigcli.records import Ints

    Sides = tuple[Ints, Ints]

SEEN, PREDICTED = "token seen", "token predicted"
ROLE_SEEN, ROLE_PREDICTED = f"SIDE: {SEEN}", f"SIDE: {PREDICTED}"  # how evidence about tokens is defined
SIGNIFICANT = 0.05
NAMED = 3  # tokens of a side and a role


def labelled_tokens(inputs: Ints, targets: Ints) -> dict[str, Ints]:
    """The tokens to be predicted in each example, and those seen just before them.

    Args:
        inputs: (M, L) tokens.
        targets: (M, L) the token that follows each; below 0 where there is none to predict.

    Returns:
        ``token seen`` and ``token predicted``, (M, W) with W the most labels of any example; −1 where there are fewer.
    """
    labelled = targets >= 0
    width = max(1, int(labelled.sum(axis=1).max(initial=0)))
    first = np.argsort(~labelled, axis=1, kind="stable")[:, :width]
    there = np.take_along_axis(labelled, first, axis=1)
    return {
        name: np.where(there, np.take_along_axis(tokens, first, axis=1), -1)
        for name, tokens in ((SEEN, inputs), (PREDICTED, targets))
    }


def shared_tokens(tokens: Mapping[str, NDArray[Any]], sides: Sides) -> dict[str, Evidence]:
    """Tokens that stand in more members of a side than in as many random candidates.

    Of K of M candidates that have the token, k are among the n members: ``p = P(X ≥ k)``, X hypergeometric with
    (M, K, n), times the number of tokens looked at on both sides in all roles (Bonferroni).

    Args:
        tokens: role to (M, W) tokens of each candidate, −1 where there are fewer.
        sides: rows of the two groups.

    Returns:
        ``first: token seen 17`` and the like: the share of the members that have it, the share of all candidates,
        and p. At most three significant tokens of each side and role; the clearest of a side that has none.
    """
    from scipy.stats import hypergeom

    found: list[tuple[str, str, float, int, float, float]] = []  # side, role, p, token, share, null
    for role, table in tokens.items():
        everywhere, rows = _presence(table)
        kinds, counts = np.unique(everywhere, return_counts=True)
        for side, members in zip(("first", "second"), sides, strict=True):
            inside = np.bincount(
                np.searchsorted(kinds, everywhere[np.isin(rows, members)]), minlength=len(kinds)
            )
            p = hypergeom.sf(inside - 1, len(table), counts, len(members))
            found += [
                (side, role, float(p[v]), int(kinds[v]), inside[v] / len(members), counts[v] / len(table))
                for v in range(len(kinds))
            ]
    tried = len(found)
    shown: dict[str, Evidence] = {}
    for side in ("first", "second"):
        of = sorted((f for f in found if f[0] == side), key=lambda f: (f[2], f[3]))
        clear = [f for f in of if f[2] * tried <= SIGNIFICANT]
        kept = [f for role in tokens for f in [c for c in clear if c[1] == role][:NAMED]] or of[:1]
        for _, role, p, token, share, null in kept:
            shown[f"{side}: {role} {token}"] = Evidence(
                float(share), float(null), min(1.0, p * tried), f"SIDE: {role}", str(token), side
            )
    return shown


def spelled(evidence: Mapping[str, Evidence], classes: Sequence[str]) -> dict[str, Evidence]:
    """The same evidence with tokens by name instead of number, where ``classes`` is the vocabulary."""
    named = {}
    for name, entry in evidence.items():
        number = entry.feature
        if (
            entry.definition in (ROLE_SEEN, ROLE_PREDICTED)
            and number.isdecimal()
            and int(number) < len(classes)
        ):
            word = classes[int(number)]
            named[f"{name.removesuffix(number)}'{word}'"] = replace(entry, feature=word)
        else:
            named[name] = entry
    return named


def _presence(table: NDArray[Any]) -> tuple[Ints, Ints]:
    """Every (token, row) once, as two arrays."""
    rows = np.repeat(np.arange(len(table)), table.shape[1])
    flat = table.reshape(-1).astype(np.int64)
    once = np.unique((flat * len(table) + rows)[flat >= 0])
    return once // len(table), once % len(table)
