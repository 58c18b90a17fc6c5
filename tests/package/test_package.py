"""What is shipped, and what the documents promise."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import Opsig

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(
    path for path in (ROOT / "examples").iterdir() if path.is_file() and path.suffix not in (".ipynb", ".png")
)
DOCUMENTS = [ROOT / "README.md", ROOT / "examples" / "vision" / "README.md", *EXAMPLES]


def test_the_wheel_carries_code_templates_and_manual(tmp_path: Path) -> None:
    build = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    for page in (ROOT / "man").iterdir():
        assert any(name.endswith(f"data/share/man/man{page.suffix[1:]}/{page.name}") for name in names)
    for path in (ROOT / "opsigcli").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(ROOT)) in names
    assert not any(name.startswith("tests") for name in names)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_documents_use_options_that_exist(opsig: Opsig, document: Path) -> None:
    text = document.read_text().replace("\\\n", " ")
    commands = re.findall(r"^\s*(?:\$ |srun [^#\n]*)?opsig (\w+)(.*)$", text, re.M)
    assert commands
    for verb, rest in commands:
        known = set(re.findall(r"--[a-z][a-z-]+", opsig(verb, "--help").out.split("Examples:")[0]))
        assert set(re.findall(r"(?<=\s)--[a-z][a-z-]+", rest)) <= known, (verb, rest)


@pytest.mark.slow
def test_the_embedded_example_runs_and_ends_by_naming_what_was_found(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell runs the script, with an opsig that notes how it is called; the commands are run here."""
    (tmp_path / "opsig").write_text(
        f'#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([os.environ.get("OPSIG_STORE"), *sys.argv[1:]]))\n'
    )
    (tmp_path / "opsig").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    words = ["sh", str(ROOT / "examples" / "planted.sh"), str(tmp_path / "demo")]
    called = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    for store, *command in map(json.loads, called):
        monkeypatch.setenv("OPSIG_STORE", store)
        done = opsig(*command)
        assert done.code == 0, done.err
    last = done.err.strip().splitlines()[-3:]
    assert [line.split(":")[1].split(",")[0].strip()[:14] for line in last[:2]] == ["found as pair "] * 2
    assert last[2].startswith("wrote ")
    assert (tmp_path / "demo" / "report.html").stat().st_size > 50_000


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted((ROOT / "tests" / "benchmarks").glob("*.py")), ids=lambda p: p.name)
def test_a_benchmark_starts(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [str(script), "--help"])
    monkeypatch.syspath_prepend(script.parent)  # as Python itself has it, where one imports another
    code = None
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as ended:  # what others import does nothing by itself
        code = ended.code
    assert not code


def test_the_repository_speaks_of_the_project_alone() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    if not listed:
        listed = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*.py") if "venv" not in p.parts]
    top = {name.split("/")[0] for name in listed}
    allowed = {
        "pyproject.toml",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "opsigcli",
        "tests",
        "examples",
        "man",
    }
    assert {name for name in top if not name.startswith(".")} <= allowed
