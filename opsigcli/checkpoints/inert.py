"""A pickle read as data: nothing is imported, nothing is called, every class is a name.

Pickles are programs for a small stack machine. This one runs the machine with every instruction that would import or
call replaced by one that writes down what was asked for. So a file can be described, its storage sizes checked and
its classes named before any library opens it, and without reading its tensors.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, cast

_MAX_OPCODES = 20_000_000  # a model of a million tensors has fewer
_MAX_BYTES = 1 << 30
_MAX_LINE = 1 << 20

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_CONTAINERS: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": list}
_WITH_ARGUMENT = {"GLOBAL", "INST", "PERSID"}
# Instructions whose argument, as decoded, is the value: numbers, text and bytes of every width.
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}


class Malformed(ValueError):
    """Bytes that are no pickle, or a pickle beyond the bounds of this reader."""


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle asks for; never imported."""

    text: str  # module.attribute


@dataclass(eq=False)
class Call:
    """What a pickle wanted to build by a call; never called."""

    function: Any
    arguments: Any
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    members: list[Any] = field(default_factory=list)


Calls = dict[
    str, Callable[[tuple[Any, ...]], Any]
]  # name -> what to put for a call of it, made of data alone


@dataclass
class Pickle:
    """The object of a pickle as data, every class and function it names, and its protocol."""

    value: Any
    names: frozenset[str]
    protocol: int


def read(file: IO[bytes], calls: Calls, persistent: Callable[[Any], Any]) -> Pickle:
    """Read the one pickle that begins at the file's position; the position is then after it.

    Args:
        file: binary file.
        calls: name of a function -> what stands for its result, given the arguments.
        persistent: what stands for a persistent id (torch's way to point at a storage).

    Raises:
        Malformed: this is no pickle, or it is out of bounds.
    """
    machine = _Machine(calls, persistent)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], _Bounded(file)))):
            if count > _MAX_OPCODES:
                raise Malformed("the pickle in it is too long")
            machine.run(opcode.name, argument)
        return Pickle(machine.stack.pop(), frozenset(machine.names), machine.protocol)
    except Malformed:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise Malformed("the pickle in it is broken") from error


class _Bounded:
    """A file that refuses to read more than it has, before any memory is set aside for it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        start = file.tell()
        self.left = min(file.seek(0, 2) - start, _MAX_BYTES)
        file.seek(start)

    def read(self, count: int) -> bytes:
        self.left -= count
        if self.left < 0:
            raise Malformed("the pickle in it is cut off, or too long")
        return self.file.read(count)

    def readline(self) -> bytes:
        line = self.file.readline(min(self.left, _MAX_LINE))
        self.left -= len(line)
        return line


class _Machine:
    """The stack machine of pickle without imports and calls."""

    def __init__(self, calls: Calls, persistent: Callable[[Any], Any]) -> None:
        self.calls = calls
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}  # a dict, so that a forged index allocates nothing
        self.names: set[str] = set()
        self.protocol = 0

    def run(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        stack = self.stack
        if name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[int(argument)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[int(argument)])
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name == "MARK":
            self.marks.append(stack)
            self.stack = []
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _CONTAINERS:
            stack.append(_CONTAINERS[name]())
        elif name == "PROTO":
            self.protocol = int(argument)
        elif handler := getattr(self, f"_{name.lower()}", None):
            handler(argument) if name in _WITH_ARGUMENT else handler()
        elif name in _VALUES:
            stack.append(argument)
        elif name not in ("STOP", "FRAME"):
            raise Malformed(f"the pickle in it has the instruction {name}")

    def _to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    # tuples, lists, dicts and sets

    def _empty_tuple(self) -> None:
        self.stack.append(())

    def _tuple(self) -> None:
        items = self._to_mark()
        self.stack.append(tuple(items))

    def _tuple1(self) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def _tuple2(self) -> None:
        self.stack[-2:] = [tuple(self._top(2))]

    def _tuple3(self) -> None:
        self.stack[-3:] = [tuple(self._top(3))]

    def _top(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError
        return self.stack[-count:]

    def _list(self) -> None:
        items = self._to_mark()
        self.stack.append(items)

    def _dict(self) -> None:
        items = self._to_mark()
        self.stack.append({})
        self._put(items)

    def _frozenset(self) -> None:
        self._list()

    def _append(self) -> None:
        item = self.stack.pop()
        self._extend([item])

    def _appends(self) -> None:
        self._extend(self._to_mark())

    def _additems(self) -> None:
        self._extend(self._to_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        (target.members if isinstance(target, Call) else target).extend(items)

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._put([key, value])

    def _setitems(self) -> None:
        self._put(self._to_mark())

    def _put(self, items: list[Any]) -> None:
        target = self.stack[-1]
        entries = target.items if isinstance(target, Call) else target
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a tuple of shared tuples can take exponential time, and records do not hash by value.
            plain = key is None or isinstance(key, str | int | float | bytes)
            entries[key if plain else f"<key {len(entries)}>"] = value

    # names and calls, written down

    def _global(self, argument: str) -> None:
        module, _, attribute = argument.partition(" ")
        self._name(module, attribute)

    def _stack_global(self) -> None:
        attribute, module = self.stack.pop(), self.stack.pop()
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise Malformed("the pickle in it names a class by something other than text")
        self._name(module, attribute)

    def _name(self, module: str, attribute: str) -> None:
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)  # protocol 2 names
        text = f"{module}.{attribute}"
        self.names.add(text)
        self.stack.append(Name(text))

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if isinstance(function, Name) and function.text in self.calls and isinstance(arguments, tuple):
            self.stack.append(self.calls[function.text](arguments))
        else:
            self.stack.append(Call(function, arguments))

    def _newobj(self) -> None:
        self._reduce()

    def _newobj_ex(self) -> None:
        keywords, arguments = self.stack.pop(), self.stack.pop()
        self.stack[-1] = Call(self.stack[-1], (arguments, keywords))

    def _inst(self, argument: str) -> None:
        items = self._to_mark()
        self._global(argument)
        self.stack[-1] = Call(self.stack[-1], tuple(items))

    def _obj(self) -> None:
        function, *arguments = self._to_mark()
        self.stack.append(Call(function, tuple(arguments)))

    def _build(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Call):
            self.stack[-1].state = state

    def _persid(self, argument: str) -> None:
        self.stack.append(self.persistent(argument))

    def _binpersid(self) -> None:
        self.stack.append(self.persistent(self.stack.pop()))

    # stack order

    def _pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.stack = self.marks.pop()

    def _pop_mark(self) -> None:
        self._to_mark()

    def _dup(self) -> None:
        self.stack.append(self.stack[-1])
