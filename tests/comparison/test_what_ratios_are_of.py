"""What the ratios of runs are of is said, also where one rule of a run gave way to another."""

from __future__ import annotations

import io
from dataclasses import replace

from reporting_case import make_case
from rich.console import Console

from opsigcli.comparison.compare import compare
from opsigcli.reporting.comparison import render_comparison

BOTH = "Ratios are of sharpness in some runs and of preconditioned sharpness in others"


def shown(*preconditioned: int) -> str:
    """Runs of which so many points are preconditioned, the others plain."""
    case = make_case(pairs=0)
    points = [
        tuple(replace(p, preconditioned=9e3 if i < n else None) for i, p in enumerate(case.sharpness))
        for n in preconditioned
    ]
    cases = [replace(case, sharpness=each) for each in points]
    console = Console(file=io.StringIO(), width=200)
    console.print(*render_comparison(compare(cases)))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_run_of_two_rules_has_ratios_of_both() -> None:
    several = len(make_case(pairs=0).sharpness)
    assert "Ratio: sharpness over its" in shown(0, 0)
    assert "Ratio: preconditioned sharpness over its" in shown(several, several)
    mixed = shown(2, 0)
    assert "Ratio: sharpness or preconditioned sharpness over its" in mixed
    assert BOTH in mixed
    assert BOTH not in shown(0, 0)
