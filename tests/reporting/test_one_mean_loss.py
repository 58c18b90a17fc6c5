"""Where some losses are missing, a spike's number, its curve, its table and the JSON say the same."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.store import content
from reporting_case import SPIKE_AT, make_case, show

from opsigcli.commands.report import report
from opsigcli.mining.spikes import attribute_spikes
from opsigcli.mining.trace_stats import survey
from opsigcli.options import ReportOptions
from opsigcli.progress import NoProgress
from opsigcli.reporting.html import render_html
from opsigcli.reporting.terminal import render_report
from opsigcli.store.reader import open_store
from opsigcli.store.writer import write_mining, write_trace


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a spike, in which some examples were not measured at its bottom and others not later."""
    case = make_case(examples=24)
    losses = case.trace.losses
    losses[SPIKE_AT + 1, :4] += 3
    losses[SPIKE_AT - 3, :3] = np.nan
    losses[-5:, 20] = np.inf
    path, ids = tmp_path / "opsig.h5", case.trace.example_ids
    write_trace(path, replace(content(24, 41), rows=iter(losses), example_ids=ids, labels=case.trace.labels))
    assert case.mining is not None
    with open_store(path) as opened:
        seen = survey(opened.losses, opened.measured)
        spikes = attribute_spikes(opened.losses, seen.mean_loss.values, case.trace.steps, {})
    write_mining(path, replace(case.mining, spikes=spikes, provenance=case.provenance["mine"]), None)
    return path


def test_the_rise_of_a_spike_is_that_of_the_curve_the_table_and_the_json(store: Path) -> None:
    done = report(ReportOptions(full=True, store=store), NoProgress())
    means, case = done.result["mean_losses"], done.view
    (spike,) = case.mining.spikes
    drawn = means[SPIKE_AT + 1] - means[SPIKE_AT]
    assert (spike.step, spike.next_step) == (SPIKE_AT, SPIKE_AT + 1)
    assert spike.rise == pytest.approx(drawn, rel=1e-12)
    text = render_html(case, done.result)
    label = f"+{drawn:.3g}"
    assert f">{label}</text>" in text
    rows = re.findall(r"<tr><td>(\d+)</td><td>([\d.]+)</td><td>([^<]+)</td></tr>", text)
    table = {int(step): (float(mean), rise) for step, mean, rise in rows}
    assert table[SPIKE_AT + 1][1] == label
    assert table[SPIKE_AT + 1][0] - table[SPIKE_AT][0] == pytest.approx(drawn, abs=2e-3)
    assert label in show(render_report(case))


def test_every_report_says_which_examples_the_mean_is_over(store: Path) -> None:
    done = report(ReportOptions(full=True, store=store), NoProgress())
    said = "over the 20 of 24 examples measured at every checkpoint"
    assert done.warnings == (f"the mean loss is {said}",)
    for shown in (render_html(done.view, done.result), show(render_report(done.view), 200)):
        assert f"The mean loss is {said}." in shown
