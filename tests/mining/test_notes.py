"""What is said of a trace's limits: how far its checkpoints are apart, and of how many loss deltas a share is."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.axis import Axis
from opsigcli.mining.features import explained, opposing_classes
from opsigcli.mining.inputs import Trace
from opsigcli.mining.notes import notes_on_classes, notes_on_shares, notes_on_trace
from opsigcli.sentences import percent


@pytest.mark.parametrize(
    ("unit", "steps", "words"),
    [
        ("step", (0, 1, 2), ""),
        ("step", (0, 10, 20), "checkpoints are 10 steps apart"),
        ("step", (0, 1, 60), "checkpoints are 1 to 59 steps apart"),
        ("step", (0, 1, 2, 3, 1003), "checkpoints are 1 to 1,000 steps apart (most 1)"),
        ("epoch", (0, 1, 2), "checkpoints are 1 epoch apart, which are many steps"),
        ("epoch", (1, 2, 5), "checkpoints are 1 to 3 epochs apart, which are many steps"),
        ("number", (1, 2, 5), "nothing says how many steps apart the checkpoints are; they may be many"),
    ],
)
def test_the_distances_that_are_there_are_said_and_no_median(
    unit: str, steps: tuple[int, ...], words: str
) -> None:
    assert Axis(unit).apart(steps) == words


def test_a_trace_with_one_wide_gap_is_said_to_have_it() -> None:
    losses = np.random.default_rng(0).random((12, 4)).astype(np.float32)
    labels, ids = np.arange(4) % 2, np.arange(4)
    dense = Trace(losses, labels, ids, np.arange(12))
    assert not any("apart" in note for note in notes_on_trace(dense))
    gap = Trace(losses, labels, ids, np.append(np.arange(11), 500))
    assert any(
        note.startswith("checkpoints are 1 to 490 steps apart (most 1)") for note in notes_on_trace(gap)
    )


def halves(deltas: int) -> np.ndarray:
    """High-passed loss deltas in which one class goes against the other, and nothing else."""
    return np.outer((-1.0) ** np.arange(deltas), np.repeat([1.0, -1.0], 10))


LABELS = np.repeat([0, 1], 10)


@pytest.mark.parametrize("deltas", [0, 1])
def test_one_loss_delta_says_nothing_of_classes(deltas: int) -> None:
    shares = explained(halves(deltas), LABELS, {})
    assert shares == {}
    assert notes_on_classes(shares, (), False, "class", deltas) == []


def test_fewer_deltas_than_an_oscillation_needs_are_said_to_be_few() -> None:
    for deltas in (2, 4):
        shares = explained(halves(deltas), LABELS, {})
        sides = opposing_classes(halves(deltas), LABELS, ("cat", "dog"))
        assert sides == ((), ())
        (note,) = notes_on_classes(shares, sides, True, "class", deltas)
        assert f"100% of the {deltas} loss deltas" in note
        assert "oscillation is of" not in note
        assert "high-passed" not in note


def test_five_loss_deltas_show_an_oscillation_of_classes() -> None:
    shares = explained(halves(5), LABELS, {})
    sides = opposing_classes(halves(5), LABELS, ("cat", "dog"))
    assert {frozenset(side) for side in sides} == {frozenset({"cat"}), frozenset({"dog"})}
    (note,) = notes_on_classes(shares, sides, False, "class", 5)
    assert "of the high-passed loss deltas" in note
    assert "most of this run's oscillation is of whole classes" in note


@pytest.mark.parametrize(
    ("share", "said"), [(0.39, ""), (0.41, "a good part of"), (0.49, "a good part of"), (0.51, "most of")]
)
def test_most_of_an_oscillation_is_more_than_half_of_it(share: float, said: str) -> None:
    notes = notes_on_classes({"class": share}, (("cat",), ("dog",)), False, "class", 9)
    assert len(notes) == bool(said)
    if notes:
        assert f"explains {share:.0%} of" in notes[0]
        assert f": {said} this run's oscillation is of whole classes, cat against dog" in notes[0]


def test_a_share_is_written_as_the_verdict_of_a_report_writes_it() -> None:
    energy = np.ones(1000)
    energy[:22] = 2.4
    (said,) = notes_on_shares(energy, [(np.arange(11), np.arange(11, 22))], 40)
    share = percent(float(energy[:22].sum() / energy.sum()))
    assert share == "5.1%"
    assert said.startswith(
        f"the pairs hold {share} of the energy of high-passed loss deltas with 2.2% of the examples;"
    )
    assert said.endswith("more than 5.1%")
