"""Mined groups as files for other tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.errors import UsageError
from opsigcli.exporting.texts import csv_line
from opsigcli.mining_records import (
    Mining,
)
from opsigcli.records import LossTrace
from opsigcli.store.beside import keep_stores, write_file

if TYPE_CHECKING:
    from opsigcli.records import Ints

COLUMNS = ("pair", "side", "id", "label", "name", "finding", "verdict")
FORMATS = (".csv", ".jsonl", ".npz", ".json", ".pt")


def require_format(path: Path) -> None:
    """Refuse a file name whose ending names no format, and a store.

    Raises:
        UsageError: the ending is not known, or a store is there.
    """
    if path.suffix not in FORMATS:
        raise UsageError(
            f"expected --export FILE to end in one of {' '.join(FORMATS)}, found {path.name!r}",
            f"for example --export {path.stem or 'groups'}.csv",
        )
    keep_stores(path)


def export_groups(path: Path, mining: Mining, trace: LossTrace, classes: tuple[str, ...]) -> int:
    """Write one row per member of a group, in the order of the pairs; returns the number of rows.

    Columns: pair (from 1), side (first or second), id (document:token for tokens), label (class name, or index; the
    token predicted), name (relative path, or text with the token marked), finding (whether the pair is
    one; empty where it was not tested), verdict on the pair.

    Raises:
        UsageError: the ending of ``path`` is not known, or a store is there.
        StoreError: the file cannot be written.
    """
    require_format(path)
    rows = list(_rows(mining, trace, classes))
    WRITERS[path.suffix](path, rows, mining)
    return len(rows)


def _csv(path: Path, rows: list[dict[str, Any]], _: Mining) -> None:
    lines = [csv_line(COLUMNS), *(csv_line(row[name] for name in COLUMNS) for row in rows)]
    write_file(path, lambda file: file.write("".join(f"{line}\n" for line in lines).encode()))


def _jsonl(path: Path, rows: list[dict[str, Any]], _: Mining) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_file(path, lambda file: file.write(text.encode()))


def _npz(path: Path, rows: list[dict[str, Any]], mining: Mining) -> None:
    arrays = {
        f"pair_{n}_{side}": getattr(p, side).ids for n, p in enumerate(mining.pairs, 1) for side in SIDES
    }
    arrays["ids"] = _all_ids(mining)
    write_file(path, lambda file: np.savez(file, **arrays))


def _all_ids(mining: Mining) -> Ints:
    """The members of all groups, sorted, each once."""
    return np.unique(
        np.concatenate([np.zeros(0, np.int64), *(group.ids for group in mining.groups.values())])
    )


def _fiftyone(path: Path, rows: list[dict[str, Any]], _: Mining) -> None:
    """Samples as ``fiftyone.types.FiftyOneImageDetectionDataset`` has its labels: file name to tag and attributes."""
    samples = {
        row["name"] or str(row["id"]): {
            "tags": [f"opsig-pair-{row['pair']}-{row['side']}"],
            "label": str(row["label"]),
            "id": row["id"],
            "finding": row["finding"],
            "verdict": row["verdict"],
        }
        for row in rows
    }
    text = json.dumps({"classes": None, "labels": samples}, ensure_ascii=False, indent=1)
    write_file(path, lambda file: file.write(text.encode()))


def _subset(path: Path, rows: list[dict[str, Any]], mining: Mining) -> None:
    import torch

    indices = {
        f"pair-{n}-{s}": getattr(p, s).ids.tolist() for n, p in enumerate(mining.pairs, 1) for s in SIDES
    }
    content = {"indices": _all_ids(mining).tolist(), "groups": indices}
    write_file(path, lambda file: torch.save(content, file))


SIDES = ("first", "second")
WRITERS: dict[str, Callable[[Path, list[dict[str, Any]], Mining], None]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".npz": _npz,
    ".json": _fiftyone,
    ".pt": _subset,
}


def _rows(mining: Mining, trace: LossTrace, classes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    naming = trace.naming
    for key, group in mining.groups.items():
        places = trace.positions(group.ids)
        labels, names = trace.labels[places].tolist(), trace.names_at(places)
        for example, label, name in zip(group.ids.tolist(), labels, names, strict=True):
            yield {
                "pair": key.pair,
                "side": key.side,
                "id": naming.id(example) if naming.in_documents else example,
                "label": (classes[label] if 0 <= label < len(classes) else label) if naming.label else "",
                "name": name,
                "finding": mining.pairs[key.pair - 1].finding,
                "verdict": mining.pairs[key.pair - 1].verdict,
            }
