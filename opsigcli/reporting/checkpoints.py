"""What is in a folder of checkpoints, in the terminal. Names come from files, and are never read as markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from opsigcli.reporting.summary import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

ENDS = 20  # rows at each end of a long table
REASONS = 10  # files left out that are named


def render_inspect(view: Mapping[str, Any]) -> list[RenderableType]:
    """A row per checkpoint, the sets of weights they hold, and what was left out and why.

    Args:
        view: the result of the command.
    """
    rows: Sequence[Mapping[str, Any]] = view["checkpoints"]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name, right in (("file", False), ("format", False), (view["unit"], True), ("found in", False), ("lr", True),
                        ("optimizer", False), ("dtype", False), ("parameters", True)):  # fmt: skip
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "file", overflow="fold")
    shown = rows if len(rows) <= 2 * ENDS else [*rows[:ENDS], None, *rows[-ENDS:]]
    for row in shown:
        if row is None:
            table.add_row(f"… {len(rows) - 2 * ENDS} more", *[""] * 7)
            continue
        lr = "" if row["lr"] is None else f"{row['lr']:.4g}"
        cells = (row["file"], row["format"], str(row["step"]), row["step_source"], lr, row["optimizer"] or "",
                 row["dtype"] or "", f"{row['parameters']:,}")  # fmt: skip
        table.add_row(*(Text(printable(cell)) for cell in cells))
    found: list[RenderableType] = [table, Text()]
    found.append(Text(f"{len(rows)} checkpoints in {printable(view['folder'])}, by {view['unit']}"))
    found += [Text(line) for line in _sets(rows)]
    found += [Text(line) for line in _aside(view)]
    return found


def render_plan(lines: Sequence[str]) -> list[RenderableType]:
    """What a command would do, in sentences."""
    return [Text(printable(line)) for line in lines]


def _sets(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The sets of weights in each file, where they have names; and what the files say about themselves."""
    lines: list[str] = []
    for row in rows:
        named = {key: of for key, of in row["weights"].items() if key != "(whole file)"}
        if named:
            keys = ", ".join(
                f"{printable(key)} ({of['tensors']} tensors{', a moving average' if of['average'] else ''})"
                for key, of in named.items()
            )
            lines.append(f"weights under {keys}")
        lines += [printable(note) for note in row["notes"]]
    return list(dict.fromkeys(lines))[:REASONS]


def _aside(view: Mapping[str, Any]) -> list[str]:
    lines = [
        f"cannot be read: {printable(item['file'])}: {printable(item['reason'])}" for item in view["failed"]
    ]
    lines += [
        f"left out: {printable(item['file'])}: {printable(item['reason'])}"
        + (f"; convert it: {printable(item['convert'])}" if item["convert"] else "")
        for item in view["skipped"]
    ]
    more = len(lines) - 2 * REASONS
    return lines if more <= 0 else [*lines[: 2 * REASONS], f"… {more} more left out; see --json"]
