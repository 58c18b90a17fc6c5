"""Parts of sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opsigcli.records import Case

# Of a verdict: what its title says, what stands behind it, and what was not found or not measured.
Part = tuple[list[str], list[str], list[str]]


def joined(parts: Sequence[str]) -> str:
    """Several things in one sentence."""
    if len(parts) < 3:
        return " and ".join(parts)
    return ", ".join(parts[:-1]) + ", and " + parts[-1]


def capital(text: str) -> str:
    """The beginning of a sentence."""
    return text[:1].upper() + text[1:]


def in_words(amount: int) -> str:
    """A small count as a word, for sentences."""
    small = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return small[amount] if amount < len(small) else f"{amount:,}"


def made_by(case: Case, command: str) -> str:
    """Which result of a command is shown, where it is not the one that it makes without options."""
    names = [result.name for result in case.results if result.shown and result.command == command]
    return f" (opsig {names[0]})" if names and names[0] != command else ""
