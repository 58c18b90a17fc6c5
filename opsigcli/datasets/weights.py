"""Weights of examples in the mean loss, ``L = Σ w ℓ / Σ w``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.errors import DatasetError
from opsigcli.files import open_file

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_weights(path: str, count: int) -> NDArray[np.float64] | None:
    """The weights in a ``.npy`` file, without unpickling.

    Raises:
        DatasetError: there is no such file, or its numbers are no weights of ``count`` examples.
    """
    try:
        with open_file(path) as file:
            found = np.load(file, allow_pickle=False)
    except Exception as problem:  # the system and NumPy each have errors of their own
        raise DatasetError(
            f"expected weights in {path}, cannot read it: {problem}", "save with numpy.save(path, weights)"
        ) from problem
    if not isinstance(found, np.ndarray):
        raise DatasetError(
            f"expected one array in {path}, found an archive", "save with numpy.save(path, weights)"
        )
    return checked_weights(found, count, path)


def checked_weights(weights: NDArray[Any] | None, count: int, path: str) -> NDArray[np.float64] | None:
    """Weights (N,) of examples as float64, if they make sense.

    Raises:
        DatasetError: they are no numbers of at least 0, or not one for each example.
    """
    if weights is None:
        return None
    fits = weights.dtype.kind in "fiu" and weights.shape == (count,)
    if not fits or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise DatasetError(
            f"expected weights in {path} to be {count} numbers of at least 0, not all 0; "
            f"found {weights.dtype} of shape {weights.shape}",
            "save one weight per example, or leave weights out",
        )
    return weights.astype(np.float64)
