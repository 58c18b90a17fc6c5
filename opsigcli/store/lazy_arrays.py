"""Large parts of a store that stay in its file: what is looked at is read, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opsigcli.store.opening import open_checked


class _Stored:
    """A dataset by name. The file is opened for every look: the store may be closed, or replaced, in between."""

    def __init__(self, path: Path, data: h5py.Dataset) -> None:
        self._path, self._name = path, data.name
        self.shape: tuple[int, ...] = data.shape
        self.dtype: np.dtype[Any] = data.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def _open(self) -> AbstractContextManager[h5py.File]:
        file: AbstractContextManager[h5py.File] = open_checked(self._path)[0]
        return file


class StoredMatrix(_Stored):
    """A (T, N) matrix as an array to read from: rows, entries, or some columns; ``np.asarray`` reads all of it."""

    def __iter__(self) -> Iterator[NDArray[Any]]:
        with self._open() as file:
            data = file[self._name]
            for row in range(len(self)):
                yield data[row]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, index: Any) -> Any:
        rows, columns = index if isinstance(index, tuple) else (index, slice(None))
        with self._open() as file:
            data = file[self._name]
            if isinstance(columns, slice) or np.ndim(columns) == 0:
                return data[rows, columns]
            wanted = np.asarray(columns, dtype=np.int64)
            if not isinstance(rows, slice):
                return data[rows][wanted]
            return columns_of(data, wanted, rows)


class StoredTexts(_Stored, Sequence[str]):
    """Texts as a sequence; one look reads one of them, a slice, or those at an array of places."""

    def __getitem__(self, index: Any) -> Any:
        with self._open() as file:
            if np.ndim(index):
                return texts_at(file[self._name], index)
            found = file[self._name].asstr()[index]
        return found if isinstance(found, str) else tuple(map(str, found))


def texts_at(data: h5py.Dataset, index: Any) -> tuple[str, ...]:
    """The texts at an array of places, or in a slice."""
    if isinstance(index, slice):
        return tuple(map(str, data.asstr()[index]))
    # HDF5 wants places in order, each of them once
    places, back = np.unique(np.asarray(index, dtype=np.int64), return_inverse=True)
    return tuple(str(text) for text in data.asstr()[places][back]) if len(places) else ()


def columns_of(data: h5py.Dataset, columns: slice | NDArray[np.int64], rows: slice) -> NDArray[Any]:
    """Some columns of some rows, (rows, columns), from the blocks of the file that hold them."""
    first, last, stride = rows.indices(len(data))
    if isinstance(columns, slice):  # HDF5 takes strides row by row
        found: NDArray[Any] = data[first:last, columns][::stride]
        return found
    wanted = np.asarray(columns, dtype=np.int64)
    height, width = data.chunks or data.shape
    found = np.empty((max(last - first, 0), len(wanted)), dtype=data.dtype)
    for place in np.unique(wanted // width):
        inside = np.flatnonzero(wanted // width == place)
        left = int(place) * width
        for top in range(first, last, height):
            bottom = min(top + height, last)
            block = data[top:bottom, left : left + width]
            found[top - first : bottom - first, inside] = block[:, wanted[inside] - left]
    return found[::stride]
