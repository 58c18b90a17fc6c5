"""What a run wrote down beside its weights, in the first file that has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from opsigcli.files import read_file

if TYPE_CHECKING:
    from opsigcli.checkpoints.series import Series

T = TypeVar("T")


def read_beside(series: Series, readers: Mapping[str, Callable[[str], T | None]]) -> tuple[T, str] | None:
    """What a reader finds, and the file; from the last checkpoint's own folder or that of the checkpoints.

    Args:
        series: the checkpoints.
        readers: by name of the file, first the ones to be believed first; each is given the text, and gives None, or
            fails, where it does not hold what is sought.
    """
    last = series.checkpoints[-1].path
    for place in dict.fromkeys((last, last.parent, series.folder)):
        for name, reader in readers.items():
            path = Path(place) / name
            try:
                found = reader(read_file(path).decode(errors="replace")) if path.is_file() else None
            except (OSError, ValueError, TypeError, KeyError, AttributeError):
                continue  # another program's file of that name
            if found is not None:
                return found, str(path)
    return None
