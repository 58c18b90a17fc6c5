"""Probes in a store: what is watched, and the probabilities of its classes at every checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import h5py
import numpy as np

from opsigcli.probe_records import Probe, ProbeTrace
from opsigcli.store.decode import decode_text
from opsigcli.store.replacing import put_json, replace_store

if TYPE_CHECKING:
    from pathlib import Path

PROBES = "probes"
PROBE = re.compile(rf"{PROBES}/\d{{1,6}}/probe")


def write_probes(store: Path, probes: Sequence[ProbeTrace]) -> None:
    """Put these probes in the place of those that are there. All else is kept."""

    def fill(file: h5py.File) -> None:
        file.pop(PROBES, None)
        put_probes(file, probes)

    replace_store(store, fill, sum(p.probabilities.nbytes + p.input.nbytes + 4096 for p in probes))


def put_probes(file: h5py.File, probes: Sequence[ProbeTrace]) -> None:
    """Write probes into an open store that has none."""
    for number, traced in enumerate(probes):
        at = f"{PROBES}/{number}"
        file.require_group(at)
        put_json(file, f"{at}/probe", traced.probe)
        file[f"{at}/input"] = traced.input
        file[f"{at}/classes"] = np.asarray(traced.classes, dtype=np.int64)
        file[f"{at}/probabilities"] = np.asarray(traced.probabilities, dtype=np.float32)
        if traced.picture is not None:
            file[f"{at}/picture"] = traced.picture


def read_probes(file: h5py.File, names: Iterable[str]) -> tuple[ProbeTrace, ...]:
    """The probes of an open store, in the order in which they were asked for.

    Args:
        file: the store.
        names: paths of its datasets.
    """
    known = set(names)
    return tuple(
        ProbeTrace(
            decode_text(Probe, str(file[f"{at}/probe"].asstr()[()]), "probe"),
            file[f"{at}/input"][()],
            file[f"{at}/classes"][()],
            file[f"{at}/probabilities"][()],
            file[f"{at}/picture"][()] if f"{at}/picture" in known else None,
        )
        for at in sorted(
            (name.removesuffix("/probe") for name in known if PROBE.fullmatch(name)),
            key=lambda at: int(at.rpartition("/")[2]),
        )
    )


def carry_probes(old: h5py.File, new: h5py.File) -> None:
    """Copy probes into the store of a new trace, row by row where its checkpoints are the same."""
    rows = {str(sha): row for row, sha in enumerate(old["sha256"].asstr()[()])}
    places = [rows.get(str(sha), -1) for sha in new["sha256"].asstr()[()]]
    carried = []
    names = [
        f"{PROBES}/{number}/{name}" for number in old.get(PROBES, ()) for name in old[f"{PROBES}/{number}"]
    ]
    for traced in read_probes(old, names):
        # A row of NaN behind the last one stands for checkpoints that the old store does not have.
        padded = np.vstack([traced.probabilities, np.full((1, len(traced.classes)), np.nan, np.float32)])
        carried.append(ProbeTrace(traced.probe, traced.input, traced.classes, padded[places], traced.picture))
    put_probes(new, carried)
