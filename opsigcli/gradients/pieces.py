"""Pieces of work that a signal does not undo: each is a file beside the store until the command has ended well."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from opsigcli import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.store.units import Units


class Pieces:
    """What was computed before, or is computed now and kept: an ``inputs.Keep``.

    Args:
        units: where pieces are kept, of a configuration that all of them depend on.
    """

    def __init__(self, units: Units) -> None:
        self._units = units

    def __call__(self, word: str, of: Sequence[bytes], compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """What ``compute`` gives, or gave; ``of`` is all that it depends on beside configuration and version.

        Raises:
            StoreError: the disk is full, or the folder cannot be written.
        """
        name = name_of(word, (__version__.encode(), *of))
        found = self._units.read(name)
        if found is None:
            found = compute()
            self._units.write(name, found)
        return found


def name_of(word: str, of: Sequence[bytes]) -> str:
    """The name that a result is kept by."""
    return f"{word}-{hashlib.sha256(b'|'.join(of)).hexdigest()[:24]}"
