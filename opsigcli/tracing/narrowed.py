"""Data of which ``opsig trace`` takes a part, or the tokens: by options that become options of the data's spec."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from opsigcli.datasets import open_source
from opsigcli.datasets.base import Source
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
    spec = replace(spec, options=dict(spec.options) | dict(asked.values()))
    try:
        part = open_source(str(spec))
        needed = part.outputs if options.examples is None else _outputs_of_all(data, part)
        if needed == part.outputs:
            return part
        return open_source(str(replace(spec, options=dict(spec.options) | {"classes": needed})))
    except UsageError as error:
        words = ", ".join(f"{flag} ({name}={value} of the data)" for flag, (name, value) in asked.items())
        raise UsageError(f"{words}: {error.message}", f"leave out {', '.join(asked)}") from error


def _outputs_of_all(data: str, part: ExampleSource) -> int:
    """The outputs that a model of all the data has: labels without names are counted, and a part may lack the largest.

    Examples are taken evenly over the classes, so that where a label comes twice every class is there; of maps of
    labels and of tokens nothing is known but by looking.
    """
    if part.classes or not isinstance(part, Source):  # others know how many there are
        return part.outputs
    targets = part.read_targets(np.arange(1))
    if targets.dtype.kind == "f" or (targets.size == 1 and len(np.unique(part.labels)) < len(part)):
        return part.outputs
    return open_source(data).outputs
