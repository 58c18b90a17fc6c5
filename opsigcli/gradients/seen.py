"""A small table of what can be seen in the examples, and pictures of those that a spike moved most, kept at tracing.

With it ``opsig report`` attributes spikes to what can be seen, from the store alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.errors import Interrupted
from opsigcli.examples import OWN_MEANS, ExampleSource
from opsigcli.gradients.contents import contents
from opsigcli.gradients.thumbnails import more_pictures
from opsigcli.mining.causes.attribute import moved_ids
from opsigcli.mining.tokens import PREDICTED, SEEN, labelled_tokens
from opsigcli.mining.visible import visible_features
from opsigcli.store.lock import locked
from opsigcli.store.reader import open_store
from opsigcli.store.writer import write_seen
from opsigcli.token_ids import DOCUMENT_BITS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from opsigcli.progress import Progress
    from opsigcli.records import Floats, Ints

MOST = 10_000  # examples looked at: a random part of larger sets
COLUMNS = 64  # of tables, those that vary most
PIECE = 64  # pictures at once
WAIT = 300.0  # seconds for another worker that looks as well


def keep_seen(path: Path, source: ExampleSource, progress: Progress) -> None:
    """Look at the examples of a store once, and keep what a report needs to name the cause of spikes.

    Raises:
        StoreError: the store is in use, or cannot be written.
        DatasetError: an example cannot be read.
        Interrupted: a signal arrived; the trace is kept.
    """
    try:
        with locked(path, wait=WAIT):
            with open_store(path) as store:
                known = store.seen
                digests = store.trace.digests
                pictures = more_pictures(source, moved_ids(store.trace), store.thumbnails)
            if known is None or digests is None or pictures is not None:
                digests = contents(source, progress) if digests is None else digests
                write_seen(path, *(known or see(source, progress)), source.fingerprint, digests, pictures)
    except KeyboardInterrupt as signal:
        raise Interrupted(signal, "interrupted: the trace is kept, the examples were not looked at") from None


def see(source: ExampleSource, progress: Progress) -> tuple[dict[str, NDArray[Any]], str]:
    """What can be seen in the examples, 10,000 random ones where there are more.

    Returns:
        Feature to (N,), float32 with NaN or int64 with −1 where an example was not looked at; and why there is
        nothing, or "".
    """
    n = len(source)
    positions = np.arange(n)
    if n > MOST:
        positions = np.sort(np.random.default_rng(0).permutation(n)[:MOST])
    found = _look(source, positions, progress) if n else {}
    table: dict[str, NDArray[Any]] = {}
    for name, values in found.items():
        whole = np.full(n, np.nan, np.float32) if values.dtype.kind == "f" else np.full(n, -1, np.int64)
        whole[positions] = values
        table[name] = whole
    shape = " \u00d7 ".join(map(str, source.input_shape)) or "a number"
    return (
        table,
        "" if table else f"inputs ({shape}) are neither pictures, tables nor tokens, so no feature was seen",
    )


def _look(source: ExampleSource, positions: Ints, progress: Progress) -> dict[str, NDArray[Any]]:
    if source.image(int(positions[0])) is not None:
        return _pictures(source, positions, progress)
    first = source.read(positions[:1])
    if first.dtype.kind == "i" and source.read_targets(positions[:1]).ndim == 2:
        return _tokens(source, positions)
    if first.ndim == 2 and first.dtype.kind == "f":
        inputs = np.concatenate(
            [source.read(positions[at : at + MOST // 10]) for at in range(0, len(positions), MOST // 10)]
        )
        widest = np.sort(np.argsort(-inputs.var(axis=0), kind="stable")[:COLUMNS])
        return {f"column {column}": inputs[:, column].astype(np.float32) for column in widest.tolist()}
    return {}


def _pictures(source: ExampleSource, positions: Ints, progress: Progress) -> dict[str, NDArray[Any]]:
    found: dict[str, list[NDArray[Any]]] = {}
    with progress.task("look", len(positions), "picture") as task:
        for at in range(0, len(positions), PIECE):
            images = _images(source, positions[at : at + PIECE])
            if images.shape[1] not in (1, 3):
                return {}
            for name, values in visible_features(images).items():
                found.setdefault(name, []).append(values)
            task.advance(len(images))
    return {
        n: np.concatenate(values) for n, values in found.items() if sum(map(len, values)) == len(positions)
    }


def _images(source: ExampleSource, positions: Ints) -> Floats:
    """Pictures before they were brought to mean 0, as far as that is known, (B, C, H, W)."""
    bytes_of = source.pixels(positions)
    if bytes_of is None and source.transform.get("standardize") in OWN_MEANS:
        shown = [source.image(int(i)) for i in positions]
        bytes_of = np.stack([picture for picture in shown if picture is not None]).transpose(0, 3, 1, 2)
    if bytes_of is not None:
        return bytes_of[:, :3].astype(np.float32) / 255
    images: Floats = np.asarray(source.read(positions), dtype=np.float32)
    if source.normalisation is not None:
        mean, deviation = source.normalisation
        images = images * deviation + mean
    return images[:, :3]


def _tokens(source: ExampleSource, positions: Ints) -> dict[str, NDArray[Any]]:
    """Of single tokens the one seen before, their place and their document; of sequences how varied they are."""
    found: dict[str, NDArray[Any]] = {}
    ids = source.ids[positions]
    if "per" in source.transform:
        found["document"] = ids >> DOCUMENT_BITS
        found["position in the document"] = (ids % (1 << DOCUMENT_BITS)).astype(np.float32)
    if source.sequences is not None:
        rows, places, columns = source.sequences.locate(positions)
        inputs = source.sequences.whole.read(rows)
        found |= {SEEN: inputs[places, columns], "position": columns.astype(np.float32)}
        found.setdefault("document", rows[places])
        return found
    inputs, told = (read(positions).astype(np.int64) for read in (source.read, source.read_targets))
    if inputs.shape != told.shape:
        return found
    table = labelled_tokens(inputs, told)
    if table[PREDICTED].shape[1] == 1:
        return found | {name: tokens[:, 0].astype(np.int64) for name, tokens in table.items()}
    there = table[PREDICTED] >= 0
    tokens, counts = np.unique(table[PREDICTED][there], return_counts=True)
    rarity = np.zeros(table[PREDICTED].shape)
    rarity[there] = -np.log(counts / counts.sum())[np.searchsorted(tokens, table[PREDICTED][there])]
    found["rarity of its tokens"] = (rarity.sum(axis=1) / np.maximum(there.sum(axis=1), 1)).astype(np.float32)
    distinct = [len(np.unique(row[row >= 0])) for row in table[PREDICTED]]
    found["distinct tokens"] = np.array(distinct, dtype=np.float32)
    return found
