"""The claims of ``examples/paper``: a short run of each is as expected, and expectations that fail are said."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "examples" / "paper"
SCRIPTS = sorted(PAPER.glob("?_*.py"))


def _run(script: Path, *words: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    call = [sys.executable, str(script), *map(str, words)]
    return subprocess.run(call, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})


Script = Callable[..., tuple[object, str]]


@pytest.fixture
def script_here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Script:
    """``script_here(script, *words)``: a script in this process, which has torch; what it ends with and prints."""

    def call(script: Path, *words: object) -> tuple[object, str]:
        monkeypatch.setattr("sys.argv", [str(script), *map(str, words)])
        monkeypatch.syspath_prepend(script.parent)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(script), run_name="__main__")
        return ended.value.code, "\n".join(capfd.readouterr())

    return call


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs and results go: a run that several claims stand on is trained for the first of them alone."""
    return tmp_path_factory.mktemp("paper")


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_short_run_of_the_claim_is_as_expected(script_here: Script, script: Path, place: Path) -> None:
    code, said = script_here(script, "--quick", "--out", place)
    assert not code, f"{code}\n{said}"
    lines = [json.loads(line) for line in (place / f"{script.name[0]}.jsonl").read_text().splitlines()]
    assert lines
    assert all(line["agrees"] and line["data"] and line["commands"] for line in lines)
    assert all(len(line["seen"]) in (1, 2) for line in lines)  # of one seed, with and without something


@pytest.mark.slow
def test_what_is_measured_agrees_with_the_closed_forms(script_here: Script, tmp_path: Path) -> None:
    code, said = script_here(PAPER.parent / "closed_forms.py", "--quick", "--out", tmp_path)
    assert not code, f"{code}\n{said}"
    assert "OFF" not in said
    assert (tmp_path / "closed_forms.png").stat().st_size > 10_000


def test_there_is_a_script_for_each_claim() -> None:
    assert "".join(path.name[0] for path in SCRIPTS) == "abcdefghijklm"


def test_every_script_of_claims_says_whose_each_expectation_is() -> None:
    for script in SCRIPTS:
        assert "lab.expect(" in script.read_text()
        assert script.read_text().endswith("lab.end()\n")


CLAIM = """
from claims import Lab, at_least, at_most
lab = Lab("z", "a claim", seeds=(0, 1))
lab.expect("one", [1.0, 3.0], at_least(1), at_most(2))
lab.expect("two", [1.0, 3.0], {ours})
lab.end()
"""


@pytest.mark.parametrize(("ours", "code"), [("at_least(0)", 0), ("at_least(2)", 1)])
def test_only_an_expectation_of_ours_that_fails_ends_with_1(ours: str, code: int, tmp_path: Path) -> None:
    script = tmp_path / "z_claim.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(PAPER)!r})\n" + CLAIM.format(ours=ours))
    done = _run(script, "--out", tmp_path / "out")
    assert done.returncode == code, done.stderr
    first, second = [json.loads(line) for line in (tmp_path / "out" / "z.jsonl").read_text().splitlines()]
    assert (first["agrees"], second["agrees"]) == (True, code == 0)
    assert first["paper"] == "differs: in 1 of 2 seeds not at most 2"
    assert first["mean"] == 2
    assert first["spread"] == pytest.approx(2**0.5, abs=1e-4)


def test_the_table_has_each_expectation_of_each_claim() -> None:
    text = (ROOT / "examples" / "README.md").read_text()
    lines = [json.loads(line) for line in (PAPER / "results.jsonl").read_text().splitlines()]
    assert {line["claim"] for line in lines} == set("abcdefghijklm")
    for line in lines:
        assert f"| {line['what']} | {line['expected']} |" in text
        assert len(line["seen"]) >= 3


def test_a_claim_that_is_not_there_is_refused() -> None:
    done = _run(PAPER / "run.py", "--only", "x")
    assert done.returncode == 2
    assert "found x" in done.stderr


def test_a_claim_about_data_of_its_own_takes_no_others(tmp_path: Path) -> None:
    done = _run(PAPER / "run.py", "--only", "k", "--quick", "--data", tmp_path, "--out", tmp_path)
    assert done.returncode == 0  # as the run of all does not fail for it
    assert "(k) this is about modular addition and two features" in done.stderr
    assert "left out, as they say why: k" in done.stderr
