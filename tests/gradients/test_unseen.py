"""``mine --test-data``: what becomes of the pairs in data that were never mined, against losses traced on their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from own_evidence import DRAWS, Case, high_passed, in_unseen

from opsigcli.datasets.planted import Planted
from opsigcli.mining.notes import notes_on_unseen
from opsigcli.mining_records import Evidence, Group, Pair
from opsigcli.store.reader import open_store

Opsig = Callable[..., Any]
EXAMPLES = 900
NETWORK = "--model", "mlp?hidden=32,32", "--lr", 0.4, "--steps", 120


@pytest.fixture(scope="module")
def planted() -> Planted:
    return Planted("vec3", EXAMPLES, 5)


@pytest.fixture
def split(planted: Planted, tmp_path: Path) -> tuple[Path, Path, np.ndarray]:
    """Two thirds to train on, those of the third that are not among them, and the ids of these."""
    third = np.arange(EXAMPLES) % 3 == 0
    trained_on, others = np.flatnonzero(~third), np.flatnonzero(third)
    known = {example.tobytes() for example in planted.read(trained_on)}  # some are repeated
    held_out = others[[example.tobytes() not in known for example in planted.read(others)]]
    assert 250 < len(held_out) < len(others)
    paths = tmp_path / "train.npz", tmp_path / "test.npz"
    for path, rows in zip(paths, (trained_on, held_out), strict=True):
        np.savez(path, x=planted.read(rows), y=planted.labels[rows])
    return *paths, held_out


@pytest.mark.slow
def test_planted_pairs_swing_in_examples_that_were_never_mined_as_an_own_trace_has_it(
    opsig: Opsig, planted: Planted, split: tuple[Path, Path, np.ndarray], tmp_path: Path
) -> None:
    train, test, ids = split
    store, other = tmp_path / "opsig.h5", tmp_path / "other.h5"
    for words in (
        ["train", tmp_path / "run", "--data", f"npz:{train}", *NETWORK],
        ["trace", tmp_path / "run", "--store", store],
        ["trace", tmp_path / "run", "--data", f"npz:{test}", "--store", other],
    ):
        assert opsig(*words, "--quiet").code == 0
    result = opsig("mine", "--store", store, "--test-data", f"npz:{test}", "--json").json["result"]
    with open_store(store) as mined, open_store(other) as unseen:
        of_mined, of_unseen = high_passed(mined.losses[()]), high_passed(unseen.losses[()])
    touched = {t + shift for t in result["gradient_steps"] for shift in (-1, 0)}
    free = [t for t in range(12, 120) if t not in touched]
    findings = [pair for pair in result["pairs"] if pair["finding"]]
    assert findings
    trained_on = np.flatnonzero(np.arange(EXAMPLES) % 3)
    for pair in findings:
        sides = [trained_on[pair[side]["ids"]] for side in ("first", "second")]
        every = np.concatenate(sides)
        known = max(planted.known_pairs, key=lambda two: np.isin(np.concatenate(two), every).sum())
        if not len(np.intersect1d(known[0], sides[0])):
            known = known[::-1]
        members = [np.flatnonzero(np.isin(ids, side)) for side in known]
        a, b = (of_unseen[free][:, rows].mean(axis=1) for rows in members)
        mined_gap = [of_mined[free][:, pair[side]["ids"]].mean(axis=1) for side in ("first", "second")]
        truth = {
            "unseen_members": sum(map(len, members)) / len(ids),
            "unseen_anti_phase": np.corrcoef(a, b)[0, 1],
            "unseen_agreement": np.corrcoef(a - b, mined_gap[0] - mined_gap[1])[0, 1],
        }
        found = pair["evidence"]
        for name, value in truth.items():
            assert found[name]["value"] == pytest.approx(value, abs=0.1), name
        assert found["unseen_anti_phase"]["value"] < -0.5
        assert found["unseen_agreement"]["value"] > 0.9
        assert (
            found["unseen_agreement"]["p_value"] <= 0.1
        )  # random groups of a few hundred have its members too
        closer = "closer" if found["unseen_agreement"]["p_value"] <= 0.05 else "and so do random ones"
        assert any(f"swing as it does, {closer}" in reason for reason in pair["reasons"])
    _agree_with_the_page(Case(tmp_path), findings[0], planted, ids)


def _agree_with_the_page(case: Case, pair: dict[str, Any], planted: Planted, ids: np.ndarray) -> None:
    """All numbers of unseen data, by what opsig-evidence(7) says."""
    sides = np.array(pair["first"]["ids"]), np.array(pair["second"]["ids"])
    inputs = planted.read(ids).reshape(len(ids), -1).astype(np.float64)
    own = in_unseen(case, sides, inputs, np.asarray(planted.labels)[ids])
    assert set(own) == {name for name in pair["evidence"] if name.startswith("unseen_")}
    for name, (value, *null) in own.items():
        shown, chance = pair["evidence"][name], np.array(null)
        sign = -1 if name == "unseen_anti_phase" else 1
        assert_allclose(shown["value"], sign * value, atol=2e-4, err_msg=name)
        error = 5 * chance.std() * np.sqrt(2 / DRAWS)
        assert_allclose(shown["null"], sign * chance.mean(), atol=max(error, 1e-9), err_msg=name)
        if shown["p_value"] is not None:
            p = (1 + (chance >= value).sum()) / (1 + DRAWS)
            assert abs(shown["p_value"] - p) <= 5 * np.sqrt(2 * p * (1 - p) / DRAWS) + 1 / DRAWS, name


def test_the_data_of_the_run_are_no_data_that_were_never_mined(opsig: Opsig, case: Path) -> None:
    found = opsig("mine", "--store", case / "opsig.h5", "--test-data", "planted?n=400")
    assert found.code == 2
    assert "were not mined" in found.err
    assert "hint:" in found.err


def test_examples_of_the_run_are_none_that_were_never_mined_in_any_order(
    opsig: Opsig, tmp_path: Path
) -> None:
    seen, other = Planted("vec3", 240, 0), Planted("vec3", 240, 1)
    order, few, new = np.random.default_rng(0).permutation(240), np.arange(30), np.arange(100)
    np.savez(tmp_path / "seen.npz", x=seen.read(np.arange(240)), y=seen.labels)
    np.savez(tmp_path / "permuted.npz", x=seen.read(order), y=seen.labels[order])
    inputs, labels = (
        np.r_[of(seen)[few], of(other)[new]] for of in (lambda a: a.read(np.arange(240)), lambda a: a.labels)
    )
    np.savez(tmp_path / "some.npz", x=inputs, y=labels)
    store = "--store", tmp_path / "o.h5"
    made = ["--data", f"npz:{tmp_path / 'seen.npz'}", "--model", "mlp?hidden=8", "--steps", 20, "--lr", 0.4]
    assert opsig("train", tmp_path / "run", *made).code == 0
    assert opsig("trace", tmp_path / "run", *store).code == 0
    words = ["mine", *store, "--surrogates", 0]
    refused = opsig(*words, "--test-data", f"npz:{tmp_path / 'permuted.npz'}")
    assert refused.code == 2
    assert "the data of the run itself" in refused.err
    found = opsig(*words, "--test-data", f"npz:{tmp_path / 'some.npz'}", "--json").json["result"]
    said = "30 of the 130 examples drawn of --test-data are examples of the run"
    assert any(note.startswith(said) for note in found["notes"])


@pytest.mark.parametrize(
    "other",
    [("--method", "top"), ("--method", "losses"), ("--similarity", "raw"), ("--similarity", "centred")],
)
def test_data_that_would_not_be_looked_at_are_refused(
    opsig: Opsig, case: Path, other: tuple[str, str]
) -> None:
    words = ["mine", "--store", case / "opsig.h5", *other]
    found = opsig(*words, "--test-data", "planted?n=400&seed=1")
    assert found.code == 2
    assert " ".join(other) in found.err
    assert "leave out --test-data" in found.err
    assert opsig(*words, "--surrogates", 0).code == 0


def test_pairs_that_are_not_asked_of_unseen_data_are_named() -> None:
    asked, other = (a_pair(evidence) for evidence in ({"unseen_members": Evidence(0.1, 0.1)}, {}))
    assert notes_on_unseen([]) == notes_on_unseen([asked]) == []
    (note,) = notes_on_unseen([asked, other])
    assert "about pair 2, " in note
    (note,) = notes_on_unseen([other, asked, other])
    assert "about pairs 1, 3, " in note


def a_pair(evidence: dict[str, Evidence]) -> Pair:
    side = Group(np.arange(5))
    return Pair(side, side, Evidence(0.5), evidence, "opposing outliers")
