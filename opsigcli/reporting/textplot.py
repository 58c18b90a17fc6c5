"""Small plots in characters: curves in Braille dots, points, and sparklines. They fill the width they are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from opsigcli.axis import STEPS, Axis
from opsigcli.reporting.scales import Scale, tick_text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from opsigcli.records import Floats, Ints

GUTTER = 8  # characters left of the plot: a number and the axis
BRAILLE = (
    (0x01, 0x08),
    (0x02, 0x10),
    (0x04, 0x20),
    (0x40, 0x80),
)  # bit of the dot in (row, column) of a cell
BLOCKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
PLAIN = {
    "\u25cf": "*",
    "\u25cb": "o",
    "\u2504": "-",
    "\u25b2": "^",
    "\u2502": "|",
    "\u2514": "+",
    "\u2500": "-",
}


class TextPlot:
    """Curves and points over steps, as a Rich renderable.

    Args:
        x: scale of the steps.
        y: scale of the values.
        height: rows.
        title: the line above.
        axis: what the steps count.
    """

    def __init__(self, x: Scale, y: Scale, height: int, title: str, axis: Axis = STEPS) -> None:
        self.x, self.y, self.height, self.title, self.axis = x, y, height, title, axis
        self.curves: list[tuple[Ints, Floats, str]] = []
        self.marks: list[tuple[Sequence[float], Sequence[float], Sequence[str], str]] = []
        self.limits: list[tuple[Ints, Floats]] = []
        self.below: Sequence[int] = ()

    def curve(self, x: Ints, y: Floats, style: str = "") -> None:
        """A curve in Braille dots, with gaps where a value is no number."""
        self.curves.append((x, y, style))

    def points(self, x: Sequence[float], y: Sequence[float], signs: Sequence[str], style: str) -> None:
        """One sign at every finite value."""
        self.marks.append((x, y, signs, style))

    def limit(self, x: Ints, y: Floats) -> None:
        """A dashed line between known values."""
        self.limits.append((x, y))

    def steps_below(self, steps: Sequence[int]) -> None:
        """Steps marked under the axis."""
        self.below = steps

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(10, options.max_width - GUTTER - 1)
        cells: dict[tuple[int, int], tuple[str, str]] = {}
        for x, y, style in self.curves:
            cells |= _dots(x, y, self.x, self.y, width, self.height, style, plain=options.ascii_only)
        for x, y in self.limits:
            known = np.isfinite(y)
            if known.any():
                steps = [self.x.low + (self.x.high - self.x.low) * (c + 0.5) / width for c in range(width)]
                for column, height in enumerate(np.interp(steps, x[known], y[known]).tolist()):
                    cells[self._row(height), column] = ("\u2504", "magenta")
        for at, values, signs, style in self.marks:
            for step, value, sign in zip(at, values, signs, strict=True):
                if math.isfinite(value):
                    cells[self._row(value), self._column(step, width)] = (sign, style)
        yield from self._lines(cells, width, plain=options.ascii_only)

    def _row(self, value: float) -> int:
        return min(self.height - 1, int((1 - self.y(value)) * self.height))

    def _column(self, step: float, width: int) -> int:
        return min(width - 1, int(self.x(step) * width))

    def _lines(self, cells: dict[tuple[int, int], tuple[str, str]], width: int, *, plain: bool) -> list[Text]:
        def sign(character: str) -> str:
            return PLAIN.get(character, character) if plain else character

        labels = {self._row(tick): tick_text(tick) for tick in self.y.ticks(max(2, self.height // 2))}
        lines = [Text("".join(map(sign, self.title)), style="bold")]
        for row in range(self.height):
            line = Text(f"{labels.get(row, ''):>{GUTTER - 2}} {sign(chr(0x2502))}", style="dim", no_wrap=True)
            for column in range(width):
                character, style = cells.get((row, column), (" ", "not dim"))
                line.append(sign(character), style=f"not dim {style}")
            lines.append(line)
        floor = Text(
            f"{'':>{GUTTER - 1}}{sign(chr(0x2514))}{sign(chr(0x2500)) * width}", style="dim", no_wrap=True
        )
        lines.append(floor)
        low, high = f"{int(self.x.low):,}", self.axis.at(int(self.x.high))
        under = [" "] * width
        for step in self.below:
            under[self._column(step, width)] = sign("\u25b2")
        if self.below:
            lines.append(Text(" " * GUTTER + "".join(under).rstrip(), style="magenta", no_wrap=True))
        gap = max(1, width - len(low) - len(high))
        lines.append(Text(" " * GUTTER + low + " " * gap + high, style="dim", no_wrap=True))
        return lines


def _dots(
    x: Ints, y: Floats, across: Scale, up: Scale, width: int, height: int, style: str, *, plain: bool
) -> dict[tuple[int, int], tuple[str, str]]:
    """The cells of a curve: every dot column is filled from the least to the greatest value it covers."""
    columns, rows = width * 2, height * 4
    edges = np.linspace(across.low, across.high, columns + 1)
    between = np.interp(edges, x, y, left=np.nan, right=np.nan)
    inside = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, columns - 1)
    bits: dict[tuple[int, int], int] = {}
    for column in range(columns):
        values = np.concatenate([between[column : column + 2], y[inside == column]])
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        top, bottom = (min(rows - 1, int((1 - up(float(v))) * rows)) for v in (values.max(), values.min()))
        for dot in range(top, bottom + 1):
            cell = (dot // 4, column // 2)
            bits[cell] = bits.get(cell, 0) | BRAILLE[dot % 4][column % 2]
    return {cell: ("*" if plain else chr(0x2800 + value), style) for cell, value in bits.items()}


def sparkline(values: Floats, scale: Scale) -> str:
    """A row of blocks, one per value, from the scale's low end to its high end; a blank where there is no number."""
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round(scale(float(v)) * top)] if math.isfinite(v) else " " for v in values)
