"""Charts as SVG text that needs no style sheet, with the few marks a report uses.

Across, positions are percentages, so that a chart fills any width and its text keeps its size; downwards they
are pixels. Curves live in a nested ``<svg>`` that stretches, with strokes that do not. Every colour stands in
a presentation attribute too, so that a chart still draws where style sheets are barred.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.reporting.scales import Scale, decimate, nice_ticks, tick_text

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

# The colours of the light page; report.css gives every role its colour again, and another one in the dark.
ROLES = {
    "ink": "#23211c",
    "muted": "#6d675c",
    "grid": "#e3ded2",
    "edge": "#cfc8b8",
    "paper": "#fffdf8",
    "first": "#b8430a",
    "second": "#1c5fae",
    "sharp": "#0d7268",
    "limit": "#86288f",
}
DASHES = {"": "", "dash": "6 3", "dot": "1.5 3.5"}
MARKS = {  # beside the disc; drawn around (0, 0), about 8 px wide
    "up": "M0,-4.6L4.6,3.6L-4.6,3.6Z",
    "down": "M0,4.6L4.6,-3.6L-4.6,-3.6Z",
    "diamond": "M0,-5L5,0L0,5L-5,0Z",
}
STRETCH = 1000  # units across the stretched part of a chart


@dataclass(frozen=True)
class Key:
    """One entry of a legend; ``column`` is the table column the read-out shows beside it."""

    swatch: str
    text: str
    column: int | None = None


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


def _units(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _stroke(role: str, width: float, dash: str = "", opacity: float = 1) -> str:
    more = f' stroke-dasharray="{DASHES[dash]}"' if dash else ""
    more += f' stroke-opacity="{opacity:g}"' if opacity < 1 else ""
    return f'class="s-{role}" fill="none" stroke="{ROLES[role]}" stroke-width="{width:g}"{more}'


def _fill(fill: str, stroke: str, width: float = 1.4) -> str:
    colours = f'fill="{ROLES[fill]}" stroke="{ROLES[stroke]}" stroke-width="{width:g}"'
    return f'class="f-{fill} s-{stroke}" {colours}'


def _glyph(shape: str, x: str, y: float, radius: float = 3.2) -> str:
    if shape == "disc":
        return f'<circle cx="{x}" cy="{_units(y)}" r="{radius:g}"/>'
    # A nested <svg> takes a percentage where a transform does not.
    return f'<svg x="{x}" y="{_units(y)}" overflow="visible"><path d="{MARKS[shape]}"/></svg>'


def mark(shape: str, role: str, x: str, y: float, *, hollow: bool = False) -> str:
    """A small shape at (x, y); hollow ones are filled with the paper's colour."""
    return f"<g {_fill('paper' if hollow else role, role)}>{_glyph(shape, x, y)}</g>"


class Chart:
    """One chart over steps. Marks are added in drawing order; ``svg`` closes it."""

    def __init__(self, x: Scale, y: Scale, height: int, *, right_ticks: float | None = None) -> None:
        self.x, self.y, self.height = x, y, height
        self.under: list[str] = []  # grid
        self.parts: list[str] = []
        for tick in y.ticks():
            at = _units(self.down(tick))
            self.under.append(f'<line x1="0" x2="100%" y1="{at}" y2="{at}" {_stroke("grid", 1)}/>')
            self.text("-8", self.down(tick) + 4, tick_text(tick), anchor="end", role="muted")
        if right_ticks:  # the same axis in units of ``right_ticks``
            for tick in filter(None, nice_ticks(y.low / right_ticks, y.high / right_ticks, 3)):
                label = tick_text(tick) + "\u00d7"
                self.text(
                    "100%", self.down(tick * right_ticks) + 4, label, anchor="start", role="limit", shift=7
                )
        for tick in x.ticks(6):
            if tick == int(tick):
                at = self.across(tick)
                self.under.append(f'<line x1="{at}" x2="{at}" y1="0" y2="{height}" {_stroke("grid", 1)}/>')
                anchor = "end" if x(tick) > 0.97 else "middle"  # never past the right border
                self.text(at, height + 15, f"{int(tick):,}", anchor=anchor, role="muted")

    def across(self, step: float) -> str:
        """The horizontal place of a step."""
        return f"{100 * self.x(step):.2f}".rstrip("0").rstrip(".") + "%"

    def down(self, value: float) -> float:
        """The vertical place of a value, in pixels from the top."""
        return self.height * (1 - self.y(value))

    def text(
        self, x: str, y: float, words: str, *, anchor: str = "middle", role: str = "ink", shift: int = 0
    ) -> None:
        """Words at a place, with a border in the paper's colour so that they read on top of curves."""
        words = escape(words.replace("-", "\u2212"))
        moved = f' dx="{shift}"' if shift else ""
        self.parts.append(
            f'<text x="{x}" y="{_units(y)}"{moved} text-anchor="{anchor}" class="f-{role} halo" fill="{ROLES[role]}" '
            f'stroke="{ROLES["paper"]}" stroke-width="3" paint-order="stroke">{words}</text>'
        )

    def curve(
        self,
        x: Floats | Ints,
        y: Floats,
        role: str,
        *,
        dash: str = "",
        width: float = 1.5,
        opacity: float = 1,
    ) -> None:
        """A curve through the values, with gaps where a value is no number, decimated when long."""
        kept = decimate(x, y)
        path, pen = [], "M"
        for step, value in zip(x[kept].tolist(), y[kept].tolist(), strict=True):
            if not math.isfinite(value):
                pen = "M"
                continue
            path.append(f"{pen}{_units(STRETCH * self.x(step))},{_units(self.down(value))}")
            pen = "L"
        if not path:
            return
        self.parts.append(
            f'<svg width="100%" height="{self.height}" viewBox="0 0 {STRETCH} {self.height}" overflow="visible" '
            f'preserveAspectRatio="none"><path {_stroke(role, width, dash, opacity)} '
            f'vector-effect="non-scaling-stroke" stroke-linejoin="round" stroke-linecap="round" '
            f'd="{"".join(path)}"/></svg>'
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
            fill = "paper" if empty else role
            marks = [
                _glyph(shape, self.across(x[i]), self.down(y[i]), radius)
                for i in kept
                if math.isfinite(y[i]) and bool(hollow is not None and hollow[i]) == empty
            ]
            if marks:
                self.parts.append(f"<g {_fill(fill, role)}>{''.join(marks)}</g>")

    def upright(self, step: float, role: str, *, dash: str = "dot", short: bool = False) -> None:
        """A vertical line at a step, or a short tick on the axis."""
        at, top = self.across(step), self.height - 7 if short else 0
        line = f'<line x1="{at}" x2="{at}" y1="{top}" y2="{self.height}" {_stroke(role, 1, "" if short else dash)}/>'
        self.under.append(line)

    def level(self, value: float, role: str, *, dash: str = "dash", width: float = 1.5) -> None:
        """A horizontal line at a value."""
        at = _units(self.down(value))
        self.parts.append(f'<line x1="0" x2="100%" y1="{at}" y2="{at}" {_stroke(role, width, dash)}/>')

    def svg(self, key: str, title: str, description: str) -> str:
        """The chart as SVG text; ``key`` makes its ids."""
        return (
            f'<svg class="chart" role="img" aria-labelledby="{key}-t {key}-d" width="100%" '
            f'height="{self.height + 20}" overflow="visible" font-family="system-ui,sans-serif" font-size="12" '
            f'data-low="{self.x.low:g}" data-high="{self.x.high:g}" data-height="{self.height}">'
            f'<title id="{key}-t">{escape(title)}</title><desc id="{key}-d">{escape(description)}</desc>'
            f"{''.join(self.under)}{''.join(self.parts)}</svg>"
        )


def swatch(role: str, *, dash: str = "", shape: str = "", hollow: bool = False, line: bool = True) -> str:
    """What a curve or a mark looks like, for a legend."""
    stroke = f'<line x1="1" x2="27" y1="7" y2="7" {_stroke(role, 2, dash)}/>' if line else ""
    glyph = mark(shape, role, "14", 7, hollow=hollow) if shape else ""
    return f'<svg class="swatch" width="28" height="14" aria-hidden="true">{stroke}{glyph}</svg>'


def dumbbell(value: float, null: float | None) -> str:
    """A value (filled) against its null (hollow): on -1 … 1 when both fit there, else from zero."""
    known = [v for v in (value, null) if v is not None and math.isfinite(v)]
    if not known:
        return ""
    inside = all(-1 <= v <= 1 for v in known)
    scale = Scale(-1, 1) if inside else Scale(min(0.0, *known), max(0.0, *known) * 1.1)
    width, height = 120, 16

    def at(v: float) -> float:
        return 6 + scale(v) * (width - 12)

    parts = [
        f'<line x1="6" x2="{width - 6}" y1="8" y2="8" {_stroke("grid", 1)}/>',
        f'<line x1="{_units(at(0))}" x2="{_units(at(0))}" y1="3" y2="13" {_stroke("muted", 1)}/>',
    ]
    if len(known) == 2:
        parts.append(
            f'<line x1="{_units(at(known[0]))}" x2="{_units(at(known[1]))}" y1="8" y2="8" {_stroke("ink", 1.5)}/>'
        )
    if null is not None and math.isfinite(null):
        parts.append(mark("disc", "ink", _units(at(null)), 8, hollow=True))
    if math.isfinite(value):
        parts.append(mark("disc", "ink", _units(at(value)), 8))
    return (
        f'<svg class="dumbbell" width="{width}" height="{height}" aria-hidden="true">{"".join(parts)}</svg>'
    )


def shares(parts: Sequence[tuple[str, float, str]], height: int = 18) -> str:
    """A bar of one whole cut into shares.

    Args:
        parts: (short label, share, role) from left to right.
        height: pixels.
    """
    total = sum(share for _, share, _ in parts if math.isfinite(share) and share > 0)
    if not total > 0:
        return ""
    bar, left = [], 0.0
    for label, share, role in parts:
        part = max(share, 0.0) / total if math.isfinite(share) else 0.0
        if part > 0:
            box = f'x="{100 * left:.2f}%" width="{100 * part:.2f}%" y="0" height="{height}"'
            bar.append(f"<rect {box} {_fill(role, 'paper', 1.5)}/>")
            if part > 0.09:
                bar.append(
                    f'<text x="{100 * (left + part / 2):.2f}%" y="{height - 5}" text-anchor="middle" '
                    f'class="f-paper" fill="{ROLES["paper"]}">{escape(label)}</text>'
                )
        left += part
    return (
        f'<svg class="shares" width="100%" height="{height}" aria-hidden="true" font-family="system-ui,sans-serif" '
        f'font-size="11">{"".join(bar)}</svg>'
    )
