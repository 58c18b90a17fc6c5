"""The action and the job of ``examples/ci``, run as their runners run them: they fail and pass as they should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from opsigcli.options import COMMANDS
from opsigcli.parameters import parameters

ROOT = Path(__file__).parents[2]
CI = ROOT / "examples" / "ci"
ACTION = yaml.safe_load((CI / "action.yml").read_text())
JOB = yaml.safe_load((CI / "gitlab-ci.yml").read_text())["opsig"]
GATE = slice(-1, None)  # the last step, or line
INPUT = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")


def environment(folder: Path) -> dict[str, str]:
    """Of a job in which ``opsig`` is this one, and ``pip install`` notes what it is asked for."""
    tools = folder.parent / f"{folder.name}-bin"
    tools.mkdir(exist_ok=True)
    (tools / "opsig").write_text(f'#!/bin/sh\nexec {sys.executable} -m opsigcli "$@"\n')
    (tools / "python").write_text(f'#!/bin/sh\necho "$@" >> {folder}/installed\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    return os.environ | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
        "GITHUB_ACTION_PATH": str(CI),
        "XDG_STATE_HOME": str(folder / "state"),
    }


def run_action(folder: Path, steps: slice = slice(None), **inputs: str) -> tuple[int, str]:
    """Steps of the action, as GitHub's runner has them, up to the first that fails."""
    given = {name: one.get("default", "") for name, one in ACTION["inputs"].items()}
    given |= {name.replace("_", "-"): value for name, value in inputs.items()}
    said = ""
    base = environment(folder) | {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    for step in ACTION["runs"]["steps"][steps]:
        assert "${{" not in step["run"]
        own = {name: INPUT.sub(lambda found: given[found[1]], value) for name, value in step["env"].items()}
        words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(words, cwd=folder, env=base | own, capture_output=True, text=True)
        said += done.stderr
        if done.returncode:
            return done.returncode, said
    return 0, said


def run_job(folder: Path, lines: slice = slice(None), **variables: str) -> tuple[int, str]:
    """Lines of the job's script, as GitLab's runner has them: one shell for all."""
    own = environment(folder) | {name: str(value) for name, value in JOB["variables"].items()} | variables
    words = ["bash", "-eo", "pipefail", "-c", "\n".join(JOB["script"][lines])]
    done = subprocess.run(words, cwd=folder, env=own, capture_output=True, text=True)
    return done.returncode, done.stderr


def tripped(folder: Path) -> dict[str, bool]:
    """Gate -> whether it tripped, by the JUnit file."""
    root = ElementTree.parse(folder / "opsig-gates.xml").getroot()
    return {str(case.get("name")): case.find("failure") is not None for case in root.iter("testcase")}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a short run."""
    folder = tmp_path_factory.mktemp("project")
    (folder / ".git").mkdir()
    words = [
        "train",
        "checkpoints",
        "--data",
        "planted?n=200",
        "--model",
        "mlp?hidden=8",
        "--steps",
        "12",
        "-q",
    ]
    subprocess.run(
        [sys.executable, "-m", "opsigcli", *words], cwd=folder, env=environment(folder), check=True
    )
    return folder


@pytest.mark.slow
def test_the_action_fails_where_a_gate_trips_and_passes_where_none_does(project: Path) -> None:
    gates: dict[str, Any] = {
        "fail_on": "loss.last > 50\n\nfindings.count > 99\n",
        "require": "trace.failed == 0\n",
    }
    code, said = run_action(project, checkpoints="checkpoints", every="4", **gates)
    assert code == 0, said
    assert (project / "installed").read_text().startswith(f"-m pip install {CI}/../..")
    assert len(tripped(project)) == 3
    assert "All gates passed." in (project / "summary.md").read_text()
    baseline = project / "main.json"
    baseline.write_bytes((project / "opsig-report.json").read_bytes())
    for bound, expected in (("baseline * 1.01", 0), ("baseline * 0.99", 1)):
        code, said = run_action(project, GATE, require=f"loss.last <= {bound}", baseline="main.json")
        assert code == expected, said
        assert ("::error title=opsig gate::--require 'loss.last <= " in said) is (expected == 1)
    code, said = run_action(project, GATE, fail_on="loss.last > 0; touch hacked")
    assert code == 2
    assert not (project / "hacked").exists()


@pytest.mark.slow
def test_the_job_gates_by_the_settings_of_the_project_and_not_without_any(project: Path) -> None:
    code, said = run_job(project, OPSIG_SOURCE="opsig.whl", EVERY="4")
    assert code == 2
    assert "expected gates for --junit, found none" in said
    for condition, expected in (("loss.last > 50", 0), ("loss.last > 0", 1)):
        (project / "opsig.toml").write_text(f"fail-on = ['{condition}']\n")
        code, said = run_job(project, GATE)
        assert code == expected, said
        assert tripped(project) == {f"--fail-on {condition}": expected == 1}
    (project / "opsig.toml").unlink()
    code, said = run_job(project)
    assert code != 0
    assert "OPSIG_SOURCE: a wheel of opsig" in said
    (project / "checkpoints" / "step-000006.safetensors").write_bytes(b"torn")
    (project / "opsig.toml").write_text("fail-on = ['loss.last > 50']\n")
    (project / "opsig.h5").unlink()
    code, said = run_job(project, OPSIG_SOURCE="opsig.whl", EVERY="4")
    assert code == 4, said


def test_their_scripts_use_options_that_exist() -> None:
    scripts = "\n".join([*(step["run"] for step in ACTION["runs"]["steps"]), *JOB["script"]])
    calls = re.findall(r"opsig (\w+)([^\n]*)", scripts)
    assert len(calls) >= 8
    for verb, rest in calls:
        known = {p.flag for p in parameters(COMMANDS[verb])} | {"--json"}
        assert set(re.findall(r"--[a-z][a-z-]+", rest)) <= known
    assert {"--fail-on", "--require", "--baseline"} <= set(re.findall(r"--[a-z][a-z-]+", scripts))


def test_what_to_type_beside_a_torch_that_is_there_is_one_line_in_both_places() -> None:
    from opsigcli.cli.packages import BESIDE_TORCH

    assert BESIDE_TORCH.format(package=".") in (ROOT / "README.md").read_text()
    line = BESIDE_TORCH.format(package=".").replace("pip install", "echo").replace("python", sys.executable)
    said = subprocess.run(["sh", "-c", line], capture_output=True, text=True).stdout
    assert said == f". torch=={version('torch')}\n"  # as pip knows it, and not as torch.__version__ says it


def test_the_lines_of_the_dockerfile_run_and_copy_what_is_there(tmp_path: Path) -> None:
    text = (ROOT / "examples" / "docker" / "Dockerfile").read_text()
    lines = dict.fromkeys(("FROM", "ARG", "RUN", "COPY", "ENV", "USER", "WORKDIR", "ENTRYPOINT"), "")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            word, rest = line.split(" ", 1)
            lines[word] += f"{rest}\n"
    (folder := tmp_path / "job").mkdir()
    source = folder / "source"
    source.mkdir()
    script = "\n".join([*(f"export {x}" for x in lines["ARG"].splitlines()), "set -e", lines["RUN"]])
    script = script.replace("/source", str(source))
    done = subprocess.run(
        ["sh", "-c", script], env=environment(folder), cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("opsig ")
    first, second = (folder / "installed").read_text().splitlines()
    assert first.endswith("torch torchvision --index-url https://download.pytorch.org/whl/cpu")
    extras = second.partition("[")[2].removesuffix("]").split(",")
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras) <= set(known["optional-dependencies"])
    assert f"python:{known['requires-python'].removeprefix('>=')}-slim" in lines["FROM"]
    assert not source.exists()
    assert lines["ENTRYPOINT"].strip() == '["opsig"]'


def test_pythons_that_are_claimed_are_those_that_are_tried_with_the_oldest_torch_that_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tried = (ROOT / ".ci" / "noxfile.py").read_text()
    claimed = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    pythons = re.search(r"python=\[(.*)\]", tried)[1].replace('"', "").split(", ")  # type: ignore[index]
    assert set(claimed) <= set(pythons)
    assert project["requires-python"] == f">={pythons[0]}"
    for package in ("torch", "torchvision"):
        (asked,) = (one for one in project["dependencies"] if one.startswith(f"{package}>="))
        assert f'"{asked.replace(">=", "==")}.*"' in tried


def test_the_citation_names_this_version_and_the_paper() -> None:
    from opsigcli import __version__

    cited = yaml.safe_load((ROOT / ".github" / "CITATION.cff").read_text())
    assert cited["version"] == __version__
    assert cited["references"][0]["url"] in (ROOT / "README.md").read_text()
