"""After which updates of a run checkpoints are saved."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple

from opsigcli.errors import UsageError

EXAMPLE = "example: --save-steps 0:100:10,100:200:1"
_RANGE = re.compile(r"(\d{1,12})(?::(\d{1,12})(?::(\d{1,12}))?)?")


class _Steps(NamedTuple):
    first: int
    last: int
    apart: int


class SaveSteps:
    """Every N-th step, or those of ranges ``A:B:C``: from A to B, both of them, every C-th; or single steps.

    Args:
        every: N, where there are no ranges.
        ranges: with commas between them, in their order; "" where there are none.

    Raises:
        UsageError: a range is not of this form, ends before it begins, or begins before the one ahead of it ends; or
            both are given.
    """

    def __init__(self, every: int, ranges: str = "") -> None:
        self._every, self._ranges = every, [_read(text) for text in ranges.split(",")] if ranges else []
        if self._ranges and every != 1:
            raise UsageError(
                "expected --save-every or --save-steps, found both",
                "leave one out; ranges have distances of their own",
            )
        for before, after in zip(self._ranges, self._ranges[1:], strict=False):
            if after.first < before.last:
                raise UsageError(
                    f"expected ranges of steps one after the other, found {ranges!r}: {after.first} comes before "
                    f"{before.last}",
                    EXAMPLE,
                )

    def __str__(self) -> str:
        """The ranges, written in one way."""
        return ",".join(f"{one.first}:{one.last}:{one.apart}" for one in self._ranges)

    def count(self, after: int, last: int) -> int:
        """How many steps above ``after`` up to ``last`` are among them."""
        if not self._ranges:
            return last // self._every - after // self._every
        found = 0
        for one in self._ranges:
            begin = max(-(-(after + 1 - one.first) // one.apart), 0)
            end = (min(last, one.last) - one.first) // one.apart
            if end >= begin:
                found += end - begin + 1
                after = one.first + end * one.apart  # a step that two ranges share counts once
        return found

    def __contains__(self, step: int) -> bool:
        if not self._ranges:
            return step % self._every == 0
        at = bisect_right([one.first for one in self._ranges], step)
        return any(
            step <= one.last and (step - one.first) % one.apart == 0
            for one in self._ranges[max(at - 2, 0) : at]
        )


def _read(text: str) -> _Steps:
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"expected steps as FIRST:LAST:APART, found {text!r}", EXAMPLE)
    first = int(match[1])
    last, apart = int(match[2] or first), int(match[3] or 1)
    if last < first or not apart:
        raise UsageError(f"expected steps that go up, found {text!r}", EXAMPLE)
    return _Steps(first, last, apart)
