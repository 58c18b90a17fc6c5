"""An orthonormal set of long vectors that grows row by row."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROWS = 8  # rows of one block: the basis grows without a copy and wastes at most 7 rows
COLUMNS = 1 << 18  # columns turned at once by ``rotate``


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
        """Make room for another row; False when the device has none."""
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
        block, row = divmod(self.rows - 1, ROWS)
        return self._blocks[block][row]

    def remove(self, vector: Tensor, passes: int = 2) -> Tensor:
        """Project ``vector`` in place onto the complement of the rows, and return its coefficients (m,).

        Classical Gram–Schmidt done twice, which is as orthogonal as rounding allows ("twice is enough").

        Reference: Giraud, Langou, Rozložník & van den Eshof 2005, Numer. Math. 101, section 3.
        """
        total = torch.zeros(self.rows, device=self.device, dtype=self.dtype)
        for _ in range(passes if self.rows else 0):
            used = list(self._used())
            coefficients = torch.cat([block @ vector for block in used])
            for block, part in zip(used, _parts(coefficients, 0), strict=True):
                vector.addmv_(block.T, part, alpha=-1)
            total += coefficients
        return total

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

    def _used(self) -> list[Tensor]:
        full, rest = divmod(self.rows, ROWS)
        return self._blocks[:full] + ([self._blocks[full][:rest]] if rest else [])


def _parts(tensor: Tensor, dimension: int) -> tuple[Tensor, ...]:
    return torch.split(tensor, ROWS, dim=dimension)
