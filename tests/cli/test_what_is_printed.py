"""Nothing that comes from data steers the terminal, hides, turns the reading direction, or speaks as opsig."""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import Opsig, Result
from PIL import Image
from reporting_case import make_case

from opsigcli.cli.console import Terminal
from opsigcli.comparison.compare import compare
from opsigcli.errors import OpsigError
from opsigcli.mining_records import (
    GroupKey,
)
from opsigcli.outcome import Outcome, error_json
from opsigcli.printable import escaped, printable, printable_lines
from opsigcli.reporting import RENDERERS
from opsigcli.reporting.html import render_html
from opsigcli.sharpness_records import CriticalSharpness

# Clear the screen, set its title, C1, ring, turn and isolate the direction, no width, a line of our own, markup.
EVIL = "\x1b[2J\x1b]0;t\x07\x9b31m\x7f\u202e\u2066\u200b\ufeff\u2028\u2029\nerror: forged[red][/x][link=http://e]"


def unseen(text: str) -> list[str]:
    """The characters of a text that are not seen, as Unicode tells them, but for tabs and line ends."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs") and c not in "\t\n"]


def assert_clean(result: Result) -> None:
    assert not unseen(result.out + result.err), repr(result.out + result.err)
    assert not any(line.startswith("error: forged") for line in result.err.splitlines())


def poisoned(value: Any) -> Any:
    """A record with the evil text at the end of every text in it, but for the names of groups' sides."""
    if isinstance(value, GroupKey):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **{k: v if k == "side" else poisoned(v) for k, v in own.items()})
    if isinstance(value, str):
        return value + EVIL
    if isinstance(value, Counter):
        return Counter({poisoned(k): v for k, v in value.items()})
    if isinstance(value, dict):
        return {k if isinstance(k, GroupKey) else poisoned(k): poisoned(v) for k, v in value.items()}
    return type(value)(map(poisoned, value)) if isinstance(value, tuple | list) else value


VIEWS = {
    "opsig/comparison": lambda case: compare([case, case]),
    "opsig/trace": lambda case: case.trace,
    "opsig/quick-sharpness": lambda case: dataclasses.replace(
        case, critical=(CriticalSharpness(4, None, None, 25.0, None, None, EVIL, 9, 1, EVIL),)
    ),
}


@pytest.mark.parametrize(
    "schema", [name for name in RENDERERS if name not in ("opsig/inspect", "opsig/plan")]
)
def test_every_text_of_a_case_is_shown_as_text(schema: str, capsys: pytest.CaptureFixture[str]) -> None:
    case = poisoned(
        make_case(classes=(f"cat{EVIL}", "dog", "frog"), names=tuple(EVIL + str(i) for i in range(24)))
    )
    view = VIEWS.get(schema, lambda case: case)(case)
    outcome = Outcome(schema, {EVIL: EVIL}, {EVIL: [EVIL]}, (EVIL,), (EVIL,), view=view)
    for as_json in (False, True):
        terminal = Terminal(as_json=as_json, verbose=True)
        terminal.outcome(outcome)
        terminal.error(OpsigError(EVIL, EVIL), schema)
        terminal.log(EVIL)
        with terminal.task(EVIL, 2) as task:
            task.advance(note=EVIL)
        with terminal.task("quick", 2) as task:
            task.advance(2, note=EVIL)
        said = capsys.readouterr()
        assert not unseen(said.out + said.err)
        assert "\nerror: forged" not in said.out + said.err
        assert "[red][/x][link=http://e]" in said.err


def test_a_bar_shows_markup_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    terminal.err = type(terminal.err)(
        stderr=True, markup=False, emoji=False, force_terminal=True, width=200, no_color=True
    )
    with terminal.task("work", 1) as task:
        task.advance(note="[/x]\x1b]0;t\x07\x9b")
    shown = capsys.readouterr().err
    assert "[/x]\ufffd]0;t\ufffd\ufffd" in shown
    assert "\x1b]" not in shown
    assert "\x07" not in shown


def test_every_text_of_a_case_is_text_in_the_page() -> None:
    case = poisoned(
        make_case(classes=(f"cat{EVIL}", "dog", "frog"), names=tuple(EVIL + str(i) for i in range(24)))
    )
    page = render_html(case, {EVIL: EVIL}, definitions=dict.fromkeys(("opposition", "loss r"), EVIL))
    assert not unseen(page)
    assert "\ufffd[2J" in page


def test_json_says_the_same_with_every_unseen_character_written_out() -> None:
    document = error_json(EVIL, OpsigError(EVIL + "\U000e0041\ud800", EVIL))
    assert not unseen(document)
    assert json.loads(document)["error"]["message"] == EVIL + "\U000e0041\ud800"
    assert escaped('{"a": "é ✓ 漢"}') == '{"a": "é ✓ 漢"}'


def test_what_is_seen_stays_what_it_is() -> None:
    text = "Straße — 漢字 λ ½ 😀 e\u0301"
    assert printable(text) == printable_lines(text) == text
    assert printable("a\u00a0b\nc\td") == "a b\ufffdc d"
    assert printable_lines("a\n\tb") == "a\n\tb"


@pytest.fixture(scope="module")
def evil_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose classes and files, and checkpoints whose folder, have evil names."""
    root = tmp_path_factory.mktemp("evil")
    name = EVIL.replace("/", "_").replace("?", "")
    rng = np.random.default_rng(0)
    for label in range(3):
        folder = root / "images" / f"{label}{name}"
        folder.mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}{name}.png")
    return root


def test_evil_names_of_classes_files_and_folders_pass_through_all_commands(
    opsig: Opsig, evil_run: Path
) -> None:
    run, store = evil_run / f"run{EVIL.replace('/', '_')}", evil_run / "s.h5"
    page = evil_run / "r.html"
    for words in (
        ("train", run, "--data", f"folder:{evil_run / 'images'}", "--model", "mlp?hidden=4", "--steps", 6),
        ("inspect", run),
        ("trace", run, "--store", store),
        ("sharpness", "--store", store, "--every", 3),
        ("mine", "--store", store, "--surrogates", 0),
        ("report", "--store", store),
        ("report", "--store", store, "--html", "-o", page),
        ("inspect", store),
        ("trace", run, "--store", store, "--dry-run"),
        ("train", run, "--data", "planted", "--steps", 3),
        ("trace", f"{run}x", "--store", store),
        ("inspect", f"{run}{EVIL}"),
        ("mine", "--store", f"{store}{EVIL}"),
        ("init", run, "--model", EVIL),
        (EVIL,),
        ("report", f"--{EVIL}"),
    ):
        for how in ((), ("--json",), ("--verbose",)):
            result = opsig(*words, *how)
            assert result.code in (0, 2, 3), result.err
            assert_clean(result)
    assert not unseen(page.read_text())


def test_the_version_in_a_store_is_shown_as_text(opsig: Opsig, case: Path) -> None:
    with h5py.File(case / "opsig.h5", "r+") as file:
        file.attrs["format_version"] = 99
        file.attrs["opsig_version"] = EVIL.replace("\0", "")
    for words in (("report",), ("mine",), ("sharpness",), ("report", "--json")):
        result = opsig(*words, "--store", case / "opsig.h5")
        assert result.code == 3
        assert_clean(result)
    assert_clean(opsig("inspect", case / "opsig.h5"))
