"""Writes TensorBoard's event files: numbers by step, pictures and texts, without TensorBoard or TensorFlow.

A record is its length (uint64), the masked CRC-32C of these eight bytes, the event, and the masked CRC-32C of that.

Reference: tensorflow/core/util/event.proto, framework/summary.proto, framework/tensor.proto; lib/io/record_writer.h.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from opsigcli.checkpoints.logs.event_file import masked_crc
from opsigcli.checkpoints.logs.protobuf import BYTES, FIXED32, FIXED64, VARINT

_DT_STRING = 7


class EventFile:
    """Writes events in the order they come.

    Args:
        file: open for writing.
        time: seconds since 1970, of all events.
    """

    def __init__(self, file: BinaryIO, time: float) -> None:
        self._file, self._time = file, time
        self._write(_message(3, b"brain.Event:2"))

    def scalar(self, tag: str, step: int, value: float) -> None:
        """A number at a step."""
        self._value(step, tag, _key(2, FIXED32) + struct.pack("<f", value))

    def picture(self, tag: str, step: int, png: bytes, height: int, width: int) -> None:
        """A picture at a step, as PNG of 8 bits and three channels."""
        image = _number(1, height) + _number(2, width) + _number(3, 3) + _message(4, png)
        self._value(step, tag, _message(4, image))

    def text(self, tag: str, step: int, markdown: str) -> None:
        """A text at a step, in Markdown."""
        one = _message(2, _number(1, 1))  # a vector of one text
        tensor = _number(1, _DT_STRING) + _message(2, one) + _message(8, markdown.encode())
        plugin = _message(1, _message(1, b"text"))
        self._value(step, tag, _message(8, tensor) + _message(9, plugin))

    def _value(self, step: int, tag: str, content: bytes) -> None:
        value = _message(1, tag.encode()) + content
        self._write(_number(2, step) + _message(5, _message(1, value)))

    def _write(self, rest: bytes) -> None:
        event = _key(1, FIXED64) + struct.pack("<d", self._time) + rest
        length = struct.pack("<Q", len(event))
        for part in (
            length,
            struct.pack("<I", masked_crc(length)),
            event,
            struct.pack("<I", masked_crc(event)),
        ):
            self._file.write(part)


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _number(number: int, value: int) -> bytes:
    return _key(number, VARINT) + _varint(value)


def _message(number: int, content: bytes) -> bytes:
    return _key(number, BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
