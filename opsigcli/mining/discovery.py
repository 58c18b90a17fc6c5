"""Which of the pairs of a run are findings: those that pass a false discovery rate, and stand apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining.verdict import OUTLIERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from opsigcli.mining_records import (
        Pair,
    )
    from opsigcli.records import Floats


def discoveries(p_values: Floats, rate: float) -> NDArray[np.bool_]:
    """Benjamini-Hochberg: the hypotheses with the k smallest p-values, k the largest with ``p_(k) ≤ rate k / m``.

    Args:
        p_values: (m,).
        rate: share of false ones among those rejected that is accepted, in expectation.

    Returns:
        (m,) True where the hypothesis is rejected.

    Reference:
        Benjamini & Hochberg 1995, Controlling the false discovery rate, section 3.
    """
    m = len(p_values)
    ranked = np.sort(p_values)
    passed = np.flatnonzero(ranked <= rate * np.arange(1, m + 1) / m)
    if not len(passed):
        return np.zeros(m, dtype=bool)
    return np.asarray(p_values <= ranked[passed[-1]])


def findings(pairs: Sequence[Pair], rate: float) -> list[bool | None]:
    """Whether each pair of a run is a finding; None where no p-value accounts for the search.

    A finding is called opposing outliers, and its clarity passes the false discovery rate over all pairs called so: the
    surrogates of its null keep class means and covariances, and the verdict leaves out what one smooth axis makes. The
    p-values are adjusted for the search already (the null is that of the clearest pair), so that they hold for
    any pairs that are picked to be tested.

    Args:
        pairs: all pairs that were proposed.
        rate: as in ``discoveries``.
    """
    clear = [pair.evidence["clarity"].p_value if "clarity" in pair.evidence else None for pair in pairs]
    tested = [p for p in clear if p is not None]
    if len(tested) < len(clear):
        return [None] * len(clear)
    apart = np.array([pair.verdict == OUTLIERS for pair in pairs], dtype=bool)
    found = np.zeros(len(pairs), dtype=bool)
    found[apart] = discoveries(np.array(tested)[apart], rate)
    return [bool(good) for good in found]
