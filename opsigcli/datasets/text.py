"""``text:FILE`` and ``babble``: text as packed sequences of tokens, or as its tokens, for language models.

Sequences never cross a document; the last one of a document is padded, and padding has no label. Only sequences that
hold examples are kept, so that a subset of any text fits memory.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.documents import ENDS, Stream, read_documents, whole_documents
from opsigcli.datasets.packed import OPTIONS, Packing, packed
from opsigcli.datasets.subwords import Subwords
from opsigcli.datasets.synthetic_text import babble
from opsigcli.datasets.tokens import Numbers, Tokenizer, of_bytes, of_words
from opsigcli.errors import UsageError
from opsigcli.query import LARGEST_SEED, choice, integer
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.examples import ExampleSource
    from opsigcli.records import Ints

MOST_SENTENCES = 10_000_000  # generated
OWN = ("word", "byte")  # tokens that are opsig's own, not those of a model


def open_text(spec: Spec) -> ExampleSource:
    """Open ``text:FILE?tokenizer=word|byte|PATH&context=64&stride=64&documents=file&per=sequence|token&limit=N``.

    ``tokenizer=PATH`` is a folder or file of a tokenizer (``tokenizer.json``, or GPT-2's ``vocab.json`` and
    ``merges.txt``), without which the tokens are those of the text itself: its ``vocabulary=1000`` most frequent words,
    or bytes. ``documents=`` says what ends one: an empty line (paragraphs; the default for words and bytes), every line
    (lines), or the file (the default with a tokenizer, which gets the text as it is).

    Raises:
        DatasetError: the file or the tokenizer cannot be read, or the text is too short.
        UsageError: an option is unknown or has a wrong value.
    """
    spec.only(*OPTIONS, "tokenizer", "vocabulary", "documents")
    path = absolute_path(spec.name)
    spec = replace(spec, name=path)
    packing, kind = Packing.of(spec), str(spec.options.get("tokenizer", "word"))
    usual = "paragraphs" if kind in OWN else "file"
    ends = choice(spec, "documents", usual, ENDS)
    told = {} if ends == "paragraphs" and kind in OWN else {"documents": ends}

    def stream() -> Any:
        return read_documents(path, ends)

    if kind in OWN:
        return packed(spec, _Text(_own(spec, stream), stream), packing, {"tokenizer": kind} | told)
    subwords = Subwords(kind)
    spec = replace(spec, options=spec.options | {"tokenizer": subwords.path})
    size = integer(spec, "vocabulary", len(subwords.vocabulary))
    if size < len(subwords.vocabulary):
        raise UsageError(
            f"in {str(spec)!r}: expected vocabulary of at least {len(subwords.vocabulary)}, as the tokenizer has; "
            f"found {size}",
            "leave out vocabulary=",
        )
    in_one = whole_documents(stream, str(spec))
    return packed(
        spec, _Text(subwords.of(in_one), in_one, size), packing, {"tokenizer": subwords.fact} | told
    )


def open_babble(spec: Spec) -> ExampleSource:
    """Open ``babble?sentences=400&seed=0``, a generated text, with the options of ``text:`` in words or bytes.

    Raises:
        DatasetError: the text is too short.
        UsageError: an option is unknown or has a wrong value.
    """
    spec.only(*OPTIONS, "tokenizer", "vocabulary", "sentences", "seed")
    sentences = integer(spec, "sentences", 400, maximum=MOST_SENTENCES)
    documents = babble(sentences, integer(spec, "seed", 0, minimum=0, maximum=LARGEST_SEED))

    def stream() -> Any:
        return enumerate(documents)

    kind = choice(spec, "tokenizer", "word", OWN)
    return packed(spec, _Text(_own(spec, stream), stream), Packing.of(spec), {"tokenizer": kind})


def _own(spec: Spec, stream: Stream) -> Tokenizer:
    size = integer(spec, "vocabulary", 1000, minimum=2)
    return of_bytes(stream) if spec.options.get("tokenizer") == "byte" else of_words(stream, size)


class _Text:
    """A text as a run of tokens, each document a stretch of its own."""

    def __init__(self, tokenizer: Tokenizer, stream: Stream, size: int = 0) -> None:
        self._tokenizer, self._stream = tokenizer, stream
        self.vocabulary, self.stretches = tokenizer.vocabulary.widened(size), tokenizer.lengths
        self.named = True
        self.numbers: Numbers | None = tokenizer.numbers
        self.firsts: Ints = np.cumsum(tokenizer.lengths) - tokenizer.lengths

    def cut(self, starts: Ints, counts: Ints, width: int) -> NDArray[np.unsignedinteger]:
        """The sequences, from a second pass over the text."""
        return self._tokenizer.cut(self._stream, starts, counts, width)

    def digest(self, coded: Any) -> memoryview:
        """The tokens themselves."""
        return np.ascontiguousarray(coded).data
