"""A signal at any moment ends a command with its code and words, and the same command goes on afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Opsig

from opsigcli.checkpoints.manifest import read_manifest
from opsigcli.errors import CheckpointError
from opsigcli.options import MANIFEST
from opsigcli.usercode import guarded

SMALL = ("--data", "planted?n=200", "--model", "mlp?hidden=4", "--steps", "40", "--save-every", "1")
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
# A module of that name is imported in place of the command line: it says that it has begun, and takes its time.
SLOW = "import time, sys\nsys.stderr.write('begun\\n'); sys.stderr.flush()\ntime.sleep(60)\n"


def started(folder: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "opsigcli", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*environment.values(), *map(str, sys.path)])},
    )  # fmt: skip


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_signal_during_the_first_imports_is_no_traceback(
    tmp_path: Path, number: signal.Signals, as_json: bool
) -> None:
    (tmp_path / "typer").mkdir()
    (tmp_path / "typer" / "__init__.py").write_text(SLOW)
    process = started(tmp_path, "report", *(("--json",) if as_json else ()), first=str(tmp_path))
    assert process.stderr is not None
    assert process.stderr.readline() == "begun\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == CODES[number]
    assert err == "error: interrupted before anything was begun; nothing was changed\n"
    assert not out or json.loads(out)["error"]["code"] == CODES[number]
    assert bool(out) == as_json


@pytest.mark.parametrize("number", CODES)
def test_a_signal_within_a_finalizer_is_not_lost(
    opsig: Opsig, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    class Falls:
        def __del__(self) -> None:
            signal.raise_signal(number)
            sum(range(9))

    def slow(*_: object) -> None:
        Falls()
        time.sleep(60)

    monkeypatch.setattr("opsigcli.commands.report.report", slow)
    began = time.monotonic()
    result = opsig("report")
    assert result.code == CODES[number]
    assert "interrupted" in result.err
    assert time.monotonic() - began < 50  # the wait was not waited out


@pytest.mark.parametrize("number", CODES)
def test_what_goes_wrong_on_the_way_out_after_a_signal_does_not_hide_the_signal(
    opsig: Opsig, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def closes_twice(*_: object) -> None:
        try:
            try:
                signal.raise_signal(number)
                time.sleep(60)
            finally:
                os.close(-1)
        except OSError as error:
            raise CheckpointError(f"cannot read it: {error}") from error

    monkeypatch.setattr("opsigcli.commands.report.report", closes_twice)
    result = opsig("report")
    assert result.code == CODES[number]
    assert "interrupted" in result.err
    assert "cannot read" not in result.err


def test_an_error_behind_itself_is_told(opsig: Opsig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        first, second = CheckpointError("it cannot be read"), CheckpointError("nor can this")
        first.__cause__ = second
        raise second from first

    monkeypatch.setattr("opsigcli.commands.report.report", fails)
    result = opsig("report")
    assert result.code == 3
    assert "nor can this" in result.err


@pytest.mark.parametrize("number", CODES)
def test_a_signal_that_a_library_swallows_is_raised_again(
    opsig: Opsig, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def swallows(*_: object) -> None:
        swallowed = False
        try:
            signal.raise_signal(number)
            time.sleep(60)
        except KeyboardInterrupt:
            swallowed = True
        with guarded(CheckpointError, "a forward pass"):
            raise ValueError(f"what a library says of it: {swallowed}")

    monkeypatch.setattr("opsigcli.commands.report.report", swallows)
    result = opsig("report")
    assert result.code == CODES[number]
    assert "a forward pass" not in result.err


@pytest.mark.slow
@pytest.mark.parametrize("number", [*CODES, signal.SIGKILL])
def test_a_killed_train_goes_on_by_itself_whenever_it_was_killed(
    opsig: Opsig, tmp_path: Path, number: signal.Signals
) -> None:
    whole = tmp_path / "whole"
    assert opsig("train", whole, *SMALL).code == 0
    expected = {path.name: path.read_bytes() for path in whole.glob("*.safetensors")}
    for round_, files in enumerate((1, 1, 4)):
        run = tmp_path / f"run-{round_}"
        process = started(tmp_path, "train", str(run), *SMALL)
        while process.poll() is None and len(list(run.glob("*.safetensors")) if run.exists() else []) < files:
            time.sleep(0.001)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        assert process.returncode in (0, CODES.get(number, -9), -number)
        again = opsig("train", run, *SMALL)
        assert again.code == 0, again.err
        assert {path.name: path.read_bytes() for path in run.glob("*.safetensors")} == expected
        assert not list(run.glob(".*"))


def test_a_train_killed_before_its_first_manifest_row_and_amid_writing_goes_on(
    opsig: Opsig, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert opsig("train", run, *SMALL, "--steps", 2).code == 0
    manifest = read_manifest(run)
    assert manifest is not None
    text = (run / MANIFEST).read_text()
    (run / MANIFEST).write_text(
        text[: text.index("[[checkpoints]]")]
    )  # as it was before the first checkpoint
    for name in ("step-000001.safetensors", "step-000002.safetensors"):
        (run / name).unlink()
    for name in ("step-000001.safetensors", MANIFEST, "opsig-examples.json"):
        (run / f".{name}.0a1b2c3d.part").write_bytes(b"half")
    (run / ".mine.part").write_text("kept")
    assert opsig("train", run, *SMALL, "--steps", 2).code == 0
    assert read_manifest(run) == manifest
    assert [path.name for path in run.glob(".*")] == [".mine.part"]


@pytest.mark.parametrize("strange", ["a link to nothing", "a pipe", "a folder", "a state that is a folder"])
@pytest.mark.usefixtures("no_hang")
def test_what_stands_in_place_of_a_checkpoint_of_the_run_is_named(
    opsig: Opsig, tmp_path: Path, strange: str
) -> None:
    run = tmp_path / "run"
    assert opsig("train", run, *SMALL, "--steps", 2).code == 0
    path = run / "step-000003.safetensors"
    {
        "a link to nothing": lambda: path.symlink_to(tmp_path / "nothing"),
        "a pipe": lambda: os.mkfifo(path),
        "a folder": path.mkdir,
        "a state that is a folder": (run / "step-000002.optimizer.safetensors").mkdir,
    }[strange]()
    result = opsig("train", run, *SMALL, "--steps", 4)
    assert result.code == 3
    assert "step-00000" in result.err
    assert (opsig("train", run, *SMALL, "--steps", 4, "--fresh").code == 3) == ("folder" in strange)


def test_an_init_killed_after_its_manifest_says_again_what_it_says(opsig: Opsig, case: Path) -> None:
    run = case / "run"
    (run / MANIFEST).unlink()
    words = ("init", run, "--model", "mlp?hidden=32,32", "--data", "planted?n=400")
    assert opsig(*words).code == 0
    before = (run / MANIFEST).read_bytes()
    (run / f".{MANIFEST}.0a1b2c3d.part").write_bytes(b"half")
    assert opsig(*words).code == 0
    assert (run / MANIFEST).read_bytes() == before
    assert not list(run.glob(".*"))
    assert opsig(*words, "--loss", "mse").code in (2, 3)
    assert opsig("init", run).code == 2
    assert (run / MANIFEST).read_bytes() == before


def test_weights_of_examples_that_are_broken_are_named(opsig: Opsig, tmp_path: Path) -> None:
    run, ids = tmp_path / "run", tmp_path / "ids.txt"
    ids.write_text("1\n2\n")
    words = ("train", run, *SMALL, "--steps", 1, "--downweight", ids)
    assert opsig(*words).code == 0
    good = (run / "opsig-examples.json").read_text()
    for wrong in (
        "",
        "{",
        "[]",
        "3",
        '{"sha256": 3, "weights": {}}',
        good[:40],
        '{"sha256": "a", "weights": {"x": 1}}',
    ):
        (run / "opsig-examples.json").write_text(wrong)
        result = opsig(*words)
        assert result.code == 3
        assert "opsig-examples.json" in result.err
    (run / "opsig-examples.json").write_text(good)
    assert opsig(*words).code == 0
