"""Where the sharpness is, as bars: the layers' parts of the top eigenvector and the groups' parts of the sharpness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from opsigcli.printable import count, printable
from opsigcli.reporting.charts import BARS
from opsigcli.reporting.format import NOTHING, number
from opsigcli.reporting.glyphs import ROLES
from opsigcli.reporting.sharpness_lines import (
    blocks_of,
    groups_of,
    largest_point,
)
from opsigcli.sentences import percent

if TYPE_CHECKING:
    from opsigcli.records import Case
    from opsigcli.sharpness_records import LayerCurvature, SharpnessPoint

LAYERS = 16  # rows: the layers with the largest shares; the others are added up in one


@dataclass(frozen=True)
class Row:
    """One line of a table of bars."""

    name: str
    bar: str  # SVG
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Bars:
    """A table whose rows are bars, with its words."""

    key: str
    title: str  # the checkpoint is added
    words: str
    header: tuple[str, ...]  # of the name and the cells after the bar
    rows: tuple[Row, ...]


def sharpness_bars(case: Case) -> list[Bars]:
    """Every table of bars, at the checkpoint with the largest sharpness of those where it was measured."""
    found = []
    for name in BARS:
        point = largest_point(case.sharpness, groups_of if name == "groups" else blocks_of)
        bars = None if point is None else BARS.load(name)(point)
        if point is not None and bars is not None:
            found.append(replace(bars, title=f"{bars.title}, at {case.run.axis.at(point.step)}"))
    return found


def layer_bars(point: SharpnessPoint) -> Bars | None:
    """The layers' parts of the top eigenvector."""
    return _layers(point.layers) if len(point.layers) > 1 else None


def kind_bars(point: SharpnessPoint) -> Bars | None:
    """The same for all layers of a kind together, where that says something new."""
    new = 1 < len(point.kinds) < len(point.layers)
    return _layers(point.kinds, kinds=True) if new else None


def bar(value: float, against: float | None, largest: float, role: str) -> str:
    """A bar from zero, on a scale to ``largest``, with an upright line at what it is held against."""
    scale = 100 / largest if largest > 0 else 0.0
    width = max(0.0, min(100.0, value * scale))
    parts = [
        f'<rect x="0" y="3" width="{width:.2f}%" height="12" class="f-{role}" fill="{ROLES[role]}"/>',
        f'<line x1="0" x2="0" y1="0" y2="18" class="s-muted" stroke="{ROLES["muted"]}" stroke-width="1"/>',
    ]
    if against is not None:
        at = f"{max(0.0, min(100.0, against * scale)):.2f}%"
        for colour, thickness in (("paper", 5), ("ink", 2)):  # a rim, so that it is seen on the bar as well
            parts.append(
                f'<line x1="{at}" x2="{at}" y1="0" y2="18" class="s-{colour}" stroke="{ROLES[colour]}" '
                f'stroke-width="{thickness}"/>'
            )
    return f'<svg class="bar" width="100%" height="18" overflow="visible" aria-hidden="true">{"".join(parts)}</svg>'


def _layers(layers: Sequence[LayerCurvature], *, kinds: bool = False) -> Bars:
    """In the model's order, as depth is what one looks for."""
    parameters = sum(layer.parameters for layer in layers)
    largest = sorted(layers, key=lambda layer: -layer.shares[0])[:LAYERS]
    shown = [layer for layer in layers if layer in largest]
    scale = max(max(layer.shares[0], layer.parameters / parameters) for layer in shown)
    blocks = any(layer.eigenvalue is not None for layer in layers)
    rows = []
    for layer in shown:
        part = layer.parameters / parameters
        cells = [percent(layer.shares[0]), percent(part)]
        if blocks:
            mark = "" if layer.converged or layer.eigenvalue is None else " (not converged)"
            cells.append(number(layer.eigenvalue, 4) + mark)
        name = printable(layer.name) if kinds else f"{printable(layer.name)} ({layer.kind})"
        rows.append(Row(name, bar(layer.shares[0], part, scale, "sharp"), tuple(cells)))
    rest = [layer for layer in layers if layer not in shown]
    if rest:
        share, part = (
            sum(layer.shares[0] for layer in rest),
            sum(layer.parameters for layer in rest) / parameters,
        )
        cells = [percent(share), percent(part), *([NOTHING] if blocks else [])]
        name = count(len(rest), "other layer")
        rows.append(Row(name, bar(share, part, max(scale, share, part), "sharp"), tuple(cells)))
    what = "kind of layer" if kinds else "layer"
    return Bars(
        "kinds" if kinds else "layers",
        f"By {what}",
        f"How much of the top eigenvector lies in each {what} (bar), beside its part of the parameters (line)."
        + (" A block eigenvalue is the sharpness if only these weights moved." if blocks else ""),
        (what, "share", "of parameters", *(["block eigenvalue"] if blocks else [])),
        tuple(rows),
    )


def group_bars(point: SharpnessPoint) -> Bars | None:
    """The groups' parts of the sharpness, beside those of random groups of the same classes."""
    groups = point.groups
    if not groups:
        return None
    scale = max(max(group.share.value, group.share.null or 0, group.fraction) for group in groups)
    rows = tuple(
        Row(
            str(group.name),
            bar(group.share.value, group.share.null, scale, group.name.side),
            (
                percent(group.share.value),
                NOTHING if group.share.null is None else percent(group.share.null),
                percent(group.fraction),
                number(group.alignment.value, 2),
                number(group.alignment.null, 2),
            ),
        )
        for group in groups
    )
    return Bars(
        "sharp-groups",
        "By group",
        "How much of the sharpness each group's examples hold (bar), beside what as many examples of the same classes "
        "hold (line). Alignment: how much of the group's mean gradient lies in the top eigenvectors; its null is that "
        "of random groups of the same classes.",
        ("group", "share", "null", "of examples", "alignment", "null"),
        rows,
    )
