"""The rarer instructions of pickle, by their codes; the loop of the reader has the frequent ones."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from opsigcli.pickles.machine import Machine
from opsigcli.pickles.records import Call, Malformed, Ordered


def _proto(m: Machine) -> None:
    m.take(1)  # the protocol; instructions say all that matters of it


def _old_text(m: Machine) -> None:
    line = m.line()
    if len(line) < 2 or line[0] != line[-1] or line[0] not in "'\"":
        raise Malformed("the pickle in it is broken")
    m.stack.append(line[1:-1].encode().decode("unicode_escape"))


def _old_number(m: Machine) -> None:
    line = m.line()
    m.stack.append({"00": False, "01": True}[line] if line in ("00", "01") else int(line.rstrip("L")))


def _stack_global(m: Machine) -> None:
    attribute, module = m.stack.pop(), m.stack.pop()
    m.name(module, attribute)


def _extension(width: int) -> Callable[[Machine], None]:
    """A class by its number in the registry of this process, which no checkpoint can know."""

    def handle(m: Machine) -> None:
        m.name("copyreg extension", str(m.number(width)))

    return handle


def _inst(m: Machine) -> None:
    module, attribute = m.line(), m.line()
    items = m.to_mark()
    m.name(module, attribute)
    m.call(m.stack.pop(), tuple(items))


def _obj(m: Machine) -> None:
    function, *arguments = m.to_mark()
    m.call(function, tuple(arguments))


def _new(m: Machine) -> None:
    arguments, function = m.stack.pop(), m.stack.pop()
    m.call(function, arguments)


def _new_with_keywords(m: Machine) -> None:
    keywords, arguments, function = m.stack.pop(), m.stack.pop(), m.stack.pop()
    m.stack.append(Call(function, (arguments, keywords)))


def _build(m: Machine) -> None:
    state = m.stack.pop()
    target = m.stack[-1]
    if isinstance(target, Call | Ordered):
        target.state = state


def _set_item(m: Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.put([key, value])


def _dict(m: Machine) -> None:
    items = m.to_mark()
    m.stack.append({})
    m.put(items)


def _pop(m: Machine) -> None:
    if m.marks and m.marks[-1] == len(m.stack):
        m.marks.pop()
    else:
        m.stack.pop()


def _pop_mark(m: Machine) -> None:
    m.to_mark()


def _frame(m: Machine) -> None:
    m.take(8)  # how long the frame is; of no interest


def _push(make: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    return lambda m: m.stack.append(make(m))


def _constant(value: Any) -> Callable[[Machine], None]:
    return lambda m: m.stack.append(value)


def _long(width: int) -> Callable[[Machine], None]:
    return _push(lambda m: int.from_bytes(m.take(m.number(width)), "little", signed=True))


def _text(width: int) -> Callable[[Machine], None]:
    return _push(lambda m: str(m.take(m.number(width)), "utf-8", "surrogatepass"))


def _latin(width: int) -> Callable[[Machine], None]:
    return _push(lambda m: str(m.take(m.number(width)), "latin-1"))


def _raw(width: int) -> Callable[[Machine], None]:
    return _push(lambda m: m.take(m.number(width)))


RARE: dict[int, Callable[[Machine], None]] = {
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
