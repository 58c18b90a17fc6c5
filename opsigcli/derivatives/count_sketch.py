"""Count sketches: random linear maps to few dimensions that keep inner products on average."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class CountSketch:
    """A map from vectors of given lengths to one sketch: a random sign and a random place for every coordinate.

    k neighbouring coordinates of a vector keep their order, shifted cyclically at random. Coordinates of one block
    never meet, those of two blocks meet with probability 1/k, and signs are independent: the moments of a count
    sketch, at the speed of a few long additions.

    Args:
        sizes: lengths of the vectors.
        dimensions: k.
        rng: draws shifts and signs.
        like: device and floating type of the vectors.
    """

    def __init__(self, sizes: list[int], dimensions: int, rng: np.random.Generator, like: Tensor) -> None:
        self._k = dimensions
        self._shifts = [rng.integers(0, dimensions, -(-size // dimensions)).tolist() for size in sizes]
        self._signs = [
            torch.as_tensor(rng.integers(0, 2, size, dtype=np.int8) * 2 - 1).to(like.device, like.dtype)
            for size in sizes
        ]

    def __call__(self, vectors: list[Tensor]) -> Tensor:
        """The sum of the sketches of vectors (..., n), (..., k)."""
        first, k = vectors[0], self._k
        unrolled = first.new_zeros((*first.shape[:-1], 2 * k))
        for vector, shifts, signs in zip(vectors, self._shifts, self._signs, strict=True):
            for block, shift in enumerate(shifts):
                piece = slice(block * k, (block + 1) * k)
                width = len(signs[piece])
                unrolled[..., shift : shift + width].addcmul_(vector[..., piece], signs[piece])
        folded: Tensor = unrolled[..., :k] + unrolled[..., k:]
        return folded


class ScatteredSketch:
    """A count sketch with a random place for every coordinate by itself, for short vectors.

    Args:
        size: length n of the vectors.
        dimensions: k.
        rng: draws places and signs.
        like: device and floating type of the vectors.
    """

    def __init__(self, size: int, dimensions: int, rng: np.random.Generator, like: Tensor) -> None:
        self._k = dimensions
        self._places = torch.as_tensor(rng.integers(0, dimensions, size)).to(like.device)
        self._signs = torch.as_tensor(rng.integers(0, 2, size, dtype=np.int8) * 2 - 1).to(
            like.device, like.dtype
        )

    def __call__(self, vectors: Tensor) -> Tensor:
        """(..., n) to (..., k)."""
        sketch = vectors.new_zeros((*vectors.shape[:-1], self._k))
        return sketch.index_add_(-1, self._places, vectors * self._signs)

    def turned(self, sketches: Tensor) -> Tensor:
        """The sum of n sketches (B, n, k), each turned by its coordinate's place and sign, (B, k).

        Of rows of a matrix that were sketched themselves, the sketch of the matrix by both maps.
        """
        k = self._k
        unrolled = sketches.new_zeros((len(sketches), 2 * k))
        for row, (place, sign) in enumerate(zip(self._places.tolist(), self._signs.tolist(), strict=True)):
            unrolled[:, place : place + k].add_(sketches[:, row], alpha=sign)
        return unrolled[:, :k] + unrolled[:, k:]
