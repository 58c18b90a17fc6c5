"""Objects of a Python program in place of specs: a model, a data set. A spec ``given:NAME`` stands for one.

They are there as long as the call that was given them lasts: what is kept in a store is the name alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opsigcli.errors import NotGiven, UsageError
from opsigcli.specs import Spec

SCHEME = "given"
_OFFERED: ContextVar[Mapping[str, Any]] = ContextVar("offered", default={})  # noqa: B039  (never changed)


def spec_of(word: str, value: Any) -> str:
    """The spec that stands for an object: by its class, and of a module by what it is made of.

    A store keeps it, so that the same object in another process goes on with what is there. Data are known by their
    fingerprint in any case.

    Args:
        word: model or data.
        value: the object.

    Raises:
        UsageError: it is a class, and no object of it.
    """
    if isinstance(value, type):
        raise UsageError(
            f"expected an object for {word}, found the class {value.__name__}",
            f"make one: {word}={value.__name__}(...)",
        )
    name = type(value).__name__
    if word == "model" and hasattr(value, "state_dict"):
        shapes = {key: tuple(getattr(entry, "shape", ())) for key, entry in value.state_dict().items()}
        name += f"-{hashlib.sha256(repr((repr(value), shapes)).encode()).hexdigest()[:8]}"
    return f"{SCHEME}:{name}"


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
