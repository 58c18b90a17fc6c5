"""The reader of pickles as data, held against pickle itself."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from decimal import Decimal
from typing import Any

import pytest

from opsigcli.pickles import reader as pickle_reader
from opsigcli.pickles.instructions import RARE
from opsigcli.pickles.machine import Calls
from opsigcli.pickles.records import Call, Malformed, Name

SHARED = ["a", 1]
PLAIN: list[Any] = [
    None,
    True,
    [1, -1, 255, 256, 65536, -(2**31), 2**40, -(2**100), 0.5, -1e300],
    {"a": {"b": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]}, 3: None, 2.5: "x", None: True},
    {"text": "ünï\u2028 \\ 'q' \n", "long": "x" * 70_000, "bytes": b"\0\xff" * 200},
    [SHARED, SHARED, {"again": SHARED}],
    list(range(3000)),
]


def read(data: bytes, calls: Calls | None = None) -> pickle_reader.Pickle:
    def persistent(saved: Any) -> Any:
        return ("persistent", saved)

    return pickle_reader.read(data, calls or {}, persistent)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", PLAIN, ids=range(len(PLAIN)))
def test_plain_values_are_what_pickle_makes_of_them(value: Any, protocol: int) -> None:
    if protocol < 3 and "bytes" in (value if isinstance(value, dict) else ()):
        value = {k: v for k, v in value.items() if k != "bytes"}  # old protocols write bytes as a call
    data = pickle.dumps(value, protocol)
    assert read(data).value == pickle.loads(data) == value


@pytest.mark.parametrize("protocol", range(6))
def test_objects_become_records_of_what_was_asked_for(protocol: int) -> None:
    result = read(pickle.dumps({"d": Decimal("1.5"), "e": Malformed("x")}, protocol))
    assert isinstance(result.value["d"], Call)
    assert {"decimal.Decimal", "opsigcli.pickles.records.Malformed"} <= result.names
    assert isinstance(result.value["d"].function, Name)


@pytest.mark.parametrize("protocol", range(6))
def test_what_is_known_is_put_in_place_of_the_call(protocol: int) -> None:
    data = pickle.dumps(OrderedDict(a=1, b=2), protocol)
    assert read(data, {"collections.OrderedDict": lambda arguments: {}}).value == {"a": 1, "b": 2}


def test_a_pickle_may_stand_anywhere_and_says_where_it_ends() -> None:
    data = b"before" + pickle.dumps([1], 2) + b"rest"
    found = pickle_reader.read(data, {}, lambda saved: saved, 6)
    assert (found.value, data[found.end :]) == ([1], b"rest")


def test_every_instruction_of_pickle_is_known_but_the_two_for_buffers_outside_of_it() -> None:
    import pickletools

    hot = set(b"qrKh\x94(tRXQj\x89)MJ\x85\x86\x87}.")
    known = hot | set(RARE)
    missing = {code.name for code in pickletools.opcodes if ord(code.code) not in known}
    assert missing == {"NEXT_BUFFER", "READONLY_BUFFER"}


@pytest.mark.parametrize(
    "data",
    [
        b"", b".", b"\x80\x02", b"\x80\x02u.", b"\x80\x02K\x01s.", b"\x80\x02h\x07.", b"\x80\x02\x85.", b"e.",
        b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", b"\x80\x02(K\x01K\x02K\x03d.",
        b"I" + b"9" * 100_000 + b"\n.", b"\x80\x02U\xffab.",
    ],
)  # fmt: skip
def test_broken_pickles_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        read(data)
