"""Generated prose for language models: short, and ambiguous where sentences and lines end."""

from __future__ import annotations

import random

SUBJECTS = (
    "the cat",
    "the old dog",
    "a sailor",
    "my sister",
    "the mill",
    "this road",
    "one bird",
    "the teacher",
)
VERBS = ("sees", "follows", "likes", "forgets", "finds", "carries", "paints", "remembers")
OBJECTS = ("the river", "a small house", "the moon", "her letter", "an apple", "the long song", "a red boat")
ADDITIONS = ("in the morning", "near the sea", "without a word", "again and again", "before the rain")
PARAGRAPH = 8  # sentences in a document


def babble(sentences: int, seed: int) -> list[str]:
    """Documents of a few sentences each, the same for the same seed.

    After a sentence comes a space or a new line, and a sentence ends with a full stop or goes on with a comma: what
    follows is open, as it is in real text.
    """
    dice = random.Random(seed)  # noqa: S311  (nothing secret)
    documents: list[str] = []
    for start in range(0, sentences, PARAGRAPH):
        text = ""
        for _ in range(min(PARAGRAPH, sentences - start)):
            text += f"{dice.choice(SUBJECTS)} {dice.choice(VERBS)} {dice.choice(OBJECTS)}"
            if dice.random() < 0.5:
                text += f"{dice.choice((',', ''))} {dice.choice(ADDITIONS)}"
            text += dice.choice((". ", ".\n", "! ", ".\n"))
        documents.append(text)
    return documents
