"""Of many ways to prepare inputs that cannot be told apart, a reader is told the first few."""

from __future__ import annotations

import pytest

from opsigcli.doubt_records import Better


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ((), ""),
        (("a",), "; a cannot be told from it"),
        (("a", "b"), "; a and b cannot be told from it"),
        (("a", "b", "c", "d", "e"), "; a, b and 3 more cannot be told from it"),
    ],
)
def test_two_others_are_named_and_the_rest_counted(others: tuple[str, ...], said: str) -> None:
    words = Better("the best", "npz:x", 0.1, None, 1.0, others).words
    assert words.endswith(f"give --data npz:x{said}")
