"""What somebody else needs to repeat a case is said by names that have no folders of this machine."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
from reporting_case import make_case, show

from opsigcli.commands.report import summary
from opsigcli.printable import without_folders
from opsigcli.records import Provenance
from opsigcli.reporting.html import render_html
from opsigcli.reporting.repeat import commands, needed
from opsigcli.reporting.terminal import render_report


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("npz:/data/sets/d.npz?mean=0.5", "npz:d.npz?mean=0.5"),
        ("folder:~/images/train", "folder:train"),
        ("file:/home/ada/net.py:Net", "file:net.py:Net"),
        ("../runs/a", "a"),
        ("torchvision:CIFAR10?root=/data/cifar", "torchvision:CIFAR10?root=cifar"),
        ("runs/demo", "runs/demo"),
        ("mlp?hidden=3", "mlp?hidden=3"),
    ],
)
def test_a_path_of_this_machine_goes_by_its_last_name(text: str, named: str) -> None:
    assert without_folders(text) == named


def test_the_commands_name_model_and_data_and_no_folder_and_can_be_typed() -> None:
    case = make_case()
    run = replace(
        case.run, checkpoints="/data/ada/runs/demo", data="folder:/data/ada/images", model="file:/x/n.py:Net"
    )
    made = Provenance("trace", {"checkpoints": "/data/ada/runs/demo", "store": "/data/ada/s.h5"}, "0.1.0")
    case = replace(case, run=run, provenance={"trace": made})
    (line,) = commands(case)
    assert shlex.split(line) == [
        *("opsig", "trace", "demo", "--store", "s.h5"),
        *("--model", "file:n.py:Net", "--data", "folder:images", "--loss", "ce"),
    ]
    things = "\n".join(needed(case))
    assert "demo: the folder of 41 checkpoints" in things
    assert f"fingerprint {run.fingerprint[:12]}" in things
    assert "ada" not in things
    assert line in show(render_report(case), 200)
    assert (
        "ada"
        not in render_html(
            replace(case, run=replace(run, checkpoints="demo", data="d", model="m")), summary(case)
        ).split("opsig-result")[0]
    )
