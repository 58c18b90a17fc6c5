"""Which groups gain and which lose from where several runs are the same: forks of one checkpoint, or one beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.comparison_records import Gain, Gains

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from opsigcli.records import Case, Floats, Ints

ALIKE = 1e-3  # nats, and share of a loss, by which the losses of the same weights may differ between devices
CLASSES = 10  # that are told of: those whose changes differ most between the runs
PAIRS = 3  # of each run


def gains(cases: Sequence[Case], letters: str, ids: Ints) -> Gains | None:
    """How far the mean loss of every group went in every run, from the step at which the runs are still the same.

    ``mean_{t ∈ W} ℓ_A(t) − ℓ_A(t₀)``: t₀ is the last shared step up to which all runs have the same losses, W the
    second half of the shared steps after it (a single step would be one side of a swing), ℓ_A the mean loss of a group.

    Args:
        cases: of the runs.
        letters: one for each.
        ids: of the examples that all runs share, increasing.

    Returns:
        The numbers; None where the runs are nowhere the same, or share no step after that.
    """
    traces = [case.trace for case in cases]
    steps = sorted(set.intersection(*(set(trace.steps.tolist()) for trace in traces)))
    alike = all(len({getattr(case.run, name) for case in cases}) == 1 for name in ("unit", "loss"))
    if not alike or not len(ids) or not steps:
        return None
    rows = [np.flatnonzero(np.isin(trace.steps, steps)) for trace in traces]
    places = [trace.positions(ids) for trace in traces]

    def losses(at: int) -> list[Floats]:  # of every run at a shared step, (M,) each
        return [
            np.asarray(trace.losses[row[at]], dtype=np.float64)[place]
            for trace, row, place in zip(traces, rows, places, strict=True)
        ]

    begin = -1
    while begin + 1 < len(steps) and _same(losses(begin + 1)):
        begin += 1
    if begin < 0 or begin + 1 == len(steps):
        return None
    first = begin + 1 + (len(steps) - begin - 1) // 2
    window = np.mean([losses(at) for at in range(first, len(steps))], axis=0)  # (R, M)
    changes = window - losses(begin)
    known = np.isfinite(changes).all(axis=0)
    sets = [("all examples", known), *_classes(cases[0], ids, changes, known)]
    for case, letter in zip(cases, letters, strict=True):
        mined = case.mining.pairs[:PAIRS] if case.mining else ()
        sets += [
            (f"{letter} pair {number}, {side} group", known & np.isin(ids, group.ids))
            for number, pair in enumerate(mined, start=1)
            for side, group in zip(("first", "second"), pair.groups.values(), strict=True)
        ]
    found = tuple(
        Gain(name, int(inside.sum()), tuple(changes[:, inside].mean(axis=1).tolist()))
        for name, inside in sets
        if inside.any()
    )
    return Gains(steps[begin], steps[first], steps[-1], found) if found else None


def _same(losses: list[Floats]) -> bool:
    """Whether all runs have the same losses."""
    return all(np.allclose(losses[0], each, rtol=ALIKE, atol=ALIKE, equal_nan=True) for each in losses[1:])


def _classes(
    case: Case, ids: Ints, changes: Floats, known: NDArray[np.bool_]
) -> list[tuple[str, NDArray[np.bool_]]]:
    """The classes whose mean changes differ most between the runs, by the name of each."""
    labels = case.trace.labels[case.trace.positions(ids)]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        return []
    values = np.unique(labels[known & (labels >= 0)])
    if len(values) > len(ids) // 2:  # no classes, as of tokens
        return []
    spread = [float(np.ptp(changes[:, known & (labels == value)].mean(axis=1))) for value in values]
    most = values[np.sort(np.argsort(spread, kind="stable")[::-1][:CLASSES])]
    names = case.run.classes
    return [(names[v] if v < len(names) else f"class {v}", known & (labels == v)) for v in most.tolist()]
