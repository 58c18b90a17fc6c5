"""The wire format of protocol buffers, read as data: numbered fields, and nothing that would need a schema."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from opsigcli.checkpoints.logs.broken import BrokenLog

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # kinds of fields
_WIDTHS = {FIXED64: 8, FIXED32: 4}
_LONGEST = 10  # bytes of a varint

Value = int | bytes


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Number and value of each field of a message, in order: an int, or the bytes of a fixed or a long value.

    Raises:
        BrokenLog: the bytes are no message.
    """
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, at = varint(data, at)
            yield number, value
            continue
        if kind == BYTES:
            width, at = varint(data, at)
        elif kind in _WIDTHS:
            width = _WIDTHS[kind]
        else:
            raise BrokenLog("a record in it is no protocol buffer")
        if at + width > len(data):
            raise BrokenLog("a record in it is cut off")
        yield number, data[at : at + width]
        at += width


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number of seven bits a byte at ``at``, and where it ends.

    Raises:
        BrokenLog: it has no end.
    """
    value = 0
    for count, byte in enumerate(data[at : at + _LONGEST]):
        value |= (byte & 127) << 7 * count
        if byte < 128:
            return value, at + count + 1
    raise BrokenLog("a number in it has no end")


def signed(value: Value) -> int:
    """An int64 from its varint.

    Raises:
        BrokenLog: it is no varint.
    """
    if isinstance(value, bytes):
        raise BrokenLog("a number in it is none")
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def real(value: Value) -> float:
    """A float or a double from its bytes.

    Raises:
        BrokenLog: it is none.
    """
    if not isinstance(value, bytes) or len(value) not in (4, 8):
        raise BrokenLog("a number in it is none")
    return float(struct.unpack("<f" if len(value) == 4 else "<d", value)[0])


def within(value: Value) -> bytes:
    """The bytes of a message, or of a text, within another.

    Raises:
        BrokenLog: it is a number.
    """
    if not isinstance(value, bytes):
        raise BrokenLog("a record in it is no protocol buffer")
    return value


def text(value: Value) -> str:
    """A text; what is no UTF-8 in it is replaced."""
    return within(value).decode("utf-8", "replace")
