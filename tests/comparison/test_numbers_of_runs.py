"""What the table of several runs says of each: the losses at their ends, what was mined, and rates that changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from reporting_case import make_case, show, with_losses

from opsigcli.comparison.compare import compare
from opsigcli.records import Case
from opsigcli.reporting.comparison import numbers, render_comparison, settings


def row(name: str, *cases: Case) -> tuple[str, ...]:
    return next(each[1:] for each in numbers(compare(cases)).rows if each[0] == name)


def test_a_run_whose_losses_end_as_no_numbers_has_no_last_mean_loss() -> None:
    case = make_case()
    losses = np.array(case.trace.losses)
    losses[-3:] = np.nan
    first, last = row("last mean loss", case, with_losses(case, losses))
    assert float(first) == round(float(case.trace.mean_losses[-1]), 4)
    assert last == "not finite"
    assert row("first mean loss", case, with_losses(case, losses))[1] != "not finite"


def test_nothing_mined_is_not_said_to_be_no_pairs() -> None:
    case = make_case()
    assert case.mining is not None
    none = replace(case, mining=replace(case.mining, pairs=()))
    found = row("pairs, findings", case, replace(case, mining=None), none)
    assert found == (f"{len(case.mining.pairs)}, \u2013", "\u2013, \u2013", "0, \u2013")
    assert [run.pairs for run in compare([case, replace(case, mining=None)]).runs][1] is None


def test_spikes_are_said_to_be_of_all_examples_where_curves_are_of_the_shared_ones() -> None:
    case, words = make_case(), "spikes of the mean over all examples of each run"
    part = replace(
        case,
        mining=None,
        trace=replace(
            case.trace,
            losses=case.trace.losses[:, ::2],
            labels=case.trace.labels[::2],
            example_ids=case.trace.example_ids[::2],
            **({} if case.trace.measured is None else {"measured": case.trace.measured[::2]}),
        ),
    )
    assert words not in numbers(compare([case, case])).words[0]
    compared = compare([case, part])
    assert compared.shared_by_all == len(part.trace.example_ids)
    assert words in numbers(compared).words[0]


def test_a_learning_rate_that_changed_is_not_told_by_its_last_value_alone() -> None:
    case = make_case()
    case = replace(case, run=replace(case.run, hyper={"lr": 0.1}))
    steady, changed = np.full(41, 0.1), np.linspace(0.4, 0.1, 41)
    assert replace(case, lrs=steady).settings == case.settings == {"lr": "0.1"}
    other = replace(case, lrs=np.where(np.arange(41) % 2, changed, np.nan))
    assert other.settings == {"lr": "0.1 at the end, 0.1075 to 0.3925 along the run"}
    listing = settings(compare([case, other]))
    assert listing is not None
    assert ("lr", "0.1", other.settings["lr"]) in listing.rows
    assert "0.1075 to 0.3925 along the run" in show(render_comparison(compare([case, other])), 200)
