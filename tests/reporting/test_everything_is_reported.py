"""Whatever a store holds is in the terminal's whole report, in the page and in the JSON: the schema is walked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from reporting_case import show
from store_case import write_everything

from opsigcli.commands.report import report
from opsigcli.options import ReportOptions
from opsigcli.outcome import plain
from opsigcli.progress import NoProgress
from opsigcli.records import Case
from opsigcli.reporting.html import render_html
from opsigcli.reporting.terminal import render_report
from opsigcli.store.schema import KEPT, LAYOUT

# What a reader sees of each part: words of the terminal and of the page.
SEEN: dict[str, tuple[str, ...]] = {
    "run": ("mlp",),
    "steps": ("3 checkpoints",),
    "lrs": (),
    "labels": (),
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
