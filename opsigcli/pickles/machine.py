"""The stack machine of pickle: stack, memo and place in the bytes. Names and calls are written down only."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from typing import Any

from opsigcli.pickles.records import Call, Malformed, Name

MAX_BYTES = 1 << 28  # of one pickle; tensors lie outside of it
_MAX_LINE = 1 << 20
_OLD_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # modules as Python 2 called them

Data = bytes | mmap.mmap
# Name of a function -> what to put for a call of it, made of data alone.
Calls = Mapping[str, Callable[[tuple[Any, ...]], Any]]


class Machine:
    """The stack machine of pickle without imports and calls."""

    def __init__(self, data: Data, calls: Calls, persistent: Callable[[Any], Any], start: int) -> None:
        self.data, self.position, self.end = data, start, min(len(data), start + MAX_BYTES)
        self.calls = calls
        self.persistent: Callable[[Any], Any] = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}  # a dict, so that a forged index allocates nothing
        self.names: set[str] = set()

    # what follows an instruction

    def take(self, count: int) -> bytes:
        """The next bytes.

        Raises:
            Malformed: the pickle ends before.
        """
        stop = self.position + count
        if count < 0 or stop > self.end:
            raise Malformed("the pickle in it is cut off, or too long")
        found = self.data[self.position : stop]
        self.position = stop
        return found

    def number(self, width: int) -> int:
        """The next bytes as an unsigned number."""
        return int.from_bytes(self.take(width), "little")

    def line(self) -> str:
        """The text up to the end of the line."""
        return str(self.raw_line(), "utf-8")

    def raw_line(self) -> bytes:
        """The bytes up to the end of the line.

        Raises:
            Malformed: the line has no end.
        """
        stop = self.data.find(b"\n", self.position, min(self.end, self.position + _MAX_LINE))
        if stop < 0:
            raise Malformed("the pickle in it is cut off, or too long")
        found = self.take(stop - self.position)
        self.position += 1
        return found

    # what lies on the stack

    def to_mark(self) -> list[Any]:
        """Everything put on the stack since the last mark."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def extend(self, items: list[Any]) -> None:
        """Add members to the list or set on top."""
        target = self.stack[-1]
        (target.members if isinstance(target, Call) else target).extend(items)

    def put(self, items: list[Any]) -> None:
        """Add keys and values, one after the other, to the dict on top."""
        target = self.stack[-1]
        entries = target.items if isinstance(target, Call) else target
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a tuple of shared tuples can take exponential time; records hash by identity.
            plain = key is None or isinstance(key, str | int | float | bytes | Call)
            entries[key if plain else f"<key {len(entries)}>"] = value

    def name(self, module: object, attribute: object) -> None:
        """Write a class or function down.

        Raises:
            Malformed: it is named by something other than text.
        """
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise Malformed("the pickle in it names a class by something other than text")
        text = f"{_OLD_NAMES.get(module, module)}.{attribute}"
        self.names.add(text)
        self.stack.append(Name(text))

    def call(self, function: Any, arguments: Any) -> None:
        """Write a call down."""
        known = self.calls.get(function.text) if type(function) is Name else None
        plain = known is not None and type(arguments) is tuple
        self.stack.append(known(arguments) if known and plain else Call(function, arguments))
