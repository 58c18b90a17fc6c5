"""``cifar:DIR``: CIFAR-10 and CIFAR-100 as their authors hand them out, pickled or binary; pickles are read as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.arrays import array_reader
from opsigcli.datasets.base import COMMON, Settings, Source
from opsigcli.datasets.listing import listing_of
from opsigcli.errors import DatasetError, UsageError
from opsigcli.files import read_file
from opsigcli.pickles.machine import MAX_BYTES
from opsigcli.pickles.reader import read
from opsigcli.pickles.records import Call, Malformed
from opsigcli.query import choice, flag
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE, PIXELS = 32, 3 * 32 * 32  # of a picture: red rows, then green, then blue
HINT = "DIR is what cifar-100-python.tar.gz or cifar-100-binary.tar.gz unpack to (or those of CIFAR-10), or holds it"


@dataclass(frozen=True)
class Layout:
    """How one of the archives keeps pictures, labels and their names."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    names: dict[str, tuple[str, str]]  # kind of label -> file of its names, and the key in it
    labels: dict[str, Any]  # kind of label -> key in a pickle, or place among the first bytes of a record

    @property
    def binary(self) -> bool:
        """Whether records of bytes follow one another, each with its labels first."""
        return self.train[0].endswith(".bin")


LAYOUTS = {
    "cifar-100-python": Layout(
        ("train",),
        ("test",),
        {kind: ("meta", f"{kind}_label_names") for kind in ("fine", "coarse")},
        {kind: f"{kind}_labels" for kind in ("fine", "coarse")},
    ),
    "cifar-100-binary": Layout(
        ("train.bin",),
        ("test.bin",),
        {kind: (f"{kind}_label_names.txt", "") for kind in ("fine", "coarse")},
        {"coarse": 0, "fine": 1},
    ),
    "cifar-10-batches-py": Layout(
        tuple(f"data_batch_{number}" for number in range(1, 6)),
        ("test_batch",),
        {"fine": ("batches.meta", "label_names")},
        {"fine": "labels"},
    ),
    "cifar-10-batches-bin": Layout(
        tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        ("test_batch.bin",),
        {"fine": ("batches.meta.txt", "")},
        {"fine": 0},
    ),
}


def open_cifar(spec: Spec) -> Source:
    """Open ``cifar:DIR?labels=fine|coarse&train=true``, pictures (3, 32, 32) with the options of all pictures.

    CIFAR-100 has 100 fine labels and 20 coarse ones, CIFAR-10 has fine ones alone. Pictures stand in the order of the
    files, as in torchvision's ``CIFAR10`` and ``CIFAR100``.

    Raises:
        UsageError: an option is unknown or has a wrong value, or the data have no such labels.
        DatasetError: DIR holds none of the archives' files, or one that is no such file.
    """
    settings = Settings.of(spec.only("labels", "train", "mode", *COMMON))
    kind, train = choice(spec, "labels", "fine", ("fine", "coarse")), flag(spec, "train", True)
    folder = Path(absolute_path(spec.name))
    place, layout = _found(folder)
    if kind not in layout.labels:
        raise UsageError(f"in {str(spec)!r}: CIFAR-10 has no coarse labels", "leave out labels=coarse")
    parts = [_content(place / file, layout, kind) for file in (layout.train if train else layout.test)]
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    listing = listing_of(labels, str(place), classes=label_names(place, layout, kind))
    pictures = pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    reader = array_reader(pictures, str(place), settings.pictures)
    return Source(replace(spec, name=str(folder)), listing, reader, settings)


def coarse_labels(root: Path, train: bool) -> tuple[list[int], list[str]]:
    """The coarse labels of torchvision's ``CIFAR100`` below ``root``, in its order, and their names.

    Raises:
        DatasetError: the files hold no such labels.
    """
    place = root / "cifar-100-python"
    layout = LAYOUTS[place.name]
    _, labels = _content(place / ("train" if train else "test"), layout, "coarse")
    return labels.tolist(), label_names(place, layout, "coarse")


def label_names(place: Path, layout: Layout, kind: str) -> list[str]:
    """The names of labels, in their order.

    Raises:
        DatasetError: the file of names cannot be read, or has none.
    """
    file, key = layout.names[kind]
    if layout.binary:
        return [
            line.strip()
            for line in _bytes(place / file).decode("utf-8", "replace").splitlines()
            if line.strip()
        ]
    names = _unpickled(place / file).get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DatasetError(f"expected names of labels ({key}) in {place / file}", HINT)
    return names


def _found(folder: Path) -> tuple[Path, Layout]:
    """The folder that holds the files: ``folder`` itself, or one of the archives' folders in it.

    Raises:
        DatasetError: there is none, or there are several.
    """
    found = [
        (place, layout)
        for name, layout in LAYOUTS.items()
        for place in (folder, folder / name)
        if all((place / file).is_file() for file in (*layout.train, *next(iter(layout.names.values()))[:1]))
    ]
    if len(found) != 1:
        which = ", ".join(place.name for place, _ in found) or "none of their files"
        raise DatasetError(
            f"expected one of the folders of CIFAR-10 or CIFAR-100 at {folder}; found {which}", HINT
        )
    return found[0]


def _content(file: Path, layout: Layout, kind: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels (N, 3072) and labels (N,) of one file.

    Raises:
        DatasetError: it is cut off, or holds something else.
    """
    if layout.binary:
        content, width = np.frombuffer(_bytes(file), np.uint8), PIXELS + len(layout.labels)
        if len(content) % width:
            raise DatasetError(
                f"expected records of {width} bytes in {file}; found {len(content)} bytes",
                "the file is cut off, or of another data set: unpack the archive anew",
            )
        records = content.reshape(-1, width)
        return records[:, len(layout.labels) :], records[:, layout.labels[kind]].astype(np.int64)
    found, key = _unpickled(file), layout.labels[kind]
    pixels, labels = _array(found.get("data")), found.get(key)
    whole = isinstance(labels, list) and all(type(label) is int for label in labels)
    if pixels is None or labels is None or not whole or pixels.shape != (len(labels), PIXELS):
        raise DatasetError(f"expected data (N, {PIXELS}) as bytes and {key} (N) in {file}", HINT)
    return pixels, np.array(labels, dtype=np.int64)


def _array(found: Any) -> NDArray[np.uint8] | None:
    """The bytes that a pickled NumPy array describes, (N, 3072); None where it is something else."""
    if not isinstance(found, Call) or not isinstance(found.state, tuple) or len(found.state) != 5:
        return None
    _, shape, dtype, fortran, held = found.state
    # Python 2 had one kind for text and bytes.
    held = held.encode("latin-1", "replace") if isinstance(held, str) else held
    kind = dtype.arguments[:1] if isinstance(dtype, Call) and isinstance(dtype.arguments, tuple) else None
    if kind != ("u1",) or not isinstance(held, bytes) or not isinstance(shape, tuple) or len(held) % PIXELS:
        return None
    if shape != (len(held) // PIXELS, PIXELS):
        return None
    return np.frombuffer(held, np.uint8).reshape(shape, order="F" if fortran else "C")


def _unpickled(file: Path) -> dict[Any, Any]:
    """The dict of a pickle, read as data; its keys as text.

    Raises:
        DatasetError: it is no pickle of a dict.
    """
    try:
        found = read(_bytes(file), {"_codecs.encode": _encoded}, lambda _: None).value
    except Malformed as error:
        raise DatasetError(f"expected a pickle in {file}: {error}", HINT) from error
    if not isinstance(found, dict):
        raise DatasetError(f"expected a dict in {file}, found {type(found).__name__}", HINT)
    return {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in found.items()}


def _encoded(arguments: tuple[Any, ...]) -> bytes:
    """Bytes as protocols of pickle below 3 have them: text in latin-1."""
    return arguments[0].encode("latin-1", "replace") if arguments and isinstance(arguments[0], str) else b""


def _bytes(file: Path) -> bytes:
    try:
        return read_file(file, MAX_BYTES)
    except OSError as error:
        raise DatasetError(f"expected to read {file}: {error.strerror or error}", HINT) from error
