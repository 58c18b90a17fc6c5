"""What is given to others names no home folder and no user; what a terminal shows is as it is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from reporting_case import make_case, show

from opsigcli.commands.report import summary
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
    assert "~/runs/demo" in render_html(case, data)
    assert "/home/ada/runs/demo" in show(render_report(case), 120)
