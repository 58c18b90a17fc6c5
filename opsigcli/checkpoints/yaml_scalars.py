"""The scalars of a YAML file by name: what a run's settings need of the format, and nothing that could run."""

from __future__ import annotations

import json
import re
from typing import Any

_KEY = re.compile(r"[\w./ -]+")
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NOTHING = ("", "null", "~", "none")


def yaml_scalars(text: str) -> dict[str, Any]:
    """``outer.inner`` -> scalar, or list of some, from the lines ``key: value`` of a file in block style.

    Lines of any other form are passed over: tags, anchors, texts over several lines.
    """
    found: dict[str, Any] = {}
    above: list[tuple[int, str]] = []  # indentation and key of the mappings around a line
    items: list[Any] | None = None
    for line in text.splitlines():
        written = line.lstrip(" ")
        indent = len(line) - len(written)
        key, colon, value = written.removeprefix("- ").partition(":")
        key = key.strip().strip("'\"")
        if not colon or value[:1] not in ("", " ", "\t") or not _KEY.fullmatch(key):
            if items is not None and written.startswith("- "):
                items.append(scalar(written[2:]))
            continue
        while above and above[-1][0] >= indent:
            above.pop()
        name = ".".join([*(outer for _, outer in above), key])
        above.append((indent, key))
        value = value.strip()
        items = None
        if not value or value[0] in "#!&|>":
            items = found[name] = []  # of a list that may follow
        else:
            found[name] = scalar(value)
    return {name: value for name, value in found.items() if value != []}


def scalar(written: str) -> Any:
    """A text, number, truth or list of these as it is written; None for nothing."""
    text = written.strip()
    if text[:1] in ("'", '"'):
        end = text.find(text[0], 1)
        return text[1 : end if end > 0 else None]
    text = text.partition(" #")[0].strip()
    if text[:1] in ("[", "("):
        inner = text.strip("[]()")
        return [scalar(part) for part in inner.split(",") if part.strip()]
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if text.lower() in _NOTHING:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return float(text)  # 1e-3, which is no JSON as .1 is none
    except ValueError:
        return text
