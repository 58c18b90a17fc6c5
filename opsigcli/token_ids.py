"""Ids of examples that lie in documents: one number for the program, ``document:token`` for whoever reads it."""

from __future__ import annotations

DOCUMENT_BITS = 32  # the id of token t of document d is d << 32 | t
MOST_DOCUMENTS = 1 << 31  # ids have 63 bits
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
