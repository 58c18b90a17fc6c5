"""Models and data sets that are given as objects, and the specs that stand for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opsigcli.given import spec_of
from opsigcli.store.reader import open_store

WORDS = ("model", "data")  # options that take an object in place of a spec


def objects_in(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of keyword arguments, those that are objects in place of specs, by the spec that stands for each."""
    found = {}
    for word in WORDS:
        value = given.get(word)
        if value is not None and not isinstance(value, str):
            found[spec_of(word, value)] = value
    return found


def with_specs(given: Mapping[str, Any], *, store: Path | None) -> dict[str, Any]:
    """Keyword arguments with specs in place of objects.

    Args:
        given: by name.
        store: of a command that opens the run of a store: what the store names already is not named again, as a spec
            that differs would be another choice, and its result another one.
    """
    known = {}
    if store is not None and objects_in(given):
        with open_store(store) as opened:
            known = {"model": opened.run.model, "data": opened.run.data.partition("?")[0]}
    changed = dict(given)
    for word in WORDS:
        value = given.get(word)
        if value is not None and not isinstance(value, str):
            spec = spec_of(word, value)
            changed[word] = None if known.get(word) == spec else spec
    return changed
