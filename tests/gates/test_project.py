"""A project's file says what fails, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsigcli.errors import UsageError
from opsigcli.gates.asked import asked
from opsigcli.gates.project import read_project

GATE = "fail-on = ['loss.last > 2']\n"


def texts(folder: Path) -> list[str]:
    return [gate.condition.text for gate in read_project(folder).gates]


def test_gates_stand_in_either_file(tmp_path: Path) -> None:
    assert texts(tmp_path) == []
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert texts(tmp_path) == []
    (tmp_path / "pyproject.toml").write_text(f"[tool.opsig]\n{GATE}require = 'trace.failed == 0'\n")
    assert texts(tmp_path) == ["loss.last > 2", "trace.failed == 0"]
    (tmp_path / "pyproject.toml").unlink()
    (tmp_path / "opsig.toml").write_text(GATE)
    assert texts(tmp_path) == ["loss.last > 2"]


def test_the_nearest_file_of_the_repository_counts_and_none_above_it(tmp_path: Path) -> None:
    inner = tmp_path / "repository" / "runs" / "one"
    inner.mkdir(parents=True)
    (tmp_path / "opsig.toml").write_text(GATE)
    assert texts(inner) == []
    (tmp_path / "repository" / ".git").mkdir()
    assert texts(inner) == []
    (tmp_path / "repository" / "opsig.toml").write_text("fail-on = ['loss.last > 3']")
    assert texts(inner) == ["loss.last > 3"]
    (inner / "opsig.toml").write_text("fail-on = ['loss.last > 4']")
    assert texts(inner) == ["loss.last > 4"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("fail_on = []", "did you mean fail-on?"),
        ("failon = []", "did you mean fail-on?"),
        ("model = 'py:evil:build'", "known: fail-on, require, baseline"),
        ("store = '/etc/passwd'", "known: fail-on, require, baseline"),
        ("trust-manifest = true", "known: fail-on"),
        ("fail-on = 3", "expected a list of conditions"),
        ("fail-on = [['loss.last > 2']]", "expected a list of conditions"),
        ("fail-on = ['loss.last']", "expected --fail-on 'METRIC OP NUMBER'"),
        ("baseline = 3", "expected the name of a file"),
        ("baseline = '/etc/passwd'", "to lie in"),
        ("baseline = '../old.json'", "to lie in"),
        ("baseline = 'link/old.json'", "to lie in"),
        ("fail-on = ", "expected TOML"),
        ("\x00", "expected TOML"),
    ],
)
def test_what_is_no_gate_is_refused(tmp_path: Path, content: str, words: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "link").symlink_to(tmp_path)
    (project / "opsig.toml").write_text(content)
    with pytest.raises(UsageError) as caught:
        read_project(project)
    assert words in f"{caught.value.message} {caught.value.hint}"


def test_a_table_that_is_none_and_two_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool]\nopsig = 3\n")
    with pytest.raises(UsageError, match="expected a table"):
        read_project(tmp_path)
    (tmp_path / "opsig.toml").write_text(GATE)
    with pytest.raises(UsageError, match="found both"):
        read_project(tmp_path)


def test_gates_of_the_command_line_and_of_the_project_add_up(tmp_path: Path) -> None:
    (tmp_path / "opsig.toml").write_text(f"{GATE}baseline = 'old.json'\n")
    found = asked(["loss.first > 9"], ["loss.max < baseline"], None, tmp_path)
    assert [gate.condition.text for gate in found.gates] == [
        "loss.first > 9",
        "loss.max < baseline",
        "loss.last > 2",
    ]
    assert [gate.origin for gate in found.gates[1:]] == ["command line", str(tmp_path / "opsig.toml")]
    assert found.baseline == tmp_path.resolve() / "old.json"
    assert asked([], [], Path("new.json"), tmp_path).baseline == Path("new.json")


def test_a_gate_that_needs_a_baseline_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected --baseline"):
        asked([], ["loss.last <= baseline"], None, tmp_path)
