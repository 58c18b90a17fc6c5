"""A pickle read as data: nothing is imported, nothing is called, every class is a name.

Pickles are programs for a small stack machine. This one runs the machine with every instruction that would import or
call replaced by one that writes down what was asked for. So a file can be described, its storage sizes checked and
its classes named before anything else is done with it, and without reading its tensors.

Why not ``pickle.Unpickler`` with ``find_class`` and ``persistent_load`` overridden? It was written and measured under
CPython 3.11: a quarter of the lines, and unsafe. Codes of ``copyreg``'s extension registry are looked up in a cache
of the process before ``find_class`` is asked: a file ran ``os.system`` where other code had unpickled that code before,
and our stand-ins for classes end in that cache for everybody. The memo is an array: one instruction of five bytes took
2 GB. Keys are hashed at once: seventy bytes of nested tuples took minutes, and two more double that. Nothing bounds
the number of instructions. Nor is it faster, as files of torch are calls and storages, which it hands to Python: 5.6 ms
for a ResNet-18 with Adam (30 kB) where this takes 4.3 ms, and the Unpickler in Python, no public interface, 9.6 ms.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opsigcli.pickles.instructions import RARE
from opsigcli.pickles.machine import Calls, Data, Machine
from opsigcli.pickles.records import Call, Malformed, Name

MAX_OPCODES = 20_000_000  # a model of a million tensors has fewer
_WORD, _SIGNED = struct.Struct("<I"), struct.Struct("<i")


@dataclass(frozen=True)
class Pickle:
    """The object of a pickle as data, every class and function it names, and where it ends."""

    value: Any
    names: frozenset[str]
    end: int


def read(
    data: Data, calls: Calls, persistent: Callable[[Any], Any], start: int = 0, most: int = MAX_OPCODES
) -> Pickle:
    """Read the one pickle that begins at ``start``.

    Args:
        data: bytes, or a mapped file.
        calls: name of a function -> what stands for its result, given the arguments.
        persistent: what stands for a persistent id (torch's way to point at a storage).
        start: offset of the pickle.
        most: instructions that it may have.

    Raises:
        Malformed: this is no pickle, or it is out of bounds.
    """
    machine = Machine(data, calls, persistent, start)
    try:
        value = _run(machine, most)
    except Malformed:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, struct.error) as error:
        raise Malformed("the pickle in it is broken") from error
    except (RecursionError, MemoryError) as error:
        raise Malformed("the pickle in it is out of bounds") from error
    return Pickle(value, frozenset(machine.names), machine.position)


def _run(m: Machine, most: int) -> Any:
    """Carry out the program; what it leaves on top of the stack.

    Raises:
        Malformed: the program is too long, is cut off, or has an unknown instruction.
    """
    data, end, stack, marks, memo = m.data, m.end, m.stack, m.marks, m.memo
    calls, persistent, rare = m.calls, m.persistent, RARE
    word, signed = _WORD.unpack_from, _SIGNED.unpack_from
    at = m.position
    # A file of weights is a hundred thousand instructions, nearly all of these few kinds: most frequent first.
    for _ in range(most):
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
            m.position = at
            return stack.pop()
        else:
            handler = rare.get(code)
            if handler is None:
                raise Malformed(f"it is no pickle, or has the unknown instruction {code:#04x}")
            m.position = at
            handler(m)
            at = m.position
    raise Malformed("the pickle in it is too long")
