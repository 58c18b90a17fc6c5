"""Text as numbered tokens: bytes, or the words of the text itself."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.datasets.documents import Stream
from opsigcli.datasets.vocabulary import Vocabulary
from opsigcli.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Ints

UNKNOWN = "<unknown>"
PIECES = re.compile(r"\w+|\n|[^\w\s]")  # words, newlines and signs; other spaces only separate
# The numbers of a part of a text.
Numbers = Callable[[str], "NDArray[np.unsignedinteger]"]


def of_bytes(stream: Stream) -> Tokenizer:
    """A text in bytes, 256 tokens."""
    lengths = array("q")
    for document, text in stream():
        _at(lengths, document, len(text.encode()))
    names = (chr(b) if 33 <= b < 127 else {10: "\\n", 32: "\u00b7"}.get(b, f"\\x{b:02x}") for b in range(256))
    return Tokenizer(
        Vocabulary([bytes([b]) for b in range(256)], tuple(names)),
        np.array(lengths, dtype=np.int64),
        lambda text: np.frombuffer(text.encode(), dtype=np.uint8),
    )


def of_words(stream: Stream, size: int) -> Tokenizer:
    """A text in its ``size`` most frequent pieces (words, newlines and signs), with one for all others."""
    lengths, words = array("q"), Counter[str]()
    for document, text in stream():
        pieces: list[str] = PIECES.findall(text)
        _at(lengths, document, len(pieces))
        words.update(pieces)
    kept = [UNKNOWN, *sorted(words, key=lambda word: (-words[word], word))[: size - 1]]
    number = {word: place for place, word in enumerate(kept)}
    vocabulary = Vocabulary(
        [b"\n" if word == "\n" else f" {word}".encode() for word in kept],
        tuple("\\n" if word == "\n" else word for word in kept),
    )
    kind = smallest(len(kept))
    return Tokenizer(
        vocabulary,
        np.array(lengths, dtype=np.int64),
        lambda text: np.array([number.get(piece, 0) for piece in PIECES.findall(text)], dtype=kind),
    )


def smallest(tokens: int) -> np.dtype[np.unsignedinteger]:
    """The smallest type that holds the numbers of so many tokens."""
    return np.min_scalar_type(tokens - 1)


def _at(lengths: array[int], document: int, count: int) -> None:
    """Add to the length of a document."""
    while document >= len(lengths):
        lengths.append(0)
    lengths[document] += count


class Tokenizer:
    """Text as numbers of a vocabulary.

    Args:
        vocabulary: the tokens.
        lengths: (D,) tokens in each document.
        numbers: the tokens of a part of a text.
    """

    def __init__(self, vocabulary: Vocabulary, lengths: Ints, numbers: Numbers) -> None:
        self.vocabulary, self.lengths, self.numbers = vocabulary, lengths, numbers

    def cut(self, stream: Stream, starts: Ints, counts: Ints, width: int) -> NDArray[np.unsignedinteger]:
        """Sequences of neighbouring tokens.

        Args:
            stream: the text that was counted.
            starts: (S,) of each sequence, in tokens from the beginning of the first document; increasing.
            counts: (S,) tokens in each.
            width: the largest count.

        Returns:
            (S, width) numbers, 0 behind the last of a sequence.

        Raises:
            DatasetError: the text has changed since.
        """
        found = np.zeros((len(starts), width), dtype=smallest(len(self.vocabulary)))
        ends, filled = starts + counts, 0

        def within(low: int, high: int) -> range:
            """The sequences that have tokens there."""
            return range(int(np.searchsorted(ends, low, side="right")), int(np.searchsorted(starts, high)))

        firsts = np.cumsum(self.lengths) - self.lengths
        current, at, wanted = -1, 0, False
        for document, text in stream():
            if document >= len(firsts):
                break
            if document != current:
                current, at = document, int(firsts[document])
                wanted = len(within(at, at + int(self.lengths[document]))) > 0
            if not wanted:
                continue
            part = self.numbers(text)
            for row in within(at, at + len(part)):
                low, high = max(int(starts[row]), at), min(int(ends[row]), at + len(part))
                found[row, low - starts[row] : high - starts[row]] = part[low - at : high - at]
                filled += high - low
            at += len(part)
        if filled != int(counts.sum()):
            raise DatasetError(
                "expected the same text at every pass; it changed while it was read", "trace again"
            )
        return found
