"""The first screen of ``opsig report``: 40 lines of 80 columns, in narrow terminals and in ASCII as well."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reporting.test_first_screen import told
from reporting.test_terminal import wide_case
from reporting_case import make_case, show
from rich.cells import cell_len

from opsigcli.printable import spelled
from opsigcli.records import Case, Provenance
from opsigcli.reporting.screen import LINES, Screen, render
from opsigcli.result_records import Result

CASES = {
    "told": lambda: told(pairs=3),
    "wide": wide_case,
    "bare": lambda: replace(make_case(), mining=None, sharpness=(), spikes=()),
    "short": lambda: make_case(checkpoints=2),
}


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("name", CASES)
def test_the_first_screen_fits(name: str, width: int) -> None:
    lines = show(render(Screen(CASES[name]())), width).splitlines()
    assert len(lines) <= LINES
    assert max(map(cell_len, lines)) <= width
    assert "opsig report --full" in " ".join(lines)


def test_it_has_verdict_loss_ratio_findings_and_the_next_command() -> None:
    text = " ".join(show(render(Screen(told(pairs=3)))).split())
    for words in ("pairs of opposing groups were found", "Mean loss, nats", "Stability ratio, \u2504 edge",
                  "holds 98% of the rise", "Pairs 1, 2, and 3", "next: opsig mine --causal"):  # fmt: skip
        assert words in text


def test_results_that_are_not_shown_are_counted() -> None:
    kept = Result("mine --method top", "mine", False, Provenance("mine", {}, "0"))
    case: Case = replace(make_case(), results=(kept,))
    assert "1 more result in the store" in show(render(Screen(case)))
    assert "more result" not in show(render(Screen(make_case())))


def test_what_an_encoding_lacks_is_spelled_with_what_it_has() -> None:
    assert (
        spelled("1.2 \u00d7, \u2504 edge \u00b1 \u03bb", "utf-8") == "1.2 \u00d7, \u2504 edge \u00b1 \u03bb"
    )
    assert spelled("1.2 \u00d7, \u2504 edge \u00b1 \u03bb", "ascii") == "1.2 x, - edge +- lambda"
    assert spelled("1.2 \u00d7, \u2504", "latin-1") == "1.2 \u00d7, -"
    assert spelled("\u732b", "ascii") == "?"


def test_who_held_the_largest_spike_is_there_before_other_sentences() -> None:
    case = told(pairs=3)
    longer = tuple(
        spike if spike.cause is None else replace(spike, cause=replace(spike.cause, words="held so " * 100))
        for spike in case.spikes
    )
    shown = show(render(Screen(replace(case, spikes=longer))), 80)
    assert len(shown.splitlines()) <= LINES
    assert shown.count("held so") >= 88 - 12 - 12 - 12
