"""What a new trace takes over of the store in whose place it comes: the results that are of the same run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import h5py
import numpy as np

from opsigcli.printable import count
from opsigcli.records import Run
from opsigcli.result_records import VIRTUAL
from opsigcli.store.decode import decode_text
from opsigcli.store.kept import free_place, made_at, places
from opsigcli.store.looked import DIGESTS
from opsigcli.store.matrix_writer import write_virtual
from opsigcli.store.opening import attribute
from opsigcli.store.paths import MADE_IN, placed_run
from opsigcli.store.probes import carry_probes
from opsigcli.store.replacing import put_json
from opsigcli.store.schema import KEPT, LAYOUT, RESULTS

SAME = ("model", "loss", "fingerprint", "key", "weights", "partial")  # of the run, for results to be of it


def carry_over(old: h5py.File, new: h5py.File) -> list[str]:
    """Copy results into a store that has its trace already.

    Of another run, examples and weights of the same numbers are others: nothing is taken over. Of the same run, values
    of checkpoints whose weights are now others are left out.

    Returns:
        What is not taken over, in words.
    """
    removed = _removed_rows(old, new)
    before, now = (
        placed_run(
            decode_text(Run, str(file["run"].asstr()[()]), "run"),
            file.filename,
            str(attribute(file, MADE_IN) or ""),
        )
        for file in (old, new)
    )
    weights, others = _weights(old), _weights(new)
    same = all(getattr(before, name) == getattr(now, name) for name in SAME)
    # What was mined is of the whole trace: it is of this one where no checkpoint gave way to other weights.
    same = same and bool(set(weights.values()) & set(others.values()))
    if not same:
        named = [name for command in RESULTS for name in places(old, command, before.batch_norm).values()]
        return [f"a trace of {count(len(old['example_ids']), 'example')} of another run", *removed, *named]
    for name in (
        DIGESTS,
        "gradients",
        "causal",
        *(part for command, parts in RESULTS.items() for part in parts if command != VIRTUAL),
        *(f"{KEPT}/{number}" for number in old.get(KEPT, ())),
    ):
        if name in old and f"{name}/virtual" not in old:
            new.require_group(name.rpartition("/")[0] or "/")
            old.copy(name, new, name=name)
    carry_probes(old, new)
    removed += _carry_virtual(old, new, now.batch_norm)
    for command, part in (("sharpness", "sharpness"), ("sharpness --quick", "critical_sharpness")):
        for place, name in places(new, command, now.batch_norm).items():
            lost = _keep_points(new, place, part, weights, others)
            removed += [f"{name}, at {lost} checkpoints whose weights are now others"] if lost else []
    return removed


def _removed_rows(old: h5py.File, new: h5py.File) -> list[str]:
    """Checkpoints that the new trace does not have, in words."""
    gone = len(set(_weights(old).values()) - set(_weights(new).values()))
    return [f"the losses at {gone} checkpoints that are not traced now"] if gone else []


def _carry_virtual(old: h5py.File, new: h5py.File, batch_norm: str) -> list[str]:
    """Put virtual steps beside those that the new trace took, row by row where its checkpoints are the same.

    Returns:
        Those in whose place others of the same name are now, in words.
    """
    rows = {str(sha): row for row, sha in enumerate(old["sha256"].asstr()[()])}
    order = [rows.get(str(sha)) for sha in new["sha256"].asstr()[()]]
    taken = {name: made_at(new, "", VIRTUAL) for name in places(new, VIRTUAL, batch_norm).values()}
    removed = []
    for place, name in places(old, VIRTUAL, batch_norm).items():
        made = made_at(old, place, VIRTUAL)
        assert made is not None
        if (instead := taken.get(name)) is not None:  # their rows were taken over with the losses
            otherwise = made.options.get("virtual") != instead.options.get("virtual")
            removed += [f"{name}, by another optimizer"] if otherwise else []
            continue
        at = free_place(new) if "virtual" in new else ""
        deltas, known = old[f"{place}virtual_deltas"], old.get(f"{place}virtual/taken")
        known = np.ones(len(rows), dtype=bool) if known is None else known[()]
        found = (deltas[row] if row is not None and known[row] else None for row in order)
        write_virtual(
            new, found, len(order), new["example_ids"][()], old[f"{place}virtual/up_ids"].shape[1], at
        )
        put_json(new, f"{at}provenance/{VIRTUAL}", made)
    return removed


def _weights(file: h5py.File) -> dict[int, str]:
    """Step -> sha256 of its checkpoint."""
    return dict(
        zip(file["steps"][()].tolist(), (str(text) for text in file["sha256"].asstr()[()]), strict=True)
    )


def _keep_points(file: h5py.File, place: str, part: str, before: dict[int, str], now: dict[int, str]) -> int:
    """Mark each point with the checkpoint that it is of, and leave out those of other weights; how many."""
    path, curves = f"{place}{part}", f"{place}example_curvature"
    points: Any = decode_text(LAYOUT[part].record, str(file[path].asstr()[()]), path)
    marked = [replace(p, sha256=p.sha256 or before.get(p.step, "")) for p in points]
    kept = [p for p in marked if now.get(p.step, p.sha256) == p.sha256]
    if tuple(kept) != points:
        del file[path]
        put_json(file, path, kept)
    lost = {p.step for p in marked} - {p.step for p in kept}
    if lost and f"{place}phases" in file:
        del file[f"{place}phases"]  # told anew by the next measurement
    if lost and part == "sharpness" and curves in file:
        stay = ~np.isin(file[f"{curves}/steps"][()], sorted(lost))
        held = {name: file[f"{curves}/{name}"][()][stay] for name in ("steps", "values")}
        del file[curves]
        for name, values in held.items() if stay.any() else ():
            file[f"{curves}/{name}"] = values
    return len(lost)
