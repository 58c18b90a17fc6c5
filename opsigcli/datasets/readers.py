"""Readers of raw inputs: uint8 images (C, H, W), or floats as the dataset has them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from opsigcli.cores import cores
from opsigcli.datasets.picture_files import open_picture
from opsigcli.datasets.pictures import Pictures
from opsigcli.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Ints

THREADS = min(8, cores())


class Reader(Protocol):
    """Raw inputs by row of the full source."""

    shape: tuple[int, ...]  # of one input
    dtype: np.dtype[Any]  # uint8 or float32

    def read(self, rows: Ints) -> NDArray[Any]:
        """The raw inputs at ``rows``, (B, *shape).

        Raises:
            DatasetError: a file cannot be read as a picture, or has another size than the first.
        """

    def identity(self, rows: Ints) -> bytes:
        """What identifies the inputs at ``rows`` when they are too many to be held and hashed."""


class ArrayReader:
    """Inputs in one array: floats, or uint8 images (N, C, H, W) that are resized and cropped as they are read."""

    def __init__(self, inputs: NDArray[Any], pictures: Pictures | None = None, where: str = "") -> None:
        self._inputs = inputs
        self._pictures = pictures if pictures and pictures.changes else None
        self._where = where
        first = self._redrawn(inputs[:1])[0]
        self.shape: tuple[int, ...] = first.shape
        self.dtype: np.dtype[Any] = first.dtype

    def read(self, rows: Ints) -> NDArray[Any]:
        """The inputs at ``rows``."""
        return self._redrawn(self._inputs[rows])

    def identity(self, rows: Ints) -> bytes:
        """Digest of the inputs themselves."""
        digest = hashlib.sha256(str(self.dtype).encode())
        for row in rows:
            digest.update(self._inputs[row].tobytes())
        return digest.digest()

    def _redrawn(self, pixels: NDArray[Any]) -> NDArray[Any]:
        if self._pictures is None:
            return pixels
        if not len(pixels):
            return np.empty((0, *self.shape), dtype=self.dtype)
        from PIL import Image

        # PIL wants (H, W) or (H, W, C).
        rows = pixels[:, 0] if pixels.shape[1] == 1 else np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        drawn = [self._pictures.pixels(Image.fromarray(row), self._where) for row in rows]
        for one in drawn:
            if one.shape != drawn[0].shape or one.dtype != drawn[0].dtype:
                raise _changing(drawn[0].dtype, drawn[0].shape, one, self._where)
        return np.stack(drawn)


class FileReader:
    """Image files, decoded by threads.

    Raises:
        DatasetError: a file is missing or no readable image, or two images differ in size.
    """

    def __init__(self, files: Sequence[str | Path], names: Sequence[str], pictures: Pictures) -> None:
        self._files = files
        self._names = names
        self._pictures = pictures
        first = self._decode(0)
        self.shape: tuple[int, ...] = first.shape
        self.dtype: np.dtype[Any] = first.dtype
        self._threads = 1 if pictures.code else THREADS  # the user's own code need not be safe in threads

    def read(self, rows: Ints) -> NDArray[Any]:
        """The pixels of the files at ``rows``, (B, C, H, W).

        Raises:
            DatasetError: a file cannot be read as a picture, or has another size than the first.
        """
        out = np.empty((len(rows), *self.shape), dtype=self.dtype)

        def fill(start: int) -> None:
            for place in range(start, min(start + 32, len(rows))):
                row = int(rows[place])
                pixels = self._decode(row)
                if pixels.shape != self.shape or pixels.dtype != self.dtype:
                    raise self._uneven(row, pixels)
                out[place] = pixels

        with ThreadPoolExecutor(self._threads) as pool:
            for _ in pool.map(fill, range(0, len(rows), 32)):
                pass
        return out

    def identity(self, rows: Ints) -> bytes:
        """Digest of names and file sizes."""
        digest = hashlib.sha256()
        for row in rows:
            digest.update(
                f"{self._names[row]}\0{Path(self._files[row]).stat().st_size}\0".encode(errors="replace")
            )
        return digest.digest()

    def _decode(self, row: int) -> NDArray[Any]:
        path = self._files[row]
        with open_picture(path) as picture:
            return self._pictures.pixels(picture, str(path))

    def _uneven(self, row: int, pixels: NDArray[Any]) -> DatasetError:
        shape = pixels.shape
        if self._pictures.code:
            return _changing(self.dtype, self.shape, pixels, str(self._files[row]))
        first, other = f"{self.shape[1]}x{self.shape[2]}", f"{shape[1]}x{shape[2]}"
        return DatasetError(
            f"expected images of one size; {self._files[0]} is {first} and {self._files[row]} is {other} "
            "(height x width)",
            f"add size={min(*self.shape[1:], *shape[1:])} to the spec, or another size",
        )


def _changing(dtype: np.dtype[Any], shape: tuple[int, ...], found: NDArray[Any], where: str) -> DatasetError:
    return DatasetError(
        f"expected the function in transform= to return one shape and type; it returned {dtype} {shape} first, "
        f"and {found.dtype} {found.shape} for {where}",
        "let it resize and crop every picture to one size",
    )
