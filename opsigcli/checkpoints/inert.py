"""A pickle read as data: nothing is imported, nothing is called, every class is a name.

Pickles are programs for a small stack machine. This one runs the machine with every instruction that would import or
call replaced by one that writes down what was asked for. So a file can be described, its storage sizes checked and
its classes named before any library opens it, and without reading its tensors.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_OPCODES = 20_000_000  # a model of a million tensors has fewer
MAX_BYTES = 1 << 28  # of one pickle; tensors lie outside of it
_MAX_LINE = 1 << 20
_OLD_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # modules as Python 2 called them

Data = bytes | mmap.mmap


class Malformed(ValueError):
    """Bytes that are no pickle, or a pickle beyond the bounds of this reader."""


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle asks for; never imported."""

    text: str  # module.attribute


class Call:
    """What a pickle wanted to build by a call; never called. Compared by identity, so that it can be a key."""

    __slots__ = ("arguments", "function", "items", "members", "state")

    def __init__(self, function: Any, arguments: Any) -> None:
        self.function = function
        self.arguments = arguments
        self.state: Any = None
        self.items: dict[Any, Any] = {}
        self.members: list[Any] = []


# Name of a function -> what to put for a call of it, made of data alone.
Calls = dict[str, Callable[[tuple[Any, ...]], Any]]


@dataclass(frozen=True)
class Pickle:
    """The object of a pickle as data, every class and function it names, its protocol, and where it ends."""

    value: Any
    names: frozenset[str]
    protocol: int
    end: int


def read(data: Data, calls: Calls, persistent: Callable[[Any], Any], start: int = 0) -> Pickle:
    """Read the one pickle that begins at ``start``.

    Args:
        data: bytes, or a mapped file.
        calls: name of a function -> what stands for its result, given the arguments.
        persistent: what stands for a persistent id (torch's way to point at a storage).
        start: offset of the pickle.

    Raises:
        Malformed: this is no pickle, or it is out of bounds.
    """
    machine = _Machine(data, calls, persistent, start)
    try:
        value = machine.run()
    except Malformed:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, struct.error) as error:
        raise Malformed("the pickle in it is broken") from error
    except (RecursionError, MemoryError) as error:
        raise Malformed("the pickle in it is out of bounds") from error
    return Pickle(value, frozenset(machine.names), machine.protocol, machine.position)


def fields(value: Any) -> Mapping[Any, Any]:
    """The named parts of a record: a mapping itself, the items of a dict's subclass, or an object's attributes."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, Call):
        return {}
    if value.items:
        return value.items
    state = value.state
    # Objects with __slots__ have (attributes, slots).
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0] or state[1], Mapping):
        state = state[0] or state[1]
    return state if isinstance(state, Mapping) else {}


class _Machine:
    """The stack machine of pickle without imports and calls."""

    def __init__(self, data: Data, calls: Calls, persistent: Callable[[Any], Any], start: int) -> None:
        self.data, self.position, self.end = data, start, min(len(data), start + MAX_BYTES)
        self.calls, self.persistent = calls, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}  # a dict, so that a forged index allocates nothing
        self.names: set[str] = set()
        self.protocol = 0

    def run(self) -> Any:
        """Carry out the program; what it leaves on top of the stack."""
        data, end, stack, marks, memo = self.data, self.end, self.stack, self.marks, self.memo
        calls, persistent, cold = self.calls, self.persistent, _COLD
        word, signed = _WORD.unpack_from, _SIGNED.unpack_from
        at = self.position
        # A file of weights is a hundred thousand instructions, nearly all of these few kinds: most frequent first.
        for _ in range(MAX_OPCODES):
            if at >= end:
                raise Malformed("the pickle in it is cut off, or too long")
            code = data[at]
            at += 1
            if code == 0x71:  # BINPUT
                memo[data[at]] = stack[-1]
                at += 1
            elif code == 0x72:  # LONG_BINPUT
                memo[word(data, at)[0]] = stack[-1]
                at += 4
            elif code == 0x4B:  # BININT1
                stack.append(data[at])
                at += 1
            elif code == 0x68:  # BINGET
                stack.append(memo[data[at]])
                at += 1
            elif code == 0x94:  # MEMOIZE
                memo[len(memo)] = stack[-1]
            elif code == 0x28:  # MARK
                marks.append(len(stack))
            elif code == 0x74:  # TUPLE
                mark = marks.pop()
                stack[mark:] = [tuple(stack[mark:])]
            elif code == 0x52:  # REDUCE
                arguments, function = stack.pop(), stack.pop()
                known = calls.get(function.text) if type(function) is Name else None
                if known is not None and type(arguments) is tuple:
                    stack.append(known(arguments))
                else:
                    stack.append(Call(function, arguments))
            elif code == 0x58:  # BINUNICODE
                stop = at + 4 + word(data, at)[0]
                if stop > end:
                    raise Malformed("the pickle in it is cut off, or too long")
                stack.append(str(data[at + 4 : stop], "utf-8", "surrogatepass"))
                at = stop
            elif code == 0x51:  # BINPERSID
                stack.append(persistent(stack.pop()))
            elif code == 0x6A:  # LONG_BINGET
                stack.append(memo[word(data, at)[0]])
                at += 4
            elif code == 0x89:  # NEWFALSE
                stack.append(False)
            elif code == 0x29:  # EMPTY_TUPLE
                stack.append(())
            elif code == 0x4D:  # BININT2
                stack.append(data[at] + 256 * data[at + 1])
                at += 2
            elif code == 0x4A:  # BININT
                stack.append(signed(data, at)[0])
                at += 4
            elif code == 0x85:  # TUPLE1
                stack[-1] = (stack[-1],)
            elif code == 0x86:  # TUPLE2
                stack[-2:] = [(stack[-2], stack[-1])]
            elif code == 0x87:  # TUPLE3
                stack[-3:] = [(stack[-3], stack[-2], stack[-1])]
            elif code == 0x7D:  # EMPTY_DICT
                stack.append({})
            elif code == 0x2E:  # STOP
                self.position = at
                return stack.pop()
            else:
                handler = cold.get(code)
                if handler is None:
                    raise Malformed(f"it is no pickle, or has the unknown instruction {code:#04x}")
                self.position = at
                handler(self)
                at = self.position
        raise Malformed("the pickle in it is too long")

    # what follows an instruction

    def take(self, count: int) -> bytes:
        """The next bytes."""
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
        """The bytes up to the end of the line."""
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
        """Write a class or function down."""
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


def _proto(m: _Machine) -> None:
    m.protocol = m.number(1)


def _old_text(m: _Machine) -> None:
    line = m.line()
    if len(line) < 2 or line[0] != line[-1] or line[0] not in "'\"":
        raise Malformed("the pickle in it is broken")
    m.stack.append(line[1:-1].encode().decode("unicode_escape"))


def _old_number(m: _Machine) -> None:
    line = m.line()
    m.stack.append({"00": False, "01": True}[line] if line in ("00", "01") else int(line.rstrip("L")))


def _stack_global(m: _Machine) -> None:
    attribute, module = m.stack.pop(), m.stack.pop()
    m.name(module, attribute)


def _extension(width: int) -> Callable[[_Machine], None]:
    """A class by its number in the registry of this process, which no checkpoint can know."""

    def handle(m: _Machine) -> None:
        m.name("copyreg extension", str(m.number(width)))

    return handle


def _inst(m: _Machine) -> None:
    module, attribute = m.line(), m.line()
    items = m.to_mark()
    m.name(module, attribute)
    m.call(m.stack.pop(), tuple(items))


def _obj(m: _Machine) -> None:
    function, *arguments = m.to_mark()
    m.call(function, tuple(arguments))


def _new(m: _Machine) -> None:
    arguments, function = m.stack.pop(), m.stack.pop()
    m.call(function, arguments)


def _new_with_keywords(m: _Machine) -> None:
    keywords, arguments, function = m.stack.pop(), m.stack.pop(), m.stack.pop()
    m.stack.append(Call(function, (arguments, keywords)))


def _build(m: _Machine) -> None:
    state = m.stack.pop()
    target = m.stack[-1]
    if isinstance(target, Call):
        target.state = state


def _set_item(m: _Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.put([key, value])


def _dict(m: _Machine) -> None:
    items = m.to_mark()
    m.stack.append({})
    m.put(items)


def _pop(m: _Machine) -> None:
    if m.marks and m.marks[-1] == len(m.stack):
        m.marks.pop()
    else:
        m.stack.pop()


def _pop_mark(m: _Machine) -> None:
    m.to_mark()


def _frame(m: _Machine) -> None:
    m.take(8)  # how long the frame is; of no interest


def _push(make: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(make(m))


def _constant(value: Any) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(value)


def _long(width: int) -> Callable[[_Machine], None]:
    return _push(lambda m: int.from_bytes(m.take(m.number(width)), "little", signed=True))


def _text(width: int) -> Callable[[_Machine], None]:
    return _push(lambda m: str(m.take(m.number(width)), "utf-8", "surrogatepass"))


def _latin(width: int) -> Callable[[_Machine], None]:
    return _push(lambda m: str(m.take(m.number(width)), "latin-1"))


def _raw(width: int) -> Callable[[_Machine], None]:
    return _push(lambda m: m.take(m.number(width)))


_WORD, _SIGNED = struct.Struct("<I"), struct.Struct("<i")
# The rarer instructions by their code, as pickle numbers them.
_COLD: dict[int, Callable[[_Machine], None]] = {
    0x80: _proto,
    0x95: _frame,
    ord("N"): _constant(None),
    0x88: _constant(True),
    ord("]"): _push(lambda m: []),
    0x8F: _push(lambda m: []),  # EMPTY_SET
    ord("l"): _push(lambda m: m.to_mark()),
    0x91: _push(lambda m: m.to_mark()),  # FROZENSET
    ord("d"): _dict,
    ord("a"): lambda m: m.extend([m.stack.pop()]),
    ord("e"): lambda m: m.extend(m.to_mark()),
    0x90: lambda m: m.extend(m.to_mark()),  # ADDITEMS
    ord("s"): _set_item,
    ord("u"): lambda m: m.put(m.to_mark()),
    ord("p"): lambda m: m.memo.__setitem__(int(m.line()), m.stack[-1]),
    ord("g"): _push(lambda m: m.memo[int(m.line())]),
    ord("0"): _pop,
    ord("1"): _pop_mark,
    ord("2"): lambda m: m.stack.append(m.stack[-1]),
    ord("I"): _old_number,
    ord("L"): _old_number,
    ord("F"): _push(lambda m: float(m.line())),
    ord("G"): _push(lambda m: struct.unpack(">d", m.take(8))[0]),
    0x8A: _long(1),
    0x8B: _long(4),
    ord("S"): _old_text,
    ord("V"): _push(lambda m: m.raw_line().decode("raw_unicode_escape")),
    ord("T"): _latin(4),
    ord("U"): _latin(1),
    0x8C: _text(1),
    0x8D: _text(8),
    ord("B"): _raw(4),
    ord("C"): _raw(1),
    0x8E: _raw(8),
    0x96: _raw(8),
    ord("c"): lambda m: m.name(m.line(), m.line()),
    0x93: _stack_global,
    0x82: _extension(1),
    0x83: _extension(2),
    0x84: _extension(4),
    ord("i"): _inst,
    ord("o"): _obj,
    0x81: _new,
    0x92: _new_with_keywords,
    ord("b"): _build,
    ord("P"): lambda m: m.stack.append(m.persistent(m.line())),
}
