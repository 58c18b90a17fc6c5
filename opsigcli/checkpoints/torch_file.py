"""Files of torch.save: a zip of a pickle and one record per storage, or the older stream of pickles.

The pickle is first read as data (see ``inert``): that finds the classes it names and the sizes it claims. Only then
torch opens the file, with ``weights_only=True`` given explicitly, because an environment variable can turn the default
off. Nothing weaker is ever tried.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints import inert, torch_pickle
from opsigcli.checkpoints.base import Header, NotWeights, unreadable
from opsigcli.checkpoints.choose import choose
from opsigcli.checkpoints.inert import Malformed
from opsigcli.checkpoints.torch_pickle import Content, StoredTensor
from opsigcli.errors import CheckpointError

if TYPE_CHECKING:
    import torch

_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar")
_ZIP = b"PK\x03\x04"
_LEGACY = 0x1950A86A20F9469CFC6C  # the first pickle of every legacy file
_MAX_MEMBERS = 1_000_000
_MAX_PICKLE = 1 << 30  # bytes
_AGAIN = "copy or save the checkpoint again; the writer may have been killed, or the disk full"
_PROGRAMS = ("constants.pkl", "archive_format", "models/model.json")
_ZIP_ERRORS = (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, OverflowError, struct.error)
_SCALARS = {"float32": "f", "float64": "d", "int64": "q", "int32": "i"}


@dataclass(frozen=True)
class _Opened:
    content: Content
    zipped: bool
    root: str = ""  # folder inside the zip


class TorchFile:
    """One file of torch.save."""

    name = "torch"

    def recognises(self, path: Path) -> bool:
        """Files with a name torch users give; a .bin or .tar also has to begin like one, as others use these names."""
        suffix = path.suffix.lower()
        if suffix not in _SUFFIXES or not path.is_file():
            return False
        if suffix in (".pt", ".pth", ".ckpt") or path.name.lower().endswith((".pth.tar", ".pt.tar")):
            return True
        try:
            with path.open("rb") as file:
                start = file.read(4)
        except OSError:
            return True  # so that reading it says why not
        return start == _ZIP or start[:1] == b"\x80"

    def describe(self, path: Path) -> Header:
        """Names, types, shapes and training state, from the pickle read as data."""
        opened = _open(path)
        root = opened.content.root
        found = torch_pickle.candidates(root)
        if not found:
            raise NotWeights(
                f"expected weights by name, found {_kind(root)} in {path}", "leave it out of the folder"
            )
        state = torch_pickle.training(root, lambda tensor: _number(path, opened, tensor))
        weights = {".".join(where): tensors for where, tensors in found.items()}
        return Header(weights, state.counts, state.lr, state.optimizer)

    def read(self, path: Path, key: str | None = None) -> dict[str, torch.Tensor]:
        """The weights, in memory of their own, so that a file written over later changes nothing."""
        opened = _open(path)
        found = torch_pickle.candidates(opened.content.root)
        places = {".".join(where): where for where in found}
        chosen, names = choose(path, {name: found[where] for name, where in places.items()}, key)
        import torch

        try:
            # Mapped, so that an optimizer's state beside the weights is not read. torch then skips its check of
            # record sizes; _open has made it.
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=opened.zipped)
            for part in places[chosen]:
                loaded = loaded[part]
            return {plain: loaded[name].detach().clone() for plain, name in names.items()}
        except OSError as error:
            raise unreadable(path, error) from error
        except Exception as error:  # torch documents no types; whatever it raises, the file is not readable
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise CheckpointError(
                f"torch refuses to load {path} with weights_only=True: {first}", _AGAIN
            ) from error


def _open(path: Path) -> _Opened:
    """A file as data, checked: what torch will be asked to load is what the pickle claims, and holds no code."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
            size = path.stat().st_size
            if not size:
                raise CheckpointError(f"{path} is empty: expected a torch.save file, found 0 bytes", _AGAIN)
            opened = _open_zip(path) if start == _ZIP else _open_legacy(path, size)
    except OSError as error:
        raise unreadable(path, error) from error
    except Malformed as error:
        raise _corrupt(path, str(error)) from error
    _refuse(path, opened.content)
    return opened


def _refuse(path: Path, content: Content) -> None:
    if content.foreign:
        names = ", ".join(content.foreign[:8]) + (", …" if len(content.foreign) > 8 else "")
        raise CheckpointError(
            f"expected tensors and plain values, found in {path} a pickle that runs code to build: {names}",
            "where it was made, save the weights alone: torch.save(model.state_dict(), 'weights.pt')",
        )
    if content.refused:
        raise CheckpointError(
            f"expected dense tensors, found {' and '.join(content.refused)} in {path}",
            "convert them with tensor.to_dense() or .dequantize() and save the weights again",
        )
    if content.protocol > 3:
        raise CheckpointError(
            f"expected pickle protocol 2, which weights_only loading reads; found protocol {content.protocol}"
            f" in {path}",
            "save it again with torch.save(…) and no pickle_protocol",
        )


def _open_zip(path: Path) -> _Opened:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            root = _root(path, members)
            pickled = archive.read(f"{root}data.pkl")
    except _ZIP_ERRORS as error:
        raise CheckpointError(
            f"{path} is truncated or corrupt: its zip directory or its pickle is missing or broken", _AGAIN
        ) from error
    content = torch_pickle.read_content(io.BytesIO(pickled))
    sizes = {member.filename: member.file_size for member in members}
    for storage in content.storages:
        record = f"{root}data/{storage.key}"
        if sizes.get(record) != storage.bytes:
            raise _corrupt(
                path,
                f"expected {storage.bytes} bytes in the record {record!r}, found {sizes.get(record, 'none')}",
            )
    return _Opened(content, True, root)


def _root(path: Path, members: list[zipfile.ZipInfo]) -> str:
    """The folder inside the zip that holds the pickle, with its slash; the directory is checked on the way."""
    names = [member.filename for member in members]
    if any(name.partition("/")[2] in _PROGRAMS for name in names):
        raise CheckpointError(
            f"expected weights, found an exported program (TorchScript or torch.export) in {path}",
            "save its weights: torch.save(model.state_dict(), 'weights.pt')",
        )
    if len(members) > _MAX_MEMBERS:
        raise _corrupt(path, f"it has {len(members)} members")
    double = next((name for name, times in Counter(names).items() if times > 1), None)
    if double:
        raise _corrupt(path, f"its zip directory names {double!r} twice")
    packed = next((m.filename for m in members if m.compress_type != zipfile.ZIP_STORED), None)
    if packed:
        raise _corrupt(path, f"its member {packed!r} is compressed, which torch.save never does")
    pickles = [m for m in members if m.filename.count("/") == 1 and m.filename.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _corrupt(path, f"expected one data.pkl in the zip, found {len(pickles)}")
    if pickles[0].file_size > _MAX_PICKLE:
        raise _corrupt(path, "its pickle is larger than 1 GiB")
    return pickles[0].filename.removesuffix("data.pkl")


def _open_legacy(path: Path, size: int) -> _Opened:
    def nothing(saved: Any) -> Any:
        raise Malformed("it is no torch.save file")

    with path.open("rb") as file:
        try:
            first = inert.read(file, {}, nothing)
        except Malformed as error:
            raise Malformed("it is no torch.save file") from error
        if first.value != _LEGACY:
            _refuse(path, Content(None, tuple(sorted(first.names)), (), 2, ()))
            raise Malformed("it is a pickle, and no torch.save file")
        for _ in range(2):  # the protocol of the stream, and facts about the machine that wrote it
            inert.read(file, {}, nothing)
        content = torch_pickle.read_content(file)
        inert.read(
            file, {}, nothing
        )  # the keys of the storages, which follow with their counts (8 bytes each)
        sizes = {storage.key: storage.bytes for storage in content.storages}
        if sum(sizes.values()) + 8 * len(sizes) > size - file.tell():
            raise CheckpointError(
                f"{path} is truncated: its tensors need more bytes than the file has", _AGAIN
            )
    return _Opened(content, False)


def _number(path: Path, opened: _Opened, tensor: StoredTensor) -> float | None:
    """The value of a tensor of one element; None in a legacy file, where that needs reading all before it."""
    code = _SCALARS.get(tensor.dtype)
    if code is None or not opened.zipped or tensor.storage.bytes > 1024:
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            raw = archive.read(f"{opened.root}data/{tensor.storage.key}")
        (value,) = struct.unpack_from(f"<{code}", raw, tensor.offset * struct.calcsize(code))
    except _ZIP_ERRORS:
        return None
    return float(value) if math.isfinite(value) else None


def _kind(root: Any) -> str:
    return "a single tensor" if isinstance(root, StoredTensor) else f"a {type(root).__name__}"


def _corrupt(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"expected a torch.save file, found {path}: {problem}", _AGAIN)
