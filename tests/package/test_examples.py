"""The scripts in examples/ that need no images."""

from __future__ import annotations

import importlib.util
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Opsig

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_findings_are_printed_with_verdict_and_numbers(opsig: Opsig, tmp_path: Path) -> None:
    store = tmp_path / "o.h5"
    words = ("--data", "planted?n=300", "--model", "mlp?hidden=32&activation=tanh", "--lr", 0.3)
    assert opsig("train", tmp_path / "run", *words, "--steps", 60).code == 0
    assert opsig("trace", tmp_path / "run", "--store", store).code == 0
    found = opsig("mine", "--store", store, "--json")
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "mine.json").write_text(found.out)
    pairs = found.json["result"]["pairs"]
    assert pairs
    call = [sys.executable, str(EXAMPLES / "findings.py"), str(tmp_path / "net" / "mine.json")]
    said = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    assert f"net: {len(pairs)} pairs, {sum(pair['finding'] for pair in pairs)} of them findings" in said
    for pair in pairs:
        assert pair["verdict"] in said
        assert f"opposition {pair['opposition']['value']:+.2f} ({pair['opposition']['null']:+.2f})" in said


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_good_shell(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)


NETS = EXAMPLES / "cifar10-nets.sh"


@pytest.mark.parametrize("nets", [["alexnet"], ["vit", "alexnet"], ["alexnet vit"]])
def test_a_net_that_is_not_in_the_list_is_refused_before_anything_is_made(
    tmp_path: Path, nets: list[str]
) -> None:
    call = ["sh", str(NETS), str(tmp_path), str(tmp_path / "nets"), "0", *nets]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"found '{nets[-1]}'; the nets are: resnet-batch-norm relu-mlp" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_without_images_the_usage_is_said() -> None:
    done = subprocess.run(["sh", str(NETS)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_the_list_of_nets_is_that_of_the_runs() -> None:
    text = NETS.read_text()
    (listed,) = re.findall(r'^nets="(.*)"$', text, re.MULTILINE)
    assert listed.split() == re.findall(r"^run (\S+)", text, re.MULTILINE)


@pytest.mark.slow
def test_the_three_vision_runs_are_answered_as_expected(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``run.py`` holds each answer against torch and numpy; all of it runs in this process, which has torch."""
    spec = importlib.util.spec_from_file_location("vision_runs", EXAMPLES / "vision" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    answers: list[bool] = []

    def asked(*words: str, code: int = 0) -> tuple[str, str]:
        done = opsig(*words)
        assert done.code == code, (words, done.err)
        return done.out, done.err

    def trained(name: str, data: object, out: object, *words: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [name, "--data", str(data), "--out", str(out), *words])
            patch.syspath_prepend(script.HERE)
            runpy.run_path(str(script.HERE / name), run_name="__main__")

    def expected(true: bool, words: str) -> None:
        assert true, words
        answers.append(true)

    monkeypatch.setattr(script, "opsig", asked)
    monkeypatch.setattr(script, "train", trained)
    monkeypatch.setattr(script, "expect", expected)
    monkeypatch.setattr(sys, "argv", ["run.py", str(tmp_path / "three runs"), "--quick"])
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert not ended.value.code
    assert len(answers) >= 8
    assert sorted(page.name for page in (tmp_path / "three runs").glob("*.html")) == [
        "adamw.html",
        "batch norm.html",
        "descent.html",
    ]


def test_the_training_scripts_of_the_vision_runs_do_not_know_opsig() -> None:
    scripts = sorted((EXAMPLES / "vision").glob("*.py"))
    assert len(scripts) == 6
    assert [file.name for file in scripts if "opsig" in file.read_text()] == ["run.py"]
