"""Ids are whole numbers as the file says them, or the file is refused; nothing in it is unpickled."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Opsig

from opsigcli.errors import UsageError
from opsigcli.runs.example_ids import read_ids

pytestmark = pytest.mark.usefixtures("no_hang")


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def written(path: Path, found: Any) -> Path:
    if path.suffix == ".npz":
        np.savez(path, ids=found)
    elif path.suffix == ".pt":
        torch.save({"indices": found}, path)
    elif path.suffix == ".csv":
        path.write_text("pair,id\n" + "".join(f"1,{i}\n" for i in found))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"id": i}) + "\n" for i in found))
    elif path.suffix == ".json":
        path.write_text(json.dumps({"labels": {str(n): {"id": i} for n, i in enumerate(found)}}))
    else:
        path.write_text("\n".join(map(str, found)))
    return path


KINDS = ("ids.npz", "ids.pt", "ids.csv", "ids.jsonl", "ids.json", "ids.txt", "ids")


@pytest.mark.parametrize("name", KINDS)
def test_ids_are_read_sorted_and_once(tmp_path: Path, name: str) -> None:
    assert read_ids(written(tmp_path / name, [7, 3, 3, 9_007_199_254_740_993])).tolist() == [
        3,
        7,
        (1 << 53) + 1,
    ]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("wrong", [[1.5, 2.0], [-1], ["x"], [float("nan"), 1.0], [], [True, False]])
def test_what_is_no_id_is_refused_and_never_rounded(tmp_path: Path, name: str, wrong: list[Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        read_ids(written(tmp_path / name, wrong))


@pytest.mark.parametrize("name", [k for k in KINDS if k != "ids.npz"])
def test_an_id_beyond_64_bits_is_refused(tmp_path: Path, name: str) -> None:
    for huge in (1 << 63, 10**400):
        with pytest.raises(UsageError, match="expected an id"):
            read_ids(written(tmp_path / name, [huge]))


def test_no_pickle_of_ids_runs(tmp_path: Path, opsig: Opsig) -> None:
    mark = tmp_path / "ran"
    torch.save({"indices": [1], "x": Payload(mark)}, tmp_path / "a.pt")
    torch.save({"indices": Payload(mark)}, tmp_path / "b.pt")
    np.savez(tmp_path / "c.npz", ids=np.array([Payload(mark)], dtype=object))
    for name in ("a.pt", "b.pt", "d.npz", "d.pt", "d.csv", "d.json", "d.jsonl", "d.txt", "d.pkl"):
        path = tmp_path / name
        if name[0] == "d":
            path.write_bytes(pickle.dumps(Payload(mark)))
        words = ("--exclude", path, "--data", "planted?n=200", "--model", "mlp?hidden=4", "--steps", 1)
        result = opsig("train", tmp_path / f"run-{name}", *words)
        assert result.code == (0 if name == "a.pt" else 2), result.err
    assert opsig("train", tmp_path / "r", "--exclude", tmp_path / "c.npz", "--steps", 1).code == 2
    assert not mark.exists()


@pytest.mark.parametrize("name", KINDS)
def test_broken_files_and_pipes_are_refused(tmp_path: Path, name: str) -> None:
    good = written(tmp_path / name, [1, 2, 3]).read_bytes()
    for damaged in (
        b"",
        good[: len(good) // 2] + b"\xff\xfe",
        b"\0" * 50,
        b"[" * 100_000,
        b"{}",
        b"PK\x03\x04",
    ):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(UsageError, match="expected"):
            read_ids(tmp_path / name)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(UsageError, match="it is a named pipe"):
        read_ids(tmp_path / name)
    with pytest.raises(UsageError, match="expected a file of example ids"):
        read_ids(tmp_path / "none" / name)
