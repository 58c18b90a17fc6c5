"""Text from elsewhere as it may be shown: nothing in it can steer a terminal, hide, or turn the reading direction.

Class names, paths and whatever else comes from data may hold escape sequences, marks that turn the direction of
text, characters of no width, and line breaks that would make words of theirs look like opsig's own.
"""

from __future__ import annotations

import re

# Control characters but tab and newline, DEL, C1, the marks that turn or isolate directions, characters of no
# width, line and paragraph separators, the byte order mark, notes between lines, tags, and halves of characters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_GONE = "\ufffd"


def printable(text: str) -> str:
    """``text`` in one line, without characters that are not seen; every kind of space is a plain one."""
    return _UNSEEN.sub(_GONE, "".join(" " if c.isspace() else c if c.isprintable() else _GONE for c in text))


def printable_lines(text: str) -> str:
    """``text`` without characters that are not seen; lines and spaces stay what they are."""
    return _UNSEEN.sub(_GONE, text)


def escaped(document: str) -> str:
    """A JSON document that says the same and holds no character that is not seen: each is written as ``\\uXXXX``."""
    return _UNSEEN.sub(lambda found: _escape(found[0]), document)


def _escape(character: str) -> str:
    """As JSON has it: a character beyond 16 bits is a pair."""
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
