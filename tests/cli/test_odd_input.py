"""Options, specs, manifests and files of ids of every odd kind: an answer or a refusal, never a bug, never a hang."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Opsig
from odd_input import BEGINNINGS, ODD, damaged

from opsigcli.errors import UsageError
from opsigcli.options import COMMANDS, MANIFEST
from opsigcli.parameters import Argument, parameters
from opsigcli.query import choice, integer, integers, numbers
from opsigcli.specs import parse

Hang = Callable[[int], object]
pytestmark = pytest.mark.usefixtures("no_hang")

CASES = 60  # of each kind of fuzz; more take more time and find the same kinds


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("report", "--store", ""), "expected a path, found an empty text"),
        (("report", "--store", "/"), "expected the name of a file, found the folder '/'"),
        (("report", "--html", "page.html"), "write the page there: opsig report --output page.html\n"),
        (("report", "--html", "my run.h5", "p.htm"), "opsig report --output p.htm 'my run.h5'\n"),
        (("mine", "--store", "."), "expected the name of a file, found the folder '.'"),
        (("trace", "", "--store", "x"), "expected a path, found an empty text"),
        (("inspect", "x" * 5000), "a name that is too long"),
        (("train", "x", "--lr", "nan"), "--lr"),
        (("train", "x", "--lr", "inf"), "expected a finite number, found inf"),
        (("train", "x", "--batch-size", "²"), "'full' or a number of at least 1, found '²'"),
        (("train", "x", "--batch-size", "9" * 5000), "'full' or a number of at least 1"),
        (("train", "x", "--steps", "9" * 30), "expected a number of at most 9,007,199,254,740,992"),
        (("train", "x", "--seed", "-1"), "--seed"),
        (("train", "x", "--data", "planted?n=" + "9" * 40), "at most 5,000,000"),
        (("train", "x", "--data", "planted?n=" + "9" * 5000), "expected n to be a whole number"),
        (("train", "x", "--data", "npz:~no-such-user/x"), "expected a path, found '~no-such-user/x'"),
        (("train", "x", "--data", "babble?sentences=99999999999"), "at most 10,000,000"),
    ],
    ids=range(17),
)
def test_an_odd_option_is_a_usage_error_that_says_what_was_expected(
    opsig: Opsig, words: tuple[str, ...], said: str
) -> None:
    result = opsig(*words)
    assert result.code == 2
    assert said in result.err
    assert "hint: " in result.err


def test_work_that_fits_no_memory_is_refused(opsig: Opsig, tmp_path: Path) -> None:
    for width in (200_000_000_000 // 300, 2_000_000_000):
        result = opsig("train", tmp_path / "run", "--model", f"mlp?hidden={width},{width}", "--steps", 1)
        assert result.code == 3, result.err
        assert "memory" in result.err


def test_a_value_of_a_spec_is_one_value() -> None:
    assert parse("a?b=1\nc=2").options == {"b": "1\nc=2"}
    assert parse("a?b=" + "9" * 5000).options == {"b": "9" * 5000}
    assert parse("a?b=" + "[" * 900).options == {"b": "[" * 900}
    assert parse("a?b={" + "a." * 100_000 + "a=1}").name == "a"
    huge = parse("a?b=" + "9" * 400)
    for read in (integer, integers, numbers):
        with pytest.raises(UsageError, match="expected b to be") as caught:
            read(huge, "b", None)
        assert len(caught.value.message) < 600
    with pytest.raises(UsageError, match="one of"):
        choice(huge, "b", None, ("x",))


def spread(result: dict[int, int]) -> None:
    assert not set(result) - {0, 2, 3, 4}, result
    assert sum(result.values()) > 0


def test_fuzzed_options_are_answered_or_refused(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_hang: Hang
) -> None:
    monkeypatch.chdir(tmp_path)
    dice, codes = random.Random(1), Counter[int]()
    for _ in range(CASES):
        no_hang(60)
        verb = dice.choice(list(COMMANDS))
        words: list[str] = (
            [dice.choice((".", "none", "/dev/null"))] if verb in ("train", "init", "trace", "inspect") else []
        )
        if verb == "train":
            words = [
                dice.choice(("run", "")),
                "--steps",
                "1",
                "--model",
                "mlp?hidden=4",
                "--data",
                "planted?n=200",
            ]
        for parameter in dice.sample(known := parameters(COMMANDS[verb]), min(2, len(known))):
            if not isinstance(parameter.declared, Argument) and parameter.name not in (
                "steps",
                "idle",
                "watch",
            ):
                words.append(parameter.flag)
                words += [dice.choice(ODD)] if parameter.declared.metavar else []
        result = opsig(verb, *words)
        assert result.code in (0, 2, 3, 4), (verb, words, result.err)
        codes[result.code] += 1
    spread(codes)


@pytest.mark.parametrize("which", BEGINNINGS)
def test_fuzzed_specs_are_answered_or_refused(
    opsig: Opsig, case: Path, which: str, monkeypatch: pytest.MonkeyPatch, no_hang: Hang
) -> None:
    monkeypatch.chdir(case)
    (case / "run" / MANIFEST).unlink()
    np.savez(case / "d.npz", x=np.zeros((8, 3, 10, 10), np.float32), y=np.arange(8) % 2)
    (case / "t.txt").write_text("a b c d e f\n\nb c d\n")
    dice = random.Random(2)
    base = {"data": "planted?n=400", "model": "mlp?hidden=32,32", "loss": "ce"}
    for _ in range(CASES // 2):
        no_hang(60)
        specs = base | {which: dice.choice(BEGINNINGS[which].split(" ")) + dice.choice(ODD)}
        words = [word for name, spec in specs.items() for word in (f"--{name}", spec)]
        result = opsig("init", case / "run", *words, "--fresh")
        assert result.code in (0, 2, 3), (specs, result.err)


def test_fuzzed_manifests_are_read_or_refused(opsig: Opsig, case: Path, no_hang: Hang) -> None:
    run = case / "run"
    for path in sorted(run.glob("step-*.safetensors"))[3:]:
        path.unlink()
    good = (run / MANIFEST).read_text()
    head, *rows = good.split("[[checkpoints]]")
    good = "[[checkpoints]]".join([head, *rows[:3]])
    dice, codes = random.Random(3), Counter[int]()
    commands: tuple[Callable[[], list[Any]], ...] = (
        lambda: ["inspect", run],
        lambda: ["trace", run, "--dry-run", "--store", case / "new.h5"],
        lambda: ["train", run, "--data", "planted?n=400", "--model", "mlp?hidden=32,32", "--steps", 2],
        lambda: ["sharpness", "--store", case / "opsig.h5", "--every", 120, "--dry-run"],
    )
    kept = shutil.copytree(run, case / "kept")
    for _ in range(CASES):
        no_hang(60)
        (run / MANIFEST).write_bytes(damaged(dice, good))
        words = dice.choice(commands)()
        result = opsig(*words)
        assert result.code in (0, 2, 3, 4), (words, (run / MANIFEST).read_bytes(), result.err)
        codes[result.code] += 1
        if words[0] == "train":
            shutil.rmtree(run)
            shutil.copytree(kept, run)
    spread(codes)
    assert codes[3]


def test_fuzzed_files_of_ids_are_read_or_refused(
    opsig: Opsig, case: Path, tmp_path: Path, no_hang: Hang
) -> None:
    assert (
        opsig("mine", "--store", case / "opsig.h5", "--surrogates", 0, "--export", tmp_path / "g.csv").code
        == 0
    )
    files = [tmp_path / "g.csv"]
    for suffix in (".jsonl", ".npz", ".json", ".pt"):
        files.append(files[0].with_suffix(suffix))
        words = ("mine", "--store", case / "opsig.h5", "--surrogates", 0, "--method", "losses")
        assert opsig(*words, "--export", files[-1]).code == 0
    from opsigcli.runs.example_ids import read_ids

    dice = random.Random(4)
    for _ in range(CASES * 4):
        no_hang(60)
        path = dice.choice(files)
        raw = bytearray(path.read_bytes())
        for _ in range(dice.choice((1, 1, 4, 40))):
            at = dice.randrange(len(raw))
            raw[at : at + dice.choice((0, 1, 1, 9))] = dice.choice(
                (b"", b"\xff", b"9" * 40, b"-", b".", b"\0" * 8)
            )
        other = tmp_path / f"damaged{path.suffix}"
        other.write_bytes(raw)
        with contextlib.suppress(UsageError):
            assert (read_ids(other) >= 0).all()
