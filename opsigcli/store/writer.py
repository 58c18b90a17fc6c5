"""Writes stores. Every change is a new file put in place atomically, under a lock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opsigcli import __version__
from opsigcli.errors import Unsound
from opsigcli.look_records import Look
from opsigcli.mining_records import (
    Mining,
)
from opsigcli.records import Provenance, Run, Thumbnails
from opsigcli.result_records import VIRTUAL, Causal
from opsigcli.sharpness_records import CriticalSharpness, Phase, SharpnessPoint
from opsigcli.store.carry import carry_over
from opsigcli.store.decode import decode_text
from opsigcli.store.kept import bring_forward, bring_widest_forward, make_room, places
from opsigcli.store.looked import put_pictures, put_seen
from opsigcli.store.matrix_writer import write_rows, write_virtual
from opsigcli.store.names import MINE, QUICK, SHARPNESS, name_of
from opsigcli.store.opening import open_checked
from opsigcli.store.replacing import TEXT, batch_norm_of, drop, put_json, replace_store
from opsigcli.store.schema import FORMAT, FORMAT_VERSION, RESULTS, chunk
from opsigcli.training_records import AgainstLog, RecordedFact

TRAINING = (
    "training_log",
    "recorded_facts",
    "look",
    "failed",
)  # what is known of the training, beside its losses
CRITICAL = "critical_sharpness"
NAMES = 4096  # that are written at once, and looked at for their length


@dataclass(frozen=True)
class TraceContent:
    """What ``opsig trace`` writes. ``rows`` yields T rows of N losses, in the order of ``steps``."""

    run: Run
    signature: str
    steps: list[int]
    files: list[str]
    sha256: list[str]
    lrs: list[float]
    example_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    names: Sequence[str]
    rows: Iterable[NDArray[np.float32]] = field(repr=False)
    provenance: Provenance
    known_pairs: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...] = ()
    measured: NDArray[np.bool_] | None = None  # (N,) False = its label says to ignore it; None = all
    weights: NDArray[np.float64] | None = None  # (N,) in the mean loss, of mean 1; None = all alike
    # T rows of N deltas, None = not taken; and how they were made
    virtual: Iterable[NDArray[np.float32] | None] | None = field(default=None, repr=False)
    stepped: Provenance | None = None
    virtual_top: int = 20  # examples kept on each side of a virtual step


def write_trace(store: Path, content: TraceContent) -> list[str]:
    """Make the store anew from ``content``; results of other commands of the same run are carried over.

    What is known of the training is of the trace, and is written anew after it.

    Returns:
        What an existing store held of another run, and is there no longer, in words.
    """
    removed: list[str] = []
    count, examples = len(content.steps), len(content.example_ids)

    def fill(file: h5py.File) -> None:
        file.attrs.update(format=FORMAT, format_version=FORMAT_VERSION, opsig_version=__version__)
        put_json(file, "run", content.run)
        file["run_signature"] = content.signature
        file["steps"] = np.asarray(content.steps, dtype=np.int64)
        file.create_dataset("files", data=content.files, dtype=TEXT)
        file.create_dataset("sha256", data=content.sha256, dtype=TEXT)
        file["lrs"] = np.asarray(content.lrs, dtype=np.float64)
        file["example_ids"], file["labels"] = content.example_ids, content.labels
        if len(content.names):
            texts = file.create_dataset("example_names", (examples,), dtype=TEXT)
            for at in range(0, examples, NAMES):
                texts[at : at + NAMES] = list(content.names[at : at + NAMES])
        file["complete"] = np.ones(count, dtype=bool)
        for number, (first, second) in enumerate(content.known_pairs):
            file[f"known_pairs/{number}/first"], file[f"known_pairs/{number}/second"] = first, second
        losses = file.create_dataset("losses", (count, examples), "f4", chunks=chunk(count, examples))
        height = max(count - 1, 0)
        deltas = file.create_dataset(
            "loss_deltas", (height, examples), "f4", chunks=chunk(height, examples) if height else None
        )
        write_rows(losses, deltas, content.rows)
        if content.measured is not None:
            file["measured"] = content.measured
        if content.weights is not None:
            file["weights"] = content.weights
        if content.virtual is not None:
            write_virtual(file, content.virtual, count, content.example_ids, content.virtual_top)
            put_json(file, f"provenance/{VIRTUAL}", content.stepped or content.provenance)
        put_json(file, "provenance/trace", content.provenance)
        if carried is not None:
            removed.extend(carry_over(carried, file))

    rows, columns = chunk(count, examples)
    padded = -(-max(count, 1) // rows) * rows * -(-max(examples, 1) // columns) * columns
    some = content.names[:: max(1, len(content.names) // NAMES)]
    letters = examples * sum(map(len, some)) // max(1, len(some))
    size = 8 * padded + 64 * examples + letters
    with contextlib.ExitStack() as stack:
        carried = None
        if store.exists():
            with contextlib.suppress(Unsound):
                carried = stack.enter_context(open_checked(store)[0])
        steps = (content.virtual is not None) + (0 if carried is None else len(places(carried, VIRTUAL, "")))
        replace_store(store, fill, size + steps * 4 * padded, copy=False)
    return removed


def write_training(
    store: Path,
    log: AgainstLog | None,
    facts: tuple[RecordedFact, ...],
    look: Look | None,
    failed: Mapping[str, str],
) -> None:
    """Write what the run recorded of its training, how its ends do beside a guess, and which checkpoints could not be
    traced. The losses are left as they are."""

    def fill(file: h5py.File) -> None:
        for name in TRAINING:
            drop(file, name)
        if log is not None:
            put_json(file, "training_log", log)
        put_json(file, "recorded_facts", facts)
        put_json(file, "failed", dict(failed))
        if look is not None:
            put_json(file, "look", look)

    classes = 0 if look is None else len(look.classes)
    lines = len(facts) + len(failed) + 4
    replace_store(store, fill, (200 * len(log.steps) if log else 0) + 1000 * lines + 200 * classes)


def write_gradients(
    store: Path, key: str, arrays: dict[str, NDArray[Any]], made_by: tuple[str, str] = ("", "")
) -> None:
    """Keep gradient sketches, so that mining again needs neither model nor data.

    Args:
        store: the store.
        key: says what they are of.
        arrays: by name.
        made_by: device and version of torch.
    """

    def fill(file: h5py.File) -> None:
        drop(file, "gradients")
        group = file.create_group("gradients")
        group.attrs.update(key=key, device=made_by[0], torch_version=made_by[1])
        for name, array in arrays.items():
            group[name] = array

    replace_store(store, fill, sum(array.nbytes for array in arrays.values()))


def write_mining(store: Path, mining: Mining, thumbnails: Thumbnails | None) -> None:
    """Write what ``opsig mine`` found; what it found under other options is put aside."""

    def fill(file: h5py.File) -> None:
        if mining.provenance is not None:
            make_room(file, MINE, mining.provenance, batch_norm_of(file))
        for name in RESULTS[MINE]:
            drop(file, name)
        spikes = tuple(replace(spike, cause=None) for spike in mining.spikes)
        put_json(file, "mining", replace(mining, top=(), provenance=None, spikes=spikes))
        for number, pair in enumerate(mining.pairs, 1):
            file[f"groups/pair-{number:02d}-first"] = np.asarray(pair.first.ids, dtype=np.int64)
            file[f"groups/pair-{number:02d}-second"] = np.asarray(pair.second.ids, dtype=np.int64)
        if mining.top:
            width = max(max(len(t.up_ids), len(t.down_ids)) for t in mining.top)
            file["top/steps"] = np.array([[t.step, t.next_step] for t in mining.top], dtype=np.int64)
            for side in ("up", "down"):
                ids = np.full((len(mining.top), width), -1, dtype=np.int64)
                deltas = np.full((len(mining.top), width), np.nan, dtype=np.float32)
                for row, top in enumerate(mining.top):
                    found = getattr(top, f"{side}_ids")
                    ids[row, : len(found)], deltas[row, : len(found)] = found, getattr(top, f"{side}_deltas")
                file[f"top/{side}_ids"], file[f"top/{side}_deltas"] = ids, deltas
        if thumbnails is not None and len(thumbnails.ids):
            put_pictures(file, thumbnails)
        if mining.provenance is not None:
            put_json(file, "provenance/mine", mining.provenance)

    pictures = sum(image.nbytes for image in thumbnails.images) if thumbnails is not None else 0
    replace_store(store, fill, pictures + sum(64 * len(top.up_ids) for top in mining.top))


def show_mining(store: Path, mining: Mining) -> None:
    """Put what ``opsig mine`` found before in the first place, if it is in another."""
    made = mining.provenance
    if made is None:
        return

    def fill(file: h5py.File) -> None:
        batch_norm = batch_norm_of(file)
        bring_forward(file, MINE, name_of(MINE, made, batch_norm), batch_norm)

    with open_checked(store)[0] as file:
        shown = decode_text(Provenance, str(file[f"provenance/{MINE}"].asstr()[()]), "provenance") == made
    if not shown:
        replace_store(store, fill, 0)


def add_causal(store: Path, found: Causal) -> None:
    """Keep what training does without mined groups, in place of the same comparison made before; others stay."""

    def fill(file: h5py.File) -> None:
        text = str(file["causal"].asstr()[()]) if "causal" in file else "[]"
        known = decode_text(tuple[Causal, ...], text, "causal")
        asked = (found.groups, found.seed, found.test_data)
        others = [old for old in known if (old.groups, old.seed, old.test_data) != asked]
        drop(file, "causal")
        put_json(file, "causal", [*others, found])

    replace_store(store, fill, 0)


def write_seen(
    store: Path,
    seen: Mapping[str, NDArray[Any]],
    unseen: str,
    fingerprint: str,
    digests: NDArray[np.int64] | None,
    pictures: Thumbnails | None,
) -> None:
    """Keep what can be seen in the examples, and their contents; and all pictures there are now, None = as they are."""

    def fill(file: h5py.File) -> None:
        put_seen(file, seen, unseen, fingerprint, digests)
        if pictures is not None:
            put_pictures(file, pictures)

    size = sum(image.nbytes for image in pictures.images) if pictures is not None else 0
    replace_store(store, fill, size + sum(values.nbytes for values in seen.values()))


@dataclass(frozen=True)
class SharpnessContent:
    """What ``opsig sharpness`` writes."""

    points: list[SharpnessPoint]
    phases: tuple[Phase, ...]
    example_curvature: dict[int, NDArray[np.float32]] = field(repr=False)  # step -> (n,)
    subset: NDArray[np.int64] | None  # (n,) example ids; None is all of them
    provenance: Provenance


def write_sharpness(store: Path, content: SharpnessContent) -> None:
    """Write all sharpness points of one kind of measurement, sorted by step, and what belongs to them.

    Other kinds are kept; the one at most checkpoints stands first.
    """

    def fill(file: h5py.File) -> None:
        make_room(file, SHARPNESS, content.provenance, batch_norm_of(file))
        put_json(file, "sharpness", sorted(content.points, key=lambda point: point.step))
        put_json(file, "phases", content.phases)
        if content.subset is not None:
            file["sharpness_examples"] = content.subset
        if content.example_curvature:
            steps = sorted(content.example_curvature)
            file["example_curvature/steps"] = np.array(steps, dtype=np.int64)
            file["example_curvature/values"] = np.stack([content.example_curvature[step] for step in steps])
        put_json(file, "provenance/sharpness", content.provenance)
        bring_widest_forward(file, batch_norm_of(file))

    curves = sum(values.nbytes for values in content.example_curvature.values())
    replace_store(store, fill, curves + 8000 * len(content.points))


def write_critical(store: Path, points: list[CriticalSharpness], made: Provenance) -> None:
    """Write all critical sharpness of one kind, sorted by step. Other kinds, and the sharpness points, are kept."""

    def fill(file: h5py.File) -> None:
        make_room(file, QUICK, made, batch_norm_of(file))
        put_json(file, CRITICAL, sorted(points, key=lambda point: point.step))
        put_json(file, f"provenance/{QUICK}", made)

    replace_store(store, fill, 1000 * len(points))
