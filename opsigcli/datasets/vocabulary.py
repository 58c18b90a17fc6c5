"""What the numbers of a text stand for: the name of each token, and the text that neighbouring tokens make."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BEFORE = 12  # tokens of context in front of the one that is marked
LONGEST = 60  # characters of that context, the last ones
_SPACES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str) -> str:
    """Text in one line: line breaks and tabs as they are escaped, and spaces as they are."""
    return re.sub(r"[\n\r\t]", lambda found: _SPACES[found[0]], text)


def name_of(piece: bytes) -> str:
    """The name of a token: its text, with every space as a dot that is seen, and what is no text as ``\\xe2``."""
    return visible(piece.decode(errors="backslashreplace")).replace(" ", "\u00b7")


def numbered(size: int) -> Vocabulary:
    """Tokens of which nothing but the number is known."""
    return Vocabulary([f" {number}".encode() for number in range(size)], tuple(map(str, range(size))))


@dataclass(frozen=True)
class Vocabulary:
    """V tokens by number. Their pieces, put together, are the text."""

    pieces: Sequence[bytes]  # (V,) what each adds to the text
    given: tuple[str, ...] = field(default=(), repr=False)  # names; () = of the pieces

    def __len__(self) -> int:
        return len(self.pieces)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """(V,) the printable form of every token."""
        return self.given or tuple(map(name_of, self.pieces))

    def widened(self, size: int) -> Vocabulary:
        """The same with tokens behind the last that occur in no text, as models have them."""
        more = numbered(size).pieces[len(self) :]
        names = tuple(f"token #{number}" for number in range(len(self), size))
        return Vocabulary([*self.pieces, *more], (*self.names, *names)) if more else self

    def text(self, tokens: Iterable[int]) -> str:
        """The text of neighbouring tokens, in one line."""
        found = b"".join(self.pieces[t] if 0 <= t < len(self.pieces) else b"?" for t in tokens)
        return visible(found.decode(errors="backslashreplace"))

    def marked(self, before: Sequence[int], token: int) -> str:
        """A token in brackets behind the end of what stands before it: ``the cat sat [on]``."""
        context, told = self.text(before), self.text([token])
        if told.startswith(" ") and len(told) > 1:
            context, told = f"{context} ", told[1:]
        cut = "\u2026" + context[-LONGEST:] if len(context) > LONGEST else context
        return f"{cut.lstrip()}[{told}]"
