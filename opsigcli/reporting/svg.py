"""Charts as SVG text that needs no style sheet, with the few marks a report uses.

Across, positions are percentages, so that a chart fills any width and its text keeps its size; downwards they
are pixels. Curves live in a nested ``<svg>`` that stretches, with strokes that do not. Every colour stands in
a presentation attribute too, so that a chart still draws where style sheets are barred. The page's script zooms by
these same positions: it needs nothing but what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.reporting.glyphs import ROLES, fill, glyph, stroke, units
from opsigcli.reporting.scales import Scale, decimate, nice_ticks, tick_text

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

STRETCH = 1000  # units across the stretched part of a chart
DENSE = 100  # checkpoints from which curves are thin
FAR = 150  # bins of a curve that is not looked at closely
SWINGING = 0.3  # of a curve's movement that turns back at once: drawn as its even and its odd checkpoints


@dataclass(frozen=True)
class Key:
    """One entry of a legend; ``column`` is the table column the read-out shows beside it."""

    swatch: str
    text: str
    column: int | None = None
    series: str = ""  # what of the chart it shows and hides


@dataclass(frozen=True)
class Figure:
    """A chart with its words and its table."""

    key: str
    title: str
    svg: str
    legend: tuple[Key, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    table_note: str = ""
    log: bool = False  # the value axis is logarithmic
    pair: int | None = None  # whose section it stands in (from 1); None = it is of the whole run
    section: str = (
        ""  # "groups" for a small multiple, "where" or "spectrum"; "" = along the run, one above another
    )


def swings(values: Floats) -> bool:
    """Whether a dense curve goes to and fro at every checkpoint, so that drawn as it is it would be a solid band."""
    change = np.nan_to_num(np.diff(np.asarray(values, dtype=np.float64)), posinf=0, neginf=0)
    if len(change) < DENSE:
        return False
    turned = np.minimum(np.abs(change[1:]), np.abs(change[:-1])) * (change[1:] * change[:-1] < 0)
    often = (
        np.count_nonzero(turned > SWINGING * turned.max(initial=0) / 10) >= DENSE / 4
    )  # not a few spikes alone
    return bool(often and turned.sum() > SWINGING * np.abs(change).sum())


class Chart:
    """One chart. Marks are added in drawing order; ``svg`` closes it.

    Args:
        x: what is across; steps unless ``steps`` is False.
        y: what is upwards; it has no ticks where ``values`` is False.
        height: pixels, without the words below.
        right_ticks: a value in units of which there is an axis on the right.
    """

    def __init__(
        self,
        x: Scale,
        y: Scale,
        height: int,
        *,
        right_ticks: float | None = None,
        steps: bool = True,
        values: bool = True,
    ) -> None:
        self.x, self.y, self.height, self.right_ticks, self.steps = x, y, height, right_ticks, steps
        self.axes: list[str] = []
        self.under: list[str] = []  # grid
        self.parts: list[str] = []
        for tick in y.ticks() if values else ():
            at = units(self.down(tick))
            self.axes.append(f'<line x1="0" x2="100%" y1="{at}" y2="{at}" {stroke("grid", 1)}/>')
            self.label("-8", self.down(tick) + 4, tick_text(tick), "end")
        if right_ticks:  # the same axis in units of ``right_ticks``
            for tick in filter(None, nice_ticks(y.low / right_ticks, y.high / right_ticks, 3)):
                words = tick_text(tick) + "\u00d7"
                self.label("100%", self.down(tick * right_ticks) + 4, words, "start", role="limit", shift=7)
        for tick in x.ticks(6):
            if tick == int(tick) or not steps:
                at = self.across(tick)
                self.axes.append(f'<line x1="{at}" x2="{at}" y1="0" y2="{height}" {stroke("grid", 1)}/>')
                anchor = "end" if x(tick) > 0.97 else "middle"  # never past the right border
                self.label(at, height + 15, f"{int(tick):,}" if steps else tick_text(tick), anchor)

    def across(self, value: float) -> str:
        """The horizontal place of a step."""
        return f"{100 * self.x(value):.2f}".rstrip("0").rstrip(".") + "%"

    def down(self, value: float) -> float:
        """The vertical place of a value, in pixels from the top."""
        return self.height * (1 - self.y(value))

    @contextmanager
    def series(self, name: str) -> Iterator[None]:
        """What is drawn within is shown and hidden together."""
        before, self.parts = self.parts, []
        try:
            yield
        finally:
            self.parts = [*before, f'<g data-series="{name}">{"".join(self.parts)}</g>']

    def label(
        self, x: str, y: float, words: str, anchor: str, *, role: str = "muted", shift: int = 0
    ) -> None:
        """Words on an axis."""
        self.axes.append(_text(x, y, words, anchor, role, shift))

    def text(
        self,
        x: str,
        y: float,
        words: str,
        *,
        anchor: str = "middle",
        role: str = "ink",
        shift: int = 0,
        rise: int = 0,
    ) -> None:
        """Words at a place, or above it, with a border in the paper's colour so that they read on top of curves."""
        self.parts.append(_text(x, y, words, anchor, role, shift, rise))

    def curve(
        self,
        x: Floats | Ints,
        y: Floats,
        role: str,
        *,
        dash: str = "",
        width: float = 1.5,
        opacity: float = 1,
        bins: int = 500,
    ) -> None:
        """A curve through the values, with gaps where a value is no number, decimated when long.

        One that swings at every checkpoint is drawn as its even and its odd checkpoints, and what lies between them;
        the page's script shows the curve itself where it zooms in.
        """
        if not (path := self._path(x, y, bins)):
            return
        line = 'vector-effect="non-scaling-stroke" stroke-linejoin="round" stroke-linecap="round"'
        drawn = f'<path {stroke(role, width, dash, opacity)} {line} d="{path}"/>'
        if swings(y):
            even, odd = (self._path(x[k::2], y[k::2], min(FAR, bins // 3)) for k in (0, 1))
            if np.isfinite(y).all():
                around = f"{even}L{'L'.join(odd[1:].split('L')[::-1])}Z"
                area = f'<path class="f-{role}" fill="{ROLES[role]}" fill-opacity="0.16" d="{around}"/>'
            else:
                area = ""
            edges = f'<path {stroke(role, 1.3, dash)} {line} d="{even}"/>'
            edges += f'<path {stroke(role, 1.1, "fine")} {line} d="{odd}"/>'
            drawn = f'<g class="far">{area}{edges}</g><g class="near" display="none">{drawn}</g>'
        self.stretched(drawn)

    def _path(self, x: Floats | Ints, y: Floats, bins: int) -> str:
        kept = decimate(x, y, bins)
        path, pen = [], "M"
        for step, value in zip(x[kept].tolist(), y[kept].tolist(), strict=True):
            if not math.isfinite(value):
                pen = "M"
                continue
            path.append(f"{pen}{units(STRETCH * self.x(step))},{_fine(self.down(value))}")
            pen = "L"
        return "".join(path)

    def stretched(self, content: str) -> None:
        """Content in units of which 1000 are the width; downwards they are pixels."""
        self.parts.append(
            f'<svg class="plane" width="100%" height="{self.height}" viewBox="0 0 {STRETCH} {self.height}" '
            f'overflow="visible" preserveAspectRatio="none">{content}</svg>'
        )

    def points(
        self,
        x: Sequence[float],
        y: Sequence[float],
        role: str,
        shape: str,
        hollow: Sequence[bool] | None = None,
    ) -> None:
        """A mark at every finite value; hollow ones where ``hollow`` says so."""
        radius = 3.2 if len(x) <= 150 else 1.9
        kept = decimate(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        for empty in (False, True):
            inside = "paper" if empty else role
            marks = [
                glyph(shape, self.across(x[i]), self.down(y[i]), radius)
                for i in kept
                if math.isfinite(y[i]) and bool(hollow is not None and hollow[i]) == empty
            ]
            if marks:
                self.parts.append(f"<g {fill(inside, role)}>{''.join(marks)}</g>")

    def bars(self, edges: Floats, tops: Floats, role: str, part: tuple[float, float] = (0, 1)) -> None:
        """A bar in each bin, from the bottom, over a part of the bin's width."""
        left, right = edges[:-1], edges[1:]
        for low, high, top in zip(left, right, tops.tolist(), strict=True):
            at, to = (self.x(float(low + share * (high - low))) for share in part)
            if math.isfinite(top) and self.y(top) > 0:
                box = f'x="{100 * at:.2f}%" width="{100 * (to - at):.2f}%" y="{units(self.down(top))}"'
                high_as = units(self.height - self.down(top))
                self.parts.append(f'<rect {box} height="{high_as}" class="f-{role}" fill="{ROLES[role]}"/>')

    def upright(
        self, step: float, role: str, *, dash: str = "dot", short: bool = False, series: str = ""
    ) -> None:
        """A vertical line at a step, or a short tick on the axis."""
        at, top = self.across(step), self.height - 7 if short else 0
        drawn = stroke(role, 1, "" if short else dash) + (f' data-series="{series}"' if series else "")
        self.under.append(f'<line x1="{at}" x2="{at}" y1="{top}" y2="{self.height}" {drawn}/>')

    def level(self, value: float, role: str, *, dash: str = "dash", width: float = 1.5) -> None:
        """A horizontal line at a value."""
        at = units(self.down(value))
        self.parts.append(f'<line x1="0" x2="100%" y1="{at}" y2="{at}" {stroke(role, width, dash)}/>')

    def svg(self, key: str, title: str, description: str, *, zoom: str = "both") -> str:
        """The chart as SVG text; ``key`` makes its ids.

        Args:
            key: of the figure.
            title: what is drawn.
            description: in words.
            zoom: both axes zoom, or only the steps ("steps"), or none ("").
        """
        places = f'data-low="{self.x.low:g}" data-high="{self.x.high:g}" data-height="{self.height}"'
        values = (
            f'data-bottom="{self.y.low:.12g}" data-top="{self.y.high:.12g}"' + ' data-log=""' * self.y.log
        )
        values += f' data-right="{self.right_ticks:.12g}"' if self.right_ticks else ""
        kind = f' data-steps="{zoom}"' if self.steps else ""
        return (
            f'<svg class="chart" role="img" aria-labelledby="{key}-t {key}-d" width="100%" '
            f'height="{self.height + 20}" overflow="visible" font-family="system-ui,sans-serif" font-size="12" '
            f"{places} {values}{kind}>"
            f'<title id="{key}-t">{escape(title)}</title><desc id="{key}-d">{escape(description)}</desc>'
            f'<g class="axes">{"".join(self.axes)}</g>{"".join(self.under)}{"".join(self.parts)}</svg>'
        )


def _fine(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _text(x: str, y: float, words: str, anchor: str, role: str, shift: int, rise: int = 0) -> str:
    moved = (f' dx="{shift}"' if shift else "") + (f' dy="-{rise}"' if rise else "")
    words = escape(words.replace("-", "\u2212"))
    return (
        f'<text x="{x}" y="{units(y)}"{moved} text-anchor="{anchor}" class="f-{role} halo" fill="{ROLES[role]}" '
        f'stroke="{ROLES["paper"]}" stroke-width="3" paint-order="stroke">{words}</text>'
    )
