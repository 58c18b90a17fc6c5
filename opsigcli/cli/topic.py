"""What a manual page that is about no single command consists of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """A page about no single command: headings with paragraphs; one that begins with two spaces is shown as it is."""

    name: str
    summary: str
    sections: tuple[tuple[str, tuple[str, ...]], ...]
    section: int = 7  # of the manual
    related: tuple[str, ...] = ("trace", "sharpness")  # commands
