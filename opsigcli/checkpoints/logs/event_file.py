"""TensorBoard's event files: a TFRecord for each event, which is a protocol buffer with a step and values.

A record is its length (uint64), the masked CRC-32C of these eight bytes, the event, and the masked CRC-32C of that.
Events longer than a scalar's (pictures, histograms, graphs) are passed over unread.

Reference: tensorflow/core/util/event.proto, framework/summary.proto, framework/tensor.proto; lib/io/record_writer.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from opsigcli.checkpoints.logs.broken import BrokenLog
from opsigcli.checkpoints.logs.protobuf import fields, real, signed, text, within
from opsigcli.files import open_file

LONGEST = 1 << 12  # bytes of an event that is read
MOST = 5_000_000  # events that are looked at
_STEP, _SUMMARY = 2, 5  # fields of Event
_VALUE = 1  # of Summary
_TAG, _SIMPLE, _TENSOR = 1, 2, 8  # of Summary.Value
_DTYPE, _SHAPE, _CONTENT, _FLOATS, _DOUBLES = 1, 2, 4, 5, 6  # of TensorProto
_FORMATS = {1: "<f", 2: "<d"}  # DT_FLOAT, DT_DOUBLE


def scalars(path: Path) -> Iterator[dict[str, float]]:
    """A row for each event with scalars: ``step``, and each tag with its value.

    Raises:
        BrokenLog: the file is cut off or damaged, or holds more than five million events.
    """
    with open_file(path) as file:
        for count, event in enumerate(_events(file)):
            if count >= MOST:
                raise BrokenLog(f"it holds more than {MOST:,} events")
            row = _row(event) if event else {}
            if len(row) > 1:
                yield row


def _events(file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of each event, b"" for one that is too long for a scalar's.

    Raises:
        BrokenLog: the file is cut off or damaged.
    """
    while head := file.read(12):
        length, check = struct.unpack("<QI", head) if len(head) == 12 else (0, -1)
        if len(head) < 12 or check != masked_crc(head[:8]):
            raise BrokenLog("it is cut off or damaged, or no event file")
        if length > LONGEST:
            file.seek(length + 3, 1)
            if len(file.read(1)) < 1:
                raise BrokenLog("it is cut off")
            yield b""
            continue
        event, tail = file.read(length), file.read(4)
        if len(event) < length or len(tail) < 4:
            raise BrokenLog("it is cut off")
        if struct.unpack("<I", tail)[0] != masked_crc(event):
            raise BrokenLog("an event in it is damaged")
        yield event


def _row(event: bytes) -> dict[str, float]:
    row = {"step": 0.0}  # which the wire leaves out
    for number, value in fields(event):
        if number == _STEP:
            row["step"] = float(signed(value))
        elif number == _SUMMARY:
            for inner, one in fields(within(value)):
                if inner == _VALUE:
                    tag, found = _scalar(within(one))
                    if found is not None and tag != "step":
                        row[tag] = found
    return row


def _scalar(value: bytes) -> tuple[str, float | None]:
    tag, found = "", None
    for number, one in fields(value):
        if number == _TAG:
            tag = text(one)
        elif number == _SIMPLE:
            found = real(one)
        elif number == _TENSOR:
            found = _tensor(within(one))
    return tag, found


def _tensor(value: bytes) -> float | None:
    """The number in a tensor without axes; None for any other tensor."""
    entries = dict(fields(value))
    form = _FORMATS.get(signed(entries.get(_DTYPE, 0)))
    if form is None or within(entries.get(_SHAPE, b"")):
        return None
    packed = entries.get(_CONTENT) or entries.get(_FLOATS if form == "<f" else _DOUBLES) or b""
    raw = within(packed)
    return float(struct.unpack(form, raw)[0]) if len(raw) == struct.calcsize(form) else None


def masked_crc(data: bytes) -> int:
    """TFRecord's check of some bytes: CRC-32C (Castagnoli), rotated by fifteen bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [(x >> 1) ^ (0x82F63B78 if x & 1 else 0) for x in table]
    return table


_TABLE = _table()
