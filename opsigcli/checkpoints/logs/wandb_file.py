"""Files of a Weights & Biases run, ``run-ID.wandb``: a log of blocks, as LevelDB's, of protocol buffers.

After seven bytes that name the format come blocks of 32 KiB, of pieces: CRC-32 (uint32), length (uint16), kind (full,
first, middle, last), bytes. Of each record the fields history and config are read.

Reference: wandb/proto/wandb_internal.proto; the log format of github.com/google/leveldb, doc/log_format.md.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from opsigcli.checkpoints.logs.broken import BrokenLog
from opsigcli.checkpoints.logs.protobuf import fields, signed, text, within
from opsigcli.checkpoints.logs.tables import flat
from opsigcli.files import open_file

HEAD = b":W&B\xe1\xbe\x00"
BLOCK = 1 << 15
LONGEST = 1 << 20  # bytes of a record that is read
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_HISTORY, _CONFIG, _RUN = 2, 5, 17  # fields of Record
_RUN_CONFIG = 4  # of RunRecord
_ITEM, _STEP = 1, 2  # of HistoryRecord
_UPDATE = 1  # of ConfigRecord
_KEY, _NESTED, _JSON = 1, 2, 16  # of an item


def history(path: Path) -> Iterator[dict[str, Any]]:
    """A row for each call of ``wandb.log``: its numbers by name, and ``_step``, which counts the calls or was given.

    Raises:
        BrokenLog: the file is cut off or damaged, or in another form.
    """
    for record in _records(path):
        for number, value in fields(record):
            if number == _HISTORY:
                yield _history(within(value))


def config(path: Path) -> dict[str, Any]:
    """The run's configuration, by name; what a later record says counts. Nothing after a damaged record is read."""
    found: dict[str, Any] = {}
    try:
        for record in _records(path):
            for number, value in fields(record):
                if number == _CONFIG:
                    found |= _updates(within(value))
                elif number == _RUN:
                    for inner, one in fields(within(value)):
                        if inner == _RUN_CONFIG:
                            found |= _updates(within(one))
    except BrokenLog:
        pass
    return {key: value for key, value in found.items() if key != "_wandb"}


def _updates(record: bytes) -> dict[str, Any]:
    return dict(_item(within(value)) for number, value in fields(record) if number == _UPDATE)


def _history(record: bytes) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for number, value in fields(record):
        if number == _ITEM:
            name, found = _item(within(value))
            row[name] = found
        elif number == _STEP:
            for inner, one in fields(within(value)):
                if inner == 1:
                    row.setdefault("_step", signed(one))
    return flat(row)


def _item(value: bytes) -> tuple[str, Any]:
    key, written = "", "null"
    nested: list[str] = []
    for number, one in fields(value):
        if number == _KEY:
            key = text(one)
        elif number == _NESTED:
            nested.append(text(one))
        elif number == _JSON:
            written = text(one)
    try:
        found = json.loads(written)
    except (ValueError, RecursionError):
        found = None
    return key or "/".join(nested), found


def _records(path: Path) -> Iterator[bytes]:
    """The bytes of each record, b"" for one that is longer than any of numbers.

    Raises:
        BrokenLog: the file is in another form, or a record has no beginning.
    """
    with open_file(path) as file:
        if file.read(len(HEAD)) != HEAD:
            raise BrokenLog("it is no file of a W&B run, or of a later format")
        parts, size, begun = [b""], 0, False
        for kind, piece in _pieces(file):
            if kind in (_FULL, _FIRST):
                parts, size, begun = [], 0, True
            if not begun:
                raise BrokenLog("a record in it has no beginning")
            size += len(piece)
            if size <= LONGEST:
                parts.append(piece)
            if kind in (_FULL, _LAST):
                yield b"".join(parts) if size <= LONGEST else b""
                begun = False


def _pieces(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    at = len(HEAD)  # the first block begins with the file
    while True:
        if BLOCK - at % BLOCK < 7:  # too short for another piece
            at += len(file.read(BLOCK - at % BLOCK))
        head = file.read(7)
        if not head:
            return
        if len(head) < 7:
            raise BrokenLog("it is cut off")
        check, length, kind = struct.unpack("<IHB", head)
        if not _FULL <= kind <= _LAST or length > BLOCK - at % BLOCK - 7:
            raise BrokenLog("it is damaged")
        piece = file.read(length)
        if len(piece) < length:
            raise BrokenLog("it is cut off")
        if zlib.crc32(piece, zlib.crc32(head[6:])) != check:
            raise BrokenLog("a record in it is damaged")
        at += 7 + length
        yield kind, piece
