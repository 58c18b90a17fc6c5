"""Where the sharpness is, in a terminal: phases of the run, layers, groups, minibatches, spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from opsigcli.printable import printable
from opsigcli.reporting.format import NOTHING, number, shorten
from opsigcli.reporting.listings import along, spectrum
from opsigcli.reporting.listings import shown as listing_shown
from opsigcli.reporting.sharpness_lines import (
    blocks_of,
    groups_of,
    largest_point,
    phase_lines,
)
from opsigcli.reporting.tables import head, table_of
from opsigcli.sentences import percent

if TYPE_CHECKING:
    from rich.console import RenderableType

    from opsigcli.mining_records import (
        Evidence,
    )
    from opsigcli.records import Case
    from opsigcli.sharpness_records import LayerCurvature, SharpnessPoint

LAYERS = 12  # rows: the layers with the largest share


def where_it_is(case: Case) -> list[RenderableType]:
    """Phases, and layers, groups and spectrum, each at the sharpest checkpoint at which it was measured."""
    shown: list[RenderableType] = []
    if case.phases:
        lines = phase_lines(case.phases, case.run.axis)
        shown += [head("Phases"), *(Text(printable(line)) for line in lines)]
    if (listing := along(case)) is not None:
        shown += listing_shown(listing)
    for has, part in ((blocks_of, _layers), (groups_of, _groups)):
        if (point := largest_point(case.sharpness, has)) is not None:
            shown += part(point, case.run.axis.at(point.step))
    if (listing := spectrum(case)) is not None:
        shown += listing_shown(listing)
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
    shown: list[RenderableType] = [head(f"Layers at {where}"), table]
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
