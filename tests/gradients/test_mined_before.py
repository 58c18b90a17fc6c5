"""A store that was mined in the same way is not mined again; one that differs in anything is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Opsig

from opsigcli.commands import mine as command
from opsigcli.gradients.ablation import NO_PAIRS
from opsigcli.mining_records import Mining

WORDS = ("--gradient-checkpoints", 2, "--surrogates", 2, "--json")


@pytest.fixture(scope="module")
def once() -> dict[str, Any]:
    """The store of a short run and what mining printed of it, once the first test has asked."""
    return {}


@pytest.fixture
def mined(
    opsig: Opsig, once: dict[str, Any], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, object]]:
    """A mined store of a short run, and what was printed."""
    if not once:
        folder = tmp_path_factory.mktemp("mined")
        run, store = folder / "run", folder / "s.h5"
        assert opsig("train", run, "--data", "planted?n=200", "--steps", 12, "--lr", 1.0).code == 0
        assert opsig("trace", run, "--store", store).code == 0
        once |= {"result": opsig("mine", "--store", store, *WORDS).json["result"], "store": store}
    return Path(shutil.copy(once["store"], tmp_path / "s.h5")), once["result"]


def test_mining_again_gives_the_same_and_computes_nothing(
    opsig: Opsig, mined: tuple[Path, dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, first = mined
    with monkeypatch.context() as patch:
        patch.setattr(command, "find_pairs", lambda *_: pytest.fail("the store was mined again"))
        again = opsig("mine", "--store", store, *WORDS, "--export", tmp_path / "ids.csv").json["result"]
    assert again == first
    assert (tmp_path / "ids.csv").exists()


def test_mining_again_says_who_held_the_spikes(opsig: Opsig, tmp_path: Path) -> None:
    """No cause is stored, so that it is read from the losses anew."""
    run, store = tmp_path / "run", tmp_path / "s.h5"
    assert opsig("train", run, "--data", "planted?n=200", "--steps", 40, "--lr", 3.0).code == 0
    assert opsig("trace", run, "--store", store).code == 0
    words = ("mine", "--store", store, "--method", "losses", "--json")
    first, again = (opsig(*words).json["result"]["spikes"] for _ in range(2))
    assert any(spike["cause"] for spike in first)
    assert again == first


def test_a_store_that_is_traced_further_says_so_until_it_is_mined_again(opsig: Opsig, tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "s.h5"

    def traced(steps: int) -> None:
        assert opsig("train", run, "--data", "planted?n=200", "--steps", steps).code == 0
        assert opsig("trace", run, "--store", store).code == 0

    def report() -> str:
        return " ".join(opsig("report", "--store", store).out.split())

    def mine() -> None:
        assert opsig("mine", "--store", store, "--method", "losses").code == 0

    traced(12)
    mine()
    assert "were mined among" not in report()
    traced(16)
    assert "Pairs were mined among 13 checkpoints, and 17 are traced now" in report()
    mine()
    assert "were mined among" not in report()


@pytest.mark.parametrize(
    "other", [("--seed", 1), ("--top", 3), ("--method", "losses"), ("--similarity", "raw")]
)
def test_another_choice_is_mined(
    opsig: Opsig,
    mined: tuple[Path, dict[str, object]],
    other: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    real = command.find_pairs
    monkeypatch.setattr(command, "find_pairs", lambda *given: (calls.append(1), real(*given))[1])
    words = WORDS[2:] if "losses" in other else WORDS  # by losses alone no gradients are compared
    assert opsig("mine", "--store", mined[0], *words, *other).code == 0
    assert calls


def test_a_causal_comparison_without_pairs_says_that_there_is_nothing_to_test(
    opsig: Opsig, mined: tuple[Path, dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mining, "counted", ())
    done = opsig("mine", "--store", mined[0], *WORDS, "--causal")
    assert done.code == 0, done.err
    causal = done.json["result"]["causal"]
    assert causal["arms"] == []
    assert causal["sentences"] == [f"no causal sentence: {NO_PAIRS}"]
