"""Conditions are read by a grammar, and what is not one is refused with the way out."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsigcli.errors import UsageError
from opsigcli.gates.condition import FAIL_ON, OPERATORS, REQUIRE, Condition, read_condition
from opsigcli.gates.metrics import METRICS

PYTHON = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(list(METRICS)), st.sampled_from(list(OPERATORS)), FINITE, FINITE)
def test_a_condition_compares_as_python_does_and_says_itself_again(
    metric: str, sign: str, number: float, value: float
) -> None:
    read = read_condition(f" {metric}{sign}{number!r} ", REQUIRE)
    assert read == read_condition(read.text, REQUIRE)
    assert read.bound(None) == number
    assert read.holds(value, number) is PYTHON[sign](value, number)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("loss.last <= baseline", 4.0),
        ("loss.last<=baseline*1.5", 6.0),
        ("loss.last <= 1.5 * baseline", 6.0),
        ("loss.last <= baseline + 0.5", 4.5),
        ("loss.last <= baseline - .5", 3.5),
        ("loss.last <= baseline * 1e-1", 0.4),
    ],
)
def test_a_bound_is_made_of_the_baseline(text: str, bound: float) -> None:
    read = read_condition(text, REQUIRE)
    assert read.bound(4.0) == pytest.approx(bound, rel=1e-15)
    assert read.bound(None) is None
    assert read_condition(read.text, REQUIRE) == read


@pytest.mark.parametrize(
    "text",
    [
        "",
        "loss.last",
        "loss.last >",
        "loss.last => 1",
        "loss.last = 1",
        "loss.last \u2264 1",
        "loss.last > 5%",
        "loss.last > 1,5",
        "loss.last > -",
        "loss . last > 1",
        "loss.last > 1 or 1",
        "loss.last > 1_000",
        "loss.last > 0x10",
        "loss.last > ١",
        "loss.last > nan",
        "loss.last > inf",
        "loss.last > 1e999",
        "loss.last > baseline / 2",
        "loss.last > baseline * baseline",
        "loss.last > baseline * 1e999",
        "loss.last > __import__('os').system('true')",
        "losss.last > 1",
        "__class__ > 1",
        "loss.last > 1\nloss.first > 1",
        "1 < loss.last",
    ],
)
def test_what_is_no_condition_is_refused_with_a_way_out(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_condition(text, FAIL_ON)
    assert caught.value.message.startswith("expected ")
    assert caught.value.hint


@pytest.mark.parametrize("sign", ["<", "<=", "=="])
def test_what_would_fail_where_nothing_is_worse_is_refused_with_both_ways_to_mean_it(sign: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_condition(f"sharpness.ratio.max {sign} baseline * 1.1", FAIL_ON)
    for part in caught.value.hint.split("--")[1:]:
        sense, text = part.split(" ", 1)
        read_condition(text.split("'")[1], sense)


def test_a_metric_that_is_misspelt_is_suggested() -> None:
    with pytest.raises(UsageError, match=r"found 'sharpnes\.ratio\.max'") as caught:
        read_condition("sharpnes.ratio.max > 1", FAIL_ON)
    assert "sharpness.ratio.max" in caught.value.hint


def test_one_number_is_either_above_or_not() -> None:
    above, below = (Condition(FAIL_ON, "loss.last", sign, shift=1.0) for sign in (">", "<="))
    for value in (0.9, 1.0, 1.1):
        assert above.holds(value, 1.0) is not below.holds(value, 1.0)
