"""A store that HDF5 reads and that no opsig wrote: the error names dataset, what was expected and found."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from broken_stores import CHANGES, TEXT, break_store, replaced
from conftest import Opsig
from store_case import N, T, write_everything

from opsigcli.errors import Unsound
from opsigcli.store.reader import open_store
from opsigcli.store.schema import LAYOUT

Change = Callable[[h5py.File], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    store = tmp_path_factory.mktemp("whole") / "s.h5"
    write_everything(store)
    return store.read_bytes()


def _refused(whole: bytes, store: Path, change: Change) -> str:
    store.write_bytes(whole)
    with h5py.File(store, "r+") as file:
        change(file)
    with pytest.raises(Unsound) as caught, open_store(store):
        pass
    assert caught.value.hint
    return caught.value.message


def _in_json(name: str, *place: str | int, value: Any) -> Change:
    def change(file: h5py.File) -> None:
        data = holder = json.loads(file[name].asstr()[()])
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = value
        replaced(file, name, json.dumps(data), TEXT)

    return change


CASES: dict[str, tuple[Change, str]] = {
    "a dataset is missing": (lambda f: f.__delitem__("lrs"), "expected the dataset lrs, found none"),
    "one of a group is missing": (
        lambda f: f.__delitem__("virtual/down_ids"), "expected the dataset virtual/down_ids, found none"
    ),
    "a group in place of a dataset": (
        lambda f: (f.__delitem__("steps"), f.create_group("steps")), "expected the dataset steps, found none"
    ),
    "a row too few": (
        lambda f: replaced(f, "losses", np.zeros((T - 1, N), np.float32)),
        "expected losses of shape (T, N), found (2, 4); T = 3 in steps",
    ),
    "deltas of another length": (
        lambda f: replaced(f, "loss_deltas", np.zeros((T, N), np.float32)),
        "expected loss_deltas of shape (T-1, N), found (3, 4); T = 3 in steps",
    ),
    "shapes of a group that differ": (
        lambda f: replaced(f, "gradients/norms", np.zeros((2, 4), np.float32)), "expected gradients/"
    ),
    "another rank": (
        lambda f: replaced(f, "labels", np.zeros((N, 1), int)), "expected labels of shape (N), found (4, 1)"
    ),
    "texts for numbers": (
        lambda f: replaced(f, "labels", np.array(["a"] * N, dtype=object), TEXT), "expected int in labels, found text"
    ),
    "numbers for texts": (lambda f: replaced(f, "files", np.arange(T)), "expected text in files, found int64"),
    "whole numbers for losses": (
        lambda f: replaced(f, "losses", np.zeros((T, N), np.int32)), "expected float32 in losses, found int32"
    ),
    "steps that do not increase": (lambda f: replaced(f, "steps", np.array([0, 2, 2])), "increasing numbers in steps"),
    "negative steps": (lambda f: replaced(f, "steps", np.array([-1, 0, 1])), "increasing numbers in steps"),
    "an example twice": (lambda f: replaced(f, "example_ids", np.array([0, 1, 1, 3])), "in example_ids once"),
    "a learning rate without bound": (
        lambda f: replaced(f, "lrs", np.array([0.1, np.inf, 0.1])), "expected learning rates"
    ),
    "deltas of other losses": (
        lambda f: replaced(f, "losses", np.ones((T, N), np.float32)), "the differences of losses in loss_deltas"
    ),
    "weights below zero": (lambda f: replaced(f, "weights", np.array([1.0, -1, 1, 1])), "at least 0 in weights"),
    "weights that are no numbers": (
        lambda f: replaced(f, "weights", np.array([1.0, np.nan, 1, 1])), "at least 0 in weights"
    ),
    "a file outside of the folder": (
        lambda f: replaced(f, "files", ["a", "../b", "c"], TEXT), "within the folder of checkpoints in files"
    ),
    "a file by its whole path": (
        lambda f: replaced(f, "files", ["a", "/etc/passwd", "c"], TEXT), "within the folder of checkpoints in files"
    ),
    "a digest that is a path": (
        lambda f: replaced(f, "sha256", ["../x", "b", "c"], TEXT), "64 hexadecimal digits in sha256, found '../x'"
    ),
    "a text that is not UTF-8": (
        lambda f: replaced(f, "files", [b"\xff\xfe", b"b", b"c"], TEXT), "expected UTF-8 in files"
    ),
    "a column that is not there": (
        lambda f: replaced(f, "gradients/positions", np.array([0, 1, 9])), "numbers of 4 examples from 0 in gradients"
    ),
    "a group of examples that are not there": (
        lambda f: replaced(f, "known_pairs/0/first", np.array([0, 99])), "expected example ids in known_pairs/0/first"
    ),
    "no JSON": (lambda f: replaced(f, "mining", "{", TEXT), "expected JSON in mining"),
    "JSON without end": (lambda f: replaced(f, "mining", "[" * 100_000, TEXT), "it nests too deep"),
    "JSON of another kind": (lambda f: replaced(f, "mining", "[]", TEXT), "expected an object in mining, found list"),
    "NaN as JSON": (lambda f: replaced(f, "sharpness", "[NaN]", TEXT), "NaN is no number of JSON"),
    "a number with a million digits": (
        lambda f: replaced(f, "sharpness", "[" + "9" * 1_000_000 + "]", TEXT), "expected JSON in sharpness"
    ),
    "a field is missing": (
        lambda f: replaced(f, "run", '{"checkpoints": "x"}', TEXT), "expected model in run, found none"
    ),
    "a text for a number": (
        _in_json("sharpness", 1, "ratio", value="large"), "expected a number in sharpness[1].ratio, found str 'large'"
    ),
    "a truth for a number": (
        _in_json("sharpness", 1, "step", value=True), "expected a whole number in sharpness[1].step, found bool"
    ),
    "null for a whole number": (
        _in_json("sharpness", 0, "matvecs", value=None), "expected a whole number in sharpness[0].matvecs, found null"
    ),
    "a number beyond all": (
        _in_json("sharpness", 0, "step", value=10**30), "expected a whole number in sharpness[0].step"
    ),
    "a group that is none": (
        _in_json("mining", "spikes", 0, "share_of_rise", value={"pair x first": 1}), "expected the name of a group"
    ),
    "ids that are no numbers": (
        _in_json("mining", "pairs", 0, "first", "ids", value=[1, "2"]), "a whole number in mining.pairs[0].first.ids"
    ),
    "half a text": (_in_json("run", "model", value="\ud800"), "expected a text in run.model"),
    "notes that are none": (
        _in_json("provenance/trace", "options", value={"notes": 3}), "expected a list in provenance/trace.options.notes"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_named_with_what_was_expected_and_found(
    name: str, whole: bytes, tmp_path: Path
) -> None:
    change, words = CASES[name]
    assert words in _refused(whole, tmp_path / "s.h5", change)


@pytest.mark.parametrize("name", [n for n, part in LAYOUT.items() if part.always and "#" not in n])
def test_what_a_store_always_has_is_missed(name: str, whole: bytes, tmp_path: Path) -> None:
    said = _refused(whole, tmp_path / "s.h5", lambda file: file.__delitem__(name))
    assert f"expected the dataset {name}, found none" in said


def test_a_text_that_says_to_be_longer_than_the_file_is_not_read(whole: bytes, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    store.write_bytes(whole)
    with h5py.File(store, "r+") as file:  # which breaks the seal
        file.attrs["x"] = 1
        place = file["files"].id.get_offset()
    data = bytearray(store.read_bytes())
    data[place : place + 4] = (1 << 31).to_bytes(4, "little")
    store.write_bytes(data)
    with pytest.raises(Unsound, match="expected texts of at most"), open_store(store):
        pass


def test_numbers_that_json_has_no_word_for_come_back_as_nan(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "s.h5").write_bytes(whole)
    with open_store(tmp_path / "s.h5") as store:
        assert np.isnan(store.sharpness[0].eigenvalues[1])
        assert store.mining is not None
        assert np.isnan(store.mining.pairs[0].evidence["loss_swing"].value)
        assert store.mining.pairs[0].evidence["loss_swing"].null is None


def _broken(
    opsig: Opsig, store: Path, data: bytes, seeds: range, words: tuple[tuple[object, ...], ...]
) -> list[str]:
    """Run commands on broken stores; what ends in another way than with a result or an error that says why."""
    odd = []
    for seed in seeds:
        store.write_bytes(data)
        said = break_store(store, seed)
        broken = store.read_bytes()
        for word in words:
            store.write_bytes(broken)
            done = opsig(*word)
            if done.code not in (0, 3) or (done.code == 3 and not re.search(r"hint: .*\w", done.err)):
                odd.append(f"{seed} {said}: {word[0]} {done.code} {done.err}")
    return odd


def test_broken_stores_end_in_a_report_or_in_an_error_that_says_why(
    opsig: Opsig, whole: bytes, tmp_path: Path
) -> None:
    store = tmp_path / "s.h5"
    words = (("report", "--store", store), ("inspect", store))
    assert not _broken(opsig, store, whole, range(40), words)


@pytest.mark.slow
def test_many_broken_stores_end_so_in_every_command(opsig: Opsig, finished: Path, tmp_path: Path) -> None:
    store = tmp_path / "opsig.h5"
    words = (
        *(
            ("report", "--store", store),
            ("report", "--html", "--store", store, "--output", tmp_path / "r.html"),
        ),
        *(("sharpness", "--every", 60, "--store", store), ("trace", finished / "run", "--store", store)),
    )
    assert not _broken(opsig, store, (finished / "opsig.h5").read_bytes(), range(100, 140), words)


def test_every_change_can_be_made(whole: bytes, tmp_path: Path) -> None:
    for name, change in CHANGES.items():
        store = tmp_path / "s.h5"
        store.write_bytes(whole)
        with h5py.File(store, "r+") as file:
            change(file, "run" if name == "JSON" else "labels", random.Random(0))
