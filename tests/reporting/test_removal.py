"""Causal sentences: each is made from numbers, and is not said where they do not bear it."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from reporting_case import make_case
from rich.console import Console

from opsigcli.mining.removal import effects
from opsigcli.reporting.listings import causal
from opsigcli.reporting.listings import shown as shown_as
from opsigcli.reporting.removal import lines, members_told, sentences
from opsigcli.result_records import MINED, NOBODY, RANDOM, Causal, CausalArm

LOSS = "examples of high loss"
FORKS = (10, 20, 30)
SPREAD = np.array([-0.01, 0.0, 0.01])
CAUSE = "At these forks the mined groups are a cause of"


def comparison(left: dict[str, float], rises: dict[str, float] | None = None, members: int = 0) -> Causal:
    """Three forks, at which arms leave such shares of sharpness and of rises, a little more at each."""
    arms = []
    for place, step in enumerate(FORKS):
        for name in (NOBODY, *left):
            share, rising = 1.0, 1.0
            if name != NOBODY:
                share, rising = (of.get(name, 1.0) + SPREAD[place] for of in (left, rises or {}))
            size, held = (0 if name == NOBODY else 8), (members if name == LOSS else 0)
            made = CausalArm(name, size, held, 40 * share, 30.0, rising, 0.1, step=step)
            arms.append(replace(made, sharpness_with_all=40.0, rises_with_all=1.0, mean_loss_with_all=0.1))
    return Causal(10, 60, tuple(arms), "as said", effects=effects(arms), notes=("where",))


def test_a_cause_is_named_where_random_examples_do_less_and_no_control_does_as_much() -> None:
    told = sentences(comparison({MINED: 0.7, RANDOM: 1.0, LOSS: 0.9}))
    assert told[0].startswith("The sharpness at once is lower by 30% (28% to 32%, 95 %)")
    assert "falls more than without random examples of the same classes and high loss" in told[0]
    assert told[-1] == f"{CAUSE} the sharpness at once (more than every control)"


def test_a_control_that_does_as_much_is_named_in_the_conclusion() -> None:
    told = sentences(comparison({MINED: 0.7, RANDOM: 1.0, LOSS: 0.5}))
    assert "it falls less than without high loss" in told[0]
    assert told[-1].endswith("(not told to be more than high loss)")
    alike = sentences(comparison({MINED: 0.7, RANDOM: 1.0, LOSS: 0.7}))
    assert "not told apart from that without high loss" in alike[0]


@pytest.mark.parametrize("random", [0.7, 0.5])
def test_no_cause_is_named_where_random_examples_do_as_much(random: float) -> None:
    told = sentences(comparison({MINED: 0.7, RANDOM: random, LOSS: 1.0}))
    assert not any("are a cause" in text for text in told)
    assert told[-1].startswith("No causal sentence")


def test_no_cause_is_named_where_nothing_is_told_to_change_or_it_grows() -> None:
    for share in (1.0, 1.3):
        told = sentences(comparison({MINED: share, RANDOM: 2.0}))
        assert ("is not told to change" if share == 1 else "is higher by 30% (28% to 32%") in told[0]
        assert told[-1].startswith("No causal sentence")


def test_what_is_not_told_to_change_says_which_way_and_of_how_many_forks() -> None:
    """It was "lower by -4%", and nothing said that one of the three forks had no rise to be lowered."""
    found = comparison({MINED: 1.0, RANDOM: 2.0})  # effects of .03, 0 and .05 the other way, s = .0252
    arms = [replace(arm, sharpness_start=arm.sharpness_start + 1.6 * (arm.step != 20)) for arm in found.arms]
    arms = [replace(arm, rises_with_all=0.0) if arm.step == 10 else arm for arm in arms]
    told = sentences(replace(found, arms=tuple(arms), effects=effects(arms)))
    assert told[0].startswith(
        "The sharpness at once is not told to change: higher by 2.7% (-3.6% to 8.9%, 95 %)"
    )
    assert told[1].startswith("The sum of the mean loss's rises is not told to change: higher by")
    assert "95 %, known at 2 of 3 forks)" in told[1]


def test_each_outcome_is_a_cause_by_its_own_numbers() -> None:
    told = sentences(comparison({MINED: 0.7, RANDOM: 1.0}, {MINED: 0.5, RANDOM: 0.4}))
    assert told[-1] == f"{CAUSE} the sharpness at once (more than every control)"
    assert any(text.startswith("The sum of the mean loss's rises is lower by 50%") for text in told)


def test_without_period_two_without_pairs_and_of_one_fork_nothing_is_concluded() -> None:
    nowhere = Causal(0, 60, (), "as said", notes=("no period two is seen in the mined pairs",))
    assert sentences(nowhere) == ("no causal sentence: no period two is seen in the mined pairs",)
    assert lines(Causal(0, 0, (), "there is nothing to test")) == (
        "--causal: no causal sentence: there is nothing to test",
    )
    one = [arm for arm in comparison({MINED: 0.5, RANDOM: 1.0}).arms if arm.step == FORKS[0]]
    (told,) = sentences(Causal(10, 60, tuple(one), "as said", effects=effects(one)))
    assert told.startswith("no causal sentence: fewer than two forks, 20 updates apart,")


def test_stores_of_older_versions_bear_no_causal_sentence() -> None:
    older = [CausalArm(MINED, 4, 4, 2.0, 1.0, 0.5, 0.1), CausalArm(RANDOM, 4, 0, 9.0, 9.0, 9.0, 9.0)]
    (told,) = sentences(Causal(5, 60, tuple(older), "as said"))
    assert told.startswith("no causal sentence: one control of each kind, from one checkpoint")


def test_controls_that_hold_members_say_so() -> None:
    assert members_told(comparison({MINED: 0.7, LOSS: 0.9}, members=2)) == [
        "of examples of high loss up to 25% are members of the mined groups"
    ]
    assert not members_told(comparison({MINED: 0.7, LOSS: 0.9}))
    assert "  where" in lines(comparison({MINED: 0.7, RANDOM: 1.0}))


def shown(*made: Causal) -> str:
    """The comparison as a terminal of 80 columns shows it."""
    console = Console(width=80, file=io.StringIO())
    for listing in causal(replace(make_case(), causal=made)):
        for part in shown_as(listing):
            console.print(part)
    return console.file.getvalue()


def test_a_terminal_of_80_columns_breaks_no_word_of_the_comparison() -> None:
    told = comparison({MINED: 0.7, LOSS: 0.9, "examples of large gradient": 0.9, RANDOM: 1.0}, members=3)
    small = tuple(
        replace(arm, amplitude=6.06e-5, test_loss=0.00123, accuracy=0.7512, rises=0.00123)
        for arm in told.arms
    )
    lines = shown(replace(told, arms=small)).splitlines()
    (header,) = (line for line in lines if line.startswith("without  "))
    assert header.split() == ["without", "members", "λ₁", "then", "rises", "swing", "loss", "test", "right"]
    for name in ("nothing", "mined groups", "high loss", "large gradient", "random ones"):
        (row,) = (line for line in lines if line.startswith(f"{name} "))
        assert row.split()[-4:-1] == ["6.06e-05", "0.100", "0.00123"], row


def test_that_there_is_no_causal_sentence_is_kept_and_said_with_all_reasons() -> None:
    none = Causal(30, 60, (), "as said", notes=("they alternate at step 30", "that fork is left out"))
    text = " ".join(shown(none).split())
    assert "No causal sentence: they alternate at step 30; that fork is left out." in text
    assert "0 updates" not in text
    assert "Means" not in text
