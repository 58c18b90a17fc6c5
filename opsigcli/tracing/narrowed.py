"""Data of which ``opsig trace`` takes a part, or the tokens: by options that become options of the data's spec."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from opsigcli.datasets import open_source
from opsigcli.datasets.constants import with_constants
from opsigcli.errors import UsageError
from opsigcli.examples import ExampleSource
from opsigcli.options import TraceOptions
from opsigcli.specs import parse


def narrows(options: TraceOptions) -> bool:
    """Whether not all of the data's examples are asked for as they are."""
    return options.examples is not None or options.tokens


def open_narrowed(data: str, options: TraceOptions) -> ExampleSource:
    """The data with what the options ask of them: a subset, tokens.

    Raises:
        UsageError: these data have no such option.
        DatasetError: they cannot be opened.
    """
    asked: dict[str, tuple[str, Any]] = (
        {} if options.examples is None else {"--examples": ("limit", options.examples)}
    )
    asked |= {"--tokens": ("per", "token")} if options.tokens else {}
    if not asked:
        return open_source(data)
    if options.examples is not None and parse(data).options.get("standardize") == "channel":
        data = with_constants(
            data, open_source(data).transform
        )  # of all of them, as in training: not of the part
    spec = parse(data)
    try:
        return open_source(str(replace(spec, options=dict(spec.options) | dict(asked.values()))))
    except UsageError as error:
        words = ", ".join(f"{flag} ({name}={value} of the data)" for flag, (name, value) in asked.items())
        raise UsageError(f"{words}: {error.message}", f"leave out {', '.join(asked)}") from error
