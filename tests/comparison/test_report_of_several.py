"""``opsig report A.h5 B.h5`` as a user runs it: terminal, JSON and page."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Opsig

SMALL = ("--data", "planted?n=400", "--model", "mlp?hidden=32,32", "--steps", 60)


@pytest.fixture(scope="module")
def stores(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The finished run, and another seed of it without the members of its first pair."""
    from opsigcli.cli.app import run

    folder = tmp_path_factory.mktemp("several")
    first, second = folder / "whole.h5", folder / "cut.h5"
    shutil.copy(finished / "opsig.h5", first)
    for words in (
        ["mine", "--store", first, "--export", folder / "ids.csv"],
        ["train", folder / "cut", *SMALL, "--exclude", folder / "ids.csv"],
        ["trace", folder / "cut", "--store", second],
    ):
        assert run([str(word) for word in [*words, "--quiet"]]) == 0
    return [first, second]


def test_the_terminal_says_what_differs_and_what_is_shared(stores: list[Path], opsig: Opsig) -> None:
    done = opsig("report", *stores)
    assert done.code == 0, done.err
    assert "2 runs side by side: A whole.h5, B cut.h5" in done.out
    assert "A and B: 400 examples are the same, of 400 (by id and content)." in done.out
    assert re.search(r"examples left out +\S+ +\d+ of 400", done.out)
    assert "Nothing was mined in B: opsig mine --store" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_json_has_every_number_of_the_table(stores: list[Path], opsig: Opsig) -> None:
    done = opsig("report", *stores, "--json")
    assert done.code == 0, done.err
    assert done.json["schema"] == "opsig/comparison"
    result = done.json["result"]
    assert [run["letter"] for run in result["runs"]] == ["A", "B"]
    alone = opsig("report", stores[0], "--json").json["result"]
    assert result["runs"][0]["mean_losses"] == alone["mean_losses"]
    assert result["runs"][0]["spikes"] == [spike["next_step"] for spike in alone["spikes"]]
    ratios = [p["ratio"] for p in alone["sharpness"] if p["converged"] and p["ratio"] is not None]
    assert result["runs"][0]["ratios"] == ratios
    assert result["shared"][0]["same"] == 400


def test_the_page_stands_alone_and_shows_the_groups_in_both_runs(
    stores: list[Path], opsig: Opsig, tmp_path: Path
) -> None:
    page = tmp_path / "both.html"
    done = opsig("report", *stores, "-o", page)
    assert done.code == 0, done.err
    text = page.read_text()
    assert "All runs on one axis: optimizer steps. Mean losses in nats are over" in text
    assert "<script>" not in text
    assert not re.search(r"https?://", text)
    assert "default-src &#39;none&#39;" in text
    assert 'id="figure-pair-A1-in-A"' in text
    assert 'id="figure-pair-A1-in-B"' in text
    again = tmp_path / "again.html"
    opsig("report", *stores, "-o", again)
    assert again.read_bytes() == page.read_bytes()


def test_other_data_under_the_same_ids_is_refused_example_by_example(
    stores: list[Path], opsig: Opsig, tmp_path: Path
) -> None:
    other = ("--data", "planted?n=400&seed=5", *SMALL[2:])
    assert opsig("train", tmp_path / "other", *other, "--quiet").code == 0
    assert opsig("trace", tmp_path / "other", "--store", tmp_path / "other.h5", "--quiet").code == 0
    done = opsig("report", stores[0], tmp_path / "other.h5", "--json")
    assert done.code == 0, done.err
    result = done.json["result"]
    assert result["shared"][0]["same"] == 0
    assert "400 ids stand for other inputs or labels" in result["shared"][0]["refused"]
    assert result["elsewhere"] == []
    assert result["runs"][0]["shared_losses"] is None
    assert np.isfinite(result["runs"][0]["mean_losses"]).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["whole", "whole"], "twice"),
        (["whole", "cut", "--result", "mine"], "--result is for the report of one store"),
        (["whole", "gone"], "gone.h5"),
        (["whole"] * 9, "at most 8"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_its_reason(
    words: list[str], said: str, stores: list[Path], opsig: Opsig
) -> None:
    known = {path.stem: path for path in stores} | {"gone": stores[0].with_name("gone.h5")}
    done = opsig("report", *(known.get(word, word) for word in words))
    assert done.code in (2, 3)
    assert said in done.err
    assert "hint:" in done.err


def test_one_store_named_as_a_word_is_reported_as_with_the_option(stores: list[Path], opsig: Opsig) -> None:
    assert opsig("report", stores[0]).out == opsig("report", "--store", stores[0]).out


def test_a_store_is_named_in_one_way(
    stores: list[Path], opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one of --store was ignored where words named others."""
    done = opsig("report", stores[0], "--store", stores[1])
    assert (done.code, "expected stores as words or with --store" in done.err) == (2, True)
    assert opsig("report", stores[0], "--store", stores[0]).code == 0
    monkeypatch.setenv("OPSIG_STORE", str(stores[1]))
    assert opsig("report", stores[0], "--json").json["inputs"]["store"] == str(stores[0])
