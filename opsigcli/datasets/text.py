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

from opsigcli.datasets.synthetic_text import babble
from opsigcli.datasets.tokens import Stream, Tokenizer, read_documents
from opsigcli.errors import DatasetError, UsageError
from opsigcli.examples import IGNORED, ExampleSource, TokenSequences
from opsigcli.query import LARGEST_SEED, choice, integer
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Ints

DOCUMENT_BITS = 32  # the id of a token is document << 32 | position
MOST_TOKENS = 1 << 24  # examples of a trace by token: each takes about 100 bytes of memory
NAMED = 200_000  # examples up to which each carries its context as a name
MOST_SENTENCES = 10_000_000  # generated
SHOWN = 6  # tokens of context in a name


class Text(ExampleSource):
    """Sequences (or their tokens) of one or more documents, as ``opsigcli.examples.ExampleSource`` describes them.

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
        self._per = per
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
        documents, firsts, labelled = documents[taken], firsts[taken], labelled[taken]
        if per == "token":
            count = int(min(labelled.sum(), limit or total))
            if count > MOST_TOKENS:
                raise UsageError(
                    f"expected at most {MOST_TOKENS:,} tokens as examples, found {count:,} in {self.spec}",
                    "take some of them: --examples 1000000 takes whole sequences, spread over the text",
                )
            rows = np.repeat(np.arange(len(taken)), labelled)[:count]
            columns = np.arange(count) - (np.cumsum(labelled) - labelled)[rows]
        else:
            rows, columns = np.arange(len(taken)), np.zeros(len(taken), dtype=np.int64)
        starts = (np.cumsum(coder.lengths) - coder.lengths)[documents] + firsts
        coded = coder.cut(stream, starts, labelled + 1, context + 1)
        self._packed = Sequences(coded, labelled, rows, columns)
        self.sequences = self._packed if per == "token" else None
        self.ids: Ints = (documents[rows] << DOCUMENT_BITS) | (firsts[rows] + columns + 1)
        self.labels: Ints = (
            coded[rows, columns + 1].astype(np.int64)
            if per == "token"
            else np.zeros(len(rows), dtype=np.int64)
        )
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
        for array in (coded, labelled, self.ids):
            digest.update(np.ascontiguousarray(array).data)
        self.fingerprint = digest.hexdigest()

    def read(self, positions: Ints) -> Ints:
        """The tokens that each example sees, (B, L)."""
        return self._packed.read(self._packed.rows[positions])[0]

    def read_targets(self, positions: Ints) -> Ints:
        """The tokens that follow, (B, L); ``IGNORED`` where there is none, or it is another example's."""
        labels = self._packed.read(self._packed.rows[positions])[1]
        if self._per == "token":
            others = np.arange(labels.shape[1]) != self._packed.columns[positions][:, None]
            labels[others] = IGNORED
        return labels

    def _name(self, position: int) -> str:
        """``document 0, token 17: the cat sat [on]``."""
        packed = self._packed
        row, column = int(packed.rows[position]), int(packed.columns[position])
        tokens, place = packed.coded[row], int(self.ids[position]) % (1 << DOCUMENT_BITS)
        document = int(self.ids[position]) >> DOCUMENT_BITS
        joint = "" if self.transform["tokenizer"] == "byte" else " "

        def words(part: slice) -> str:
            return joint.join(self.classes[t] for t in tokens[part])

        if self._per == "sequence":
            shown = words(slice(1, 1 + min(SHOWN, int(packed.labelled[row]))))
            return f"document {document}, from token {place}: {shown}"
        seen = words(slice(max(0, column - SHOWN + 1), column + 1))
        return f"document {document}, token {place}: {seen}{joint}[{self.classes[int(tokens[column + 1])]}]"


class Sequences(TokenSequences):
    """S packed sequences of tokens, and where in them each of N examples lies.

    Args:
        coded: (S, L + 1) tokens; each row is padded with 0.
        labelled: (S,) tokens that each sequence predicts.
        rows: (N,) the sequence of each example.
        columns: (N,) the token in it that the example predicts.
    """

    def __init__(self, coded: NDArray[np.unsignedinteger], labelled: Ints, rows: Ints, columns: Ints) -> None:
        self.coded, self.labelled, self.rows, self.columns = coded, labelled, rows, columns

    def __len__(self) -> int:
        return len(self.coded)

    def locate(self, positions: Ints) -> tuple[Ints, Ints, Ints]:
        """The sequences (S,) that hold the examples at ``positions``; of each its place among them and column (B,)."""
        sequences, places = np.unique(self.rows[positions], return_inverse=True)
        return sequences, places.astype(np.int64), self.columns[positions]

    def read(self, rows: Ints) -> tuple[Ints, Ints]:
        """Tokens and labels of whole sequences, (S, L) each."""
        coded = self.coded[rows].astype(np.int64)
        labels = coded[:, 1:].copy()
        labels[np.arange(labels.shape[1]) >= self.labelled[rows][:, None]] = IGNORED
        return coded[:, :-1], labels


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
    sentences = integer(spec, "sentences", 400, maximum=MOST_SENTENCES)
    seed = integer(spec, "seed", 0, minimum=0, maximum=LARGEST_SEED)
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
