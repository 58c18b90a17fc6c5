"""The table of ``tests/mutations.py`` names lines and tests that are there; the script itself runs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.file}-{m.old.strip()[:30]}")
def test_a_mutation_has_one_place_and_a_test(mutation: Mutation) -> None:
    assert (ROOT / "opsigcli" / mutation.file).read_text().count(mutation.old) == 1
    assert mutation.old != mutation.new
    file, _, name = mutation.test.partition("::")
    assert re.search(
        rf"^def {re.escape(name.partition('[')[0])}\(", (ROOT / "tests" / file).read_text(), re.M
    )
