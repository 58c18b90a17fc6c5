"""How much time or how many HVPs a command may spend, and which checkpoints it measures."""

from __future__ import annotations

import math
import re
import time

from opsigcli.errors import UsageError

SECONDS = {"s": 1, "m": 60, "h": 3600}


class Budget:
    """Seconds or HVPs that may be spent.

    Args:
        text: ``90s``, ``10m``, ``2h`` or ``500hvp``; None is without end.

    Raises:
        UsageError: ``text`` is none of these.
    """

    def __init__(self, text: str | None) -> None:
        self.text = text
        self.matvecs = 0  # spent
        self._most = math.inf
        self._deadline = math.inf
        if text is None:
            return
        match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|m|h|hvps?)", text.strip().lower())
        if match is None or float(match[1]) == 0:
            raise UsageError(
                f"expected a budget such as 90s, 10m, 2h or 500hvp, found {text!r}",
                "example: opsig sharpness --budget 10m",
            )
        if match[2] in SECONDS:
            self._deadline = time.monotonic() + float(match[1]) * SECONDS[match[2]]
        else:
            self._most = float(match[1])

    @property
    def limited(self) -> bool:
        """There is an end to it."""
        return self.text is not None

    def spend(self, matvecs: int = 1) -> None:
        """Count HVPs."""
        self.matvecs += matvecs

    @property
    def spent(self) -> str:
        """Why to stop; "" while there is some left."""
        over = self.matvecs >= self._most or time.monotonic() >= self._deadline
        return f"the budget of {self.text} is spent" if over else ""


def step_range(text: str | None) -> tuple[float, float]:
    """First and last step of ``a:b``; an end that is left out is open.

    Raises:
        UsageError: ``text`` is not of this form.
    """
    if text is None:
        return -math.inf, math.inf
    match = re.fullmatch(r"(\d*):(\d*)", text.strip())
    first, last = (match[1], match[2]) if match else ("1", "0")
    low, high = float(first or "-inf"), float(last or "inf")
    if low > high:
        raise UsageError(
            f"expected steps as FIRST:LAST, found {text!r}", "examples: --steps 100:200, --steps 100:"
        )
    return low, high


def coarse_to_fine(count: int) -> list[int]:
    """0 … count − 1 (count ≥ 1) such that any beginning of the list is spread over them all: ends, middle …"""
    order = [0, count - 1]
    spans = [(0, count - 1)]
    while spans:
        low, high = spans.pop(0)
        if high - low > 1:
            middle = (low + high) // 2
            order.append(middle)
            spans += [(low, middle), (middle, high)]
    return list(dict.fromkeys(order))
