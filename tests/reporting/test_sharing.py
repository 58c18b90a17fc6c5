"""What is given to others names no home folder and no user; what a terminal shows is as it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from reporting_case import make_case, show

from opsigcli import printable
from opsigcli.commands.report import summary
from opsigcli.mining_records import Evidence
from opsigcli.printable import without_home
from opsigcli.records import Provenance
from opsigcli.reporting.html import render_html
from opsigcli.reporting.terminal import render_report


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        ("/home/ada/runs/a", "~/runs/a"),
        ("folder:/Users/ada/images?size=32", "folder:~/images?size=32"),
        ("opsig trace '/home/ada/my runs'", "opsig trace '~/my runs'"),
        ("/" + "root/runs", "~/runs"),  # the superuser's
        (r"C:\Users\ada\runs", r"~\runs"),
        ("--store=/home/ada", "--store=~"),
        ("/data/home/ada and /rooted and ./home/x", "/data/home/ada and /rooted and ./home/x"),
        ("iVBORw0KGgo/home/abcd+/A", "iVBORw0KGgo/home/abcd+/A"),  # of a picture
    ],
)
def test_home_folders_are_taken_out_where_a_path_begins(text: str, shared: str) -> None:
    assert without_home(text) == shared


def test_the_page_and_the_json_name_no_user() -> None:
    case = make_case()
    made = Provenance("trace", {"checkpoints": "/home/ada/runs/demo", "store": "/home/ada/opsig.h5"}, "0.1.0")
    run = replace(case.run, checkpoints="/home/ada/runs/demo", data="folder:/Users/ada/images")
    case = replace(case, run=run, provenance=case.provenance | {"trace": made})
    data = summary(case)
    assert "ada" not in json.dumps(data)
    assert "ada" not in render_html(case, data)
    assert "folder:images" in render_html(case, data)
    assert "~/" not in render_html(case, data)
    assert "/home/ada/runs/demo" in show(render_report(case), 120)


def test_what_lies_beside_the_store_is_named_from_there_and_a_user_by_no_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = make_case()
    run = replace(case.run, checkpoints=f"{tmp_path}/runs/demo", data="folder:/scratch/ada.l/images")
    monkeypatch.setattr(printable, "_login", lambda: "ada.l")
    data = json.dumps(summary(replace(case, run=run, store=tmp_path / "s.h5")))
    assert json.loads(data)["run"]["checkpoints"] == "runs/demo"
    assert "ada.l" not in data
    assert "/scratch/user/images" in data  # for programs, on this machine
    page = render_html(replace(case, run=run, store=tmp_path / "s.h5"), json.loads(data))
    assert "folder:images" in page
    assert "scratch" not in page


def test_evidence_in_answers_says_in_words_what_it_is() -> None:
    case = make_case()
    assert case.mining is not None
    by_brightness = Evidence(0.9, 0.6, 0.005, "members by FEATURE", "brightness")
    pairs = tuple(replace(p, evidence={"members by brightness": by_brightness}) for p in case.mining.pairs)
    data = summary(replace(case, mining=replace(case.mining, pairs=pairs)))
    for pair in data["mining"]["pairs"]:
        assert "of brightness than" in pair["evidence"]["members by brightness"]["definition"]
        assert "opposition" in pair["opposition"]["definition"] or pair["opposition"]["definition"]
    assert "FEATURE" not in json.dumps(data)
