"""What a new trace takes over of the store in whose place it comes: the results that are of the same run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import h5py
import numpy as np

from opsigcli.records import Provenance, Run
from opsigcli.store.decode import decode_text
from opsigcli.store.kept import places
from opsigcli.store.looked import DIGESTS
from opsigcli.store.opening import attribute
from opsigcli.store.paths import MADE_IN, placed_run
from opsigcli.store.probes import carry_probes
from opsigcli.store.replacing import put_json
from opsigcli.store.schema import LAYOUT, RESULTS

SAME = ("model", "loss", "fingerprint", "key", "weights", "partial")  # of the run, for results to be of it
VIRTUAL = "virtual_deltas"


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
        return [f"a trace of {len(old['example_ids']):,} examples of another run", *removed, *named]
    for name in (
        DIGESTS,
        "gradients",
        "causal",
        *(part for parts in RESULTS.values() for part in parts),
        "kept",
    ):
        if name in old:
            new.require_group(name.rpartition("/")[0] or "/")
            old.copy(name, new, name=name)
    carry_probes(old, new)
    for command, part in (("sharpness", "sharpness"), ("sharpness --quick", "critical_sharpness")):
        for place, name in places(new, command, now.batch_norm).items():
            lost = _keep_points(new, place, part, weights, others)
            removed += [f"{name}, at {lost} checkpoints whose weights are now others"] if lost else []
    return removed


def _removed_rows(old: h5py.File, new: h5py.File) -> list[str]:
    """Checkpoints and virtual steps that the new trace does not have, in words."""
    gone = len(set(_weights(old).values()) - set(_weights(new).values()))
    removed = [f"the losses at {gone} checkpoints that are not traced now"] if gone else []
    made = [decode_text(Provenance, str(f["provenance/trace"].asstr()[()]), "provenance") for f in (old, new)]
    before, now = (trace.options.get("virtual") for trace in made)
    if VIRTUAL in old and (VIRTUAL not in new or before != now):
        removed.append("the virtual steps that were taken before")
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
