"""GitHub Actions: what it takes for commands among the lines that a job prints."""

from __future__ import annotations

import os

_MESSAGE = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY = _MESSAGE | {":": "%3A", ",": "%2C"}


def in_actions() -> bool:
    """Whether this is a job there."""
    return os.environ.get("GITHUB_ACTIONS", "").lower() == "true"


def annotation(title: str, message: str) -> str:
    """The command that shows an error beside a change, in one line."""
    return f"::error title={_coded(title, _PROPERTY)}::{_coded(message, _MESSAGE)}"


def defused(text: str) -> str:
    """``text`` in which nothing is such a command: a runner looks for ``::`` at the start of a line, and for ``##[``.

    Class names and paths come from data, and a line may begin with one.
    """
    return text.replace("::", ": :").replace("##[", "# #[") if in_actions() else text


def _coded(text: str, codes: dict[str, str]) -> str:
    return "".join(codes.get(character, character) for character in text)
