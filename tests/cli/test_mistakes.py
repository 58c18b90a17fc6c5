"""Mistakes on a command line are told in opsig's words, with the way out."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Opsig

from opsigcli.options import COMMANDS


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (("report", "--htm"), "expected an option of opsig report, found --htm", "did you mean --html"),
        (("report", "--zxz"), "expected an option of opsig report, found --zxz", "opsig report --help"),
        (("reprot",), f"expected a command ({', '.join(COMMANDS)}), found 'reprot'",
         "did you mean opsig report"),
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
