"""What a manual page about no single command is made of."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

WIDTH = 73  # of lines that are shown as they are: with the margin of a page, 80 columns


@dataclass(frozen=True)
class Topic:
    """A page about no single command: headings with paragraphs; one that begins with two spaces is shown as it is."""

    name: str
    summary: str
    sections: tuple[tuple[str, tuple[str, ...]], ...]
    section: int = 7  # of the manual
    related: tuple[str, ...] = ("trace", "sharpness")  # commands


def within_width(line: str) -> str:
    """A line that is shown as it is, broken between words where it is too wide; what is broken off is set in."""
    inside = " " * (len(line) - len(line.lstrip()) + 4)
    broken = textwrap.wrap(
        line,
        WIDTH,
        subsequent_indent=inside,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    return "\n".join(broken) or line
