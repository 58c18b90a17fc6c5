"""Which examples of two runs are the same: of one id, and of one content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.comparison_records import SharedExamples

if TYPE_CHECKING:
    from opsigcli.records import Case, Ints


def shared_examples(first: Case, second: Case, letters: tuple[str, str]) -> tuple[SharedExamples, Ints]:
    """How many examples of two runs are the same, and which.

    An id alone is no example: two data sets number theirs alike. Stores of older versions hold no contents; then
    equal fingerprints of the data say that all are the same, and others that nothing is known.

    Returns:
        The numbers, and the ids, increasing.
    """
    a, b = first.trace, second.trace
    sizes = (len(a.example_ids), len(b.example_ids))
    ids, of_a, of_b = np.intersect1d(a.example_ids, b.example_ids, assume_unique=True, return_indices=True)
    if a.digests is not None and b.digests is not None:
        alike = a.digests[of_a] == b.digests[of_b]
        changed = int((~alike).sum())
        refused = ""
        if not alike.any():
            refused = "no example has the same id and the same content in both" + (
                f": {changed:,} ids stand for other inputs or labels" if changed else ""
            )
        found = SharedExamples(*letters, sizes, int(alike.sum()), changed, "contents", refused)
        return found, ids[alike]
    lacking = " and ".join(
        letter for letter, trace in zip(letters, (a, b), strict=True) if trace.digests is None
    )
    if first.run.fingerprint and first.run.fingerprint == second.run.fingerprint:
        return SharedExamples(*letters, sizes, len(ids), None, "fingerprint"), ids
    why = (
        f"the store of {lacking} was written by an older version and does not say what its examples hold: "
        "trace it again (opsig trace, which computes no loss anew)"
    )
    return SharedExamples(*letters, sizes, 0, None, "fingerprint", why), ids[:0]
