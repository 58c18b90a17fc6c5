"""The names of classes in the order of a model's outputs, where a run wrote them down beside its weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints.read_beside import read_beside

if TYPE_CHECKING:
    from opsigcli.checkpoints.series import Series

_UNNAMED = re.compile(r"label[_ ]?\d+|\d+", re.IGNORECASE)  # what transformers writes where nobody gave names


def recorded_classes(series: Series) -> tuple[tuple[str, ...], str] | None:
    """Names of classes and the file beside the weights that has them."""
    return read_beside(series, {file: _named(reader) for file, reader in FILES.items()})


def _named(reader: Callable[[str], list[str]]) -> Callable[[str], tuple[str, ...] | None]:
    """The same reader, of names that somebody gave."""

    def read(text: str) -> tuple[str, ...] | None:
        names = reader(text)
        given = len(set(names)) == len(names) > 1 and not all(_UNNAMED.fullmatch(name) for name in names)
        return tuple(names) if given else None

    return read


def _config(text: str) -> list[str]:
    """``id2label`` of transformers, or ``label_names`` of timm."""
    found: Mapping[str, Any] = json.loads(text)
    if "label_names" in found:
        return [str(name) for name in found["label_names"]]
    return _by_number({str(name): int(number) for number, name in found["id2label"].items()})


def _numbers(text: str) -> list[str]:
    """Name -> number, or number -> name."""
    found: dict[str, Any] = json.loads(text)
    if all(isinstance(value, int) for value in found.values()):
        return _by_number(found)
    return _by_number({str(name): int(number) for number, name in found.items()})


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _by_number(numbers: Mapping[str, int]) -> list[str]:
    if sorted(numbers.values()) != list(range(len(numbers))):
        return []
    return sorted(numbers, key=lambda name: numbers[name])


FILES: dict[str, Callable[[str], list[str]]] = {
    "config.json": _config,  # Hugging Face, timm
    "class_to_idx.json": _numbers,
    "class_indices.json": _numbers,
    "classes.txt": _lines,
    "class_names.txt": _lines,
    "labels.txt": _lines,
}
