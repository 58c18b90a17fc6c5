"""Part of a source, as a source."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.examples import ExampleSource, TokenSequences

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Bytes, Floats, Ints


class Subset(ExampleSource):
    """The examples of a source at some positions. Ids stay what they are, and so does the number of outputs.

    ``spec`` opens the whole.

    Args:
        source: the whole.
        positions: rows to keep, in their order.
    """

    def __init__(self, source: ExampleSource, positions: Ints) -> None:
        self._source, self._positions = source, np.asarray(positions, dtype=np.int64)
        self.spec, self.classes, self.input_shape = source.spec, source.classes, source.input_shape
        self.transform, self.normalisation = source.transform, source.normalisation
        self.ids, self.labels = source.ids[self._positions], source.labels[self._positions]
        self.names = tuple(source.names[p] for p in self._positions) if source.names else ()
        self.weights = None if source.weights is None else source.weights[self._positions]
        self.beside = {name: values[self._positions] for name, values in source.beside.items()}
        self.unread, self.filled = source.unread, source.filled
        self.sequences = None if source.sequences is None else _Sequences(source.sequences, self._positions)
        self.known_pairs = tuple(
            (first[np.isin(first, self.ids)], second[np.isin(second, self.ids)])
            for first, second in source.known_pairs
        )
        self.fingerprint = hashlib.sha256(source.fingerprint.encode() + self.ids.tobytes()).hexdigest()

    def read(self, positions: Ints) -> Floats | Ints:
        """The inputs at ``positions`` of the part."""
        return self._source.read(self._positions[positions])

    def read_targets(self, positions: Ints) -> Floats | Ints:
        """The targets at ``positions`` of the part."""
        return self._source.read_targets(self._positions[positions])

    def pixels(self, positions: Ints) -> Bytes | None:
        """The inputs at ``positions`` of the part as bytes, where the whole has them so."""
        return self._source.pixels(self._positions[positions])

    def image(self, position: int) -> Bytes | None:
        """The example as a person would look at it, or None when it is no image."""
        return self._source.image(int(self._positions[position]))

    @property
    def outputs(self) -> int:
        """As many as the whole needs: a model of the part fits the whole, whichever classes are left out."""
        return self._source.outputs

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(N,) False where nothing is to be measured."""
        return self._source.measured[self._positions]


class _Sequences(TokenSequences):
    """The sequences of the whole, which the tokens of a part lie in."""

    def __init__(self, whole: TokenSequences, positions: Ints) -> None:
        self.whole, self._of, self._positions = whole.whole, whole, positions

    def locate(self, positions: Ints) -> tuple[Ints, Ints, Ints]:
        """Where the examples at ``positions`` of the part lie."""
        return self._of.locate(self._positions[positions])
