"""What fingers expect of a command line: -h, help, where options go, pipes that close, packages that are named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Opsig

from opsigcli.cli.packages import lacking_package
from opsigcli.cli.topics import TOPICS
from opsigcli.options import COMMANDS

ROOT = str(Path(__file__).parents[2])


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_has_three_spellings(opsig: Opsig, verb: str) -> None:
    said = {opsig(*words).out for words in ((verb, "--help"), (verb, "-h"), ("help", verb))}
    assert len(said) == 1
    assert f"Usage: opsig {verb}" in said.pop()


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_names_arguments_in_words_and_not_by_the_types_that_hold_them(opsig: Opsig, verb: str) -> None:
    assert not any(mark in opsig(verb, "--help").out for mark in ("<Path>", "<str>", "list["))


def test_help_alone_is_that_of_opsig_with_examples_environment_and_exit_statuses(opsig: Opsig) -> None:
    said = {opsig(*words).out for words in (("--help",), ("-h",), ("help",), ("help", "help"))}
    assert len(said) == 1
    text = said.pop()
    for part in ("Examples:", "Environment:", "OPSIG_STORE", "NO_COLOR", "Exit status:", "1 a gate tripped"):
        assert part in text


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_help_has_the_pages_of_the_manual(opsig: Opsig, topic: object) -> None:
    name = str(getattr(topic, "name", ""))
    short, whole = opsig("help", name.removeprefix("opsig-")), opsig("help", name)
    assert short == whole
    assert short.code == 0
    assert short.out.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("trcae",), "did you mean opsig trace"),
        (("help", "trcae"), "did you mean opsig trace"),
        (("report", "--stroe", "x"), "hint: did you mean --store?\n"),
        (("report", "--nope"), "see: opsig report --help"),
        (("--json", "report"), "options follow the command: opsig COMMAND --json"),
        (("--verzion",), "did you mean --version"),
    ],
)
def test_a_slip_has_its_way_out(opsig: Opsig, words: tuple[str, ...], hint: str) -> None:
    result = opsig(*words)
    assert result.code == 2
    assert hint in result.err


def test_a_package_that_is_not_there_is_named_with_what_installs_it(tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text("raise ModuleNotFoundError('gone', name='torchvision')")
    words = [
        sys.executable,
        "-m",
        "opsigcli",
        "train",
        str(tmp_path / "run"),
        "--model",
        "torchvision:resnet18",
    ]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 3
    assert "error: expected the package torchvision, which is not installed" in done.stderr
    assert 'hint: pip install torchvision "torch==$(' in done.stderr


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (
            "raise ModuleNotFoundError('gone', name='typer')",
            3,
            "expected the package typer, which is not installed",
        ),
        ("1 / 0", 70, "opsig cannot be started: ZeroDivisionError"),
    ],
)
def test_what_keeps_opsig_from_starting_is_no_gate(tmp_path: Path, line: str, code: int, said: str) -> None:
    (tmp_path / "typer.py").write_text(line)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    words = [sys.executable, "-m", "opsigcli", "report", "--json"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == code
    assert f"error: {said}" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == code


def test_a_torchvision_of_another_torch_is_named() -> None:
    found = lacking_package(RuntimeError("operator torchvision::nms does not exist"))
    assert found is not None
    assert "a torchvision that was built for the torch that is installed" in found.message
    assert lacking_package(RuntimeError("other")) is None
    assert lacking_package(ModuleNotFoundError("x", name="opsigcli.none")) is None
    assert lacking_package(ImportError("cannot import name")) is None
