"""The report of a case as one HTML file: no network, no plotting library, readable with scripts off.

The page allows itself only its own style sheet and script, by hash, and pictures inside the file. Whatever
comes from data (class names, paths, verdicts) goes through Jinja's escaping or ``html.escape``, and characters that are
not seen are shown as such.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from opsigcli import __version__
from opsigcli.printable import count, printable_lines, without_folders, without_home
from opsigcli.reporting.charts import CHARTS
from opsigcli.reporting.charts.bars import sharpness_bars
from opsigcli.reporting.charts.sheet import Sheet
from opsigcli.reporting.explorer import explorer
from opsigcli.reporting.findings import by_standing
from opsigcli.reporting.first_screen import no_spike
from opsigcli.reporting.format import NOTHING, score
from opsigcli.reporting.galleries import Gallery, eigen_galleries, group_gallery, top_galleries
from opsigcli.reporting.glyphs import dumbbell
from opsigcli.reporting.headline import headline
from opsigcli.reporting.listings import listings
from opsigcli.reporting.page import content_security_policy, embedded, environment_of
from opsigcli.reporting.pictures import Album, Beside
from opsigcli.reporting.repeat import commands, needed
from opsigcli.reporting.spike_rows import spike_rows
from opsigcli.reporting.spike_view import class_table, details, first_view
from opsigcli.reporting.summary import (
    definition_of,
    delta_row,
    evidence_of,
    facts,
    notes,
    origins,
    pair_members,
)
from opsigcli.reporting.training import training_view
from opsigcli.reporting.virtual import virtual_view
from opsigcli.sentences import percent

if TYPE_CHECKING:
    from opsigcli.mining_records import (
        Evidence,
        Pair,
    )
    from opsigcli.records import Case

LARGEST = 2_000_000  # bytes of a page that stands alone
BY_ID = 400  # members that are listed by id in a page with a folder
FACES = 3  # pictures of each group beside the small chart of a pair


def render_html(
    case: Case,
    result: Mapping[str, Any],
    *,
    thumbnails_per_group: int = 12,
    definitions: Mapping[str, str] | None = None,
) -> str:
    """The report of a case, one self-contained HTML document; the same case gives the same text.

    Args:
        case: what the store holds.
        result: the result object of ``opsig report --json``, put into the file for programs.
        thumbnails_per_group: examples shown of each group.
        definitions: what each name in a pair's evidence means.

    Returns:
        The document, to be written as UTF-8.

    Raises:
        ReportError: a group names an example that the loss trace does not have.
    """
    view = _view(case, thumbnails_per_group, definitions or {})
    return _filled(view, embedded(_to_give(result)), embedded(view["explorer"]["data"]))


def render_files(
    case: Case,
    result: Mapping[str, Any],
    folder: str,
    *,
    thumbnails_per_group: int = 12,
    definitions: Mapping[str, str] | None = None,
) -> tuple[str, dict[str, bytes]]:
    """The report of a case as a page, and the files of the folder beside it, of which small cases need none.

    Where the page would be larger than ``LARGEST``, or could not list all members with their curves, pictures, examples
    and curves, long lists of ids and the result are files that the page takes from the folder. They are named by their
    content, and are scripts where they are data: a page may load those from beside it without a server.

    Args:
        case: what the store holds.
        result: as of ``render_html``.
        folder: name of the folder; "" where there can be none.
        thumbnails_per_group: likewise.
        definitions: likewise.

    Raises:
        ReportError: a group names an example that the loss trace does not have.
    """
    view = _view(case, thumbnails_per_group, definitions or {})
    result = _to_give(result)
    page = _filled(view, embedded(result), embedded(view["explorer"]["data"]))
    if not folder or (view["explorer"]["whole"] and len(page.encode()) <= LARGEST):
        return page, {}
    beside = Beside(folder)
    view = _view(case, thumbnails_per_group, definitions or {}, beside)
    data = view["explorer"]["data"]
    view["beside"] = {
        "folder": folder,
        "examples": beside.put("examples", f"opsigExamples={embedded(data)}", "js"),
        "result": beside.put("result", embedded(result), "json"),
    }
    return _filled(view, "{}", embedded(data | {"examples": []})), beside.files


def _to_give(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result without the folders of this machine in what names model, data and checkpoints."""
    run = {
        name: without_folders(value) if isinstance(value, str) else value
        for name, value in result.get("run", {}).items()
    }
    return {**result, **({"run": run} if run else {})}


def _filled(view: Mapping[str, Any], data: str, examples: str) -> str:
    """The page of a view, with the result and the examples that are put into it."""
    environment = environment_of()
    assert environment.loader is not None
    css, *scripts = (
        environment.loader.get_source(environment, name)[0]
        for name in ("report.css", "report.js", "explorer.js")
    )
    js = re.sub(r"(?m)^ +|^//.*\n", "", "".join(scripts)).replace(" => ", "=>")
    js = re.sub(r"(?<=[;{,(])\n", "", js)
    page = environment.get_template("report.html.jinja").render(
        css=css,
        js=js,
        csp=content_security_policy(css, js, beside=view["beside"] is not None),
        data=data,
        examples=examples,
        version=__version__,
        **view,
    )
    return without_home(printable_lines(page))  # a file name may hold what is no text


def _view(
    case: Case, per_group: int, definitions: Mapping[str, str], beside: Beside | None = None
) -> dict[str, Any]:
    """All that the template shows, as words and finished charts."""
    album = Album(case.thumbnails, beside)
    mining = case.mining
    sheet = Sheet(case)
    figures = [figure for name in CHARTS for figure in CHARTS.load(name)(sheet)]
    pairs = list(enumerate(mining.pairs if mining else (), start=1))
    named: dict[str, Evidence] = {}
    for name, entry in (item for _, pair in pairs for item in evidence_of(pair).items()):
        named.setdefault(name, entry)
    standings = [
        (
            standing,
            [
                _pair(case, pair, i, album, per_group, definitions, beside)
                | {"figures": [figure for figure in figures if figure.pair == i]}
                for i, pair in some
            ],
        )
        for standing, some in (by_standing(mining).items() if mining else ())
    ]
    tops, first = top_galleries(case, album), first_view(case, album)
    low, high = sheet.window
    return {
        "title": PurePath(case.run.checkpoints).name or case.run.checkpoints,
        "headline": headline(case),
        "no_spike": no_spike(case.trace, case.largest_rise),
        "facts": [(name, without_folders(value)) for name, value in facts(case)],
        "first": first,
        "loss_figures": [figure for figure in figures if figure.key == "loss"],
        "multiples": [
            (figure, pair)
            for _, some in standings
            for pair in some
            for figure in figures
            if figure.key == f"groups{pair['index']}"
        ],
        "faces": FACES,
        "figures": [
            figure
            for figure in figures
            if figure.pair is None and not figure.section and figure.key != "loss"
        ],
        "spectra": [figure for figure in figures if figure.section == "spectrum"],
        "sharpness_bars": sharpness_bars(case),
        "listings": listings(case),
        "standings": standings,
        "mining": mining,
        "pairs": pairs,
        "spikes": spike_rows(case),
        "spike_classes": class_table(case),
        "spike_details": details(case),
        "tops": tops,
        "eigen": eigen_galleries(case, album),
        "explorer": explorer(case, sheet, album, beside),
        "beside": None,
        "checkpoints": len(case.trace.steps),
        "window": "" if (low, high) == (sheet.trace.steps[0], sheet.trace.steps[-1]) else f"{low},{high}",
        "virtual": virtual_view(case),
        "training": training_view(case),
        "top_steps": len(mining.top) if mining else 0,
        "notes": notes(case),
        "definitions": [
            (name, _anchor(name), text)
            for name, entry in named.items()
            if (text := definition_of(name, entry, definitions))
        ],
        "provenance": origins(case),
        "needed": needed(case),
        "commands": commands(case),
        "axis": case.run.axis,
        "unit": case.run.loss_unit,
        "naming": case.trace.naming,
        "transform": case.run.transform,
        "fingerprint": case.run.fingerprint,
    }


def _pair(
    case: Case,
    pair: Pair,
    index: int,
    album: Album,
    per_group: int,
    definitions: Mapping[str, str],
    beside: Beside | None = None,
) -> dict[str, Any]:
    row = delta_row(case.trace, pair.strongest_step)
    return {
        "index": index,
        "verdict": pair.verdict,
        "reasons": pair.reasons,
        "members": count(pair_members(pair), "example"),
        "fraction": percent(pair_members(pair) / len(case.trace.example_ids)),
        "between": _between(case, row) or case.run.axis.at(pair.strongest_step),
        "evidence": [_evidence(name, entry, definitions) for name, entry in evidence_of(pair).items()],
        "means": album.means(index),
        "galleries": [
            _listed(group_gallery(case, group, side, row, album, per_group), index, beside)
            for side, group in pair.groups.items()
        ],
    }


def _listed(gallery: Gallery, index: int, beside: Beside | None) -> Gallery:
    """A gallery whose other members, where they are many, are a file of ids."""
    if beside is None or len(gallery.others) <= BY_ID:
        return gallery
    address = beside.put(f"pair-{index}-{gallery.role}", "\n".join(["example", *gallery.others, ""]), "csv")
    return replace(gallery, others=(), omitted=len(gallery.others), file=address)


def _between(case: Case, row: int | None) -> str:
    if row is None:
        return ""
    return case.run.axis.between(int(case.trace.steps[row]), int(case.trace.steps[row + 1]))


def _evidence(name: str, entry: Evidence, definitions: Mapping[str, str]) -> dict[str, str]:
    return {
        "key": _anchor(name),
        "name": name.replace("_", " "),
        "definition": definition_of(name, entry, definitions),
        "value": score(entry.value),
        "null": score(entry.null),
        "p": NOTHING if entry.p_value is None else f"{entry.p_value:.2g}",
        "picture": dumbbell(entry.value, entry.null),
    }


def _anchor(name: str) -> str:
    """The name of evidence as the name of a place in the page."""
    return re.sub(r"[^\w]+", "-", name)
