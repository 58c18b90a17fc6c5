"""``per=token`` for every source whose examples are sequences of tokens with a label each: arrays, tables, own code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.datasets.per_token import BLOCK, PerToken
from opsigcli.datasets.subwords import Subwords
from opsigcli.errors import UsageError
from opsigcli.examples import IGNORED, ExampleSource
from opsigcli.query import choice, integer
from opsigcli.specs import Spec, parse
from opsigcli.token_ids import DOCUMENT_BITS, OWN_PLACE

if TYPE_CHECKING:
    from opsigcli.records import Ints


@dataclass(frozen=True)
class TokenOptions:
    """What a spec asks for of single tokens."""

    limit: int | None  # tokens
    tokenizer: str = ""  # path

    @classmethod
    def of(cls, spec: Spec) -> TokenOptions | None:
        """Read the options from a spec; None where examples are to be sequences.

        Raises:
            UsageError: an option has a wrong value.
        """
        by_token = choice(spec, "per", "sequence", ("sequence", "token")) == "token"
        if not by_token and "tokenizer" in spec.options:
            raise UsageError(
                f"in {str(spec)!r}: tokenizer= says what single tokens stand for",
                "add per=token, or leave it out",
            )
        if not by_token:
            return None
        return cls(integer(spec, "limit", None), str(spec.options.get("tokenizer", "")))


def tokens_of(whole: ExampleSource, options: TokenOptions) -> PerToken:
    """The labelled tokens of a source of sequences; the id of one is ``id of its sequence << 32 | its place``.

    A label that follows its token, as everywhere in a causal language model's data, has the place of what is predicted;
    other labels have the place at which they stand.

    Raises:
        UsageError: the examples are no sequences of tokens with a label each, or there are too many tokens.
        DatasetError: no token has a label, or the tokenizer cannot be read.
    """
    some = np.arange(min(1, len(whole)))
    inputs, targets = whole.read(some), whole.read_targets(some)
    if (
        inputs.dtype.kind != "i"
        or targets.dtype.kind != "i"
        or inputs.ndim != 2
        or inputs.shape != targets.shape
    ):
        raise UsageError(
            f"expected sequences of tokens with a label for each in {whole.spec}, for per=token; found inputs "
            f"{inputs.dtype} {inputs.shape[1:]} and labels {targets.dtype} {targets.shape[1:]}",
            "leave out per=token (--tokens)",
        )
    if int(whole.ids.max()) >> (63 - DOCUMENT_BITS):
        raise UsageError(
            f"expected ids of sequences below 2^31 in {whole.spec}, for per=token",
            "leave out ids, or per=token",
        )
    follows = _follow(whole)
    subwords = Subwords(options.tokenizer) if options.tokenizer else None
    spec = parse(whole.spec)
    facts = whole.transform | {"per": "token"} | ({} if follows else {"labels": OWN_PLACE})
    if subwords is not None:
        facts["tokenizer"] = subwords.fact
        spec = Spec(spec.scheme, spec.name, spec.options | {"tokenizer": subwords.path})
    found = PerToken(
        whole,
        str(spec),
        lambda rows, columns: whole.ids[rows] << DOCUMENT_BITS | (columns + follows),
        transform=facts,
        limit=options.limit,
        vocabulary=None if subwords is None else subwords.vocabulary,
        follows=follows,
    )
    if subwords is not None and not whole.classes:
        found.classes = subwords.vocabulary.names
    return found


def _follow(whole: ExampleSource) -> bool:
    """Whether every label is the token that stands after its own."""
    for at in range(0, len(whole), BLOCK):
        rows: Ints = np.arange(at, min(at + BLOCK, len(whole)))
        inputs, labels = whole.read(rows), whole.read_targets(rows)
        told = labels[:, :-1] != IGNORED
        if (inputs[:, 1:] != labels[:, :-1])[told].any():
            return False
    return True
