"""Mistakes on a command line are told in opsig's words, with the way out."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from conftest import Opsig

from opsigcli.cli.app import run
from opsigcli.options import COMMANDS
from opsigcli.parameters import Option, parameters


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (("report", "--htm"), "expected an option of opsig report, found --htm", "did you mean --html"),
        (("report", "--zxz"), "expected an option of opsig report, found --zxz", "opsig report --help"),
        (("reprot",), f"expected a command ({', '.join(COMMANDS)}), found 'reprot'",
         "did you mean opsig report"),
        (("help", "nothing"), ") or a topic (api, scaling, losses, spikes,", "see: opsig --help"),
        (("help", "gate"), "found 'gate'", "did you mean opsig help gates"),
        (("mine", "a", "b"), "expected no more words for opsig mine, found 'a b'",
         "or --store FILE; see: opsig mine --help"),
        (("schema", "a", "b"), "expected no more words for opsig schema, found 'b'", "see: opsig schema --help"),
        (("mine", "--top"), "expected a value after --top, found none", "opsig mine --help"),
        (("report", "--quiet=3"), "expected no value after --quiet, found one", "opsig report --help"),
        (("trace",), "expected CKPTS after opsig trace, found nothing", "opsig trace --help"),
        (("sharpness", "--every", "x"), "in --every: expected a whole number, found 'x'", "opsig sharpness"),
        (("report", "--thumbnails=99"), "in --thumbnails: expected a number of at most 24, found '99'", "opsig"),
        (("train", "d", "--batch-size", "0"), "in --batch-size: expected 'full' or a number", "opsig train"),
    ],
)  # fmt: skip
def test_a_mistake_says_what_was_expected_and_what_was_found(
    opsig: Opsig, words: tuple[str, ...], error: str, hint: str
) -> None:
    result = opsig(*words)
    assert result.code == 2
    said = " ".join(result.err.split())
    assert error in said
    assert hint in said
    for parsers in ("Invalid value", "No such", "Got unexpected", "Input should", "Possible options"):
        assert parsers not in said


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_tells_its_mistakes_in_the_same_words(opsig: Opsig, verb: str) -> None:
    own = parameters(COMMANDS[verb])
    options = [p.flag for p in own if isinstance(p.declared, Option)]
    words = [(verb, "--xyzzy"), (verb, *"abcdefghi", "j k")]
    words += [(verb, f"{flag[:-1]}{flag[-2]}{flag[-1]}") for flag in options[:1]]
    for line in words:
        result = opsig(*line)
        said = " ".join(result.err.split())
        assert result.code in (2, 3)
        assert said.startswith("error: expected ")
        assert "hint: " in said
        assert "wrote: opsig.h5" not in said or not any(p.name == "checkpoints" for p in own)
    if options:
        assert "did you mean" in said
        assert options[0] in said


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_help_is_spelled_in_the_characters_that_the_terminal_has(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert run(["sharpness", "--help"]) == 0
    assert "2/eta" in raw.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("data", "close"),
    [
        ("folder:.?normalize=.5", "did you mean 'mean' or 'std'?"),
        ("folder:.?resize=32", "did you mean 'size'?"),
        ("folder:.?max_samples=9", "did you mean 'limit'?"),
    ],
)
def test_an_option_is_known_by_the_name_that_other_tools_give_it(opsig: Opsig, data: str, close: str) -> None:
    result = opsig("train", "runs", "--data", data)
    assert result.code == 2
    assert close in " ".join(result.err.split())


def test_a_folder_in_place_of_a_store_names_the_store_in_it(opsig: Opsig, tmp_path: Path) -> None:
    assert "name another file with --store" in opsig("report", str(tmp_path)).err
    (tmp_path / "opsig.h5").touch()
    assert f"name the store in it: {tmp_path / 'opsig.h5'}" in opsig("report", str(tmp_path)).err.replace(
        "\n", ""
    )
