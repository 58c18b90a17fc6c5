"""What a store holds never shrinks, whatever commands follow one another; only --fresh removes, and says what."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest
from conftest import Opsig

from opsigcli.cli.app import run
from opsigcli.store.reader import Store, open_store

SHARPNESS = (
    ("--every", 10),
    ("--every", 20, "--layers"),
    ("--steps", "20:30", "--every", 5),
    ("--every", 20, "--top", 2),
    ("--every", 20, "--groups"),
    ("--every", 40, "--per-example", "--secant"),
    ("--every", 40, "--precision", "float64"),
    ("--every", 20, "--examples", 50),
    ("--every", 20, "--lr", 0.1),
    ("--every", 20, "--budget", "30hvp"),
    ("--every", 20, "--tolerance", 0.1),
    ("--every", 20, "--max-matvecs", 3),
    ("--every", 20, "--quick"),
    ("--every", 20, "--quick", "--lr", 0.1),
)
VIRTUAL = (
    ("--virtual-step",),
    ("--virtual-step", "--lr", 0.1),
    ("--virtual-step", "--optimizer", "adam", "--lr", 0.01),
    (),
    ("--fresh",),
)
CAUSAL = (("--seed", 1), ("--seed", 2))
MINE = ((), ("--method", "losses"), ("--method", "top"), ("--top", 5, "--method", "losses"))
LENGTH, SEQUENCES = 6, 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run, traced and mined."""
    folder = tmp_path_factory.mktemp("kept")
    words = [
        [
            "train",
            folder / "run",
            "--data",
            "planted?n=200",
            "--model",
            "mlp?hidden=4",
            "--steps",
            40,
            "--lr",
            0.5,
        ],
        ["trace", folder / "run", "--store", folder / "s.h5"],
        ["mine", "--store", folder / "s.h5", "--method", "losses", "--surrogates", 0],
    ]
    for some in words:
        assert run([str(word) for word in [*some, "--quiet"]]) == 0
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made / "s.h5", tmp_path / "s.h5"))


def facts(path: Path) -> set[tuple[Any, ...]]:
    """All that was measured, each with the conditions it was measured under."""
    with open_store(path) as store:
        return set(_facts(store))


def _facts(store: Store) -> Any:
    for step in store.file["steps"][()]:
        yield "trace", int(step)
    for command, named in store.places().items():
        for name, place in named.items():
            yield command, name
            if command == "sharpness":
                for point in place.sharpness:
                    at = (name, point.step)
                    yield *at, "converged" if point.converged else "value"
                    yield *at, "value"
                    yield from ((*at, "eigenvalue", i) for i in range(len(point.eigenvalues)))
                    yield from ((*at, "layer", layer.name) for layer in point.layers if layer.eigenvalue)
                    yield from ((*at, "group", g.mining, str(g.name)) for g in point.groups)
                    for what in ("concentration", "secant", "step_check", "spectrum", "batch_sharpness"):
                        if getattr(point, what) is not None:
                            yield *at, what
                yield from ((name, step, "curvature") for step in place.example_curvature())
            if command == "sharpness --quick":
                yield from ((name, point.step) for point in place.critical)
            if place.virtual is not None and command == "trace --virtual-step":
                yield from ((name, int(place.virtual.steps[row])) for row in place.virtual.rows)
    yield from (("causal", c.groups, c.seed, c.test_data, c.step, c.updates) for c in store.causal)


def commands(seed: int, folder: Path) -> list[list[Any]]:
    """A random sequence of commands, none of which removes anything."""
    draw = random.Random(seed)
    choices = {
        "sharpness": SHARPNESS,
        "mine": (*MINE[1:], *((*words, "--causal", "--surrogates", 0) for words in CAUSAL)),
        "trace": tuple((folder / "run", *words) for words in VIRTUAL),
    }
    verbs = draw.choices(("sharpness", "trace", "mine"), (3, 2, 1), k=LENGTH)
    return [[verb, *draw.choice(choices[verb])] for verb in verbs]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_no_sequence_of_commands_shrinks_what_is_measured(made: Path, store: Path, seed: int) -> None:
    before = facts(store)
    for words in commands(seed, made):
        assert run([str(word) for word in [*words, "--store", store, "--quiet"]]) in (0, 4)
        after = facts(store)
        assert before <= after, (words, before - after)
        before = after


def test_points_of_several_commands_stand_side_by_side(opsig: Opsig, store: Path) -> None:
    for words in (SHARPNESS[0], SHARPNESS[1], SHARPNESS[6], SHARPNESS[7]):
        assert opsig("sharpness", "--store", store, *words).code == 0
    with open_store(store) as opened:
        named = opened.places()["sharpness"]
        assert set(named) == {"sharpness", "sharpness --precision float64", "sharpness --examples 50"}
        points = {point.step: point for point in named["sharpness"].sharpness}
        assert list(points) == [0, 10, 20, 30, 40]
        assert [step for step, p in points.items() if p.layers[0].eigenvalue is not None] == [0, 20, 40]
        assert opened.sharpness == named["sharpness"].sharpness  # that of most checkpoints is shown first
        wide = named["sharpness --precision float64"].sharpness
        assert [point.step for point in wide] == [0, 40]
        assert {point.examples for point in named["sharpness --examples 50"].sharpness} == {50}
        ids = named["sharpness --examples 50"].subset
        assert ids is not None
        assert len(ids) == 50
        assert opened.subset is None


def test_what_is_known_is_not_measured_again(opsig: Opsig, store: Path) -> None:
    opsig("sharpness", "--store", store, "--every", 20, "--layers", "--top", 2)
    for words in ((), ("--top", 1), ("--layers",), ("--tolerance", 0.1)):
        planned = opsig(
            "sharpness", "--store", store, "--every", 20, "--top", 2, *words, "--dry-run", "--json"
        )
        assert planned.json["result"]["checkpoints"] == []
    for words in (("--top", 3), ("--tolerance", 1e-4), ("--secant",), ("--lr", 0.1), ("--every", 10)):
        planned = opsig("sharpness", "--store", store, "--every", 20, *words, "--dry-run", "--json")
        assert planned.json["result"]["checkpoints"] != []


def test_only_fresh_removes_points_and_it_says_which(opsig: Opsig, store: Path) -> None:
    opsig("sharpness", "--store", store, "--every", 10)
    opsig("sharpness", "--store", store, "--every", 20, "--precision", "float64")
    done = opsig("sharpness", "--store", store, "--every", 20, "--fresh")
    assert "--fresh removed what was measured at 5 checkpoints before (sharpness)" in done.err
    with open_store(store) as opened:
        named = opened.places()["sharpness"]
        assert [point.step for point in named["sharpness"].sharpness] == [0, 20, 40]
        assert [point.step for point in named["sharpness --precision float64"].sharpness] == [0, 20, 40]


def test_mining_of_another_method_is_kept_and_can_be_shown(opsig: Opsig, store: Path) -> None:
    with open_store(store) as opened:
        first = opened.mining
    opsig("mine", "--store", store, "--method", "top")
    shown = opsig("report", "--store", store, "--json").json["result"]
    names = {result["name"]: result["shown"] for result in shown["results"]}
    assert names == {"mine --method losses --surrogates 0": False, "mine --method top": True}
    other = opsig("report", "--store", store, "--result", "mine --method losses --surrogates 0", "--json")
    assert first is not None
    pairs = other.json["result"]["mining"]["pairs"]
    assert [pair["first"]["ids"] for pair in pairs] == [pair.first.ids.tolist() for pair in first.pairs]
    wrong = opsig("report", "--store", store, "--result", "mine --method full")
    assert wrong.code == 2
    assert "mine --method top" in wrong.err
    opsig("mine", "--store", store, "--method", "losses", "--surrogates", 0)  # known: nothing is computed
    again = opsig("report", "--store", store, "--json").json["result"]
    assert again["mining"]["method"] == "losses"


def test_a_trace_of_another_run_takes_over_nothing_and_says_so(
    opsig: Opsig, store: Path, tmp_path: Path
) -> None:
    words = ("--data", "planted?n=200", "--model", "mlp?hidden=4", "--steps", 3, "--seed", 5)
    opsig("sharpness", "--store", store, "--every", 20)
    opsig("train", tmp_path / "run", *words)
    done = opsig("trace", tmp_path / "run", "--store", store, "--fresh")
    assert done.code == 0
    assert "--fresh removed sharpness" in done.err
    assert "--fresh removed mine --method losses --surrogates 0" in done.err
    with open_store(store) as opened:
        assert opened.sharpness == ()
        assert opened.mining is None
        assert not opened.kept()


def test_a_trace_of_the_same_run_made_anew_keeps_all_results(opsig: Opsig, made: Path, store: Path) -> None:
    opsig("sharpness", "--store", store, "--every", 20)
    opsig("sharpness", "--store", store, "--every", 20, "--precision", "float64")
    before = facts(store)
    done = opsig("trace", made / "run", "--store", store, "--fresh")
    assert "removed" not in done.err
    assert facts(store) == before


def test_a_store_of_an_older_version_goes_on(opsig: Opsig, store: Path) -> None:
    opsig("sharpness", "--store", store, "--every", 10, "--layers")
    with h5py.File(store, "r+") as file:  # as those were written
        points = json.loads(file["sharpness"].asstr()[()])
        for point in points:
            for name in ("asked", "tolerance", "max_matvecs", "judged", "sha256"):
                del point[name]
        del file["sharpness"]
        file["sharpness"] = json.dumps(points)
    planned = opsig("sharpness", "--store", store, "--every", 20, "--layers", "--dry-run", "--json")
    assert planned.json["result"]["checkpoints"] == []
    opsig("sharpness", "--store", store, "--every", 20, "--secant")
    with open_store(store) as opened:
        assert [point.step for point in opened.sharpness] == [0, 10, 20, 30, 40]
        assert all(point.layers[0].eigenvalue is not None for point in opened.sharpness)


def test_a_shorter_trace_says_which_losses_are_gone(
    opsig: Opsig, made: Path, store: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "some"
    shutil.copytree(made / "run", folder)
    files = sorted(folder.glob("*.safetensors"))
    for file in files[1:-1:2]:
        file.unlink()
    manifest = folder / "opsig-run.toml"
    manifest.unlink()
    words = ("--model", "mlp?hidden=4", "--data", "planted?n=200")
    done = opsig("trace", folder, "--store", store, "--fresh", *words)
    gone = len(files[1:-1:2])
    assert f"--fresh removed the losses at {gone} checkpoints that are not traced now" in done.err
    with open_store(store) as opened:
        assert opened.mining is not None  # it is of this run


def test_points_that_a_killed_command_measured_are_put_into_the_store_by_the_next(
    opsig: Opsig, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise SystemExit(1)

    with monkeypatch.context() as patch:
        patch.setattr("opsigcli.stability.job.write_sharpness", killed)
        with pytest.raises(SystemExit):
            opsig("sharpness", "--store", store, "--every", 20)
    with open_store(store) as opened:
        assert not opened.sharpness
    assert opsig("sharpness", "--store", store, "--every", 20).code == 0
    with open_store(store) as opened:
        assert [point.step for point in opened.sharpness] == [0, 20, 40]
    assert not store.with_name(f"{store.name}.parts").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("report", "-o", "STORE"),
        ("report", "-o", "OTHER"),
        ("report", "--junit", "STORE", "--require", "loss.last < 9"),
        ("report", "--figure", "NAMED.svg"),
        ("report", "STORE", "OTHER", "-o", "OTHER"),
        ("mine", "--method", "losses", "--export", "NAMED.csv"),
        ("export", "losses", "-o", "OTHER"),
    ],
)
def test_nothing_is_written_over_a_store(
    opsig: Opsig, made: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    stores = {name: tmp_path / name for name in ("STORE", "OTHER", "NAMED.svg", "NAMED.csv")}
    for path in stores.values():
        shutil.copy(made / "s.h5", path)
    before = (made / "s.h5").read_bytes()
    done = opsig(*(stores.get(word, word) for word in words), "--store", stores["STORE"])
    assert (done.code, "which is a store" in done.err) == (2, True)
    assert all(path.read_bytes() == before for path in stores.values())
    assert {path.name for path in tmp_path.iterdir()} == set(stores)
