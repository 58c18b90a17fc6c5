"""Libraries that opsig uses where they are installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from opsigcli.errors import ModelError


def need(library: str, extra: str, spec: str) -> Any:
    """The library, imported.

    Raises:
        ModelError: it is not installed; the hint names the extra that brings it.
    """
    try:
        return import_module(library)
    except ImportError as error:
        raise ModelError(
            f"expected {library} to be installed for {spec!r}; it is not", f"pip install 'opsig[{extra}]'"
        ) from error
