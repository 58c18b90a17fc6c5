"""A pickle read as data: nothing is imported, nothing is called, every class is a name.

Pickles are programs for a small stack machine. This one runs the machine with every instruction that would import or
call replaced by one that writes down what was asked for. So a file can be described, its storage sizes checked and
its classes named before any library opens it, and without reading its tensors.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opsigcli.checkpoints.formats.pickle_machine import Calls, Data, Machine
from opsigcli.checkpoints.formats.pickle_records import Malformed


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
    machine = Machine(data, calls, persistent, start)
    try:
        value = machine.run()
    except Malformed:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, struct.error) as error:
        raise Malformed("the pickle in it is broken") from error
    except (RecursionError, MemoryError) as error:
        raise Malformed("the pickle in it is out of bounds") from error
    return Pickle(value, frozenset(machine.names), machine.protocol, machine.position)
