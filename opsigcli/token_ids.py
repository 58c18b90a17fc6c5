"""Examples that are tokens: their ids, one number for the program and ``document:token`` for readers; their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DOCUMENT_BITS = 32  # the id of token t of document d is d << 32 | t
MOST_DOCUMENTS = 1 << 31  # ids have 63 bits
OWN_PLACE = "at their own tokens"  # where labels stand that do not follow
_PLACE = (1 << DOCUMENT_BITS) - 1


def id_text(example: int, in_documents: bool) -> str:
    """An example's id as it is written: ``1:17`` for token 17 of document 1, else the number itself."""
    return f"{example >> DOCUMENT_BITS}:{example & _PLACE}" if in_documents and example >= 0 else str(example)


def placed(example: int, text: str, *, begins: bool = False) -> str:
    """The name of a token, or of the tokens that begin with one: ``document 1, token 17: the cat sat [on]``."""
    document, token = example >> DOCUMENT_BITS, example & _PLACE
    return f"document {document}, {'from ' if begins else ''}token {token}: {text}"


def context_of(name: str) -> str:
    """The text alone of a name that ``placed`` made."""
    return name.partition(": ")[2]


def id_number(text: str) -> int:
    """The id that ``id_text`` wrote.

    Raises:
        ValueError: it is no whole number, and no two of them with a colon between.
    """
    document, colon, token = text.strip().partition(":")
    parts = (document, token) if colon else (document,)
    if not all(part.isascii() and part.isdecimal() and len(part) < 20 for part in parts):
        raise ValueError(f"expected an id, as 17 or 1:17; found {text[:60]!r}")
    if not colon:
        return int(document)
    if int(document) >= MOST_DOCUMENTS or int(token) > _PLACE:
        raise ValueError(
            f"expected an id of a document below 2^31 and a token below 2^32; found {text[:60]!r}"
        )
    return int(document) << DOCUMENT_BITS | int(token)


@dataclass(frozen=True)
class Naming:
    """How the examples of a trace are named, and what their labels are."""

    in_documents: bool = False  # ids are document << 32 | token
    label: str = "label"  # the heading of a column of labels: label, next token; "" where examples have none

    def id(self, example: int) -> str:
        """An example's id as it is written."""
        return id_text(int(example), self.in_documents)

    def shown(self, label: str) -> str:
        """A label as it is written; "" where examples have none."""
        return label if self.label else ""

    def quoted(self, label: str) -> str:
        """A label among words, as tokens may be signs that read as part of them; "" where examples have none."""
        return self.shown(label if self.kind == "class" else f"'{label}'")

    def named(self, label: str) -> str:
        """A label among words that are no labels; a number says of what it is one."""
        return f"{self.kind} {label}" if self.kind == "class" and label.isdecimal() else self.quoted(label)

    def before(self, label: str) -> str:
        """A label in front of an id among words; a number says of what it is one, as it would read as an id."""
        return (
            f"{self.kind} {label}:"
            if self.kind == "class" and label.isdecimal() and self.label
            else self.quoted(label)
        )

    def context(self, name: str) -> str:
        """What a name says beside the id: the text of a token, or the path of a file."""
        return context_of(name) if self.in_documents else name

    @property
    def kind(self) -> str:
        """What examples are told apart by: class, or next token."""
        return self.label if self.label not in ("", "label") else "class"

    @property
    def matched(self) -> str:
        """What the random groups of nulls have in common with a pair, where that is no class, as a sentence."""
        if not self.label:
            return "examples have no labels: the random groups of every null are drawn from all of them"
        if self.kind == "class":
            return ""
        return (
            f"labels are {self.kind}s: the random groups of every null (called class-matched) have as many examples of "
            f"each {self.kind} as the pair, and members of pairs fill up where one has too few others"
        )


LABELLED = Naming()


def naming_of(transform: Mapping[str, Any], classes: bool, alike: bool) -> Naming:
    """How the examples of a run are named.

    Args:
        transform: what was done to its data.
        classes: they have names.
        alike: all labels are 0, as they are written where there are none.
    """
    per = transform.get("per")
    if per == "token":
        return Naming(True, "label" if transform.get("labels") == OWN_PLACE else "next token")
    return Naming(per == "sequence", "" if alike and (per == "sequence" or not classes) else "label")
