"""What ``opsig sharpness`` found besides sharpness: phases of the run, layers, groups, minibatches, spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from opsigcli.axis import Axis
from opsigcli.printable import printable
from opsigcli.reporting.format import NOTHING, number, percent, shorten
from opsigcli.reporting.summary import largest_point, phase_lines
from opsigcli.reporting.tables import head, table_of
from opsigcli.reporting.terminal import render_sharpness

if TYPE_CHECKING:
    from rich.console import RenderableType

    from opsigcli.records import Case, Evidence
    from opsigcli.sharpness_records import LayerCurvature, SharpnessPoint

LAYERS = 12  # rows: the layers with the largest share


def render_curvature(case: Case) -> list[RenderableType]:
    """Sharpness, and where it is: at the point with the largest sharpness, and along the steps."""
    shown = render_sharpness(case.sharpness, case.run.axis)
    if case.phases:
        shown += [
            head("Phases"),
            *(Text(printable(line)) for line in phase_lines(case.phases, case.run.axis)),
        ]
    shown += _along(case.sharpness, case.run.axis)
    point = largest_point(case.sharpness)
    if point is not None:
        where = case.run.axis.at(point.step)
        shown += _layers(point, where) + _groups(point, where) + _spectrum(point, where)
    return shown


def _along(points: Sequence[SharpnessPoint], axis: Axis) -> list[RenderableType]:
    """Batch sharpness, secant curvature and concentration at every point that has them."""
    listed = [p for p in points if (p.batch_sharpness, p.secant, p.concentration) != (None, None, None)]
    if not listed:
        return []
    table = table_of(
        (axis.one, "right"), ("batch sharpness", "right"), ("ratio", "right"),
        ("secant curvature", "right"), ("held by 5 % of examples", "right"),
    )  # fmt: skip
    for p in listed:
        batch = NOTHING
        if p.batch_sharpness is not None:
            batch = f"{number(p.batch_sharpness, 3)} \u00b1 {number(p.batch_error, 1)}"
        held = NOTHING if p.concentration is None else percent(p.concentration)
        table.add_row(f"{p.step:,}", batch, number(p.batch_ratio), number(p.secant, 4), held)
    shown: list[RenderableType] = [head("Along minibatches, steps and examples"), table]
    if any(p.secant is not None for p in listed):
        said = "Secant curvature is that along the step to the next checkpoint, kinks of ReLU included."
        shown.append(Text(said, style="dim"))
    return shown


def _layers(point: SharpnessPoint, where: str) -> list[RenderableType]:
    if not point.layers:
        return []
    table = table_of(
        ("layer", "short"), ("kind", ""), ("parameters", "right"), ("share of v1", "right"),
        ("block eigenvalue", "right"),
    )  # fmt: skip
    ordered = sorted(point.layers, key=lambda layer: -layer.shares[0])
    for layer in ordered[:LAYERS]:
        name = Text(shorten(printable(layer.name), 24))
        table.add_row(name, layer.kind, f"{layer.parameters:,}", percent(layer.shares[0]), _block(layer))
    if len(point.kinds) > 1:
        table.add_section()
        for kind in point.kinds:
            share = percent(kind.shares[0])
            table.add_row(f"all {kind.name}", kind.kind, f"{kind.parameters:,}", share, _block(kind))
    shown: list[RenderableType] = [head(f"Layers at {where}, the largest sharpness"), table]
    if len(ordered) > LAYERS:
        shown.append(Text(f"The {LAYERS} largest of {len(ordered)} are shown.", style="dim"))
    return shown


def _block(layer: LayerCurvature) -> str:
    return number(layer.eigenvalue, 4) + ("" if layer.converged or layer.eigenvalue is None else " ?")


def _groups(point: SharpnessPoint, where: str) -> list[RenderableType]:
    if not point.groups:
        return []
    table = table_of(
        ("group", "short"), ("examples", "right"), ("share of sharpness", ""), ("alignment", ""),
        ("cosine with v1", "right"),
    )  # fmt: skip
    for group in point.groups:
        cosine = number(group.cosine, 2)
        table.add_row(
            str(group.name),
            percent(group.fraction),
            _with_null(group.share),
            _with_null(group.alignment),
            cosine,
        )
    said = "Null: as many examples of the same classes."
    return [head(f"Groups at {where}"), table, Text(said, style="dim")]


def _with_null(evidence: Evidence) -> Text:
    text = Text(percent(evidence.value))
    null = NOTHING if evidence.null is None else percent(evidence.null)
    return text.append(f" (null {null})", style="dim")


def _spectrum(point: SharpnessPoint, where: str) -> list[RenderableType]:
    found = point.spectrum
    if found is None:
        return []
    low, high = found.outliers_range
    lines = (
        f"{found.outliers} eigenvalues stand above the bulk, which ends at {number(found.bulk)} "
        f"({low} to {high} over {found.probes} random starts).",
        f"Trace {number(found.hessian_trace, 4)} \u00b1 {number(found.trace_error, 2)}.",
        f"Of the sharpness {number(point.eigenvalues[0], 4)}, {number(found.gauss_newton, 4)} is the Gauss-Newton "
        f"part and {number(found.remainder, 4)} the rest; Gauss-Newton alone has {number(found.gauss_newton_top, 4)}.",
    )
    return [head(f"Spectrum at {where}"), *map(Text, lines)]
