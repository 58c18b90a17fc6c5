"""Whatever a store holds is in the terminal's whole report, in the page and in the JSON: the schema is walked."""

from __future__ import annotations

import html
import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from reporting_case import make_case, show
from store_case import write_everything

from opsigcli.commands.report import report
from opsigcli.mining_records import Evidence, GroupKey, Mining, Pair
from opsigcli.options import ReportOptions
from opsigcli.outcome import plain
from opsigcli.progress import NoProgress
from opsigcli.records import Case
from opsigcli.reporting.html import render_html
from opsigcli.reporting.terminal import render_report
from opsigcli.sharpness_records import (
    CriticalSharpness,
    GroupCurvature,
    LayerCurvature,
    SharpnessPoint,
    StepCheck,
)
from opsigcli.store.schema import KEPT, LAYOUT

# What a reader sees of each part: words of the terminal and of the page.
SEEN: dict[str, tuple[str, ...]] = {
    "run": ("mlp",),
    "steps": ("3 checkpoints",),
    "lrs": (),  # a part of every threshold
    "labels": (),  # the classes of groups and spikes
    "losses": ("Mean loss",),
    "mining": ("Pair 1", "opposing"),
    "groups": ("2 examples",),
    "top": ("Top",),
    "causal": ("Without the mined groups", "60 updates", "the mined groups"),
    "sharpness": ("step 1", "head"),
    "phases": ("progressive sharpening",),
    "sharpness_examples": (),
    "example_curvature": (),
    "critical_sharpness": ("ritical sharpness",),
    "virtual": ("irtual",),
    "known_pairs": (),
    "probes": ("the colour skyblue",),
    "training_log": ("Training beside the trace",),
    "recorded_facts": ("dropout",),
    "look": ("Right answers and losses",),
    "failed": ("broken.pt could not be traced",),
    "provenance": (),
    KEPT: (
        "mine --method losses",
        "sharpness --precision float64",
        "sharpness --quick --precision float64",
        "trace --virtual-step --virtual-batches 2",
    ),
}
# Parts of which a report is made, or which serve other commands: no reader asks for them by themselves.
MADE_OF = {
    *(
        "run_signature",
        "files",
        "sha256",
        "example_ids",
        "example_names",
        "example_digests",
        "complete",
        "loss_deltas",
        "measured",
    ),
    *("weights", "virtual_deltas", "gradients", "seen", "thumbnails"),
}
SPECTRUM = ("Spectrum of the Hessian", "Gauss-Newton")

# Of the records in it: a value of each field that a reader is told, and what he sees of it. The others say how a number
# was computed, are judged in another field, or name a file.
POINT: dict[str, tuple[Any, str]] = {
    "step": (40, "40"), "eigenvalues": ((51.3,), "51.3"), "residuals": ((0.0321,), "0.03"),
    "converged": (False, "did not converge"),
    "threshold": (26.31, "26.3"), "ratio": (1.949, "1.95"), "reason": ("no room", "o room"),
    "preconditioned": (33.37, "33.4"),
    "estimated": ("from 3 batches", "from 3 batches"), "examples": (11, "11 random examples"),
    "subsets": ((77.8,), "77.8"), "batch_sharpness": (71.31, "71.3"), "batch_error": (0.4, "0.4"),
    "batch_ratio": (2.345, "2.3"),
    "secant": (43.21, "43.2"), "concentration": (0.7431, "74%"), "untrained": (7654, "7,654"),
    "parameters": (123457, "123,457"),
    "notes": (("as noted",), "s noted"),
    "step_check": (StepCheck("contradicted", "of another rate", 0.3), "of another rate"),
    "ratio_contradicted": (True, "1.95\u2020"),
    "layers": (tuple(LayerCurvature(name, "mlp", 8, (0.3,)) for name in ("stem", "tail", "end")), "stem"),
    "kinds": (tuple(LayerCurvature(name, "norm", 8, (0.1,)) for name in ("norms", "convs")), "norms"),
    "groups": ((GroupCurvature(GroupKey(1, "first"), 0.2, Evidence(0.613, 0.1, 0.1), Evidence(0.5), 0.1),), "61%"),
    "spectrum": (None, ""),
}  # fmt: skip
POINT_HOW = {"matvecs", "file", "lr", "partial", "batch_norm", "batches", "secant_step", "optimizer", "units", "asked",
             "tolerance", "max_matvecs", "judged", "sha256", "settings"}  # fmt: skip
MINING: dict[str, tuple[Any, str]] = {
    "notes": (("few of them",), "ew of them"),
    "recovery": ({"known": 2.0, "found": 1.0, "f1": 0.512, "precision": 0.7}, "0.512"),
    "explained": ({"class": 0.4321}, "43%"), "candidates": (24, "24"), "gradient_steps": ((8, 16), "8, 16"),
}  # fmt: skip
MINING_HOW = {
    "eigen",
    "method",
    "provenance",
    "opposing_classes",
    "pairs",
    "top",
    "spikes",
}  # the last ones by other tests
PAIR: dict[str, tuple[Any, str]] = {
    "opposition": (Evidence(0.617, 0.1, 0.01), "0.62"), "verdict": ("opposing outliers, so said", "so said"),
    "reasons": (("as they differ",), "as they differ"),
    "evidence": ({"unseen_anti_phase": Evidence(-0.777, 0.1, 0.02), "gradient_cosine": Evidence(-0.93),
                  "clarity": Evidence(1.5, 0.9, 0.05)}, "-0.93"),
}  # fmt: skip
PAIR_HOW = {"first", "second", "strongest_step", "traits", "finding"}
CRITICAL: dict[str, tuple[Any, str]] = {
    "step": (4, "4"), "critical_sharpness": (31.71, "31.7"), "threshold": (25.5, "25.5"),
    "ratio": (1.268, "1.27"),
    "error": (0.011, "1.1%"), "direction": ("next checkpoint", "next checkpoint"),
    "forward_passes": (6, "6"), "reason": ("no step", "no step"),
}  # fmt: skip
CRITICAL_HOW = {"critical_lr", "gradients", "file", "lr", "batch_norm", "examples", "sha256", "settings"}
RECORDS: tuple[tuple[type, dict[str, tuple[Any, str]], set[str]], ...] = (
    (SharpnessPoint, POINT, POINT_HOW), (Mining, MINING, MINING_HOW), (Pair, PAIR, PAIR_HOW),
    (CriticalSharpness, CRITICAL, CRITICAL_HOW),
)  # fmt: skip


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, dict[str, object]]:
    """The terminal's report, the page and the JSON of a store with everything."""
    path = tmp_path_factory.mktemp("whole") / "s.h5"
    write_everything(path)
    done = report(ReportOptions(full=True, store=path), NoProgress())
    case = done.view
    assert isinstance(case, Case)
    return show(render_report(case), 160), render_html(case, done.result), plain(done.result)


def test_the_schema_has_no_part_that_this_test_does_not_know() -> None:
    assert {path.partition("/")[0] for path in LAYOUT} == set(SEEN) | MADE_OF


@pytest.mark.parametrize("part", [*SEEN, "spectrum"])
def test_every_part_of_a_store_is_in_both_reports(
    shown: tuple[str, str, dict[str, object]], part: str
) -> None:
    terminal, page, _ = shown
    for words in SEEN.get(part, SPECTRUM):
        assert words in " ".join(terminal.split()), words
        assert words in page, words


@pytest.mark.parametrize(("record", "seen", "how"), RECORDS)
def test_a_record_has_no_field_that_this_test_does_not_know(
    record: type, seen: dict[str, Any], how: set[str]
) -> None:
    assert {field.name for field in fields(record)} == set(seen) | how


def test_every_field_that_a_reader_is_told_is_in_both_reports() -> None:
    case = make_case()
    point, first, *others = case.sharpness
    told = {name: value for name, (value, _) in POINT.items() if name not in ("converged", "preconditioned")}
    loose = replace(first, converged=False)
    pair = replace(case.mining.pairs[0], **{name: value for name, (value, _) in PAIR.items()})
    case = replace(
        case,
        sharpness=(point, loose, *others[:-1], replace(others[-1], **told)),
        mining=replace(case.mining, pairs=(pair,), **{name: value for name, (value, _) in MINING.items()}),
        critical=(
            CriticalSharpness(
                **{name: value for name, (value, _) in CRITICAL.items()}, gradients=0, critical_lr=0.1
            ),
        ),
    )
    last = case.sharpness[-1]
    adam = replace(case, sharpness=(replace(last, preconditioned=POINT["preconditioned"][0]),))
    terminal = " ".join((show(render_report(case), 300) + show(render_report(adam), 300)).split())
    page = re.sub("<[^>]*>", " ", render_html(case, {}) + render_html(adam, {}))
    page = " ".join(html.unescape(page).replace("\u2212", "-").split())
    gone = [
        (name, where)
        for _, seen, _ in RECORDS
        for name, (_, words) in seen.items()
        for where, shown in (("terminal", terminal), ("page", page))
        if words not in shown
    ]
    assert not gone, str(gone)


def test_the_json_has_the_results_that_are_kept(shown: tuple[str, str, dict[str, object]]) -> None:
    data = json.loads(json.dumps(shown[2]))
    kept = {result["name"]: result for result in data["results"] if not result["shown"]}
    assert set(kept) == set(SEEN[KEPT])
    assert kept["mine --method losses"]["mining"]["pairs"]
    assert [p["step"] for p in kept["sharpness --precision float64"]["sharpness"]] == [0, 1]
    assert kept["sharpness --quick --precision float64"]["critical"][0]["step"] == 1
    assert data["causal"][0]["arms"]
    assert data["phases"]


def test_another_result_is_shown_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    write_everything(path)
    wanted = "mine --method losses; sharpness --precision float64"
    done = report(ReportOptions(full=True, store=path, result=wanted), NoProgress())
    assert {r["name"] for r in done.result["results"] if r["shown"]} == {
        *wanted.split("; "),
        "sharpness --quick",
        "trace --virtual-step",
    }
    assert done.result["mining"]["method"] == "losses"


def test_groups_of_another_mining_are_not_shown_as_those_of_this_one(tmp_path: Path) -> None:
    from opsigcli.store.reader import open_store
    from opsigcli.store.writer import SharpnessContent, write_sharpness

    path = tmp_path / "s.h5"
    write_everything(path)
    with open_store(path) as store:
        points, made = store.sharpness, store.provenance["sharpness"]
    foreign = [
        replace(p, groups=tuple(replace(group, mining="of another") for group in p.groups)) for p in points
    ]
    write_sharpness(path, SharpnessContent(foreign, (), {}, None, made))
    with open_store(path) as store:
        assert any(point.groups for point in store.sharpness)  # they are kept
        assert not any(point.groups for point in store.case.sharpness)


def test_the_case_has_the_curvature_of_examples_where_the_sharpness_is_largest(tmp_path: Path) -> None:
    from opsigcli.store.reader import open_store

    path = tmp_path / "s.h5"
    write_everything(path)
    with open_store(path) as store:
        known, found = store.example_curvature(), store.case.curvature
        sharpness = {p.step: p.eigenvalues[0] for p in store.sharpness if p.converged}
        ids = store.subset
    assert found is not None
    assert found.step == max(set(known) & set(sharpness), key=lambda step: sharpness[step])
    assert found.ids.tolist() == list(ids if ids is not None else ())
    assert found.values.tolist() == known[found.step].tolist()
