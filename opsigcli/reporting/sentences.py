"""Parts of sentences."""

from __future__ import annotations

from collections.abc import Sequence

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
