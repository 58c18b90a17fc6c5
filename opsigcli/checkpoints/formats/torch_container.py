"""The bytes of a torch.save file: which pickle it holds, and where its storages lie. Read strictly, and as data."""

from __future__ import annotations

import io
import mmap
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import IO, Any

from opsigcli.checkpoints.base import SIZES
from opsigcli.checkpoints.formats import plain_pickle, rebuild, torch_pickle, zip_directory
from opsigcli.checkpoints.formats.torch_pickle import Content, Storage
from opsigcli.pickles import reader as pickle_reader
from opsigcli.pickles.machine import MAX_BYTES, Data
from opsigcli.pickles.records import Malformed

ZIP = b"PK\x03\x04"
_LEGACY = 0x1950A86A20F9469CFC6C  # the first pickle of every legacy file
START = 256  # bytes that tell a file of torch.save from others
_TAR_MARK, _MOST_MEMBERS, _NEMO_WEIGHTS = 257, 1000, "model_weights.ckpt"
_PROGRAMS = ("constants.pkl", "archive_format", "models/model.json")


@dataclass(frozen=True)
class Opened:
    """A torch.save file as data, and where its storages are. It holds no file open."""

    content: Content
    locate: rebuild.Locate
    size: int
    pickled: int  # bytes of the pickle
    apart: bytes | None = None  # what the storages are in, if that is not the file


class Program(Malformed):
    """A zip that holds a program, not a pickle of tensors."""

    hint = (
        'convert it, which runs the program: python -c "import torch; '
        "torch.save(torch.jit.load('MODEL.pt').state_dict(), 'weights.pt')\""
    )


def saved_by_torch(start: bytes) -> bool:
    """Whether a file that begins with these bytes (``START``) is one of torch.save: a zip whose first member is
    ``NAME/data.pkl``, or a pickle of torch's number."""
    if start[:4] == ZIP:
        length = int.from_bytes(start[26:28], "little")
        return start[30 : 30 + length].endswith(b"/data.pkl")
    return start[:1] == b"\x80" and _LEGACY.to_bytes(10, "little") in start[:24]


def open_torch(file: IO[bytes], start: int, size: int) -> Opened:
    """The torch.save file that fills ``size`` bytes of ``file`` from ``start`` on, checked: its pickle claims no more
    than its records hold.

    Raises:
        Malformed: it is none, or it is broken.
        Program: it holds a TorchScript or torch.export program.
    """
    start, size = (in_tar(file) if start == 0 else None) or (start, size)
    file.seek(start)
    if file.read(4) == ZIP:
        return _open_zip(file, start, size)
    if start:
        raise Malformed("it is no torch.save file")
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[0] != 0x80 or _LEGACY.to_bytes(10, "little") in data[:24]:
            return _open_legacy(data, size)
        content, pool, places = plain_pickle.read_plain(data, _open_storage)
    return Opened(content, lambda _, key: rebuild.Span(*places[key]), size, size, pool)


def _open_storage(raw: bytes) -> tuple[bytes, str]:
    """The bytes and the type of the one storage that a small torch.save file holds.

    Raises:
        Malformed: it holds something else.
    """
    opened = _open_legacy(raw, len(raw))
    storage = opened.content.root
    if not isinstance(storage, Storage):
        raise Malformed("a tensor in it has no storage")
    begin, count, _ = opened.locate(io.BytesIO(), storage.key)
    return raw[begin : begin + count], storage.dtype


def in_tar(file: IO[bytes]) -> tuple[int, int] | None:
    """Where the one file of weights of an archive of NeMo begins, and its bytes; None of anything else."""
    file.seek(_TAR_MARK)
    if file.read(5) != b"ustar":
        return None
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            found = [m for m in islice(archive, _MOST_MEMBERS) if PurePosixPath(m.name).name == _NEMO_WEIGHTS]
    except (tarfile.TarError, ValueError, OverflowError):
        return None
    whole = len(found) == 1 and found[0].isreg() and not found[0].issparse()
    return (found[0].offset_data, found[0].size) if whole else None


def _open_zip(file: IO[bytes], start: int, size: int) -> Opened:
    members = zip_directory.members(file, start, size)
    if any(name.partition("/")[2] in _PROGRAMS for name in members):
        raise Program("an exported program (TorchScript or torch.export)")
    packed = next((name for name, member in members.items() if member.compressed), None)
    if packed is not None:
        raise Malformed(f"its member {packed!r} is compressed, which torch.save never does")
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Malformed(f"expected one data.pkl in the zip, found {len(pickles)}")
    root = pickles[0].removesuffix("data.pkl")
    pickled = _member(file, members, pickles[0], MAX_BYTES)
    if f"{root}byteorder" in members and _member(file, members, f"{root}byteorder", 64) != b"little":
        raise Malformed("its numbers are not little-endian")
    content = torch_pickle.read_content(pickled)
    places = {}
    for storage in content.storages:
        name = f"{root}data/{storage.key}"
        member = members.get(name)
        if member is None or member.size != storage.bytes:
            found = member.size if member else "none"
            raise Malformed(f"expected {storage.bytes} bytes in the record {name!r}, found {found}")
        places[storage.key] = (name, member)

    def locate(file: IO[bytes], key: str) -> rebuild.Span:
        name, member = places[key]
        begin = zip_directory.place(file, name, member)
        if begin + member.size > start + size:
            raise Malformed(f"its record {name!r} is cut off")
        return rebuild.Span(begin, member.size, member.crc)

    return Opened(content, locate, size, len(pickled))


def _member(file: IO[bytes], members: dict[str, zip_directory.Member], name: str, limit: int) -> bytes:
    member = members[name]
    if member.size > limit:
        raise Malformed(f"its member {name!r} is larger than {limit} bytes")
    file.seek(zip_directory.place(file, name, member))
    raw = file.read(member.size)
    if len(raw) != member.size or (member.crc and zlib.crc32(raw) != member.crc):  # 0: none was computed
        raise Malformed(f"its member {name!r} is damaged")
    return raw


def _open_legacy(data: Data, size: int) -> Opened:
    def nothing(saved: Any) -> Any:
        raise Malformed("it is no torch.save file")

    try:
        first = pickle_reader.read(data, {}, nothing)
    except Malformed as error:
        raise Malformed("it is no torch.save file") from error
    if first.value != _LEGACY:
        named = f" that names {some(sorted(first.names))}" if first.names else ""
        raise Malformed(f"it is a pickle{named}, and no torch.save file")
    at = first.end
    for _ in range(2):  # the protocol of the stream, and facts about the machine that wrote it
        at = pickle_reader.read(data, {}, nothing, at).end
    begin = at
    content = torch_pickle.read_content(data, begin)
    # The storages follow: first their keys, then each with the number of its elements before it.
    keys = pickle_reader.read(data, {}, nothing, content.end)
    sizes = {storage.key: storage.bytes for storage in content.storages}
    if not isinstance(keys.value, list) or set(map(str, keys.value)) != set(sizes):
        raise Malformed("the list of its storages is broken")
    records = {}
    at = keys.end
    for key in map(str, keys.value):
        records[key] = rebuild.Span(at + 8, sizes[key])
        at += 8 + sizes[key]
    if at > size:
        raise Malformed("it is truncated: its tensors need more bytes than the file has")
    for storage in content.storages:
        place = records[storage.key].begin
        width = SIZES[storage.dtype]
        if int.from_bytes(data[place - 8 : place], "little") * width != storage.bytes:
            raise Malformed("a storage in it has another size than its pickle says")
    return Opened(content, lambda _, key: records[key], size, content.end - begin)


def some(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
