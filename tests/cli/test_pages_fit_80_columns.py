"""What the manual shows as it is fits a terminal of 80 columns: beyond it, words would be broken anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "man").iterdir())
WIDEST = 80 - 7  # beside the margin that man has
UNPRINTED = {r"\&": "", r"\-": "-", r"\(aq": "'", r"\(dq": '"', r"\e": "\\", r"\(rs": "\\"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_fits(page: Path) -> None:
    as_it_is = False
    for line in page.read_text().splitlines():
        if line in (".nf", ".fi"):
            as_it_is = line == ".nf"
        elif as_it_is and not line.startswith("."):
            for written, shown in UNPRINTED.items():
                line = line.replace(written, shown)  # noqa: PLW2901
            assert len(line) <= WIDEST, line
