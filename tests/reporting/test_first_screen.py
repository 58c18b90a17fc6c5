"""What a report says first, in 40 lines of a terminal and on the first screen of the page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reporting_case import HOSTILE, SPIKE_AT, make_case, show, with_losses

from opsigcli.mining.causes.attribute import with_causes
from opsigcli.records import Case
from opsigcli.reporting.first_screen import held_together, next_steps, spike_lines, stability, uncovered
from opsigcli.reporting.html import render_html
from opsigcli.reporting.terminal import render_report
from opsigcli.result_records import Causal


def told(examples: int = 240, **more: object) -> Case:
    """A case in which cats rise by two nats in one spike, and those with a high id most."""
    case = make_case(examples=examples, **more)  # type: ignore[arg-type]
    losses = case.trace.losses.copy()
    cats = case.trace.labels == 0
    losses[SPIKE_AT + 1] += np.where(cats, 2.0 + np.arange(examples) / examples, -1.5).astype(np.float32)
    seen = {"brightness": np.arange(examples, dtype=np.float32)}
    return with_causes(with_losses(case, losses), (seen, ""))


def test_the_cause_of_a_spike_and_how_sure_it_is_stand_in_the_first_40_lines() -> None:
    lines = show(render_report(told())).splitlines()[:40]
    first = " ".join(" ".join(lines).split())
    assert "cat holds" in first
    assert "seen:" in first
    assert "rose most from step 20 to 21: cat" in first
    assert "fell most from step 20 to 21" in first
    assert "Stability ratio at 10 of 41 checkpoints" in first
    assert "next: opsig" in first


def test_classes_that_are_numbers_are_told_from_the_ids_behind_them() -> None:
    case = told()
    case = replace(case, run=replace(case.run, classes=("3", "1", "2")), thumbnails=None)
    lines = " ".join(" ".join(show(render_report(case)).splitlines()[:40]).split())
    header = re.split("</?header>", render_html(case, {}))[1]
    assert re.search(r"rose most from step 20 to 21: class 3: \d+ \+\d", lines)
    assert "fell most from step 20 to 21: class 1: " in lines or "21: class 2: " in lines
    assert re.search(r"class 3: \d+ <span", header)


def test_the_same_stands_in_the_header_of_the_page_with_six_pictures_on_either_side() -> None:
    case = told()
    header = re.split("</?header>", render_html(case, {}))[1]
    assert "cat holds" in header
    assert '<span class="strength">seen</span>' in header
    assert 'id="figure-loss"' in header
    assert "Stability ratio at 10 of 41 checkpoints" in header
    assert header.count("<img ") == 12
    assert "opsig mine --causal" in header


def test_going_on_without_pairs_is_advised_of_findings_that_it_was_not_asked_of() -> None:
    case = told()
    assert case.mining is not None
    asked = Causal(0, 0, (), "", groups=case.mining.digest, notes=("no period two is seen",))
    assert any("--causal" in words for words in next_steps(case))
    assert not any("--causal" in words for words in next_steps(replace(case, causal=(asked,))))
    proposed = replace(case.mining, pairs=tuple(replace(pair, finding=False) for pair in case.mining.pairs))
    assert not any("--causal" in words for words in next_steps(replace(case, mining=proposed)))


def test_where_no_rise_is_sudden_the_largest_one_has_its_cause() -> None:
    case = make_case(examples=240)
    rng = np.random.default_rng(0)
    losses = 2 + 0.3 * rng.standard_normal(len(case.trace.steps))[:, None] + np.zeros((1, 240))
    losses[10:] += np.where(case.trace.labels == 0, 1.5, 0.0)
    case = with_causes(with_losses(replace(case, spikes=(), mining=None), losses.astype(np.float32)), None)
    assert case.spikes == ()
    assert case.largest_rise is not None
    mean = case.trace.mean_losses
    row = case.trace.steps.tolist().index
    climbed = mean[row(case.largest_rise.next_step)] - mean[row(case.largest_rise.step)]
    assert case.largest_rise.rise == pytest.approx(climbed)
    shown = show(render_report(case))
    first = " ".join(" ".join(shown.splitlines()[:40]).split())
    assert "no spike; largest rise step" in first
    assert "rose most from step" in first
    page = render_html(case, {})
    assert "no spike; largest rise step" in re.split("</?header>", page)[1]
    assert "Largest rise of the mean loss" in page
    flat = with_causes(with_losses(case, np.ones((len(case.trace.steps), 240), dtype=np.float32)), None)
    assert flat.largest_rise is None
    assert "No spike of the mean loss was found." in show(render_report(flat))


def test_examples_without_pictures_are_listed() -> None:
    header = re.split("</?header>", render_html(told(images=False), {}))[1]
    assert "<img " not in header
    assert re.search(r'cat \d+ <span class="delta">\+', header)


def test_the_classes_by_spike_stand_beside_what_is_expected_and_only_clear_ones_are_bold() -> None:
    page = render_html(told(), {})
    table = re.search(r'<table class="sortable classes">.*?</table>', page, re.DOTALL)
    assert table is not None
    (bold,) = re.findall(r"<b>(.*?)</b>", table[0])
    shown = show(render_report(told()), 120)
    assert bold in shown
    assert "Spikes by class" in shown
    assert table[0].count("33%") >= 3  # of three classes alike


def test_names_of_classes_never_become_markup() -> None:
    case = told(classes=(HOSTILE, "dog", "frog"))
    page = render_html(case, {})
    assert "<img src=x" not in page
    assert "[bold]" in show(render_report(case), 200)


def test_shares_that_read_alike_are_said_once() -> None:
    case = told()
    (spike,) = [spike for spike in case.spikes if spike.cause is not None and spike.cause.named]

    def held(*shares: float) -> str:
        assert spike.cause is not None
        (cats,) = (share for share in spike.cause.classes if share.name in spike.cause.named)
        causes = [replace(spike.cause, classes=(replace(cats, share=share),)) for share in shares]
        return held_together(replace(case, spikes=tuple(replace(spike, cause=cause) for cause in causes)))

    assert "held 100% of 5 spikes" in held(*[1.0] * 4, 0.999)
    assert "held 84 and 100% of 2 spikes" in held(0.84, 1.0)
    assert "held 72 to 100% of 5 spikes" in held(*[1.0] * 4, 0.72)


def test_who_held_is_said_beside_its_size_and_by_its_own_name() -> None:
    case = told(classes=("iCat", "dog", "frog"))
    said = f"By class: iCat ({100 * np.mean(case.trace.labels == 0):.0f}% of the examples) held "
    assert held_together(case).startswith(said)
    shown = " ".join(show(render_report(case)).split())
    assert said in shown
    assert said in render_html(case, {})


def test_a_case_without_causes_has_a_first_screen() -> None:
    case = make_case()
    assert spike_lines(case) == []
    assert held_together(case) == ""
    assert "Stability ratio" in show(render_report(case))
    assert "Stability ratio" in render_html(replace(case, spikes=(), mining=None), {})


def test_a_ratio_inside_the_spike_is_said_with_its_cause() -> None:
    case = told()
    assert case.sharpness[5].step == SPIKE_AT
    (line,) = spike_lines(case)
    assert "1.20 \u00d7 the stability threshold there" in line.words
    assert uncovered(case) == []
    assert "every spike is covered" in stability(case)


def test_spikes_that_no_ratio_covers_are_named_and_the_next_command_covers_them() -> None:
    case = told()
    far = replace(case, sharpness=case.sharpness[:5], store=Path("my store.h5"))
    assert "the spike from step 20 is not covered" in stability(far)
    assert next_steps(far)[0] == "opsig sharpness --every 2 --store 'my store.h5'"
    none = replace(case, sharpness=(), mining=None)
    assert stability(none) == "Stability ratio: measured at 0 of 41 checkpoints."
    assert next_steps(none) == ["opsig sharpness --every 2", "opsig mine"]
    assert not any("sharpness" in command for command in next_steps(case))


def test_sharpness_without_a_ratio_says_why() -> None:
    case = told()
    bare = replace(
        case, sharpness=tuple(replace(p, ratio=None, reason="no ratio: no lr") for p in case.sharpness)
    )
    assert stability(bare) == "Stability ratio: none; sharpness at 11 of 41 checkpoints (no lr)."


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_first_screen_keeps_to_the_width(width: int) -> None:
    assert max(map(len, show(render_report(told()), width).splitlines())) <= width


def test_many_classes_leave_the_page_small_and_the_smaller_ones_are_one() -> None:
    names = tuple(f"class-{k}" for k in range(100))
    case = told(examples=600, classes=names)
    page = render_html(case, {})
    tables = re.findall(r'<table class="parts"><caption>by class.*?</table>', page, re.DOTALL)
    assert len(tables) == 1
    assert tables[0].count("<tr>") == 17  # with the heading
    assert "85 others" in tables[0]


def test_a_single_spike_is_not_said_to_split_again_in_none_of_no_others() -> None:
    case = told()
    single = replace(case, spikes=tuple(spike for spike in case.spikes if spike.cause is not None)[:1])
    assert single.spikes[0].cause is not None
    splits = single.spikes[0].cause.features
    alone = replace(single.spikes[0].cause, features=tuple(replace(s, again=0, others=0) for s in splits))
    page = render_html(replace(single, spikes=(replace(single.spikes[0], cause=alone),)), {})
    assert splits
    assert "Spearman" in page
    assert "of 0 other spikes" not in page
