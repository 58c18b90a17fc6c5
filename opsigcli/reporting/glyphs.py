"""Small marks as SVG text, with the colours and dashes that all charts draw with; none needs a style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from opsigcli.reporting.scales import Scale

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
DASHES = {"": "", "dash": "6 3", "dot": "1.5 3.5", "fine": "1 2"}
MARKS = {  # beside the disc; drawn around (0, 0), about 8 px wide
    "up": "M0,-4.6L4.6,3.6L-4.6,3.6Z",
    "down": "M0,4.6L4.6,-3.6L-4.6,-3.6Z",
    "diamond": "M0,-5L5,0L0,5L-5,0Z",
}


def units(value: float) -> str:
    """A length to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def stroke(role: str, width: float, dash: str = "", opacity: float = 1) -> str:
    """Attributes of a line in a role's colour."""
    more = f' stroke-dasharray="{DASHES[dash]}"' if dash else ""
    more += f' stroke-opacity="{opacity:g}"' if opacity < 1 else ""
    return f'class="s-{role}" fill="none" stroke="{ROLES[role]}" stroke-width="{width:g}"{more}'


def fill(inside: str, rim: str, width: float = 1.4) -> str:
    """Attributes of a shape in two roles' colours."""
    colours = f'fill="{ROLES[inside]}" stroke="{ROLES[rim]}" stroke-width="{width:g}"'
    return f'class="f-{inside} s-{rim}" {colours}'


def glyph(shape: str, x: str, y: float, radius: float = 3.2) -> str:
    """A shape without its colours."""
    if shape == "disc":
        return f'<circle cx="{x}" cy="{units(y)}" r="{radius:g}"/>'
    # A nested <svg> takes a percentage where a transform does not.
    return f'<svg x="{x}" y="{units(y)}" overflow="visible"><path d="{MARKS[shape]}"/></svg>'


def mark(shape: str, role: str, x: str, y: float, *, hollow: bool = False) -> str:
    """A small shape at (x, y); hollow ones are filled with the paper's colour."""
    return f"<g {fill('paper' if hollow else role, role)}>{glyph(shape, x, y)}</g>"


def ramp(role: str, shades: Sequence[float]) -> str:
    """Squares in a role's colour, of some opacities, for a legend."""
    squares = "".join(
        f'<rect x="{16 * i}" width="14" height="14" class="f-{role}" fill="{ROLES[role]}" fill-opacity="{shade:g}"/>'
        for i, shade in enumerate(shades)
    )
    return (
        f'<svg class="swatch" width="{16 * len(shades) - 2}" height="14" aria-hidden="true">{squares}</svg>'
    )


def swatch(role: str, *, dash: str = "", shape: str = "", hollow: bool = False, line: bool = True) -> str:
    """What a curve or a mark looks like, for a legend."""
    across = f'<line x1="1" x2="27" y1="7" y2="7" {stroke(role, 2, dash)}/>' if line else ""
    middle = mark(shape, role, "14", 7, hollow=hollow) if shape else ""
    return f'<svg class="swatch" width="28" height="14" aria-hidden="true">{across}{middle}</svg>'


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
        f'<line x1="6" x2="{width - 6}" y1="8" y2="8" {stroke("grid", 1)}/>',
        f'<line x1="{units(at(0))}" x2="{units(at(0))}" y1="3" y2="13" {stroke("muted", 1)}/>',
    ]
    if len(known) == 2:
        parts.append(
            f'<line x1="{units(at(known[0]))}" x2="{units(at(known[1]))}" y1="8" y2="8" {stroke("ink", 1.5)}/>'
        )
    if null is not None and math.isfinite(null):
        parts.append(mark("disc", "ink", units(at(null)), 8, hollow=True))
    if math.isfinite(value):
        parts.append(mark("disc", "ink", units(at(value)), 8))
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
            bar.append(f"<rect {box} {fill(role, 'paper', 1.5)}/>")
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
