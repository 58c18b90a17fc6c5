"""The numbers and sentences that both reports share."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from reporting_case import SPIKE_AT, make_case, with_losses

from opsigcli.errors import ReportError
from opsigcli.mining_records import (
    REST,
    Group,
    GroupKey,
    Spike,
    TopDeltas,
)
from opsigcli.printable import printable
from opsigcli.reporting.edge import against_threshold
from opsigcli.reporting.format import labels_text, number, score, shorten, signed
from opsigcli.reporting.headline import headline
from opsigcli.reporting.summary import (
    delta_row,
    facts,
    group_curves,
    notes,
    origins,
    sharpness_values,
)
from opsigcli.reporting.top_steps import strongest_top
from opsigcli.sentences import percent
from opsigcli.sharpness_records import SharpnessPoint
from opsigcli.token_ids import Naming


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.31249, "0.312"), (25.0, "25.0"), (1234.5, "1,234"), (-0.97, "-0.970"), (0.0, "0"), (None, "\u2013"),
        (math.nan, "\u2013"), (math.inf, "inf"), (1.5e-7, "1.50e-07"), (3.2e8, "3.20e+08"), (999.9, "1,000"),
    ],
)  # fmt: skip
def test_numbers_have_three_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_changes_have_a_sign_shares_a_percent_and_evidence_two_decimals() -> None:
    assert (signed(0.5), signed(-0.5), signed(None)) == ("+0.500", "-0.500", "\u2013")
    assert (percent(0.4249), percent(0.0851), percent(math.nan)) == ("42%", "8.5%", "\u2013")
    assert score(-0.001) == "0.00"
    assert (score(-0.919), score(123.4), score(None), score(math.nan)) == ("-0.92", "123", "\u2013", "\u2013")


def test_labels_are_cut_to_fit_and_count_what_is_left_out() -> None:
    labels = {"airplane": 12, "bird": 3, "cat": 1}
    assert labels_text(labels) == "airplane ×12, bird ×3, cat ×1"
    assert labels_text(labels, 22) == "airplane ×12, +2 more"
    assert labels_text({"a very long class name": 5}, 10) == "a ver\u2026e ×5"
    assert labels_text({}) == "\u2013"
    assert all(len(labels_text(labels, width)) <= width for width in range(5, 30))
    assert len(shorten("x" * 50, 9)) == 9


def test_text_from_data_cannot_steer_a_terminal() -> None:
    assert printable("cat\x1b[31m\u009b\udc80 d\u00a0o\ng") == "cat\ufffd[31m\ufffd\ufffd d o\ufffdg"


def test_group_curve_is_the_mean_over_members_by_id_in_any_order() -> None:
    case = make_case()
    trace = replace(case.trace, example_ids=case.trace.example_ids[::-1].copy())
    ids = trace.example_ids[[5, 2, 11]]
    naive = [sum(float(row[p]) for p in (5, 2, 11)) / 3 for row in trace.losses]
    (curve,) = group_curves(trace, [Group(ids)])
    assert curve == pytest.approx(naive)
    (part,) = group_curves(trace, [Group(ids)], slice(3, 9))
    assert part == pytest.approx(naive[3:9])
    assert trace.positions(ids).tolist() == [5, 2, 11]


def test_group_curve_has_no_number_where_a_member_has_none() -> None:
    case = make_case()
    case.trace.losses[3, 1] = np.nan
    ids = case.trace.example_ids
    curve, nobody, other = group_curves(case.trace, [Group(ids[:3]), Group(ids[:0]), Group(ids[3:5])])
    assert np.flatnonzero(np.isnan(curve)).tolist() == [3]
    assert np.isnan(nobody).all()
    assert other == pytest.approx(case.trace.losses[:, 3:5].mean(axis=1))


@pytest.mark.parametrize("stranger", [99, 101, 10**6])
def test_a_group_with_a_strange_example_is_an_error_that_names_it(stranger: int) -> None:
    with pytest.raises(ReportError, match=f"example {stranger} "):
        make_case().trace.positions(np.array([100, stranger]))


def test_the_last_checkpoint_begins_no_delta() -> None:
    trace = make_case(checkpoints=5, every=10).trace
    assert [delta_row(trace, step) for step in (0, 30, 40, 7)] == [0, 3, None, None]


def test_strongest_steps_are_not_neighbours_of_each_other() -> None:
    mining = make_case().mining
    assert mining is not None
    steps = [top.step for top in strongest_top(mining, 3)]
    assert steps == sorted(steps)
    assert SPIKE_AT in steps or SPIKE_AT + 1 in steps
    assert min(np.diff(steps)) > len(mining.top) // 20


def test_examples_whose_loss_fell_least_did_not_go_up() -> None:
    ids = np.arange(3)
    falls = TopDeltas(0, 1, ids, np.array([0.5, 0.0, -0.1]), ids, np.array([-0.3, -0.2, -0.1]))
    still = TopDeltas(1, 2, ids, np.zeros(3), ids, np.zeros(3))
    case = make_case()
    assert case.mining is not None
    (found,) = strongest_top(replace(case.mining, top=(falls, still)), 3)
    assert (found.up_ids.tolist(), found.down_ids.tolist()) == ([0], [0, 1, 2])


def test_headline_says_pairs_sharpness_and_spikes() -> None:
    said = headline(make_case(pairs=2))
    assert said.title == (
        "Two pairs of opposing groups were found, sharpness reached the stability threshold by step 16, and the "
        "mean loss spiked once."
    )
    assert said.found[0] == "Pairs 1 and 2: opposing outliers. Together the groups are 67% of the data."
    assert "2.00" in said.found[1]
    assert (
        "20% by pair 1 (33% of the data), 20% by pair 2 (33% of the data), and 60% by examples in no pair"
        in said.found[2]
    )
    assert any("did not converge at 1 of 11" in line for line in said.missing)


def test_headline_says_of_a_pair_that_holds_a_spike_whether_it_is_a_proposal() -> None:
    case = make_case(pairs=2)
    assert case.mining is not None
    pairs = tuple(replace(pair, finding=n == 0) for n, pair in enumerate(case.mining.pairs))
    said = headline(replace(case, mining=replace(case.mining, pairs=pairs)))
    assert any("20% by pair 1 (33% of the data), 20% by proposed pair 2 (33%" in line for line in said.found)


def test_headline_leaves_out_sharpness_that_did_not_converge() -> None:
    case = make_case()
    wild = SharpnessPoint(2, (1e9,), (0.5,), False, 200, 25.0, 4e7)
    said = headline(replace(case, sharpness=(*case.sharpness, wild)))
    assert "1e" not in " ".join((said.title, *said.found))
    only_wild = headline(replace(case, sharpness=(wild,)))
    assert "sharpness" not in only_wild.title.lower()
    assert any("did not converge" in line for line in only_wild.missing)


def test_preconditioned_and_plain_sharpness_are_never_mixed() -> None:
    case = make_case()
    points = tuple(
        replace(p, ratio=None) if p.step == 0 else replace(p, preconditioned=9e3) for p in case.sharpness
    )
    values = sharpness_values(points)
    assert math.isnan(values[0])
    assert set(values[1:]) == {9e3}
    assert sharpness_values(case.sharpness) == [p.eigenvalues[0] for p in case.sharpness]
    assert (
        headline(replace(case, sharpness=points))
        .found[1]
        .startswith("Preconditioned sharpness came to at most")
    )


def test_plain_sharpness_after_another_rule_is_held_against_its_own_threshold() -> None:
    case = make_case()
    first, *rest = (replace(p, converged=True) for p in case.sharpness)
    adam = replace(first, preconditioned=9e3, threshold=9e4, ratio=0.1)
    # Gradient descent from the second point on, above its threshold.
    points = (adam, *(replace(p, threshold=p.eigenvalues[0] / 1.5, ratio=1.5) for p in rest))
    assert sharpness_values(points) == [9e3, *(p.eigenvalues[0] for p in rest)]
    assert against_threshold(replace(case, sharpness=points)) == list(points)
    said = headline(replace(case, sharpness=points))
    assert any("came to at most 1.50\u00a0× the stability threshold" in line for line in said.found)
    assert not any("did not converge" in line for line in (*said.found, *said.missing))


def test_headline_says_when_batch_norm_was_in_eval_mode() -> None:
    case = make_case()
    for name, told in (("running", True), ("batch", False), (None, False)):
        said = headline(replace(case, sharpness=tuple(replace(p, batch_norm=name) for p in case.sharpness)))
        assert ("eval-mode sharpness" in said.title) == told
        assert any("--batch-norm batch" in line for line in said.missing) == told


def test_headline_says_when_there_is_no_threshold() -> None:
    case = make_case()
    points = tuple(replace(p, threshold=None, ratio=None, reason="lr is not known") for p in case.sharpness)
    said = headline(replace(case, sharpness=points))
    assert "sharpness measured at 10 checkpoints was at most 50.0 (step 40)" in said.title
    assert any("threshold is not known (lr is not known)" in line for line in said.missing)
    points = tuple(replace(p, ratio=None, reason="no ratio: unseen") for p in case.sharpness)
    said = headline(replace(case, sharpness=points))
    assert any("There is no stability ratio (unseen)" in line for line in said.missing)


def test_headline_says_what_was_not_looked_at() -> None:
    case = replace(make_case(), mining=None, sharpness=(), spikes=())
    said = headline(case)
    assert said.title == "Opposing groups were not looked for."
    assert any("opsig mine" in line for line in said.missing)
    assert any("opsig sharpness" in line for line in said.missing)


def test_headline_without_pairs_says_what_was_looked_at() -> None:
    case = make_case(pairs=0)
    assert case.mining is not None
    said = headline(replace(case, spikes=()))
    assert said.title.startswith("No pair of opposing groups was found")
    assert any("24 candidate examples of 24" in line and "(steps 8, 16)" in line for line in said.missing)
    assert any("No spike" in line for line in said.missing)


def test_headline_counts_checkpoints_without_a_finite_mean_loss() -> None:
    case = make_case()
    losses = case.trace.losses.copy()
    losses[4:6, :13] = np.nan  # more than half of the examples
    said = headline(with_losses(case, losses)).missing
    assert any("2 of 41 checkpoints" in line for line in said)
    assert not any("over the" in line for line in said)


def test_shares_of_a_spike_named_for_no_known_pair_count_as_others() -> None:
    case = make_case()
    assert case.mining is not None
    spike = Spike(1, 2, 0.5, {GroupKey(9, "first"): 0.4, REST: 0.6})
    said = headline(replace(case, spikes=(spike,)))
    assert any(line == "The largest spike is +0.500 nats from step 1 to 2." for line in said.found)


def test_commands_stand_in_the_order_in_which_they_are_run() -> None:
    case = make_case()
    backwards = dict(reversed(case.provenance.items()))
    assert [name for name, _ in origins(replace(case, provenance=backwards))] == ["trace", "mine"]


def test_facts_and_notes_say_what_is_known() -> None:
    case = make_case()
    known = dict(facts(case))
    assert known["settings"] == "lr 0.08"
    assert known["batch"] == "full"
    assert known["series"] == "41 checkpoints, steps 0 to 40"
    assert case.mining is not None
    mining = replace(case.mining, recovery={"known": 2.0, "found": 1.0, "f1": 0.5, "precision": 1.0})
    case.trace.complete[0] = False
    said = notes(replace(case, mining=mining))
    assert said[0] == "Checkpoints are few."
    assert any("2 known pairs: 1 of them found, membership F1 0.500" in line for line in said)
    assert any("1 of 41 checkpoints" in line for line in said)
    assert "Sharpness: stopped at 200 matvecs." in said


def test_headline_calls_an_oscillation_of_whole_classes_by_its_name() -> None:
    case = make_case()
    assert case.mining is not None
    mining = replace(case.mining, pairs=(), explained={"class": 0.74}, opposing_classes=(("cat",), ("dog",)))
    said = headline(replace(case, mining=mining))
    assert said.title.startswith("Only whole classes were found to oppose one another")
    assert "explains 74% of the high-passed loss deltas" in said.found[0]
    numbers = headline(replace(case, mining=replace(mining, opposing_classes=(("0", "2"), ("1",)))))
    assert "(class 0 and class 2 against class 1)" in numbers.title
    tokens = replace(case.trace, naming=Naming(True, "next token"))
    assert (
        "('the' against 'a')"
        in headline(
            replace(case, trace=tokens, mining=replace(mining, opposing_classes=(("the",), ("a",))))
        ).title
    )
    weak = headline(replace(case, mining=replace(mining, explained={"class": 0.3})))
    assert weak.title.startswith("No pair of opposing groups was found")
    still = headline(replace(case, mining=replace(mining, opposing_classes=())))  # nothing swings
    assert still.title.startswith("No pair of opposing groups was found")


def test_classes_that_learn_at_their_own_pace_do_not_oppose_one_another() -> None:
    """From two checkpoints there is one loss delta, of which nothing can be said to swing."""
    for checkpoints, title in ((2, "No pair"), (5, "No pair"), (6, "Only whole classes")):
        case = make_case(checkpoints=checkpoints, pairs=0)
        assert case.mining is not None
        mining = replace(case.mining, explained={"class": 0.74}, opposing_classes=(("cat",), ("dog",)))
        case = replace(case, spikes=(), mining=mining)
        assert headline(case).title.startswith(title)


def test_headline_says_what_the_swinging_pairs_hold() -> None:
    case = make_case(pairs=2)
    assert case.mining is not None
    first, second = case.mining.pairs
    mining = replace(case.mining, pairs=(replace(first, traits=("structural", "active")), second))
    members = len(first.first.ids) + len(first.second.ids)
    data = f"{100 * members / 24:.0f}% of the data."
    expected = f"The pair that swings holds 50% of the energy of high-passed loss deltas with {data}"
    assert expected in headline(replace(case, mining=mining)).found
    assert not any("swing" in line for line in headline(case).found)
