"""Long runs of tokens as sequences: packed one after the other, each with the tokens that follow its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from opsigcli.datasets.lazy_names import LazyNames
from opsigcli.datasets.per_token import PerToken, spread
from opsigcli.datasets.vocabulary import BEFORE, Vocabulary
from opsigcli.errors import DatasetError, UsageError
from opsigcli.examples import IGNORED, ExampleSource
from opsigcli.query import choice, integer
from opsigcli.specs import Spec
from opsigcli.token_ids import DOCUMENT_BITS, placed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.datasets.tokens import Numbers
    from opsigcli.records import Ints

OPTIONS = ("context", "stride", "per", "limit")  # of all sources of this kind


class Coded(Protocol):
    """S sequences of tokens, cut out of a run of them."""

    def __getitem__(self, rows: Ints) -> NDArray[np.unsignedinteger]:
        """The tokens of some sequences, (B, L + 1), padded with 0."""

    def __len__(self) -> int: ...


class Run(Protocol):
    """A run of tokens, in documents."""

    vocabulary: Vocabulary  # known when sequences were cut
    named: bool  # whether it is said, and not the tokens that occur
    stretches: Ints  # (D,) tokens in each stretch that sequences do not cross, one after the other
    firsts: Ints  # where each document begins, in tokens from the beginning of the run; increasing
    numbers: Numbers | None  # of the tokens of any text; None without a tokenizer

    def cut(self, starts: Ints, counts: Ints, width: int) -> Coded:
        """Sequences of ``counts`` neighbouring tokens, ``width`` at most; ``starts`` increase."""

    def digest(self, coded: Coded) -> bytes | memoryview:
        """What identifies the tokens of some sequences."""


@dataclass(frozen=True)
class Packing:
    """How a run becomes examples.

    ``context=L`` tokens are what a sequence sees. With ``stride=S`` below L each begins S tokens behind the one before,
    and predicts those alone that the ones before do not, so that every token is predicted once, by at least L − S
    tokens before it (as far as there are so many). ``per=token`` makes every predicted token an example.
    ``limit=N`` takes N examples, evenly spread.
    """

    context: int
    stride: int
    by_token: bool
    limit: int | None

    @classmethod
    def of(cls, spec: Spec) -> Packing:
        """Read the options from a spec.

        Raises:
            UsageError: one has a wrong value.
        """
        context = integer(spec, "context", 64)
        stride = integer(spec, "stride", context)
        if stride > context:
            raise UsageError(
                f"in {str(spec)!r}: expected stride to be at most context ({context}), found {stride}: tokens "
                "between two sequences would be left out",
                "to take a part of a text use limit= (--examples)",
            )
        by_token = choice(spec, "per", "sequence", ("sequence", "token")) == "token"
        return cls(context, stride, by_token, integer(spec, "limit", None))


def packed(spec: Spec, run: Run, packing: Packing, facts: Mapping[str, Any]) -> ExampleSource:
    """The sequences of a run, or their tokens, as a source.

    Args:
        spec: opens it again.
        run: the tokens.
        packing: how they are cut.
        facts: what was done to the text, its tokenizer first.

    Raises:
        DatasetError: the run is too short.
        UsageError: there are too many tokens to take all of them.
    """
    rows = _Cut(run.stretches, packing)
    if not len(rows):
        raise DatasetError(f"expected text of at least two tokens in {spec}", "check the file")
    taken = spread(rows.sizes, len(rows), rows.total, packing.limit)
    starts, seen, skipped = rows.of(taken)
    coded = run.cut(starts, seen + 1, packing.context + 1)
    transform = {
        **facts,
        "context": packing.context,
        **({"stride": packing.stride} if packing.stride < packing.context else {}),
        "per": "token" if packing.by_token else "sequence",
        "vocabulary": len(run.vocabulary),
    }
    whole = Packed(str(spec), run, coded, transform, starts, seen, skipped, rows.total)
    if not packing.by_token:
        return whole
    return PerToken(
        whole,
        str(spec),
        lambda rows, columns: whole.ids_of(whole.starts[rows] + columns + 1),
        transform=transform,
        limit=packing.limit,
        vocabulary=run.vocabulary,
        fingerprint=whole.fingerprint_of,
        total=rows.total,
    )


class _Cut:
    """All sequences of a run, looked up by row: of a file of many GiB a table of them all would not fit.

    Args:
        stretches: (D,) tokens in each stretch.
        packing: how they are cut.
    """

    def __init__(self, stretches: Ints, packing: Packing) -> None:
        context, stride = packing.context, packing.stride
        self._packing, self._predicted = packing, np.maximum(stretches - 1, 0)
        beyond = -(-np.maximum(self._predicted - context, 0) // stride)
        each = np.where(self._predicted > 0, 1 + beyond, 0)
        self._ends = np.cumsum(each)
        self._rows, self._begins = self._ends - each, np.cumsum(stretches) - stretches
        self._count = int(each.sum())
        self.total = int(self._predicted.sum()) if packing.by_token else self._count

    def __len__(self) -> int:
        return self._count

    def of(self, rows: Ints) -> tuple[Ints, Ints, Ints]:
        """Where sequences begin in the run, the tokens each sees, and the first of them whose followers are not its."""
        context, stride = self._packing.context, self._packing.stride
        stretch = np.searchsorted(self._ends, rows, side="right")
        nth = rows - self._rows[stretch]
        seen = np.minimum(context, self._predicted[stretch] - nth * stride)
        return self._begins[stretch] + nth * stride, seen, np.where(nth > 0, context - stride, 0)

    def sizes(self, rows: Ints) -> Ints:
        """Examples that sequences hold."""
        _, seen, skipped = self.of(rows)
        return seen - skipped if self._packing.by_token else np.ones_like(seen)


class Packed(ExampleSource):
    """Sequences of neighbouring tokens, as ``opsigcli.examples.ExampleSource`` describes them.

    ``classes`` is the vocabulary. The id of a sequence is that of its first predicted token: ``document << 32 |
    position in the document``. ``names`` are the beginnings of what they predict.

    Args:
        spec: opens this source again.
        run: the tokens.
        coded: the sequences.
        transform: what was done to the text.
        starts: (S,) where each begins in the run.
        seen: (S,) tokens that each sees.
        skipped: (S,) of them the first, whose followers are not predicted.
        total: sequences there are, of which these are a part.
    """

    def __init__(
        self,
        spec: str,
        run: Run,
        coded: Coded,
        transform: Mapping[str, Any],
        starts: Ints,
        seen: Ints,
        skipped: Ints,
        total: int,
    ) -> None:
        self.spec, self.input_shape = spec, (transform["context"],)
        self.classes = run.vocabulary.names if run.named else ()
        self._run, self._seen, self._skipped = run, seen, skipped
        self.starts = starts
        self._coded = coded
        self.ids = self.ids_of(starts + skipped + 1)
        self.labels: Ints = np.zeros(len(starts), dtype=np.int64)
        self.transform = dict(transform)
        if transform["per"] == "sequence" and len(starts) < total:
            self.transform["examples"] = f"{len(starts)} of {total}"
        if transform["per"] == "sequence":
            self.names = LazyNames(len(starts), lambda positions: map(self._name, positions.tolist()))
        self.fingerprint = self.fingerprint_of(self.transform, self.ids)

    def read(self, positions: Ints) -> Ints:
        """The tokens that each sequence sees, (B, L)."""
        return self._coded[positions][:, :-1].astype(np.int64)

    def read_targets(self, positions: Ints) -> Ints:
        """The tokens that follow, (B, L); ``IGNORED`` where there is none, or a sequence before predicts it."""
        labels = self._coded[positions][:, 1:].astype(np.int64)
        place = np.arange(labels.shape[1])
        labels[(place >= self._seen[positions][:, None]) | (place < self._skipped[positions][:, None])] = (
            IGNORED
        )
        return labels

    def tokens_of(self, text: str) -> Ints:
        """A text that is none of the examples, as the model is given those: (1, L).

        Raises:
            DatasetError: the data have no tokenizer, or the text no tokens or more than a sequence sees.
        """
        if self._run.numbers is None:
            raise DatasetError(
                f"expected a tokenizer for {text!r}; the data are numbers of tokens",
                "name an example:ID instead",
            )
        tokens = np.asarray(self._run.numbers(text), dtype=np.int64)
        if not 0 < len(tokens) <= self.transform["context"]:
            raise DatasetError(
                f"expected 1 to {self.transform['context']} tokens in {text!r}, found {len(tokens)}",
                "give a text that a sequence of the data can hold",
            )
        return tokens[None]

    @property
    def outputs(self) -> int:
        """Tokens of the vocabulary."""
        return len(self._run.vocabulary)

    def ids_of(self, places: Ints) -> Ints:
        """Permanent numbers of tokens by their places in the run."""
        documents = np.searchsorted(self._run.firsts, places, side="right") - 1
        found: Ints = (documents << DOCUMENT_BITS) | (places - self._run.firsts[documents])
        return found

    def fingerprint_of(self, transform: Mapping[str, Any], ids: Ints) -> str:
        """sha256 over the tokens of these sequences, and how they became the examples ``ids``."""
        digest = hashlib.sha256(repr((dict(transform), self.classes)).encode())
        digest.update(self._run.digest(self._coded))
        for array in (self._seen, ids):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def _name(self, position: int) -> str:
        tokens = self._coded[np.array([position])][0, 1:]
        first, last = int(self._skipped[position]), int(self._seen[position])
        more = "\u2026" if last - first > BEFORE else ""
        text = self._run.vocabulary.text(tokens[first : min(last, first + BEFORE)].tolist()).strip()
        return placed(int(self.ids[position]), text + more, begins=True)
