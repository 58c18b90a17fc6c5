"""Nats are of log likelihoods: what shows the losses of another kind says no unit of theirs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from reporting_case import make_case, show

from opsigcli.gates.metrics import METRICS, measure
from opsigcli.loss_unit import LOG_LIKELIHOODS, NATS, unit_of
from opsigcli.mining.causes.attribute import with_causes
from opsigcli.objective.losses import LOSSES
from opsigcli.records import Case
from opsigcli.reporting.comparison import unit_in
from opsigcli.reporting.html import render_html
from opsigcli.reporting.markdown import render_markdown
from opsigcli.reporting.screen import Screen, render
from opsigcli.reporting.terminal import render_report
from opsigcli.schemas.build import document


def case_of(loss: str) -> Case:
    case = make_case()
    unit = unit_of(loss)
    case = replace(case, run=replace(case.run, loss=loss), trace=replace(case.trace, unit=unit))
    return with_causes(case, None)


def test_every_loss_that_has_nats_is_one_of_the_table() -> None:
    assert set(LOG_LIKELIHOODS) < set(LOSSES)
    assert unit_of("ce?label_smoothing=0.1") == NATS
    for loss in ("mse?outputs=sum", "huber", "l1", "focal?gamma=2", "gce", "file:loss.py:fn", ""):
        assert not unit_of(loss).name


@pytest.mark.parametrize(("loss", "said"), [("ce", True), ("mse", False), ("huber?delta=2", False)])
def test_what_is_shown_of_a_case_says_nats_of_log_likelihoods_alone(loss: str, said: bool) -> None:
    case = case_of(loss)
    shown = {
        "terminal": show(render_report(case), 160),
        "screen": show(render(Screen(case)), 160),
        "page": render_html(case, {}),
        "markdown": render_markdown(case, measure(case), (), None),
        "gates": json.dumps({name: value.unit for name, value in measure(case).items()}),
    }
    assert {name: "nats" in text for name, text in shown.items()} == dict.fromkeys(shown, said)
    assert measure(case)["loss.last"].unit == ("nats" if said else "loss")


def test_runs_of_different_losses_have_no_unit_in_common() -> None:
    from opsigcli.comparison.compare import _run

    runs = [
        _run(case_of(loss), "A", {"loss": loss}, make_case().trace.example_ids[:0]) for loss in ("ce", "mse")
    ]
    assert unit_in(runs[:1]) == NATS
    assert not unit_in(runs[1:]).name
    assert not unit_in(runs).name


def test_schemas_and_lists_of_metrics_say_that_nats_are_of_some_losses() -> None:
    assert "nats or the loss's own unit" in json.dumps(document("report"))
    assert any(metric.unit == NATS.name for metric in METRICS.values())
    page = Path(__file__).parents[2] / "man" / "opsig-gates.7"
    assert "nats are of log likelihoods" in page.read_text(encoding="utf-8")
