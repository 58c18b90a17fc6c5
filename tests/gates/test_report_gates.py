"""``opsig report`` with gates, as a pipeline runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
from conftest import Opsig


@pytest.fixture
def here(case: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished case, in the folder where opsig runs."""
    monkeypatch.chdir(case)
    return case


def test_a_gate_trips_by_the_ratio_that_sharpness_measured(opsig: Opsig, here: Path) -> None:
    points = opsig("sharpness", "--every", 20, "--json").json["result"]["points"]
    peak = max(point["ratio"] for point in points)
    for bound, code in ((peak * 1.001, 0), (peak * 0.999, 1), (peak, 0)):
        assert opsig("report", "--fail-on", f"sharpness.ratio.max > {bound!r}").code == code
        assert opsig("report", "--require", f"sharpness.ratio.max <= {bound!r}").code == code
    result = opsig("report", "--fail-on", "sharpness.ratio.max > 0", "--json")
    assert result.code == 1
    assert result.json["result"]["gates"][0]["value"] == peak
    assert "gate tripped: --fail-on 'sharpness.ratio.max > 0': sharpness.ratio.max is " in result.err


def test_the_last_loss_is_the_mean_of_what_h5py_reads(opsig: Opsig, here: Path) -> None:
    with h5py.File(here / "opsig.h5") as file:
        losses = file["losses"][()].astype(np.float64)
    metrics = opsig("report", "--json").json["result"]["metrics"]
    assert metrics["loss.last"]["value"] == pytest.approx(losses[-1].mean(), rel=1e-12)
    assert metrics["loss.max"]["value"] == pytest.approx(losses.mean(axis=1).max(), rel=1e-12)
    assert metrics["trace.failed"]["value"] == 0


def test_a_baseline_is_an_older_report_or_a_store(opsig: Opsig, here: Path) -> None:
    (here / "old.json").write_text(opsig("report", "--json").out)
    for baseline in ("old.json", "opsig.h5"):
        words = ("--baseline", baseline, "--require", "loss.last <= baseline")
        assert opsig("report", *words).code == 0
        result = opsig("report", *words, "--fail-on", "loss.last > baseline * 0.99")
        assert result.code == 1
        assert "not comparable" not in result.err
    other = json.loads((here / "old.json").read_text())
    other["result"]["metrics"]["loss.last"]["value"] = None
    (here / "other.json").write_text(json.dumps(other))
    result = opsig("report", "--baseline", "other.json", "--require", "loss.last <= baseline")
    assert result.code == 1
    assert "loss.last was not measured in the baseline" in result.err


def test_a_baseline_that_no_gate_is_held_against_is_said_to_be_idle(opsig: Opsig, here: Path) -> None:
    (here / "old.json").write_text(opsig("report", "--json").out)
    words = ("report", "--baseline", "old.json")
    said = "no gate is held against the baseline old.json"
    for more, idle in (
        ((), True),
        (("--require", "trace.failed == 0"), True),
        (("--require", "loss.last <= baseline"), False),
        (("--markdown",), False),  # the table has its numbers
    ):
        result = opsig(*words, *more)
        assert (result.code, said in " ".join(result.err.split())) == (0, idle), result.err


def test_a_baseline_of_another_quantity_lets_no_gate_against_it_pass(opsig: Opsig, here: Path) -> None:
    old = json.loads(opsig("report", "--json").out)
    for key, value, words in (
        ("fingerprint", "ab" * 32, "it is of other data"),
        ("loss", "mse", "its loss is mse"),
    ):
        run = old["result"]["run"] | {key: value}
        (here / "other.json").write_text(json.dumps(old | {"result": old["result"] | {"run": run}}))
        words_of = ("--baseline", "other.json", "--require", "trace.failed == 0")
        assert opsig("report", *words_of).code == 0
        result = opsig("report", *words_of, "--require", "loss.last <= baseline * 9", "--json")
        assert result.code == 1
        assert [gate["measured"] for gate in result.json["result"]["gates"]] == [True, False]
        assert f"loss.last cannot be held against the baseline: {words}" in result.err
        assert f"not comparable: {words}" in result.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "expected JSON"),
        ("[]", "to be of schema"),
        ('{"schema": "opsig/mine", "result": {}}', "to be of schema"),
        ('{"schema": "opsig/report", "error": {}}', "found the error"),
        ('{"schema": "opsig/report", "result": {}}', "expected result.metrics"),
        (
            '{"schema": "opsig/report", "result": {"metrics": {"loss.last": {"value": "2"}}}}',
            "expected a number",
        ),
        (
            '{"schema": "opsig/report", "result": {"metrics": {"loss.last": {"value": NaN}}}}',
            "expected a number",
        ),
        ('{"schema": "opsig/report", "result": {"metrics": {"loss.last": 2}}}', "expected a number"),
        ("[" * 100_000, "expected JSON"),
    ],
)
def test_what_is_no_baseline_is_refused(opsig: Opsig, here: Path, content: str, words: str) -> None:
    (here / "old.json").write_text(content)
    result = opsig("report", "--baseline", "old.json", "--require", "loss.last <= baseline")
    assert result.code == 3
    assert words in result.err


def test_gates_of_the_project_trip_without_options(opsig: Opsig, here: Path) -> None:
    assert opsig("report", "--quiet").code == 0
    (here / "opsig.toml").write_text("fail-on = ['findings.count > 0']\n")
    result = opsig("report", "--quiet")
    assert result.code == 1
    assert result.out == ""
    assert "gate tripped: --fail-on 'findings.count > 0'" in result.err
    (here / "opsig.toml").write_text("model = 'py:evil:build'\n")
    assert opsig("report").code == 2


def test_junit_and_the_summary_of_a_job_are_written_before_the_gate_trips(
    opsig: Opsig, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opsig("report", "--junit", "gates.xml").code == 2
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(here / "summary.md"))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    (here / "summary.md").write_text("before\n")
    words = ("--fail-on", "loss.last > 0", "--require", "trace.failed == 0")
    result = opsig("report", *words, "--junit", "gates.xml", "--markdown")
    assert result.code == 1
    root = ElementTree.parse(here / "gates.xml").getroot()
    assert [case.find("failure") is not None for case in root.iter("testcase")] == [True, False]
    assert (here / "summary.md").read_text() == f"before\n{result.out}"
    assert "**1 of 2 gates tripped.**" in result.out
    assert "\n::error title=opsig gate::--fail-on 'loss.last > 0': loss.last is " in result.err


def test_a_summary_that_cannot_be_written_lets_no_gate_pass(
    opsig: Opsig, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(here / "no" / "such.md"))
    result = opsig("report", "--markdown", "--fail-on", "loss.last > 0")
    assert result.code == 1
    assert "$GITHUB_STEP_SUMMARY was not written" in result.err


def test_checkpoints_that_fail_are_counted_in_the_store(opsig: Opsig, here: Path) -> None:
    (here / "run" / "step-000060.safetensors").write_bytes(b"torn")
    assert opsig("trace", here / "run", "--fresh").code == 4
    assert opsig("report", "--require", "trace.failed == 0").code == 1
    metric = opsig("report", "--json").json["result"]["metrics"]["trace.failed"]
    assert metric["value"] == 1
    assert metric["words"] == "step-000060.safetensors"


def test_the_metrics_are_listed_without_a_store(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = opsig("report", "--list-metrics")
    assert listed.code == 0
    metrics = opsig("report", "--list-metrics", "--json").json["result"]["metrics"]
    for name, metric in metrics.items():
        assert f"{name} [{metric['unit']}]\n    {metric['definition']}\n" in listed.out


HOWS = ("", "> /dev/full", ">&-", "2>&-", "| true", "| head -1", "< /dev/null")
WORDS = ("--help", "report", "report --json", "trcae", "help", "help gates", "--version", "report --list-metrics",
         "report -x", "report --store none.h5", "inspect none", "report --fail-on x")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "how"),  # all ways to lose what is written for a page, a report, an object and a mistake
    [(words, how) for words in WORDS for how in HOWS if words in WORDS[:4] or how in HOWS[:2]],
)
def test_nothing_but_a_gate_exits_with_1(here: Path, words: str, how: str) -> None:
    line = f"{sys.executable} -m opsigcli {words} {how}"
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], env=environment, capture_output=True, text=True
    )
    assert done.returncode in (0, 2, 3), done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
