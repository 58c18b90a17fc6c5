"""What commands found, as tables: sharpness by checkpoint, members of pairs, examples with what is known of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsigcli.command_line import command
from opsigcli.errors import StoreError
from opsigcli.exporting.matrices import Chosen, described
from opsigcli.exporting.table import Column, Table, of_records

# Fields of a sharpness point, besides its eigenvalues and residuals, that are one value.
POINT: dict[str, str] = {
    "file": "text",
    "lr": "float",
    "converged": "bool",
    "matvecs": "int",
    "threshold": "float",
    "ratio": "float",
    "ratio_contradicted": "bool",
    "preconditioned": "float",
    "batch_sharpness": "float",
    "batch_error": "float",
    "batch_ratio": "float",
    "secant": "float",
    "concentration": "float",
    "optimizer": "text",
    "units": "text",
    "estimated": "text",
    "batch_norm": "text",
    "reason": "text",
    "partial": "bool",
}


def sharpness_table(chosen: Chosen) -> Table:
    """A row per checkpoint that was measured: its eigenvalues, largest first, the threshold and the ratio.

    Raises:
        StoreError: no sharpness was measured.
    """
    store, steps = chosen.store, chosen.store.trace.steps[chosen.rows].tolist()
    points = [point for point in store.sharpness if point.step in set(steps)]
    if not points:
        raise StoreError(
            f"expected sharpness at these checkpoints in {store.path}, found none",
            f"measure it with: {command('sharpness', store=store.path)}",
        )
    most = max(len(point.eigenvalues) for point in points)
    top = [f"eigenvalue_{number}" for number in range(1, most + 1)]
    errors = [f"residual_{number}" for number in range(1, most + 1)]
    rows = []
    for point in points:
        row: dict[str, Any] = {store.run.axis.one: point.step} | {
            name: getattr(point, name) for name in POINT
        }
        for names, values in ((top, point.eigenvalues), (errors, point.residuals)):
            row |= dict.fromkeys(names) | dict(zip(names, values, strict=False))
        rows.append(row)
    kinds = {store.run.axis.one: "int"} | dict.fromkeys([*top, *errors], "float") | POINT
    return of_records(rows, kinds)


def pairs_table(chosen: Chosen) -> Table:
    """A row per member of a group: pair (from 1), side, and who it is; then what is said of the pair.

    Raises:
        StoreError: nothing was mined.
    """
    store = chosen.store
    mining = store.mining
    if mining is None:
        raise StoreError(
            f"expected mined pairs in {store.path}, found none",
            f"find some with: {command('mine', store=store.path)}",
        )
    wanted = None if chosen.positions is None else store.trace.example_ids[chosen.positions]
    said: list[dict[str, Any]] = []
    members: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    for key, group in mining.groups.items():
        pair = mining.pairs[key.pair - 1]
        ids = group.ids if wanted is None else group.ids[np.isin(group.ids, wanted)]
        members.append(store.trace.positions(ids))
        said += [
            {
                "pair": key.pair,
                "side": key.side,
                "opposition": pair.opposition.value,
                # The one that accounts for the search, where there is one.
                "p_value": pair.evidence.get("clarity", pair.opposition).p_value,
                "finding": pair.finding,
                "strongest_step": pair.strongest_step,
                "verdict": pair.verdict,
            }
        ] * len(ids)
    first = of_records(said, {"pair": "int", "side": "text"})
    last = of_records(
        said,
        {
            "opposition": "float",
            "p_value": "float",
            "finding": "maybe",
            "strongest_step": "int",
            "verdict": "text",
        },
    )
    of = described(Chosen(store, chosen.rows, np.concatenate(members)))
    return Table(len(said), (*first.columns, *of, *last.columns))


def examples_table(chosen: Chosen) -> Table:
    """A row per example: who it is, how much it counts, its first and last loss, its groups, and what is seen in it."""
    store, rows = chosen.store, chosen.rows
    trace = store.trace
    last = range(rows.start, rows.stop, rows.step)[-1]
    columns = [*described(chosen), _numbers("measured", "bool", chosen.taken(store.measured))]
    if store.weights is not None:
        columns.append(_numbers("weight", "float", chosen.taken(store.weights)))
    for name, row in (("first_loss", rows.start), ("last_loss", last)):
        columns.append(_numbers(name, "float32", chosen.taken(store.losses_at(row))))
    if (mining := store.mining) is not None:
        of: dict[int, list[str]] = {}
        for key, group in mining.groups.items():
            for example in group.ids.tolist():
                of.setdefault(example, []).append(str(key).removeprefix("pair "))
        ids = chosen.taken(trace.example_ids)
        columns.append(
            Column("pairs", "text", lambda a, b: [";".join(of.get(i, ())) for i in ids[a:b].tolist()])
        )
    seen = store.seen
    for name, values in sorted((seen[0] if seen else {}).items()):
        kind = "float32" if values.dtype.kind == "f" else "int"
        columns.append(_numbers(f"seen_{name}", kind, chosen.taken(values)))
    return Table(chosen.count, tuple(columns))


def _numbers(name: str, kind: Any, values: NDArray[Any]) -> Column:
    return Column(name, kind, lambda start, stop: values[start:stop])
