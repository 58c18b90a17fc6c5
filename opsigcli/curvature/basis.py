"""An orthonormal set of long vectors that grows row by row."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROWS = 8  # rows of one block: the basis grows without a copy and wastes at most 7 rows
COLUMNS = 1 << 18  # columns turned at once by ``rotate``
LITTLE = 1e-2  # of a unit vector: what a pass may remove and leave the rest orthogonal
PASSES = 4  # at most


class Basis:
    """Orthonormal rows of length P, kept in blocks.

    Memory: 8 ⌈m / 8⌉ P numbers for m rows.
    """

    def __init__(self, size: int, device: torch.device, dtype: torch.dtype) -> None:
        self.size = size
        self.device = device
        self.dtype = dtype
        self.rows = 0
        self._blocks: list[Tensor] = []

    def reserve(self) -> bool:
        """Make room for another row; False when the device has none.

        Raises:
            RuntimeError: torch cannot make a tensor, for another reason than memory.
        """
        if self.rows == ROWS * len(self._blocks):
            try:
                self._blocks.append(torch.empty(ROWS, self.size, device=self.device, dtype=self.dtype))
            except (torch.OutOfMemoryError, MemoryError):
                return False
            except RuntimeError as error:  # how the CPU's allocator says it
                if "alloc" not in str(error):
                    raise
                return False
        return True

    def append(self, vector: Tensor) -> None:
        """Add a row, for which there is room."""
        block, row = divmod(self.rows, ROWS)
        self._blocks[block][row] = vector
        self.rows += 1

    def last(self) -> Tensor:
        """The newest row, (P,), as a view."""
        return self._row(self.rows - 1)

    def remove_last(self, vector: Tensor) -> Tensor:
        """Project ``vector`` in place onto the complement of the last two rows; its coefficients (m,).

        For a product with the last row of a Krylov basis that is all there is to remove, but for rounding.
        """
        total = torch.zeros(self.rows, device=self.device, dtype=self.dtype)
        for place in range(max(self.rows - 2, 0), self.rows):
            row = self._row(place)
            total[place] = row @ vector
            vector.sub_(row * total[place])
        return total

    def make_unit(self, vector: Tensor) -> tuple[Tensor, float]:
        """Make ``vector`` orthogonal to the rows and of length 1, in place.

        It is normalised first: rounding against a long vector would grow with the division. Classical Gram–Schmidt
        is repeated until a pass removes little, which is as orthogonal as rounding allows ("twice is enough").

        Returns:
            The coefficients (m,) of what was removed, and the length of what was left, in units of ``vector``.

        Reference: Giraud, Langou, Rozložník & van den Eshof 2005, Numer. Math. 101, section 3.
        """
        total = torch.zeros(self.rows, device=self.device, dtype=self.dtype)
        length = _normalize(vector)
        for _ in range(PASSES if self.rows and length > 0 else 0):
            used = list(self._used())
            removed = torch.cat([block @ vector for block in used])
            for block, part in zip(used, _parts(removed, 0), strict=True):
                vector.addmv_(block.T, part, alpha=-1)
            total += length * removed
            length *= _normalize(vector)
            if float(torch.linalg.vector_norm(removed)) <= LITTLE:
                break
        return total, length

    def combine(self, weights: NDArray[np.float64]) -> Tensor:
        """Linear combinations of the rows: ``weights`` (m, k) -> (k, P)."""
        turn = torch.as_tensor(weights.T, device=self.device, dtype=self.dtype)
        result = torch.zeros(len(turn), self.size, device=self.device, dtype=self.dtype)
        for block, part in zip(self._used(), _parts(turn, 1), strict=True):
            result.addmm_(part, block)
        return result

    def rotate(self, weights: NDArray[np.float64]) -> None:
        """Replace the m rows by k ≤ m combinations of them, ``weights`` (m, k), without a second basis."""
        turn = torch.as_tensor(weights.T, device=self.device, dtype=self.dtype)
        for start in range(0, self.size, COLUMNS):
            window = slice(start, start + COLUMNS)
            turned = turn @ torch.cat([block[:, window] for block in self._used()])
            for block, part in zip(self._blocks, _parts(turned, 0), strict=False):
                block[: len(part), window] = part
        self.rows = len(turn)
        del self._blocks[-(-self.rows // ROWS) :]

    def _row(self, place: int) -> Tensor:
        block, row = divmod(place, ROWS)
        return self._blocks[block][row]

    def _used(self) -> list[Tensor]:
        full, rest = divmod(self.rows, ROWS)
        return self._blocks[:full] + ([self._blocks[full][:rest]] if rest else [])


def _normalize(vector: Tensor) -> float:
    """Divide by the length, in place, and return it."""
    length = float(torch.linalg.vector_norm(vector))
    if length > 0:
        vector.div_(length)
    return length


def _parts(tensor: Tensor, dimension: int) -> tuple[Tensor, ...]:
    return torch.split(tensor, ROWS, dim=dimension)
