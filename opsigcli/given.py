"""Objects of a Python program in place of specs: a model, a data set. A spec ``given:NAME`` stands for one.

They are there as long as the call that was given them lasts: what is kept in a store is the name alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opsigcli.errors import NotGiven
from opsigcli.specs import Spec

SCHEME = "given"
_OFFERED: ContextVar[Mapping[str, Any]] = ContextVar("offered", default={})  # noqa: B039  (never changed)


@contextmanager
def offered(objects: Mapping[str, Any]) -> Iterator[None]:
    """Let specs name objects.

    Args:
        objects: by their spec without options, ``given:NAME``.
    """
    before = _OFFERED.set({**_OFFERED.get(), **objects})
    try:
        yield
    finally:
        _OFFERED.reset(before)


def taken(spec: Spec, word: str) -> Any:
    """The object that a spec stands for.

    Args:
        spec: ``given:NAME``, with or without options.
        word: of the argument it is given by: model or data.

    Raises:
        NotGiven: this call was not given it.
    """
    name = f"{spec.scheme}:{spec.name}"
    offer = _OFFERED.get()
    if name not in offer:
        raise NotGiven(
            f"expected the object that {name!r} stands for: it was given to opsig in Python, and is not here",
            f"give it again, as {word}=… in Python, or by what makes it: --{word} py:pkg.mod:factory",
        )
    return offer[name]
