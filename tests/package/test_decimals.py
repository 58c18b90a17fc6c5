"""Numbers of about 1 have two decimals; others the digits that tell them."""

from __future__ import annotations

import pytest

from opsigcli.sentences import decimals


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "+0.00"),
        (-0.0, "+0.00"),
        (0.125, "+0.12"),
        (-0.0004, "-0.0004"),
        (0.0099, "+0.0099"),
        (999.4, "+999.40"),
        (3.52e18, "+3.5e+18"),
        (float("inf"), "+inf"),
        (float("nan"), "+nan"),
    ],
)
def test_a_number_is_never_so_short_that_nothing_of_it_is_left(value: float, words: str) -> None:
    assert decimals(value, "+") == words
