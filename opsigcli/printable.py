"""Text from elsewhere as it may be shown: nothing in it can steer a terminal, hide, or turn the reading direction.

Class names, paths and whatever else comes from data may hold escape sequences, marks that turn the direction of
text, characters of no width, and line breaks that would make words of theirs look like opsig's own.
"""

from __future__ import annotations

import getpass
import re
from functools import cache
from pathlib import PurePath
from typing import Any

# Control characters but tab and newline, DEL, C1, the marks that turn or isolate directions, characters of no
# width, line and paragraph separators, the byte order mark, notes between lines, tags, and halves of characters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_GONE = "\ufffd"
_BREAK = re.compile("[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")
# A path that begins at a root, at home, or above: what is in front of its last name is of this machine alone.
_PATH = re.compile(r"(?<![\w/+.~$-])(?:~|\.{1,2}|[A-Za-z]:)?[/\\][^\s\"'<>&;,|?:]*")
# A home folder, where a path begins: not within a path, nor within the text of a picture.
_HOME = re.compile(
    r"(?<![\w/+.~-])(?:/(?:home|Users)/[^/\s\"'<>&;,|]+|/root|[A-Za-z]:\\+Users\\+[^\\\s\"'<>&;,|]+)(?![\w.-])"
)
_ANYBODY = ("root", "user", "runner", "nobody", "admin", "ubuntu", "data", "home", "")  # names of no person
# What stands for characters of opsig's own that an encoding may not have; all but the last row are as wide.
_ASCII = {
    **dict(zip("\u00d7\u2212\u2013\u2014\u2019\u2026\u00a0\u00b7", "x---'. .", strict=True)),
    **dict(zip("\u25cf\u25cb\u2504\u25b2\u25bc\u2502\u2514\u2500\u253c", "*o-^v|+-+", strict=True)),
    **dict(zip("\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588", "__..--==", strict=True)),
    **{"\u00b1": "+-", "\u03bb": "lambda", "\u03b7": "eta", "\u2264": "<=", "\u2265": ">=", "\u00b2": "2"},
}


def count(amount: int, noun: str, plural: str = "") -> str:
    """``1 pair``, ``2 pairs``."""
    return f"{amount:,} {noun if amount == 1 else plural or noun + 's'}"


def printable(text: str) -> str:
    """``text`` in one line, without characters that are not seen; every kind of space is a plain one.

    Where it broke its lines it has a mark: at a space a terminal could break them again.
    """
    broken = _BREAK.sub(_GONE, text)
    return _UNSEEN.sub(
        _GONE, "".join(" " if c.isspace() else c if c.isprintable() else _GONE for c in broken)
    )


def printable_lines(text: str) -> str:
    """``text`` without characters that are not seen; lines and spaces stay what they are."""
    return _UNSEEN.sub(_GONE, text)


def spelled(text: str, encoding: str) -> str:
    """``text`` in the characters that an encoding has; others are spelled with those of ASCII, or are ``?``."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return "".join(_in(encoding, character) for character in text)
    return text


def _in(encoding: str, character: str) -> str:
    try:
        character.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return _ASCII.get(character, "?")
    return character


def without_folders(text: str) -> str:
    """``text`` with each path that begins at a root or at home by its last name alone."""
    return _PATH.sub(lambda found: PurePath(found[0].replace("\\", "/")).name or found[0], text)


def without_home(text: str) -> str:
    """``text`` without home folders and the names of users in them, as it may be given to others.

    A folder elsewhere that is called as this user is called ``user``.
    """
    text, own = _HOME.sub("~", text), _login()
    return re.sub(rf"(?<=[/\\]){re.escape(own)}(?=[/\\])", "user", text) if own else text


@cache
def _login() -> str:
    """The name of this user, where it tells who that is."""
    try:
        name = getpass.getuser()
    except (ImportError, KeyError, OSError):  # a user without a name
        return ""
    return "" if name in _ANYBODY else name


def without_homes(value: Any) -> Any:
    """Plain data with all texts in it ``without_home``."""
    if isinstance(value, str):
        return without_home(value)
    if isinstance(value, dict):
        return {name: without_homes(item) for name, item in value.items()}
    return [without_homes(item) for item in value] if isinstance(value, list) else value


def escaped(document: str) -> str:
    """A JSON document that says the same and holds no character that is not seen: each is written as ``\\uXXXX``.

    Nor does it hold what the runner of a pipeline takes for a command, anywhere in a line.
    """
    return _UNSEEN.sub(lambda found: _escape(found[0]), document).replace("##[", "\\u0023#[")


def _escape(character: str) -> str:
    """As JSON has it: a character beyond 16 bits is a pair."""
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
