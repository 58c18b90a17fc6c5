"""``-o -`` is standard output, which takes one thing."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Opsig
from store_case import N, write_everything


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_everything(tmp_path / "s.h5")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "s.h5"


def run(*words: object, stdout: int = subprocess.PIPE) -> tuple[int, bytes, str]:
    command = [sys.executable, "-m", "opsigcli", *map(str, words)]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.parametrize("name", ["csv", "jsonl", "npz"])
def test_a_table_goes_to_standard_output_and_words_elsewhere(store: Path, name: str) -> None:
    code, out, err = run("export", "losses", "--store", store, "--format", name, "-o", "-")
    assert code == 0, err
    assert "to standard output" in err
    if name == "npz":
        assert np.load(io.BytesIO(out))["losses"].shape[1] == N
    else:
        assert len(out.decode().splitlines()) == N + (name == "csv")
    assert not (store.parent / "-").exists()


def test_what_stands_in_the_file_behind_standard_output_stays(store: Path, tmp_path: Path) -> None:
    with (tmp_path / "all.csv").open("ab") as file:
        file.write(b"before\n")
        file.flush()
        assert run("export", "losses", "--store", store, "-o", "-", stdout=file.fileno())[0] == 0
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert lines[0] == "before"
    assert len(lines) == N + 2


def test_bytes_are_not_shown_on_a_terminal(store: Path) -> None:
    ours, theirs = pty.openpty()
    code, _, err = run("export", "losses", "--store", store, "--format", "npz", "-o", "-", stdout=theirs)
    os.close(theirs)
    os.close(ours)
    assert code == 2
    assert "found a terminal" in err


@pytest.mark.parametrize("words", [("export", "losses"), ("report",)])
def test_a_reader_that_has_gone_away_is_no_error(store: Path, words: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    code, _, err = run(*words, "--store", store, "-o", "-", stdout=write)
    os.close(write)
    assert code == 0
    assert "error" not in err


def test_a_page_goes_to_standard_output(store: Path) -> None:
    code, out, err = run("report", "--store", store, "-o", "-")
    assert code == 0, err
    assert out.startswith(b"<!doctype html>")
    assert out.rstrip().endswith(b"</html>")


@pytest.mark.parametrize(
    "words",
    [
        ("export", "losses", "-o", "-", "--json"),
        ("report", "-o", "-", "--json"),
        ("report", "-o", "-", "--markdown"),
        ("report", "--junit", "-", "--require", "trace.failed == 0"),
    ],
)
def test_two_things_on_standard_output_are_refused(opsig: Opsig, store: Path, words: tuple[str, ...]) -> None:
    result = opsig(*words, "--store", store)
    assert result.code == 2
    assert "found -: standard output has the result" in result.err


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (("--width", "5"), "--width"),
        (("--thumbnails", "3"), "--thumbnails"),
        (("--thumbnails", "3", "--figure", "f.svg"), "--thumbnails"),
        (("--width", "5", "--html"), "--width"),
        (("s.h5", "s.h5", "--html", "--thumbnails", "3"), "--thumbnails"),
        (("--full", "--html"), "--full"),
        (("--full", "-o", "page.html"), "--full"),
        (("--full", "--markdown"), "--full"),
        (("--full", "--figure", "f.svg"), "--full"),
        (("s.h5", "s.h5", "--full"), "--full"),
    ],
)
def test_an_option_of_a_report_without_a_part_is_refused(
    opsig: Opsig, store: Path, words: tuple[str, ...], flag: str
) -> None:
    result = opsig("report", *words, *(() if "s.h5" in words else ("--store", store)))
    assert result.code == 2
    assert f"with {flag}, which nothing else looks at" in result.err
