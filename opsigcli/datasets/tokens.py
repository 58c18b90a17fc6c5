"""Text as numbered tokens, in streams: no text is held as a whole, however long it is."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.errors import DatasetError
from opsigcli.files import open_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Ints

UNKNOWN = "<unknown>"
PIECES = re.compile(r"\w+|\n|[^\w\s]")  # words, newlines and signs; other spaces only separate
BLOCK = 1 << 20  # characters of a document at a time

# Called anew for every pass: (number of a document, a part of its text), in order, cut where tokens end.
Stream = Callable[[], Iterator[tuple[int, str]]]


def read_documents(path: str) -> Iterator[tuple[int, str]]:
    """The documents of a UTF-8 file in blocks; an empty line ends a document.

    Raises:
        DatasetError: the file cannot be read.
    """
    held: list[str] = []
    document, size, between = 0, 0, ""
    at_start = True  # of a line
    try:
        with TextIOWrapper(open_file(path), encoding="utf-8", errors="replace") as file:
            while piece := file.readline(BLOCK):
                while len(piece) >= BLOCK and not piece[-1].isspace() and (more := file.read(1)):
                    piece += more  # never cut a word
                whole = at_start and piece.endswith("\n")
                at_start = piece.endswith("\n")
                if whole and not piece.strip():
                    if held:
                        yield document, "".join(held)
                    if held or between:
                        document += 1
                    held, size, between = [], 0, ""
                    continue
                # The newline before an empty line belongs to no document, so each waits for what follows.
                held.append(between + piece.removesuffix("\n"))
                between = "\n" if at_start else ""
                size += len(piece)
                if size >= BLOCK:
                    yield document, "".join(held)
                    held, size = [], 0
            if held or between:
                yield document, "".join(held) + between
    except OSError as error:
        raise DatasetError(
            f"cannot read the text {path}: {error.strerror or error}", "check the path"
        ) from error


class Tokenizer:
    """Bytes, or the most frequent words of a text, as numbers.

    Args:
        kind: byte (256 tokens) or word (the ``vocabulary`` most frequent pieces, and one for all others).
        stream: the text.
        vocabulary: size of a vocabulary of words.
    """

    lengths: Ints  # (D,) tokens in each document
    classes: tuple[str, ...]  # the printable form of every token

    def __init__(self, kind: str, stream: Stream, vocabulary: int) -> None:
        self.kind = kind
        lengths, words = array("q"), Counter[str]()
        for document, text in stream():
            if document >= len(lengths):
                lengths.append(0)
            if kind == "byte":
                lengths[document] += len(text.encode())
            else:
                pieces: list[str] = PIECES.findall(text)
                lengths[document] += len(pieces)
                words.update(pieces)
        self.lengths = np.array(lengths, dtype=np.int64)
        self._number: dict[str, int] = {}
        if kind == "byte":
            self.classes = tuple(
                chr(b) if 33 <= b < 127 else {10: "\\n", 32: "\u00b7"}.get(b, f"\\x{b:02x}")
                for b in range(256)
            )
            return
        kept = sorted(words, key=lambda word: (-words[word], word))[: vocabulary - 1]
        self._number = {word: place for place, word in enumerate([UNKNOWN, *kept])}
        self.classes = tuple("\\n" if word == "\n" else word for word in self._number)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest type that holds every token's number."""
        return np.min_scalar_type(len(self.classes) - 1)

    def numbers(self, text: str) -> NDArray[np.unsignedinteger]:
        """The tokens of a part of a text."""
        if self.kind == "byte":
            return np.frombuffer(text.encode(), dtype=np.uint8)
        number = self._number
        return np.array([number.get(piece, 0) for piece in PIECES.findall(text)], dtype=self.dtype)

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
        found = np.zeros((len(starts), width), dtype=self.dtype)
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
