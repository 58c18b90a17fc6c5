"""Tables of a store as other programs read them."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.store import content
from conftest import Opsig, Result
from pyarrow import parquet
from store_case import N, T, mining, write_everything

from opsigcli.exporting import FORMATS, TABLES, table
from opsigcli.exporting.texts import cell
from opsigcli.store import schema
from opsigcli.store.reader import open_store
from opsigcli.store.writer import write_mining, write_trace


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_everything(tmp_path / "s.h5")
    return tmp_path / "s.h5"


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray]:
    """A store of several chunks and blocks, with ids that are no positions, names, and numbers that are missing."""
    monkeypatch.setattr(schema, "CHUNK", (4, 7))
    monkeypatch.setattr(table, "BLOCK", 11)
    rng = np.random.default_rng(1)
    losses = rng.lognormal(size=(9, 30)).astype(np.float32)
    losses[2, 3] = np.nan
    names = tuple(f"=c{i % 3}/ü,{i}.jpg" if i % 5 else f"a\n{i}" for i in range(30))
    made = content(30, 9)
    made = replace(made, example_ids=rng.permutation(1000)[:30], steps=list(range(0, 90, 10)), names=names)
    write_trace(tmp_path / "l.h5", replace(made, rows=iter(losses)))
    return tmp_path / "l.h5", losses


def _read(file: Path) -> dict[str, list[Any]]:
    """A table by columns; what is missing is None."""
    match file.suffix:
        case ".csv":
            rows = list(csv.reader(io.StringIO(file.read_text(), newline="")))
            return {name: [row[i] or None for row in rows[1:]] for i, name in enumerate(rows[0])}
        case ".jsonl":
            objects = [json.loads(line) for line in file.read_text().split("\n") if line]
            return {name: [row[name] for row in objects] for name in objects[0]}
        case ".parquet":
            found: dict[str, list[Any]] = parquet.read_table(file).to_pydict()
            return found
    raise AssertionError(file)


def _floats(values: list[Any]) -> np.ndarray:
    return np.array([np.nan if v is None else float(v) for v in values], dtype=np.float32)


def _export(opsig: Opsig, store: Path, *words: object) -> Result:
    done = opsig("export", *words, "--store", store)
    assert done.code == 0, done.err
    return done


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_every_loss_comes_back_to_the_bit_beside_its_example_and_its_step(
    opsig: Opsig, large: tuple[Path, np.ndarray], tmp_path: Path, ending: str
) -> None:
    store, losses = large
    file = tmp_path / f"t.{ending}"
    _export(opsig, store, "losses", "-o", file)
    found = _read(file)
    with open_store(store) as opened:
        trace = opened.trace
        names = trace.names_at(np.arange(30))
    assert [int(v) for v in found["id"]] == trace.example_ids.tolist()
    assert found["name"] == [cell(name) if ending == "csv" else name for name in names]
    for row, step in enumerate(trace.steps.tolist()):
        np.testing.assert_array_equal(_floats(found[f"step_{step}"]), losses[row])


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "npz"])
def test_chosen_steps_and_examples_are_those_and_no_others(
    opsig: Opsig, large: tuple[Path, np.ndarray], tmp_path: Path, ending: str
) -> None:
    store, losses = large
    with open_store(store) as opened:
        ids = opened.trace.example_ids
    places = np.array([4, 17, 29])
    (tmp_path / "ids.txt").write_text("\n".join(map(str, ids[places[::-1]])))
    file = tmp_path / f"t.{ending}"
    _export(opsig, store, "deltas", "-o", file, "--steps", "15:70:2", "--examples", tmp_path / "ids.txt")
    wanted = (losses[1:] - losses[:-1])[[2, 4, 6]][:, places]
    ends = [(20, 30), (40, 50), (60, 70)]
    if ending == "npz":
        with np.load(file) as arrays:
            np.testing.assert_array_equal(arrays["deltas"], wanted)
            assert arrays["steps"].tolist() == [list(pair) for pair in ends]
            assert arrays["id"].tolist() == ids[places].tolist()
            assert arrays["name"].dtype.kind == "U"
        return
    found = _read(file)
    assert [int(v) for v in found["id"]] == ids[places].tolist()
    steps = [name for name in found if name.startswith("step_")]
    assert steps == [f"step_{a}_to_{b}" for a, b in ends]
    np.testing.assert_array_equal(np.stack([_floats(found[name]) for name in steps]), wanted)


def test_arrays_of_numpy_need_no_pickle_and_are_the_same_file_each_time(
    opsig: Opsig, large: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    store, losses = large
    for name in ("a.npz", "b.npz"):
        _export(opsig, store, "losses", "-o", tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["losses"], losses)
        assert arrays["steps"].tolist() == list(range(0, 90, 10))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.testzip() is None


@pytest.mark.parametrize("what", list(TABLES))
@pytest.mark.parametrize("ending", list(FORMATS))
def test_every_table_has_as_many_rows_and_columns_as_are_said(
    opsig: Opsig, store: Path, tmp_path: Path, what: str, ending: str
) -> None:
    file = tmp_path / f"t.{ending}"
    said = _export(opsig, store, what, "-o", file, "--json").json["result"]
    assert said["file"] == str(file)
    rows = {"losses": N, "deltas": N, "examples": N, "sharpness": 2, "pairs": N}[what]
    assert said["rows"] == rows
    if ending == "npz":
        with np.load(file) as arrays:
            assert len(arrays["step" if what == "sharpness" else "id"]) == rows
        return
    found = _read(file)
    assert list(found) == said["columns"]
    assert {len(values) for values in found.values()} == {rows}


def test_members_of_pairs_have_their_side_and_what_is_said_of_the_pair(
    opsig: Opsig, store: Path, tmp_path: Path
) -> None:
    _export(opsig, store, "pairs", "-o", tmp_path / "p.jsonl", "--examples", "1,2")
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [(r["pair"], r["side"], r["id"], r["name"]) for r in rows] == [
        (1, "first", 1, "b"),
        (1, "second", 2, "ü"),
    ]
    assert {(r["opposition"], r["p_value"], r["verdict"]) for r in rows} == {(0.5, 0.01, "opposing")}


@pytest.mark.parametrize("finding", [True, False, None])
def test_whether_a_pair_is_a_finding_is_true_or_false_or_missing_in_every_format(
    opsig: Opsig, store: Path, tmp_path: Path, finding: bool | None
) -> None:
    pairs = tuple(replace(pair, finding=finding) for pair in mining().pairs)
    write_mining(store, replace(mining(), pairs=pairs), None)
    for ending in ("csv", "jsonl", "parquet", "npz"):
        _export(opsig, store, "pairs", "-o", tmp_path / f"p.{ending}")
    assert set(_read(tmp_path / "p.csv")["finding"]) == {None if finding is None else str(finding).lower()}
    for ending in ("jsonl", "parquet"):
        assert all(value is finding for value in _read(tmp_path / f"p.{ending}")["finding"])
    with np.load(tmp_path / "p.npz") as arrays:
        np.testing.assert_array_equal(arrays["finding"], np.nan if finding is None else float(finding))


def test_examples_have_their_groups_and_what_is_seen_in_them(
    opsig: Opsig, store: Path, tmp_path: Path
) -> None:
    _export(opsig, store, "examples", "-o", tmp_path / "e.jsonl", "--steps", "1:")
    rows = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert [row["pairs"] for row in rows] == ["1 first", "1 first", "1 second", "1 second"]
    with open_store(store) as opened:
        losses = opened.losses[:]
    np.testing.assert_array_equal(_floats([row["first_loss"] for row in rows]), losses[1])
    np.testing.assert_array_equal(_floats([row["last_loss"] for row in rows]), losses[T - 1])
    assert {row["seen_brightness"] for row in rows} == {0}


def test_sharpness_has_its_eigenvalues_and_what_is_missing_is_empty(
    opsig: Opsig, store: Path, tmp_path: Path
) -> None:
    _export(opsig, store, "sharpness", "-o", tmp_path / "s.csv")
    found = _read(tmp_path / "s.csv")
    assert found["step"] == ["0", "1"]
    assert set(found["converged"]) <= {"true", "false"}
    assert found["eigenvalue_1"] == ["2.0", "2.0"]
    assert found["eigenvalue_2"] == [None, None]
    assert found["threshold"] == [None, "4.0"]
    _export(opsig, store, "sharpness", "-o", tmp_path / "s.csv", "--steps", "1")
    assert _read(tmp_path / "s.csv")["step"] == ["1"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_text_is_no_formula_in_a_spreadsheet(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert cell(f"x{text}") == f"x{text}"


def test_a_pipe_has_the_rows_as_they_come(opsig: Opsig, store: Path, tmp_path: Path) -> None:
    import os
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    _export(opsig, store, "losses", "--format", "csv", "-o", pipe)
    reader.join(10)
    assert len(read[0].splitlines()) == N + 1
    assert pipe.is_fifo()


REFUSED = [
    (["lossses"], 2, "did you mean 'losses'"),
    (["losses", "--format", "xlsx"], 2, "known: csv, jsonl, npz, parquet"),
    (["losses", "--steps", "5:"], 2, "from step 0 to step 2"),
    (["losses", "--steps", "0:2:0"], 2, "FIRST:LAST:EVERY"),
    (["losses", "--steps", "a"], 2, "FIRST:LAST:EVERY"),
    (["losses", "--examples", "9"], 2, "not one of its 4"),
    (["losses", "--examples", "no such file"], 2, "expected a file of example ids"),
    (["deltas", "--steps", "2"], 3, "another one after it"),
    (["sharpness", "--examples", "1"], 2, "leave out --examples"),
    (["pairs", "--steps", "1"], 2, "leave out --steps"),
]


@pytest.mark.parametrize(("words", "code", "said"), REFUSED, ids=[" ".join(words) for words, *_ in REFUSED])
def test_what_makes_no_table_is_refused_and_writes_nothing(
    opsig: Opsig, store: Path, tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    done = opsig("export", *words, "-o", tmp_path / "t", "--store", store)
    assert done.code == code
    assert said in " ".join(done.err.split())
    assert "opsig inspect opsig.h5" not in done.err  # hints name this store, or none
    assert "opsig export examples" not in done.err or f"--store {store}" in done.err
    assert not (tmp_path / "t").exists()


def test_the_store_itself_is_never_written_over(opsig: Opsig, store: Path, tmp_path: Path) -> None:
    before = store.read_bytes()
    (tmp_path / "other").symlink_to(store)
    for name in (store, tmp_path / "other"):
        done = opsig("export", "losses", "-o", name, "--store", store)
        assert (done.code, store.read_bytes()) == (2, before)
        assert "which is a store" in done.err
    other = tmp_path / "table"
    other.write_text("x")
    assert opsig("export", "losses", "-o", other, "--store", tmp_path / "none.h5").code == 3
    assert other.read_text() == "x"


@pytest.mark.parametrize("what", ["sharpness", "pairs"])
def test_what_was_not_found_yet_is_said_with_the_command_that_finds_it(
    opsig: Opsig, large: tuple[Path, np.ndarray], what: str, tmp_path: Path
) -> None:
    done = opsig("export", what, "--store", large[0], "-o", tmp_path / "t")
    assert done.code == 3
    assert f"opsig {'mine' if what == 'pairs' else what} --store" in done.err


def test_without_pyarrow_parquet_is_refused_with_a_way_out(
    opsig: Opsig, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    done = opsig("export", "losses", "-o", tmp_path / "t.parquet", "--store", store)
    assert done.code == 2
    assert "opsig[parquet]" in done.err


def test_by_default_the_file_is_named_after_the_table(
    opsig: Opsig, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _export(opsig, store, "losses", "--format", "jsonl")
    assert len((tmp_path / "opsig-losses.jsonl").read_text().splitlines()) == N


def test_tokens_have_ids_that_can_be_given_back(opsig: Opsig, tmp_path: Path) -> None:
    ids = np.array([(1 << 32) | 5, (1 << 32) | 6, 2 << 32], dtype=np.int64)
    made = content(3, 2)
    made = replace(made, example_ids=ids, run=replace(made.run, transform={"per": "token"}))
    write_trace(tmp_path / "t.h5", made)
    _export(opsig, tmp_path / "t.h5", "losses", "-o", tmp_path / "t.csv", "--examples", "1:6,2:0")
    assert _read(tmp_path / "t.csv")["id"] == ["1:6", "2:0"]
    _export(opsig, tmp_path / "t.h5", "losses", "-o", tmp_path / "u.csv", "--examples", tmp_path / "t.csv")
    assert (tmp_path / "u.csv").read_bytes() == (tmp_path / "t.csv").read_bytes()


def test_a_store_that_is_replaced_meanwhile_gives_the_names_of_the_trace_that_was_begun(
    large: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    from opsigcli.exporting.matrices import Chosen, losses_table

    store, losses = large
    with open_store(store) as opened:
        names = opened.trace.names_at(np.arange(30))
        made = losses_table(Chosen(opened, slice(0, 9, 1), None))
        write_trace(tmp_path / "new.h5", content(30, 9))
        (tmp_path / "new.h5").replace(store)
        columns = {column.name: column.read(0, 30) for column in made.columns}
        assert made.grid is not None
        np.testing.assert_array_equal(made.grid.read(0, 30), losses)
        assert tuple(columns["name"]) == names
