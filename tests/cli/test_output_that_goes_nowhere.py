"""What reads the output may go away, be full, or not be there: no exit code of a gate comes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints."""
    folder = tmp_path_factory.mktemp("ck")
    for step in (1, 2):
        torch.save({"w": torch.full((2,), float(step))}, folder / f"step_{step}.pt")
    return folder


def run(*words: object, stdout: int) -> tuple[int, str]:
    command = [sys.executable, "-m", "opsigcli", *map(str, words)]
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, env=plain)
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", [("inspect",), ("inspect", "--json"), ("--help",)])
def test_a_reader_that_has_gone_away_is_no_error(words: tuple[str, ...], folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    code, said = run(*words, *([folder] if "--help" not in words else []), stdout=write)
    os.close(write)
    assert code == 0
    assert "Traceback" not in said


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_full_disk_behind_the_output_is_named(words: tuple[str, ...], folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        code, said = run("inspect", folder, *words, stdout=full.fileno())
    assert code == 3
    assert "standard output: No space left" in said
    assert "Traceback" not in said
