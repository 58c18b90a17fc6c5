"""Virtual steps, for the terminal and the HTML report: how much of each cancels, and who moves most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.axis import STEPS, Axis
from opsigcli.printable import count, printable
from opsigcli.reporting.format import label_name, number, shorten, signed
from opsigcli.reporting.tables import head, table_of
from opsigcli.result_records import VIRTUAL
from opsigcli.token_ids import LABELLED

if TYPE_CHECKING:
    from rich.console import RenderableType

    from opsigcli.records import Case, Floats, Ints, LossTrace, VirtualSteps

ROWS = 12  # of the table in the terminal
NAMED = 3  # examples on each side there
HTML_ROWS, HTML_NAMED = 60, 10


def render_virtual(
    virtual: VirtualSteps,
    trace: LossTrace | None = None,
    classes: Sequence[str] = (),
    axis: Axis | None = None,
) -> list[RenderableType]:
    """One row for each of some checkpoints, evenly spread.

    Args:
        virtual: what the steps did.
        trace: adds the examples' labels.
        classes: class names.
        axis: what the steps count; the trace's, where there is one.
    """
    axis = axis or (trace.axis if trace else STEPS)
    table = table_of(
        (axis.one, "right"), ("mean delta", "right"), ("interference D", "right"), ("fraction up", "right"),
        ("most up (id)", ""), ("most down (id)", ""),
    )  # fmt: skip
    for t in _spread(virtual, ROWS):
        up, down = (_examples(ids[t], deltas[t], trace, classes, NAMED) for ids, deltas in _sides(virtual))
        table.add_row(
            f"{int(virtual.steps[t]):,}",
            number(float(virtual.mean[t])),
            number(float(virtual.interference[t])),
            number(float(virtual.fraction_up[t])),
            *(", ".join(" ".join(part for part in one[:2] if part) for one in side) for side in (up, down)),
        )
    return [head(f"Virtual steps: one optimizer step from each checkpoint{_otherwise(virtual)}"), table]


def _otherwise(virtual: VirtualSteps) -> str:
    """The command in brackets where it says another step than the run's own; "" where it does not."""
    return f" ({printable(virtual.name)})" if virtual.name not in ("", VIRTUAL) else ""


def virtual_view(case: Case) -> dict[str, Any] | None:
    """The same for the HTML report, with more examples; None where no steps were taken."""
    virtual = case.virtual
    if virtual is None:
        return None
    rows = [
        {
            "step": f"{int(virtual.steps[t]):,}",
            "mean": signed(float(virtual.mean[t])),
            "interference": number(float(virtual.interference[t])),
            "fraction_up": number(float(virtual.fraction_up[t])),
            "sides": [
                _examples(ids[t], deltas[t], case.trace, case.run.classes, HTML_NAMED)
                for ids, deltas in _sides(virtual)
            ],
        }
        for t in _spread(virtual, HTML_ROWS)
    ]
    made = case.provenance.get(VIRTUAL)
    how = (made.options.get("virtual") if made else None) or {}
    lacking = len(virtual.steps) - len(virtual.rows)
    return {
        "rows": rows,
        "omitted": len(virtual.rows) - len(rows),
        "lacking": f"From {count(lacking, 'checkpoint')} none was taken." if lacking else "",
        "optimizer": how.get("optimizer") or "",
        "otherwise": _otherwise(virtual),
    }


def _spread(virtual: VirtualSteps, rows: int) -> list[int]:
    taken = virtual.rows
    return [taken[at] for at in np.unique(np.linspace(0, len(taken) - 1, min(rows, len(taken))).astype(int))]


def _sides(virtual: VirtualSteps) -> tuple[tuple[Ints, Floats], tuple[Ints, Floats]]:
    return (virtual.up_ids, virtual.up_deltas), (virtual.down_ids, virtual.down_deltas)


def _examples(
    ids: Ints, deltas: Floats, trace: LossTrace | None, classes: Sequence[str], most: int
) -> list[tuple[str, str, str]]:
    """Id, label and delta of the first few examples of one side."""
    kept = ids[ids >= 0][:most]
    labels, naming = [""] * len(kept), trace.naming if trace else LABELLED
    if trace is not None and naming.label:
        of = trace.labels[trace.positions(kept)]
        labels = [shorten(printable(label_name(int(label), classes)), 14) for label in of]
    return [
        (naming.id(i), label, signed(float(delta)))
        for i, label, delta in zip(kept, labels, deltas, strict=False)
    ]
