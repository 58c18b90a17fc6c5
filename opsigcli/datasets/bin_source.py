"""``bin:FILE``: a run of token numbers in a file of any size, whose sequences are read as they are needed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.char_vocabulary import read_meta
from opsigcli.datasets.packed import OPTIONS, Packing, packed
from opsigcli.datasets.subwords import GPT2_END, Subwords
from opsigcli.datasets.token_file import DTYPES, open_tokens
from opsigcli.datasets.vocabulary import Vocabulary, numbered
from opsigcli.errors import DatasetError, UsageError
from opsigcli.query import choice, integer
from opsigcli.specs import Spec
from opsigcli.token_ids import DOCUMENT_BITS
from opsigcli.usercode import absolute_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.datasets.packed import Coded
    from opsigcli.datasets.tokens import Numbers
    from opsigcli.examples import ExampleSource
    from opsigcli.records import Ints

META = "meta.pkl"  # nanoGPT's, of data in characters
HASHED = 1 << 31  # bytes of tokens that are all hashed; of more, some evenly spread
BLOCK = 1 << 24  # numbers at a time
ROWS = 4096  # sequences at a time


def open_bin(spec: Spec) -> ExampleSource:
    """Open ``bin:FILE?dtype=uint16&context=64&stride=64&tokenizer=PATH&per=sequence|token&limit=N``.

    The file has token numbers alone, as nanoGPT's ``train.bin``, or begins as llm.c's do, or has Megatron's index
    beside it. What they stand for is said by ``tokenizer=``, or by nanoGPT's ``meta.pkl`` in the same folder (read as
    data); ``vocabulary=N`` says how many there are where nothing else does. Sequences run over the ends of documents,
    as in training. ``eot=ID`` is the token between documents (with a tokenizer ``<|endoftext|>``), by which ids count
    them; without one the document is 0 and ids count the tokens of the file.

    Raises:
        DatasetError: the file cannot be read, is no whole number of tokens, or has a token beyond the vocabulary.
        UsageError: an option is unknown or has a wrong value.
    """
    spec.only(*OPTIONS, "dtype", "tokenizer", "vocabulary", "eot")
    path = absolute_path(spec.name)
    spec = replace(spec, name=path)
    packing, size = Packing.of(spec), integer(spec, "vocabulary", None, minimum=2)
    file = open_tokens(path, choice(spec, "dtype", None, DTYPES))
    facts: dict[str, Any] = {"tokenizer": "unknown"}
    vocabulary, end, by = None, None, ""
    meta = Path(path).with_name(META)
    if "tokenizer" in spec.options:
        subwords = Subwords(str(spec.options["tokenizer"]))
        spec = replace(spec, options=spec.options | {"tokenizer": subwords.path})
        vocabulary, facts, by = subwords.vocabulary, {"tokenizer": subwords.fact}, subwords.path
        end = subwords.number_of(GPT2_END)
    elif size is None and meta.exists():
        vocabulary, by = read_meta(meta), str(meta)
        facts = {"tokenizer": f"characters of {META}"}
    if vocabulary is not None and size is not None and size < len(vocabulary):
        raise UsageError(
            f"in {str(spec)!r}: expected vocabulary of at least {len(vocabulary)}, as {by} has; found {size}",
            "leave out vocabulary=",
        )
    end = integer(spec, "eot", end, minimum=0)
    facts |= {"dtype": str(file.tokens.dtype)} | ({} if end is None else {"eot": end})
    firsts = _documents(file.tokens, end) if file.firsts is None else file.firsts
    run = _File(file.tokens, firsts, vocabulary, size, by or f"vocabulary={size}", path)
    return packed(spec, run, packing, facts)


def _documents(tokens: NDArray[np.integer], end: int | None) -> Ints:
    """Where documents begin: at or behind the token that stands between them; ids have room for 2^32 tokens each."""
    if end is None:
        return np.arange(0, len(tokens), 1 << DOCUMENT_BITS)
    found = [np.flatnonzero(tokens[at : at + BLOCK] == end) + at for at in range(0, len(tokens), BLOCK)]
    ends = np.concatenate([np.zeros(0, dtype=np.int64), *found])
    if tokens[0] == end:  # llm.c has it in front of each document
        return ends
    return np.concatenate([[0], ends[ends < len(tokens) - 1] + 1]).astype(np.int64)


class _File:
    """A file of tokens as one run."""

    def __init__(
        self,
        tokens: NDArray[np.integer],
        firsts: Ints,
        vocabulary: Vocabulary | None,
        size: int | None,
        by: str,
        path: str,
    ) -> None:
        self._tokens, self._path, self._by = tokens, path, by
        self._limit = size or (None if vocabulary is None else len(vocabulary))
        self._known = vocabulary
        self.named = self._limit is not None
        self.numbers: Numbers | None = None
        self.stretches: Ints = np.array([len(tokens)], dtype=np.int64)
        self.firsts = firsts

    def cut(self, starts: Ints, counts: Ints, width: int) -> Coded:
        """The sequences, to be read when they are asked for.

        Raises:
            DatasetError: one has a token beyond the vocabulary.
        """
        coded = _Windows(self._tokens, starts, counts, width)
        largest = 0
        if (
            self._limit is None and self._tokens.nbytes <= HASHED
        ):  # a part of a file has the vocabulary of the whole
            largest = max(
                int(self._tokens[at : at + BLOCK].max()) for at in range(0, len(self._tokens), BLOCK)
            )
        for at in range(0, len(starts), ROWS):
            some = coded[np.arange(at, min(at + ROWS, len(starts)))]
            largest = max(largest, int(some.max()))
            if some.min() < 0 or (self._limit is not None and largest >= self._limit):
                size = self._limit or largest + 1
                row, column = (int(i) for i in np.argwhere((some < 0) | (some >= size))[0])
                raise DatasetError(
                    f"expected tokens from 0 to {size - 1} in {self._path} ({self._by}); number "
                    f"{int(starts[at + row]) + column} of the file is {some[row, column]}",
                    "check that the tokenizer is the one that numbered the file, and dtype=",
                )
        size = self._limit or largest + 1
        self.vocabulary = numbered(size) if self._known is None else self._known.widened(size)
        return coded

    def digest(self, coded: Any) -> bytes:
        """sha256 over the tokens of the sequences; over some of them where they are more than 2 GiB."""
        digest = hashlib.sha256(str((self._tokens.dtype.name, len(coded))).encode())
        rows = np.arange(len(coded))
        if len(rows) * coded.width * self._tokens.itemsize > HASHED:
            rows = np.unique(np.linspace(0, len(coded) - 1, 4 * ROWS).astype(np.int64))
            digest.update(str(len(self._tokens)).encode())
        for at in range(0, len(rows), ROWS):
            digest.update(np.ascontiguousarray(coded[rows[at : at + ROWS]]).data)
        return digest.digest()


@dataclass(frozen=True)
class _Windows:
    """Sequences of neighbouring numbers, looked up in a file."""

    tokens: NDArray[np.integer]
    starts: Ints
    counts: Ints
    width: int

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: Ints) -> NDArray[Any]:
        place = np.arange(self.width)
        at = np.minimum(self.starts[rows][:, None] + place, len(self.tokens) - 1)
        return np.where(place < self.counts[rows][:, None], np.asarray(self.tokens)[at], 0)
