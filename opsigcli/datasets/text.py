"""``text:FILE`` and ``babble``: text as packed sequences of tokens, for causal language models.

A sequence predicts each of its next tokens. With ``per=token`` every predicted token is an example of its own: its
sequence with all other labels ignored. Sequences never cross a document; the last one of a document is padded, and
padding has no label. Only sequences that hold examples are kept, so that a subset of any text fits memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.listing import IGNORED
from opsigcli.datasets.synthetic_text import babble
from opsigcli.datasets.tokens import Stream, Tokenizer, read_documents
from opsigcli.errors import DatasetError, UsageError
from opsigcli.query import choice, integer
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Bytes, Ints

DOCUMENT_BITS = 32  # the id of a token is document << 32 | position
MOST_TOKENS = 1 << 24  # examples of a trace by token: each takes about 100 bytes of memory
NAMED = 200_000  # examples up to which each carries its context as a name
SHOWN = 6  # tokens of context in a name


class Text:
    """Sequences (or their tokens) of one or more documents, as ``opsigcli.records.ExampleSource`` describes them.

    ``classes`` is the vocabulary. The id of a token is ``document << 32 | position in the document``; the id of a
    sequence that of its first predicted token. ``names`` show the token in its context.

    Args:
        spec: opens this source again.
        stream: the documents.
        context: tokens L that a sequence sees.
        tokenizer: byte (256 tokens) or word (the ``vocabulary`` most frequent pieces, and one for all others).
        vocabulary: size of a vocabulary of words.
        per: sequence or token: what an example is.
        limit: at most so many examples, in whole sequences evenly spread over the text (whole, as a sequence costs
            the same for one of its tokens as for all); None = all.

    Raises:
        DatasetError: the text cannot be read, or is too short.
        UsageError: there are too many tokens to take all of them.
    """

    transform: dict[str, Any]
    known_pairs: tuple[tuple[Ints, Ints], ...] = ()
    weights = None

    def __init__(
        self,
        spec: Spec,
        stream: Stream,
        *,
        context: int = 64,
        tokenizer: str = "word",
        vocabulary: int = 1000,
        per: str = "sequence",
        limit: int | None = None,
    ) -> None:
        self.spec = str(spec)
        self._context, self.per = context, per
        coder = Tokenizer(tokenizer, stream, vocabulary)
        self.classes = coder.classes
        # Of all sequences: their document, where they begin in it, and how many tokens they predict.
        predicted = np.maximum(coder.lengths - 1, 0)
        each = -(-predicted // context)
        documents = np.repeat(np.arange(len(each)), each)
        if not len(documents):
            raise DatasetError(f"expected text of at least two tokens in {self.spec}", "check the file")
        firsts = (np.arange(len(documents)) - np.repeat(np.cumsum(each) - each, each)) * context
        labelled = np.minimum(context, predicted[documents] - firsts)
        total = int(labelled.sum()) if per == "token" else len(documents)
        taken = _spread(labelled if per == "token" else np.ones_like(labelled), limit)
        documents, firsts, self._labelled = documents[taken], firsts[taken], labelled[taken]
        if per == "token":
            count = int(min(self._labelled.sum(), limit or total))
            if count > MOST_TOKENS:
                raise UsageError(
                    f"expected at most {MOST_TOKENS:,} tokens as examples, found {count:,} in {self.spec}",
                    "take some of them: --examples 1000000 takes whole sequences, spread over the text",
                )
            self._rows = rows = np.repeat(np.arange(len(taken)), self._labelled)[:count]
            self._columns = columns = np.arange(count) - (np.cumsum(self._labelled) - self._labelled)[rows]
        else:
            self._rows = rows = np.arange(len(taken))
            self._columns = columns = np.zeros(len(taken), dtype=np.int64)
        starts = (np.cumsum(coder.lengths) - coder.lengths)[documents] + firsts
        self._coded = coder.cut(stream, starts, self._labelled + 1, context + 1)
        self.ids: Ints = (documents[rows] << DOCUMENT_BITS) | (firsts[rows] + columns + 1)
        self.labels: Ints = (
            self._coded[rows, columns + 1].astype(np.int64)
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
        if len(self.ids) < total:
            self.transform["examples"] = f"{len(self.ids)} of {total}"
        self.names = tuple(map(self._name, range(len(rows)))) if len(rows) <= NAMED else ()
        digest = hashlib.sha256(repr((self.transform, self.classes)).encode())
        for array in (self._coded, self._labelled, self.ids):
            digest.update(np.ascontiguousarray(array).data)
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def kept_sequences(self) -> int:
        """Sequences that hold the examples."""
        return len(self._coded)

    def read(self, positions: Ints) -> NDArray[np.int64]:
        """The tokens that each example sees, (B, L)."""
        return self.sequences(self._rows[positions])[0]

    def read_targets(self, positions: Ints) -> NDArray[np.int64]:
        """The tokens that follow, (B, L); ``IGNORED`` where there is none, or it is another example's."""
        labels = self.sequences(self._rows[positions])[1]
        if self.per == "sequence":
            return labels
        others = np.arange(self._context) != self._columns[positions][:, None]
        labels[others] = IGNORED
        return labels

    def locate(self, positions: Ints) -> tuple[Ints, Ints, Ints]:
        """Where token examples lie: the sequences that hold them (S,), and sequence (B,) and column (B,) of each."""
        sequences, places = np.unique(self._rows[positions], return_inverse=True)
        return sequences, places.astype(np.int64), self._columns[positions]

    def sequences(self, rows: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens and labels of whole sequences, (S, L) each."""
        coded = self._coded[rows].astype(np.int64)
        labels = coded[:, 1:].copy()
        labels[np.arange(self._context) >= self._labelled[rows][:, None]] = IGNORED
        return coded[:, :-1], labels

    def image(self, position: int) -> Bytes | None:
        """Text is no image."""
        return None

    def _name(self, position: int) -> str:
        """``document 0, token 17: the cat sat [on]``."""
        row, column = int(self._rows[position]), int(self._columns[position])
        tokens, place = self._coded[row], int(self.ids[position]) % (1 << DOCUMENT_BITS)
        document = int(self.ids[position]) >> DOCUMENT_BITS
        joint = "" if self.transform["tokenizer"] == "byte" else " "

        def words(part: slice) -> str:
            return joint.join(self.classes[t] for t in tokens[part])

        if self.per == "sequence":
            shown = words(slice(1, 1 + min(SHOWN, int(self._labelled[row]))))
            return f"document {document}, from token {place}: {shown}"
        seen = words(slice(max(0, column - SHOWN + 1), column + 1))
        return f"document {document}, token {place}: {seen}{joint}[{self.classes[int(tokens[column + 1])]}]"


def _spread(sizes: Ints, limit: int | None) -> Ints:
    """Rows, evenly spread, that hold ``limit`` examples together or a few more; all of them where there are fewer."""
    if limit is None or int(sizes.sum()) <= limit:
        return np.arange(len(sizes), dtype=np.int64)
    count = -(-limit * len(sizes) // int(sizes.sum()))
    while True:
        rows: Ints = np.unique(np.linspace(0, len(sizes) - 1, min(count, len(sizes))).astype(np.int64))
        if int(sizes[rows].sum()) >= limit:
            return rows
        count += max(1, count // 10)


def open_text(spec: Spec) -> Text:
    """Open ``text:FILE?context=64&tokenizer=word|byte&vocabulary=1000&per=sequence|token&limit=N``.

    An empty line ends a document.

    Raises:
        DatasetError: the file cannot be read, or is too short.
        UsageError: an option is unknown or has a wrong value.
    """
    path = absolute_path(spec.name)
    return _open(replace(spec, name=path), lambda: read_documents(path))


def open_babble(spec: Spec) -> Text:
    """Open ``babble?sentences=400&seed=0``, a generated text, with the options of ``text:``."""
    sentences, seed = integer(spec, "sentences", 400), integer(spec, "seed", 0, minimum=0)
    documents = babble(sentences, seed)
    return _open(spec, lambda: enumerate(documents), "sentences", "seed")


def _open(spec: Spec, stream: Stream, *others: str) -> Text:
    spec.only("context", "tokenizer", "vocabulary", "per", "limit", *others)
    return Text(
        spec,
        stream,
        context=integer(spec, "context", 64),
        tokenizer=choice(spec, "tokenizer", "word", ("word", "byte")),
        vocabulary=integer(spec, "vocabulary", 1000, minimum=2),
        per=choice(spec, "per", "sequence", ("sequence", "token")),
        limit=integer(spec, "limit", None),
    )
