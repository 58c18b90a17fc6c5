"""Labels of sequences that stand beside their own tokens, as transformers has them, and not beside the ones before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.datasets.readers import Reader
from opsigcli.errors import DatasetError, UsageError
from opsigcli.examples import IGNORED
from opsigcli.specs import Spec

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

BLOCK = 1024  # examples that are looked at together


def shifted(
    targets: Ints | Floats, reader: Reader, rows: Ints, shift: bool | None, spec: Spec
) -> Ints | Floats:
    """Targets of which place j is what follows the token at place j: ``y'_j = y_{j+1}``, ``IGNORED`` at the end.

    Args:
        targets: of the examples taken, (N, …).
        reader: of the inputs.
        rows: the examples taken, in the reader.
        shift: whether labels stand beside their own tokens; None = not known.
        spec: of the source, for messages.

    Raises:
        DatasetError: it is not known, and labels are mostly the tokens that they stand beside.
        UsageError: it is asked for where labels are no tokens.
    """
    of_tokens = reader.dtype == np.int64 and targets.dtype.kind == "i" and targets.shape[1:] == reader.shape
    if not of_tokens:
        if shift:
            raise UsageError(
                f"in {str(spec)!r}: expected labels (N, L) of tokens (N, L) for shift=true; found inputs "
                f"{reader.dtype} {reader.shape} and labels {targets.dtype} {targets.shape[1:]}",
                "leave out shift=",
            )
        return targets
    if shift is None and _their_own(targets, reader, rows):
        raise DatasetError(
            f"expected labels in {str(spec)!r} to be the tokens that follow; found the tokens' own numbers, as "
            "transformers has them, which shifts them by one itself",
            "add shift=true to --data to have them shifted, or shift=false if a model is to name what it sees",
        )
    if not shift:
        return targets
    found = np.full_like(targets, IGNORED)
    found[:, :-1] = targets[:, 1:]
    return found


def _their_own(targets: Ints | Floats, reader: Reader, rows: Ints) -> bool:
    """Whether most labels that are not void (below 0) are the number of the token that they stand beside, and no fewer
    are so than are the number of the one that follows."""
    seen = own = following = 0
    for at in range(0, len(rows), BLOCK):
        inputs, labels = reader.read(rows[at : at + BLOCK]), targets[at : at + BLOCK]
        labelled = labels >= 0
        seen += int(labelled.sum())
        own += int((inputs == labels)[labelled].sum())
        following += int((inputs[:, 1:] == labels[:, :-1])[labelled[:, :-1]].sum())
    return own > seen / 2 and own >= following
