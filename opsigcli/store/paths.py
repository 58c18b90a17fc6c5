"""Paths as a store keeps them, so that it can be given to others and moved: ``$STORE/run`` and ``$HOME/data``.

What lies in the folder of the store is named from there, and what lies elsewhere in this user's home folder without its
name. Readers make both absolute again: from the folder that the store was made in while everything named is there, so
that a copy of the store alone is of the same run, else from the folder that it lies in now. In stores of older versions
all paths are absolute.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from opsigcli.printable import without_home
from opsigcli.records import Run

STORE, HOME = "$STORE", "$HOME"
MADE_IN = "made_in"  # attribute of a store: the folder that it was made in
_BEFORE, _BEHIND = (
    r"(?<![\w/+.~$-])",
    r"(?=[/\\?&:,;\s\"']|$)",
)  # where a path begins, and where a folder's name ends
_NAMED = re.compile(
    _BEFORE + re.escape(STORE) + r"(/[^?&:,;\s\"']*)"
)  # what is named from the store's folder


def folder_of(store: str | Path) -> str:
    """The folder that a store lies in, also where its name is a link."""
    return str(Path(os.path.realpath(store)).parent)


def as_stored(value: Any, folder: str = "") -> Any:
    """Plain data with paths as a store keeps them.

    Args:
        value: texts, lists and objects of them, as JSON has them.
        folder: of the store; "" leaves paths in it as they are.
    """
    places = ((STORE, folder), (HOME, _home()))
    for name, place in sorted(places, key=lambda found: -len(found[1])):  # the inner one first
        if len(place) > 1:
            value = _replaced(value, re.compile(_BEFORE + re.escape(place) + _BEHIND), name)
    return value


def as_here(value: Any, folder: str = "") -> Any:
    """Plain data of a store with paths made absolute: the inverse of ``as_stored``."""
    for name, place in ((STORE, folder), (HOME, _home())):
        if place:
            value = _replaced(value, re.compile(_BEFORE + re.escape(name) + _BEHIND), place)
    return value


def placed_run(run: Run, store: str | Path, made_in: str = "") -> Run:
    """A run as it is kept in a store, with paths made absolute.

    Args:
        run: its record.
        store: the file.
        made_in: the folder that it was made in, as it is kept; "" where a store does not say.
    """
    kept, before = dict(vars(run)), as_here(made_in)
    named = [found for value in kept.values() if isinstance(value, str) for found in _NAMED.findall(value)]
    there = bool(before) and all(os.path.lexists(before + rest) for rest in named)
    return Run(**as_here(kept, before if there else folder_of(store)))


def named_from(value: Any, store: str | Path) -> Any:
    """Plain data to be given to others, in whose texts what lies in the folder of the store is named from there."""
    folder = without_home(folder_of(store))
    return _replaced(value, re.compile(f"{_BEFORE}{re.escape(folder)}/"), "") if len(folder) > 1 else value


def _home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:  # a user without a home
        return ""


def _replaced(value: Any, pattern: re.Pattern[str], by: str) -> Any:
    if isinstance(value, str):
        return pattern.sub(lambda _: by, value) if "/" in value or "$" in value or "\\" in value else value
    if isinstance(value, dict):
        return {name: _replaced(item, pattern, by) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_replaced(item, pattern, by) for item in value)
    return value
