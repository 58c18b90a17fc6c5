"""Inputs that lie in one array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.pictures import Pictures, channels_first
from opsigcli.datasets.readers import ArrayReader
from opsigcli.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def as_array(found: Any) -> NDArray[Any]:
    """An array from a tensor, or from what NumPy understands."""
    if hasattr(found, "detach"):  # a tensor, told without importing torch
        found = found.detach().cpu()
        if found.is_floating_point():
            found = found.float()
        return np.asarray(found.numpy())
    return np.asarray(found)


def array_reader(x: NDArray[Any], where: str, pictures: Pictures, *, tokens: bool = False) -> ArrayReader:
    """A reader of ``x (N, …)``: floats as float32, uint8 images (N, H, W, C) or (N, H, W) as (C, H, W), and
    tokens as int64.

    Raises:
        DatasetError: ``x`` holds neither, or floats are to be resized as pictures.
    """
    if x.dtype == np.uint8:
        pixels = channels_first(x, where)
        if pictures.changes and pixels.shape[1] not in (1, 3, 4):
            raise DatasetError(f"expected 1, 3 or 4 channels to resize; {where} has {pixels.shape[1]}")
        return ArrayReader(pixels, pictures, where)
    if tokens:
        return ArrayReader(x.astype(np.int64, copy=False))
    if x.dtype.kind != "f":
        raise DatasetError(
            f"expected inputs in {where} to be floats, or uint8 images; found {x.dtype}",
            "turn text into token numbers first, (N, L) integers padded to one length"
            if x.dtype.kind in "USO"
            else "convert them with x.astype('float32'); token numbers are integers of shape (N, L)",
        )
    if pictures.changes:
        raise DatasetError(
            f"size=, crop=, mode= and transform= are for uint8 images; the inputs in {where} are {x.dtype}",
            "resize the inputs before saving them",
        )
    with np.errstate(over="ignore"):  # becomes infinite, which the source refuses by name
        return ArrayReader(x.astype(np.float32, copy=False))
