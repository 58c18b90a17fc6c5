"""Writes the store's matrices from rows that come one checkpoint at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import h5py
import numpy as np
from numpy.typing import NDArray

from opsigcli.store.schema import chunk

Row = NDArray[np.float32]


def write_rows(losses: h5py.Dataset, deltas: h5py.Dataset | None, rows: Iterable[Row]) -> None:
    """Write losses, and deltas between them, a chunk's height at a time, whatever T is.

    One row more than a chunk is high is held, so that chunks of deltas are whole as well: a chunk that is
    written in one piece needs no cache and is never read back.
    """
    height = losses.chunks[0]
    held: list[Row] = []
    start = 0
    for row in itertools.chain(rows, [None]):
        if row is not None:
            held.append(row)
            if len(held) <= height:
                continue
        _write_block(losses, start, held[:height])
        if deltas is not None and len(held) > 1:
            _write_block(deltas, start, held[1:], minus=held[:-1])
        start += height
        held = held[height:]


def _write_block(
    dataset: h5py.Dataset, start: int, rows: list[Row], *, minus: list[Row] | None = None
) -> None:
    """Write rows, or their differences from ``minus``, at ``start``; chunks are filled one by one."""
    height, width = dataset.chunks
    for top in range(0, len(rows), height):
        part = rows[top : top + height]
        for left in range(0, dataset.shape[1], width):
            block = np.zeros((height, width), dtype=np.float32)  # a chunk at the rim is stored whole as well
            for line, row in enumerate(part):
                piece = row[left : left + width]
                if minus is None:
                    block[line, : len(piece)] = piece
                else:
                    with np.errstate(invalid="ignore"):  # inf - inf is NaN: not measured
                        np.subtract(
                            piece, minus[top + line][left : left + width], out=block[line, : len(piece)]
                        )
            if len(part) and dataset.shape[1]:
                dataset.id.write_direct_chunk((start + top, left), block)


def write_virtual(
    file: h5py.File, rows: Iterable[Row | None], count: int, ids: NDArray[np.int64], top: int, at: str = ""
) -> None:
    """Write the deltas of virtual steps, and what they say in short.

    Args:
        file: the open store.
        rows: of loss deltas (N,) nats, one for each checkpoint; None where no step was taken.
        count: of rows, T.
        ids: (N,) example ids.
        top: examples kept on each side of a step.
        at: the group of the result, with a slash; "" for the root.
    """
    dataset = file.create_dataset(
        f"{at}virtual_deltas", (count, len(ids)), "f4", chunks=chunk(count, len(ids))
    )
    width = min(top, len(ids))
    kept = {
        name: np.full((count, width), missing, dtype=kind)
        for side in ("up", "down")
        for name, missing, kind in ((f"{side}_ids", -1, np.int64), (f"{side}_deltas", np.nan, np.float32))
    }
    figures = np.full((3, count), np.nan)
    taken = np.zeros(count, dtype=bool)

    def summarised(rows: Iterable[Row | None]) -> Iterator[Row]:
        for t, row in enumerate(rows):
            taken[t] = row is not None
            if row is None:
                yield np.full(len(ids), np.nan, np.float32)
                continue
            finite = np.flatnonzero(np.isfinite(row))
            values = row[finite].astype(np.float64)
            total = np.abs(values).sum()
            if len(values):
                figures[:, t] = (
                    values.mean(),
                    (1 - abs(values.sum()) / total if total else np.nan),
                    (values > 0).mean(),
                )
            order = np.lexsort((ids[finite], -values))[:width]
            lowest = np.lexsort((ids[finite], values))[:width]
            for side, places in (("up", order), ("down", lowest)):
                kept[f"{side}_ids"][t, : len(places)] = ids[finite[places]]
                kept[f"{side}_deltas"][t, : len(places)] = values[places]
            yield row

    write_rows(dataset, None, summarised(rows))
    for name, values in zip(("mean", "interference", "fraction_up"), figures, strict=True):
        file[f"{at}virtual/{name}"] = values
    for name, array in (kept | {"taken": taken}).items():
        file[f"{at}virtual/{name}"] = array
