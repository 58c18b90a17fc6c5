"""What is in a folder of checkpoints, in the terminal. Names come from files, and are never read as markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from opsigcli.printable import count, printable
from opsigcli.reporting.format import NOTHING
from opsigcli.reporting.tables import head
from opsigcli.reporting.training import render_facts

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult


REASONS = 10  # files left out that are named
Row = Mapping[str, Any]
ALIKE = {
    "format": "{}",
    "dtype": "{}",
    "parameters": "{} parameters",
    "optimizer": "{}",
    "lr": "lr {}",
    "found in": "{unit} from {}",
}  # how a column is said of every checkpoint
NAME = 16  # characters that a name keeps at least


def render_inspect(view: Mapping[str, Any]) -> list[RenderableType]:
    """A row per checkpoint, the sets of weights they hold, and what was left out and why.

    Args:
        view: the result of the command.
    """
    rows: Sequence[Row] = view["checkpoints"]
    unit = view["unit"]
    columns = {
        unit: [str(row["step"]) for row in rows],
        "found in": [row["step_source"] for row in rows],
        "lr": [NOTHING if row["lr"] is None else f"{row['lr']:.4g}" for row in rows],
        "optimizer": [row["optimizer"] or NOTHING for row in rows],
        "format": [row["format"] for row in rows],
        "dtype": [row["dtype"] or NOTHING for row in rows],
        "parameters": [f"{row['parameters']:,}" for row in rows],
    }
    if rows[0]["step_source"] == unit:  # counted here, found nowhere
        del columns["found in"]
    # What all rows say is said once, so that a row fits one line.
    same = {
        name: cells[0] for name, cells in columns.items() if name != unit and len({*cells}) == 1 < len(rows)
    }
    found: list[RenderableType] = [
        Text(f"{count(len(rows), 'checkpoint')} in {printable(view['folder'])}, by {unit}")
    ]
    alike = [
        phrase.format(same[name], unit=unit)
        for name, phrase in ALIKE.items()
        if same.get(name, NOTHING) != NOTHING
    ]
    if alike:
        found.append(Text(printable(f"all: {', '.join(alike)}")))
    differing = {name: cells for name, cells in columns.items() if name not in same}
    found += [Text(), _Rows([row["file"] for row in rows], differing)]
    if aside := [*_sets(rows), *_aside(view)]:
        found += [Text(), *map(Text, aside)]
    if facts := view["recorded_facts"]:
        found += [head("What training did that a trace does not"), *render_facts(facts)]
    return found


def render_plan(lines: Sequence[str]) -> list[RenderableType]:
    """What a command would do, in sentences."""
    return [Text(printable(line)) for line in lines]


class _Rows:
    """A line per checkpoint: its name, cut at the front to fit the terminal, and its other columns, right-aligned."""

    def __init__(self, names: Sequence[str], columns: Mapping[str, Sequence[str]]) -> None:
        self.names = [printable(name) for name in names]
        self.columns = {name: [printable(cell) for cell in cells] for name, cells in columns.items()}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        others = sum(max(map(len, [name, *cells])) + 2 for name, cells in self.columns.items())
        width = max(NAME, options.max_width - others)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        # Where even that is too wide, the name goes before the other columns.
        table.add_column("file", no_wrap=True, min_width=min(width, max(map(len, self.names))))
        for name in self.columns:
            table.add_column(name, justify="right", no_wrap=True)
        for name, *cells in zip(self.names, *self.columns.values(), strict=True):
            table.add_row(*map(Text, (name if len(name) <= width else f"…{name[1 - width :]}", *cells)))
        yield table


def _sets(rows: Sequence[Row]) -> list[str]:
    """The sets of weights in each file, where they have names; and what the files say about themselves."""
    lines: list[str] = []
    for row in rows:
        named = {key: of for key, of in row["weights"].items() if key != "(whole file)"}
        if named:
            keys = ", ".join(
                f"{printable(key)} ({count(of['tensors'], 'tensor')}{', a moving average' if of['average'] else ''})"
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
