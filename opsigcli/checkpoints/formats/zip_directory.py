"""The directory of a zip of torch.save, read strictly.

Readers of zips differ in what they make of strange ones, so a file might show one content to the reader that checks
it and another to the library that loads it. Here a zip begins at the first byte and ends at the last, nothing in it is
compressed, encrypted or named twice, and its members together are no larger than the file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO

from opsigcli.pickles.records import Malformed

_MAX_MEMBERS = 1_000_000
_END, _END64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"
_FULL32, _FULL16 = 0xFFFFFFFF, 0xFFFF
_LENGTHS = struct.Struct("<HH")
_HEAD = struct.Struct("<4s4xHH4xIIIHHH8xI")  # an entry: flags, method, crc, sizes, lengths, offset


@dataclass(frozen=True)
class Member:
    """One member: where its local header is, and how many bytes it holds."""

    header: int  # in the file
    size: int
    crc: int
    compressed: bool


def members(file: IO[bytes], start: int, size: int) -> dict[str, Member]:
    """The members of the zip that fills ``size`` bytes of ``file`` from ``start`` on, by name.

    Raises:
        Malformed: this is no zip as torch.save writes it.
    """
    count, offset, length, stop = _end(file, start, size)
    if count > _MAX_MEMBERS or offset + length != stop or length < 46 * count:
        raise Malformed("its zip directory is missing or broken")
    file.seek(start + offset)
    raw = file.read(length)
    found: dict[str, Member] = {}
    total = at = 0
    for _ in range(count):
        if at + 46 > length:
            raise Malformed("its zip directory is missing or broken")
        sign, flags, method, crc, packed, plain, names, extras, notes, header = _HEAD.unpack_from(raw, at)
        if sign != _ENTRY:
            raise Malformed("its zip directory is missing or broken")
        name = raw[at + 46 : at + 46 + names].decode("utf-8", "replace")
        if _FULL32 in (packed, plain, header):
            extra = raw[at + 46 + names : at + 46 + names + extras]
            plain, packed, header = _wide(extra, plain, packed, header)
        at += 46 + names + extras + notes
        if name in found:
            raise Malformed(f"its zip directory names {name!r} twice")
        if flags & 1:
            raise Malformed(f"its member {name!r} is encrypted")
        found[name] = Member(start + header, plain, crc, method != 0 or packed != plain)
        total += packed
    if at != length or total > offset or (found and min(m.header for m in found.values()) != start):
        raise Malformed("its zip directory is missing or broken")
    return found


def place(file: IO[bytes], name: str, member: Member) -> int:
    """Where the bytes of a member begin in the file.

    Raises:
        Malformed: its local header is not there, or is another's.
    """
    file.seek(member.header)
    head = file.read(30)
    if len(head) != 30 or head[:4] != _LOCAL:
        raise Malformed(f"its member {name!r} is not where the zip directory says")
    names, extras = _LENGTHS.unpack_from(head, 26)
    if file.read(names).decode("utf-8", "replace") != name:
        raise Malformed(f"its member {name!r} is not where the zip directory says")
    return member.header + 30 + int(names) + int(extras)


def _end(file: IO[bytes], start: int, size: int) -> tuple[int, int, int, int]:
    """Number of members, offset and length of the directory, and where the end records begin; from ``start``.

    Raises:
        Malformed: there is no such record, or it is broken.
    """
    if size < 22:
        raise Malformed("its zip directory is missing or broken")
    back = min(size, 22 + 20 + 56)
    file.seek(start + size - back)
    tail = file.read(back)
    sign, count, length, offset, note = struct.unpack("<4s6xHIIH", tail[-22:])
    if len(tail) != back or sign != _END or note:
        raise Malformed("its zip directory is missing or broken")
    stop = size - 22
    if tail[-42:-38] == _LOCATOR:
        # torch.save writes the wide records always.
        (where,) = struct.unpack("<8xQ4x", tail[-42:-22])
        stop = size - 98
        if where != stop or tail[:4] != _END64:
            raise Malformed("its zip directory is missing or broken")
        count, length, offset = struct.unpack_from("<QQQ", tail, 32)
    elif count == _FULL16 or _FULL32 in (offset, length):
        raise Malformed("its zip directory is missing or broken")
    return count, offset, length, stop


def _wide(extra: bytes, plain: int, packed: int, header: int) -> tuple[int, int, int]:
    """Sizes and offset that need more than four bytes, from the field where they stand then.

    Raises:
        Malformed: the field is missing or too short.
    """
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            values = [next(numbers) if value == _FULL32 else value for value in (plain, packed, header)]
            return values[0], values[1], values[2]
        at += 4 + length
    raise Malformed("its zip directory is missing or broken")
