"""Part of a source, as a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from opsigcli.records import Bytes, ExampleSource, Floats, Ints


class Subset:
    """The examples of a source at some positions; ids stay what they are.

    Args:
        source: the whole.
        positions: rows to keep, in their order.
    """

    def __init__(self, source: ExampleSource, positions: Ints) -> None:
        self._source, self._positions = source, np.asarray(positions, dtype=np.int64)
        self.spec, self.classes, self.fingerprint = source.spec, source.classes, source.fingerprint
        self.input_shape, self.transform = source.input_shape, source.transform
        self.ids: Ints = source.ids[self._positions]
        self.labels: Ints = source.labels[self._positions]
        self.targets: Any = source.targets[self._positions]
        self.names = tuple(source.names[p] for p in self._positions) if source.names else ()
        kept = set(map(int, self.ids))
        self.known_pairs = tuple(
            (np.array([i for i in a if int(i) in kept]), np.array([i for i in b if int(i) in kept]))
            for a, b in source.known_pairs
        )

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, positions: Ints) -> Floats:
        """The inputs at ``positions`` of the part: (B, *input_shape) float32."""
        return self._source.read(self._positions[np.asarray(positions, dtype=np.int64)])

    def image(self, position: int) -> Bytes | None:
        """The example as a person would look at it, or None when it is no image."""
        return self._source.image(int(self._positions[position]))
