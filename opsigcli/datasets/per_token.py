"""Tokens as examples: every label of a sequence is an example, and one forward pass serves all of a sequence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.lazy_names import LazyNames
from opsigcli.datasets.vocabulary import BEFORE, Vocabulary
from opsigcli.errors import DatasetError, UsageError
from opsigcli.examples import IGNORED, ExampleSource, TokenSequences
from opsigcli.token_ids import placed

if TYPE_CHECKING:
    from opsigcli.records import Ints

MOST_TOKENS = 1 << 24  # examples of a trace by token: each takes about 100 bytes of memory
BLOCK = 1024  # sequences looked at together

IdsOf = Callable[["Ints", "Ints"], "Ints"]  # of the tokens that are predicted in some rows and columns


class PerToken(ExampleSource):
    """The labelled tokens of the sequences of another source, each an example; labels to be ignored have no row.

    An example's label is the token (or tag) to be predicted, its input the whole sequence.

    Args:
        whole: S sequences of tokens (S, L) with a label for each (S, L).
        spec: opens this source again.
        ids_of: permanent numbers of tokens by row and column.
        transform: what was done to the text.
        limit: at most so many tokens, in whole sequences evenly spread (whole, as a sequence costs the same for one
            of its tokens as for all); None = all.
        vocabulary: what the numbers stand for; None = not known.
        follows: a label is the token that follows, so that it stands one place on.
        fingerprint: of what the tokens are, given their ids; None = that of ``whole`` with them.
        total: tokens there are, where ``whole`` is a part of them.

    Raises:
        DatasetError: no token has a label.
        UsageError: there are too many tokens to take all of them.
    """

    def __init__(
        self,
        whole: ExampleSource,
        spec: str,
        ids_of: IdsOf,
        *,
        transform: Mapping[str, Any],
        limit: int | None = None,
        vocabulary: Vocabulary | None = None,
        follows: bool = True,
        fingerprint: Callable[[Mapping[str, Any], Ints], str] | None = None,
        total: int | None = None,
    ) -> None:
        self.spec, self.input_shape, self.classes = spec, whole.input_shape, whole.classes
        self._vocabulary, self._follows = vocabulary, follows
        sizes = np.concatenate([(labels != IGNORED).sum(axis=1) for _, labels in _targets(whole)])
        found = int(sizes.sum()) if total is None else total
        if not found:
            raise DatasetError(
                f"expected tokens with labels in {spec}, found none", "check the labels in --data"
            )
        taken = spread(sizes.__getitem__, len(sizes), int(sizes.sum()), limit)
        count = int(min(sizes[taken].sum(), limit or found))
        if count > MOST_TOKENS:
            raise UsageError(
                f"expected at most {MOST_TOKENS:,} tokens as examples, found {count:,} in {spec}",
                "take some of them: --examples 1000000 takes whole sequences, spread over the text",
            )
        rows, columns, labels = _labelled(whole, taken, count)
        self.labels: Ints = labels
        self.ids: Ints = ids_of(rows, columns)
        self.sequences = self._own = Sequences(whole, rows, columns)
        self.weights = None if whole.weights is None else whole.weights[rows]
        self.transform = dict(transform)
        if count < found:
            self.transform["examples"] = f"{count} of {found}"
        self.names = LazyNames(len(rows), self._names)
        own = fingerprint or (
            lambda _, ids: hashlib.sha256(whole.fingerprint.encode() + ids.tobytes()).hexdigest()
        )
        self.fingerprint = own(self.transform, self.ids)

    def read(self, positions: Ints) -> Ints:
        """The tokens that each example sees, (B, L)."""
        tokens = self._own.whole.read(self._own.rows[positions])
        return tokens.astype(np.int64, copy=False)

    def read_targets(self, positions: Ints) -> Ints:
        """Each example's own label in its place, (B, L), and ``IGNORED`` in all others."""
        columns = self._own.columns[positions]
        own = np.full((len(columns), self.input_shape[0]), IGNORED, dtype=np.int64)
        own[np.arange(len(columns)), columns] = self.labels[positions]
        return own

    @property
    def outputs(self) -> int:
        """As many as the sequences need."""
        return self._own.whole.outputs

    def _names(self, positions: Ints) -> Iterator[str]:
        """Ids and contexts of some tokens, ``document 0, token 4: the cat sat [on]``."""
        rows = self._own.rows[positions]
        ends = [*(np.flatnonzero(np.diff(rows)) + 1).tolist(), len(rows)]
        at = 0
        for end in ends:
            here = positions[at:end]
            tokens = self._own.whole.read(rows[at : at + 1])[0].tolist()
            for example, column, label in zip(
                self.ids[here].tolist(),
                self._own.columns[here].tolist(),
                self.labels[here].tolist(),
                strict=True,
            ):
                last = column + self._follows
                told = label if self._follows or not self.classes else tokens[column]
                yield placed(example, self._marked(tokens[max(0, last - BEFORE) : last], told))
            at = end

    def _marked(self, before: list[int], token: int) -> str:
        if self._vocabulary is None:
            return " ".join(map(str, [*before[-BEFORE // 2 :], f"[{token}]"]))
        return self._vocabulary.marked(before, token)


class Sequences(TokenSequences):
    """The sequences of a source, and where in them each of N tokens lies.

    Args:
        whole: the sequences.
        rows: (N,) the sequence of each example.
        columns: (N,) the place in it that predicts the example.
    """

    def __init__(self, whole: ExampleSource, rows: Ints, columns: Ints) -> None:
        self.whole, self.rows, self.columns = whole, rows, columns

    def locate(self, positions: Ints) -> tuple[Ints, Ints, Ints]:
        """The sequences (S,) that hold the examples at ``positions``; of each its place among them and column (B,)."""
        sequences, places = np.unique(self.rows[positions], return_inverse=True)
        return sequences, places.astype(np.int64), self.columns[positions]


def spread(sizes: Callable[[Ints], Ints], count: int, total: int, limit: int | None) -> Ints:
    """Rows, evenly spread, that hold ``limit`` examples together or a few more; all of them where there are fewer.

    Args:
        sizes: of some rows, the examples that each holds.
        count: rows there are.
        total: examples that all of them hold.
        limit: None = all.
    """
    if limit is None or total <= limit:
        return np.arange(count, dtype=np.int64)
    wanted = -(-limit * count // total)
    while True:
        rows: Ints = np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(np.int64))
        if int(sizes(rows).sum()) >= limit:
            return rows
        wanted += max(1, wanted // 10)


def _targets(whole: ExampleSource, rows: Ints | None = None) -> Iterator[tuple[Ints, Ints]]:
    """The labels of sequences in blocks: their rows, and (B, L)."""
    rows = np.arange(len(whole)) if rows is None else rows
    for at in range(0, len(rows), BLOCK):
        block = rows[at : at + BLOCK]
        yield block, whole.read_targets(block).astype(np.int64, copy=False)


def _labelled(whole: ExampleSource, taken: Ints, count: int) -> tuple[Ints, Ints, Ints]:
    """Row, column and label of the first ``count`` labelled tokens of the rows taken."""
    out = np.empty((3, count), dtype=np.int64)
    filled = 0
    for rows, labels in _targets(whole, taken):
        at, columns = np.nonzero(labels != IGNORED)
        at, columns = at[: count - filled], columns[: count - filled]
        part = slice(filled, filled + len(at))
        out[:, part] = rows[at], columns, labels[at, columns]
        filled += len(at)
        if filled == count:
            break
    return out[0], out[1], out[2]
