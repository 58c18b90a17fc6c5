"""Numbers, labels and foreign text as the reports write them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.axis import STEPS, Axis

if TYPE_CHECKING:
    from opsigcli.mining_records import (
        GroupKey,
        Side,
    )
    from opsigcli.records import Floats, Ints

NOTHING = "\u2013"  # shown for a value that was not measured
MARKS: Mapping[Side, str] = {"first": "\u25b2", "second": "\u25bc", "rest": ""}  # the groups of a pair


def number(value: float | None, digits: int = 3) -> str:
    """A number with ``digits`` significant digits, or a dash when there is none."""
    if value is None or math.isnan(value):
        return NOTHING
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    size = math.floor(math.log10(abs(value)))
    if not -4 <= size < 7:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(0, digits - 1 - size)}f}"


def score(value: float | None) -> str:
    """A piece of evidence: two decimals say all that it can bear."""
    if value is None or not abs(value) < 100:
        return number(value)
    return f"{round(value, 2) + 0.0:.2f}"  # never -0.00


def signed(value: float | None, digits: int = 3) -> str:
    """A change, with its sign."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 else text


def labels_text(labels: Mapping[str, int], width: int = 60) -> str:
    """Label counts, ``cat ×12, dog ×3``, cut to ``width`` characters with a count of what was left out."""
    parts = [f"{name} \u00d7{members}" for name, members in labels.items()]
    for shown in range(len(parts), 0, -1):
        rest = len(parts) - shown
        text = ", ".join(parts[:shown]) + (f", +{rest} more" if rest else "")
        if len(text) <= width:
            return text
    return shorten(parts[0], width) if parts else NOTHING


def shorten(text: str, width: int) -> str:
    """``text``, with its middle left out when it is longer than ``width`` characters."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return text[: width - 1 - tail] + "\u2026" + text[len(text) - tail :]


def label_name(label: int, classes: Sequence[str]) -> str:
    """The class's name, or its number when it has no name."""
    return classes[label] if 0 <= label < len(classes) else str(label)


def group_mark(key: GroupKey) -> str:
    """A group in few characters: the pair's number and a triangle for the side."""
    return f"{key.pair}{MARKS[key.side]}" if key.pair else str(key)


def range_words(what: str, steps: Sequence[int] | Ints, values: Floats, axis: Axis = STEPS) -> str:
    """Where a curve begins and ends, and its least and its greatest value."""
    finite = np.flatnonzero(np.isfinite(values))
    if not len(finite):
        return f"{what}: no finite value."
    low, high = (finite[pick(values[finite])] for pick in (np.argmin, np.argmax))
    return (
        f"{what} from {axis.between(int(steps[0]), int(steps[-1]))}: {number(values[finite[0]])} at first, "
        f"{number(values[finite[-1]])} at last, least {number(values[low])} at {axis.at(int(steps[low]))}, greatest "
        f"{number(values[high])} at {axis.at(int(steps[high]))}."
    )
