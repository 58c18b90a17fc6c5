"""``opsig help NAME`` for the manual's topics: their pages as plain text, for who has no man."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from opsigcli.options import COMMANDS

WIDTH = 80


def page_of(words: Sequence[str]) -> str:
    """The page of a topic, by its name with or without ``opsig-``; "" where the words name none."""
    if len(words) != 1 or words[0] in COMMANDS:
        return ""
    from opsigcli.cli.topics import TOPICS  # what they tell of is imported for them alone

    topic = next((t for t in TOPICS if words[0] in (t.name, t.name.removeprefix("opsig-"))), None)
    if topic is None:
        return ""
    parts = [f"{topic.name}: {topic.summary}"]
    for heading, paragraphs in topic.sections:
        parts.append(heading)
        parts += [text if text.startswith("  ") else _filled(text) for text in paragraphs]
    return "\n\n".join(parts)


def topics_named() -> list[str]:
    """The names of the topics, as ``opsig help`` takes them."""
    from opsigcli.cli.topics import TOPICS

    return [topic.name.removeprefix("opsig-") for topic in TOPICS]


def _filled(text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
