"""``text:FILE`` and ``babble``: text as packed sequences of tokens, for causal language models.

A sequence predicts each of its next tokens. With ``per=token`` every predicted token is an example of its own: its
sequence with all other labels ignored. Sequences never cross a document; the last one of a document is padded, and
padding has no label.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.babble import babble
from opsigcli.datasets.listing import IGNORED
from opsigcli.errors import DatasetError, UsageError
from opsigcli.query import choice, integer
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Bytes, Ints

UNKNOWN = "<unknown>"
PIECES = re.compile(r"\w+|\n|[^\w\s]")  # words, newlines and signs; other spaces only separate
DOCUMENT_BITS = 32  # the id of a token is document << 32 | position
NAMED = 200_000  # examples up to which each carries its context as a name
SHOWN = 6  # tokens of context in a name


class Text:
    """Sequences (or their tokens) of one or more documents, as ``opsigcli.records.ExampleSource`` describes them.

    ``classes`` is the vocabulary. The id of a token is ``document << 32 | position in the document``; the id of a
    sequence that of its first predicted token. ``names`` show the token in its context.

    Args:
        spec: opens this source again.
        documents: their texts.
        context: tokens L that a sequence sees.
        tokenizer: byte (256 tokens) or word (the ``vocabulary`` most frequent pieces, and one for all others).
        vocabulary: size of a vocabulary of words.
        per: sequence or token: what an example is.
        limit: at most so many examples, evenly spread; None = all.
    """

    transform: dict[str, Any]
    known_pairs: tuple[tuple[Ints, Ints], ...] = ()
    weights = None

    def __init__(
        self,
        spec: Spec,
        documents: list[str],
        *,
        context: int = 64,
        tokenizer: str = "word",
        vocabulary: int = 1000,
        per: str = "sequence",
        limit: int | None = None,
    ) -> None:
        self.spec = str(spec)
        self._context, self.per = context, per
        coded, self.classes = _encode(documents, tokenizer, vocabulary)
        starts = [(d, s) for d, tokens in enumerate(coded) for s in range(0, len(tokens) - 1, context)]
        if not starts:
            raise DatasetError(f"expected text of at least two tokens in {self.spec}", "check the file")
        self._tokens = np.zeros((len(starts), context), dtype=np.int32)
        self._labels = np.full((len(starts), context), IGNORED, dtype=np.int32)
        for row, (d, s) in enumerate(starts):
            seen, told = coded[d][s : s + context], coded[d][s + 1 : s + 1 + context]
            self._tokens[row, : len(seen)], self._labels[row, : len(told)] = seen, told
        documents_of, firsts = (np.array(column, dtype=np.int64) for column in zip(*starts, strict=True))
        # Labels fill a sequence from its start; only the examples that are taken are ever listed.
        each = (
            np.count_nonzero(self._labels != IGNORED, axis=1) if per == "token" else np.ones(len(starts), int)
        )
        last = np.cumsum(each)
        count = int(last[-1])
        chosen = np.linspace(0, count - 1, min(limit or count, count)).astype(np.int64)
        self._rows = rows = np.searchsorted(last, chosen, side="right")
        self._columns = columns = chosen - (last - each)[rows]
        self.ids: Ints = (documents_of[rows] << DOCUMENT_BITS) | (firsts[rows] + columns + 1)
        self.labels: Ints = (
            self._labels[rows, columns].astype(np.int64)
            if per == "token"
            else np.zeros(len(rows), dtype=np.int64)
        )
        self.targets: Ints = self.labels
        self.input_shape = (context,)
        self.transform = {
            "tokenizer": tokenizer,
            "context": context,
            "per": per,
            "vocabulary": len(self.classes),
        }
        self.names = tuple(map(self._name, range(len(rows)))) if len(rows) <= NAMED else ()
        digest = hashlib.sha256(repr((self.transform, self.classes)).encode())
        for array in (self._tokens, self._labels, self.ids):
            digest.update(array.tobytes())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, positions: Ints) -> NDArray[np.int64]:
        """The tokens that each example sees, (B, L)."""
        return self._tokens[self._rows[positions]].astype(np.int64)

    def read_targets(self, positions: Ints) -> NDArray[np.int64]:
        """The tokens that follow, (B, L); ``IGNORED`` where there is none, or it is another example's."""
        labels: NDArray[np.int64] = self._labels[self._rows[positions]].astype(np.int64)
        if self.per == "sequence":
            return labels
        columns = self._columns[positions]
        only = np.full_like(labels, IGNORED)
        lines = np.arange(len(labels))
        only[lines, columns] = labels[lines, columns]
        return only

    def locate(self, positions: Ints) -> tuple[Ints, Ints, Ints]:
        """Where token examples lie: the sequences that hold them (S,), and sequence (B,) and column (B,) of each."""
        sequences, places = np.unique(self._rows[positions], return_inverse=True)
        return sequences, places.astype(np.int64), self._columns[positions]

    def sequences(self, rows: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens and labels of whole sequences, (S, L) each."""
        return self._tokens[rows].astype(np.int64), self._labels[rows].astype(np.int64)

    def image(self, position: int) -> Bytes | None:
        """Text is no image."""
        return None

    def _name(self, position: int) -> str:
        """``document 0, token 17: the cat sat [on]``."""
        row, column = int(self._rows[position]), int(self._columns[position])
        seen = self._tokens[row, max(0, column - SHOWN + 1) : column + 1]
        document, place = (
            int(self.ids[position]) >> DOCUMENT_BITS,
            int(self.ids[position]) % (1 << DOCUMENT_BITS),
        )
        joint = "" if self.transform["tokenizer"] == "byte" else " "
        words = joint.join(self.classes[t] for t in seen)
        if self.per == "sequence":
            labelled = self._labels[row][self._labels[row] != IGNORED][:SHOWN]
            return f"document {document}, from token {place}: {joint.join(self.classes[t] for t in labelled)}"
        return f"document {document}, token {place}: {words}{joint}[{self.classes[int(self._labels[row, column])]}]"


def _encode(
    documents: list[str], tokenizer: str, vocabulary: int
) -> tuple[list[NDArray[np.int64]], tuple[str, ...]]:
    """Token numbers of each document, and the printable form of every token."""
    if tokenizer == "byte":
        shown = tuple(
            chr(b) if 33 <= b < 127 else {10: "\\n", 32: "\u00b7"}.get(b, f"\\x{b:02x}") for b in range(256)
        )
        return [np.frombuffer(d.encode(), dtype=np.uint8).astype(np.int64) for d in documents], shown
    pieces = [PIECES.findall(document) for document in documents]
    words, counts = np.unique([p for each in pieces for p in each] or [""], return_counts=True)
    kept = [str(words[i]) for i in np.lexsort((words, -counts))[: vocabulary - 1]]
    number = {word: place for place, word in enumerate([UNKNOWN, *kept])}
    coded = [np.array([number.get(p, 0) for p in each], dtype=np.int64) for each in pieces]
    return coded, tuple("\\n" if word == "\n" else word for word in number)


def open_text(spec: Spec) -> Text:
    """Open ``text:FILE?context=64&tokenizer=word|byte&vocabulary=1000&per=sequence|token&limit=N``.

    An empty line ends a document.

    Raises:
        DatasetError: the file cannot be read, or is too short.
        UsageError: an option is unknown or has a wrong value.
    """
    path = absolute_path(spec.name)
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DatasetError(
            f"cannot read the text {path}: {error.strerror or error}", "check the path"
        ) from error
    documents = [part for part in re.split(r"\n\s*\n", text) if part.strip()]
    return _open(replace(spec, name=path), documents)


def open_babble(spec: Spec) -> Text:
    """Open ``babble?sentences=400&seed=0``, a generated text, with the options of ``text:``."""
    sentences, seed = integer(spec, "sentences", 400), integer(spec, "seed", 0, minimum=0)
    return _open(spec, babble(sentences, seed), "sentences", "seed")


def _open(spec: Spec, documents: list[str], *others: str) -> Text:
    spec.only("context", "tokenizer", "vocabulary", "per", "limit", *others)
    if not documents:
        raise UsageError(f"expected text in {str(spec)!r}, found none", "check the file")
    return Text(
        spec,
        documents,
        context=integer(spec, "context", 64),
        tokenizer=choice(spec, "tokenizer", "word", ("word", "byte")),
        vocabulary=integer(spec, "vocabulary", 1000, minimum=2),
        per=choice(spec, "per", "sequence", ("sequence", "token")),
        limit=integer(spec, "limit", None),
    )
