"""Screening of all examples: pieces, what is kept of them, and tokens by the gradients of the last layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Opsig
from numpy.testing import assert_allclose
from own_evidence import of_tokens

from opsigcli.derivatives import gradient_sketch
from opsigcli.gradients import candidate_screening
from opsigcli.gradients.candidate_screening import Bounds, Screen, cuts, looked_at
from opsigcli.gradients.sketch_store import Sketches
from opsigcli.mining.similarity import Gradients
from opsigcli.mining.trace_stats import survey
from opsigcli.options import MineOptions
from opsigcli.progress import NoProgress, Task
from opsigcli.store.reader import open_store
from opsigcli.store.units import Units

N, K, ROWS = 250, 6, (2, 5)


class Given:
    """Gradients that are known, and who asked for them."""

    def __init__(self, fail_after: int | None = None) -> None:
        rng = np.random.default_rng(0)
        self.sketch, self.residuals = (rng.standard_normal((N, k)).astype(np.float32) for k in (K, 3))
        self.asked: list[int] = []
        self.left = fail_after

    def __call__(self, positions: np.ndarray, task: Task) -> Gradients:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        self.asked += positions.tolist()
        task.advance(len(positions))
        return Gradients(0, self.sketch[positions], np.ones(len(positions)), self.residuals[positions])


def screen(folder: Path, given: Given, *, references: int = N, kept: float = np.inf) -> Screen:
    units = Units(folder / "s.h5", {"key": "a"})
    ends = cuts(N, np.repeat(np.arange(25), 10))
    return Screen(
        units, ROWS, np.arange(N), lambda row: given, K, 0, NoProgress(), ends, Bounds(references, kept)
    )


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidate_screening, "PIECE", 32)


@pytest.mark.parametrize("lengths", [[10] * 30, [70, 1, 1, 200, 3], [1] * 100, [300]])
def test_no_piece_begins_within_a_sequence_and_all_examples_are_in_one(lengths: list[int]) -> None:
    sequences = np.repeat(np.arange(len(lengths)), lengths)
    found = cuts(len(sequences), sequences)
    assert (found[0], found[-1]) == (0, len(sequences))
    assert (np.diff(found) > 0).all()
    assert set(found[:-1]) <= set(np.cumsum([0, *lengths]))


def test_all_examples_are_looked_at_where_a_tenth_of_the_trace_allows_it() -> None:
    rows = [3, 10, 25, 58, 76, 135, 184, 219]
    assert looked_at(rows, 20) == (76,)
    assert looked_at(rows, 61) == (25, 184)
    assert looked_at(rows, 1000) == (10, 58, 135, 219)
    assert looked_at(rows[:2], 1000) == (3, 10)


def test_folded_sketches_have_the_inner_products_of_whole_ones_on_average() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 400))
    found = []
    for _ in range(300):  # count sketches: every entry into one of 32 with a random sign
        where, sign, sketch = rng.integers(0, 32, 400), rng.choice([-1, 1], 400), np.zeros((2, 32))
        np.add.at(sketch.T, where, (sign * np.stack([one, other])).T)
        found.append(Gradients(0, sketch, np.ones(2), np.ones((2, 1))).folded(12).sketch)
    products = [np.prod(pair, axis=0).sum() for pair in found]
    assert found[0].shape == (2, 12)
    assert np.mean(products) == pytest.approx(one @ other, abs=4 * np.std(products) / np.sqrt(300))


@pytest.mark.parametrize("references", [40, N])
def test_what_does_not_fit_is_computed_again_and_changes_nothing(references: int, tmp_path: Path) -> None:
    found, asked = [], []
    for number, kept in enumerate((np.inf, 2.0 * (K // 2 + 1 + 3) * 320, 0)):
        (folder := tmp_path / str(number)).mkdir()
        given = Given()
        found.append(screen(folder, given, references=references, kept=kept).degree())
        pieces = list(screen(folder, given, kept=kept).pieces())
        np.testing.assert_array_equal(np.concatenate([positions for positions, _ in pieces]), np.arange(N))
        assert {(at.checkpoint, at.sketch.shape[1]) for _, there in pieces for at in there} == {
            (2, 3),
            (5, 3),
        }
        asked.append(len(given.asked))
        held = sum(path.stat().st_size for path in folder.rglob("screened-*"))
        assert held <= kept + 8 * 300  # and the files' heads
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
    assert asked[0] == 2 * N
    assert 2 * N < asked[1] < asked[2]


@pytest.mark.parametrize("kept", [np.inf, 0])
def test_a_signal_loses_the_piece_in_flight_alone(kept: float, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = Given()
    expected = screen(tmp_path / "whole", whole, references=40, kept=kept).degree()
    broken = Given(fail_after=5)
    with pytest.raises(KeyboardInterrupt):
        screen(tmp_path, broken, references=40, kept=kept).degree()
    again = Given()
    np.testing.assert_array_equal(screen(tmp_path, again, references=40, kept=kept).degree(), expected)
    assert len(again.asked) < len(whole.asked) - (60 if np.isinf(kept) else 20)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens of a text in which one word is followed by either of two at random: they pull against one another."""
    from opsigcli.cli.app import run

    folder = tmp_path_factory.mktemp("tokens")
    rng = np.random.default_rng(0)
    follows = rng.dirichlet(np.full(80, 0.05), size=80)
    documents = []
    for _ in range(120):
        word, text = int(rng.integers(80)), []
        while len(text) < 33:
            text.append(f"w{word}")
            if rng.random() < 0.04:
                text += ["cue", "aa" if rng.random() < 0.5 else "bb"]
            word = int(rng.choice(80, p=follows[word]))
        documents.append(" ".join(text[:33]))
    (folder / "text.txt").write_text("\n\n".join(documents))
    words = [
        "train",
        folder / "run",
        "--data",
        f"text:{folder / 'text.txt'}?context=16&vocabulary=100",
        "--loss",
        "lm",
    ]
    words += ["--model", "gpt?layers=2&width=32&heads=2", "--optimizer", "gd", "--lr", 1, "--steps", 120]
    words += ["--save-every", 6, "-q"]
    assert run([str(word) for word in words]) == 0
    assert run(["trace", str(folder / "run"), "--store", str(folder / "opsig.h5"), "--tokens", "-q"]) == 0
    return folder / "opsig.h5"


@pytest.mark.slow
def test_tokens_that_oppose_one_another_are_seen_in_the_last_layer_as_in_all_of_them(
    traced: Path, tmp_path: Path
) -> None:
    degrees = {}
    with open_store(traced) as store:
        for kind in ("last layer", "all layers"):
            options = MineOptions(store=tmp_path / f"{kind}.h5", candidates=100)
            sketches = Sketches(options, store, survey(store.losses), None, NoProgress())
            if kind == "all layers":
                sketches.__dict__["last_layer"] = None
            degrees[kind] = sketches.screen().degree()
        source = sketches.opened.source
        _, _, columns = source.sequences.locate(np.arange(len(source)))
        after = source.read(np.arange(len(source)))[np.arange(len(source)), columns] == source.classes.index(
            "cue"
        )
    assert after.sum() > 40
    for degree in degrees.values():
        rank = np.argsort(np.argsort(-degree))
        assert (rank[after] < 2 * after.sum()).mean() > 0.9
    ranks = [np.argsort(np.argsort(degree)) for degree in degrees.values()]
    assert np.corrcoef(*ranks)[0, 1] > 0.5


@pytest.mark.slow
def test_whole_backward_passes_are_for_the_chosen_tokens_alone(
    opsig: Opsig, traced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    plain = gradient_sketch.gradient_sketches

    def counted(objective: object, positions: np.ndarray, **keywords: object) -> object:
        passes.append(len(positions))
        return plain(objective, positions, **keywords)

    monkeypatch.setattr(gradient_sketch, "gradient_sketches", counted)
    (tmp_path / "opsig.h5").write_bytes(traced.read_bytes())
    words = ["mine", "--store", tmp_path / "opsig.h5", "--candidates", 400, "--gradient-checkpoints", 2]
    result = opsig(*words, "--surrogates", 0, "--json").json["result"]
    assert sum(passes) == 2 * 400
    assert result["candidates"] == 400
    assert result["pairs"]
    named = {side: set(result["pairs"][0][side]["labels"]) for side in ("first", "second")}
    assert sorted(map(sorted, named.values())) == [["aa"], ["bb"]]
    drawn = {
        "persistence",
        "gradient_ratio",
        "replication",
        "swing_held",
    }  # of which another draw, or the model, tells
    for told, found in of_tokens(tmp_path / "opsig.h5"):  # by what opsig-evidence(7) says
        shown = {**told["evidence"], "opposition": told["opposition"]}
        assert shown.keys() - found.keys() == drawn
        for name in shown.keys() - drawn:
            each = [shown[name][part] for part in ("value", "null", "p_value")][: len(found[name])]
            assert_allclose(each, found[name], rtol=1e-4, atol=1e-5 if len(each) < 3 else 0, err_msg=name)


@pytest.mark.slow
def test_pairs_of_a_network_that_pools_are_among_the_candidates_and_what_is_not_joins(
    opsig: Opsig, tmp_path: Path
) -> None:
    store = tmp_path / "opsig.h5"
    data, rule = "planted?scenario=conv&n=1500&seed=3", ["--lr", 0.7, "--steps", 100, "--save-every", 2]
    for words in (
        ["train", tmp_path / "run", "--data", data, "--model", "cnn?widths=16,32", *rule],
        ["trace", tmp_path / "run", "--store", store],
    ):
        assert opsig(*words, "--quiet").code == 0
    words = ["mine", "--store", store, "--candidates", 500, "--surrogates", 0, "--json"]
    found = opsig(*words).json["result"]["recovery"]
    assert found["found"] == found["mined"] == 2
    assert found["f1"] > 0.9
