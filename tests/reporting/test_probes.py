"""A probe stands beside the pair whose losses move with it, with the correlation stated."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from reporting_case import make_case, show

from opsigcli.commands.report import summary
from opsigcli.probe_records import Probe, ProbeTrace
from opsigcli.records import Case
from opsigcli.reporting.html import render_html
from opsigcli.reporting.probes import moved_by, told
from opsigcli.reporting.terminal import render_report

PROBE = Probe("colour:skyblue", "the colour skyblue", "0" * 32)


def with_answers(case: Case, answers: np.ndarray) -> Case:
    """The case with a probe of three classes, the first of which has these probabilities."""
    whole = np.stack([answers, (1 - answers) * 0.7, (1 - answers) * 0.3], axis=1).astype(np.float32)
    traced = ProbeTrace(PROBE, np.zeros((1, 3, 2, 2), np.float32), np.arange(3), whole)
    return replace(case, probes=(traced,))


def curve(case: Case, pair: int, side: int) -> np.ndarray:
    """The mean loss of a group, (T,)."""
    assert case.mining is not None
    ids = [*case.mining.pairs[pair - 1].groups.values()][side].ids
    return np.asarray(case.trace.losses)[:, case.trace.positions(ids)].mean(axis=1, dtype=np.float64)


def test_the_group_is_the_one_whose_changes_correlate_most_and_the_number_is_numpys() -> None:
    case = make_case(pairs=2, examples=48)
    rng = np.random.default_rng(0)
    losses = np.array(case.trace.losses)
    assert case.mining is not None
    second = case.trace.positions(case.mining.pairs[1].second.ids)
    losses[:, second] += rng.normal(0, 0.4, (len(losses), 1)).astype(np.float32)  # a course of its own
    case = replace(case, trace=replace(case.trace, losses=losses))
    swing = curve(case, 2, 1)
    answers = 0.5 - 0.1 * (swing - swing.mean()) + rng.normal(0, 0.01, len(swing))
    case = with_answers(case, answers)
    found = moved_by(case, case.probes[0])
    assert found is not None
    assert (found.pair, found.side, found.of) == (2, "second", 4)
    first = round(0.1 * (len(swing) - 1))
    by_numpy = np.corrcoef(np.diff(answers.astype(np.float32))[first:], np.diff(swing)[first:])[0, 1]
    assert found.correlation == pytest.approx(by_numpy, abs=1e-4)
    assert found.correlation < -0.9
    words = "\n".join(told(case, case.probes[0]))
    assert f"correlate by {found.correlation:.2f}" in words
    assert "the most of 4 groups looked at" in words


def test_the_page_and_the_terminal_show_it_and_the_page_in_the_pairs_own_section() -> None:
    case = make_case()
    case = with_answers(case, np.clip(0.5 + 0.2 * (curve(case, 1, 0) - 2), 0, 1))
    page = render_html(case, summary(case))
    assert page.index('id="pair-1"') < page.index("Answer to the colour skyblue")
    assert "the colour skyblue: cat, dog, frog" in show(render_report(case), 100)


def test_without_pairs_nothing_is_said_to_move_it() -> None:
    case = with_answers(replace(make_case(), mining=None, spikes=()), np.linspace(0.1, 0.9, 41))
    assert moved_by(case, case.probes[0]) is None
    assert told(case, case.probes[0]) == ["cat swings most, between 10% and 90%; 90% at step 40."]


def test_checkpoints_without_an_answer_are_counted_and_are_gaps() -> None:
    answers = np.linspace(0.1, 0.9, 41)
    answers[30:] = np.nan
    case = with_answers(make_case(), answers)
    assert "Measured at 30 of 41 checkpoints." in told(case, case.probes[0])
    found = moved_by(case, case.probes[0])
    assert found is None or found.changes <= 29
    page = render_html(case, summary(case)).split('id="opsig-result"')[0]
    assert not re.search(r"\bnan\b", page.split("</style>")[1], re.IGNORECASE)
