"""The store's format as data, held against what the writer writes and the reader reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from benchmarks.store import content

from opsigcli.records import Evidence, Group, Mining, Pair, Provenance, Thumbnails, TopDeltas
from opsigcli.sharpness_records import CriticalSharpness, SharpnessPoint
from opsigcli.store import writer
from opsigcli.store.reader import Store, open_store
from opsigcli.store.schema import LAYOUT
from opsigcli.training_records import AgainstLog, RecordedFact

T, N = 3, 4
RANKS = {"": 0, "(T,)": 1, "(N,)": 1, "(n,)": 1, "(T, N)": 2, "(T-1, N)": 2}
KINDS = {"JSON": "O", "text": "O", "int64": "i8", "float64": "f8", "float32": "f4", "bool": "b1"}


def write_everything(store: Path) -> None:
    ids, matrix = np.arange(N), np.arange(T * N, dtype=np.float32).reshape(T, N)
    trace = replace(
        content(N, T), names=("a", "b", "c", "d"), known_pairs=((ids[:2], ids[2:]),),
        measured=np.ones(N, dtype=bool), weights=np.ones(N), virtual=iter(matrix),
    )  # fmt: skip
    writer.write_trace(store, trace)
    writer.write_gradients(store, "key", {"sketches": np.zeros((2, 3, 4), dtype=np.float32)})
    pair = Pair(Group(ids[:2]), Group(ids[2:]), Evidence(0.5), {}, "opposing")
    deltas = np.ones(2, dtype=np.float32)
    top = TopDeltas(0, 1, ids[:2], deltas, ids[2:], -deltas)
    picture = np.zeros((2, 2, 3), dtype=np.uint8)
    provenance = Provenance("mine", {}, "0")
    writer.write_mining(
        store,
        Mining("simple", (pair,), (top,), (), (0,), N, provenance=provenance),
        Thumbnails(ids[:1], (picture,), (picture,) * 3),
    )
    writer.write_seen(store, {"brightness": np.zeros(N, dtype=np.float32)}, "", trace.run.fingerprint, None)
    point = SharpnessPoint(1, (2.0,), (0.0,), True, 5, None, None)
    curves = {1: np.zeros(2, dtype=np.float32)}
    writer.write_sharpness(store, writer.SharpnessContent([point], (), curves, ids[:2], provenance))
    critical = CriticalSharpness(1, 2.0, 1.0, 4.0, 0.5, 0.01, "next checkpoint", 6, 0)
    writer.write_critical(store, [critical], provenance)
    fact = RecordedFact("dropout", "0.1", "args.yaml: dropout", "units were left out")
    writer.write_training(
        store, AgainstLog("log.csv", "loss", (1,), (1.0,), (1.5,), (0.4,), "below", "x"), (fact,)
    )


def test_every_path_that_is_written_is_in_the_layout_and_the_other_way_round(tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    write_everything(store)
    with h5py.File(store) as file:
        assert set(file) == set(LAYOUT)
        for path, (shape, kind, meaning) in LAYOUT.items():
            assert meaning
            assert isinstance(file[path], h5py.Group) == (shape == "group"), path
            if shape != "group":
                assert (file[path].ndim, file[path].dtype) == (RANKS[shape], np.dtype(KINDS[kind])), path


def test_the_reader_asks_for_paths_of_the_layout_and_for_no_other(tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    write_everything(store)
    asked: set[str] = set()

    class Watched:
        def __init__(self, file: h5py.File) -> None:
            self.file = file

        def __getitem__(self, name: str) -> object:
            asked.add(name)
            return self.file[name]

        def __contains__(self, name: str) -> bool:
            return name in self.file

        def get(self, name: str, default: object = None) -> object:
            asked.add(name)
            return self.file.get(name, default)

    with open_store(store) as opened:
        watched = Store(store, Watched(opened.file))
        for name in (name for name, part in vars(Store).items() if isinstance(part, property)):
            getattr(watched, name)
        assert watched.example_curvature()
        assert watched.gradients("key")
    # Two are for other readers of HDF5: reports are made of what "virtual" and "mining" say of them.
    assert asked == set(LAYOUT) - {"virtual_deltas", "groups"}
