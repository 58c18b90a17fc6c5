"""The mean loss is one quantity along a run, also where some losses are missing."""

from __future__ import annotations

import numpy as np
import pytest
from reporting_case import make_case

from opsigcli.mean_loss import mean_loss
from opsigcli.mining.trace_stats import survey


def falling(checkpoints: int = 9, examples: int = 6) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((checkpoints, examples)) + np.arange(examples)).astype(np.float32)


def test_with_every_loss_it_is_the_mean_over_all_examples_and_says_nothing() -> None:
    losses = falling()
    found = mean_loss(losses)
    np.testing.assert_array_equal(found.values, losses.mean(axis=1, dtype=np.float64))
    assert (found.over, found.total, found.words) == (6, 6, "")


def test_it_is_over_the_examples_that_are_finite_at_every_checkpoint() -> None:
    losses = falling()
    losses[3, 5], losses[7, 0] = np.nan, np.inf
    found = mean_loss(losses)
    np.testing.assert_allclose(found.values, losses[:, 1:5].mean(axis=1, dtype=np.float64))
    assert found.words == "over the 4 of 6 examples measured at every checkpoint"
    assert found.finite.tolist() == [6, 6, 6, 5, 6, 6, 6, 5, 6]


def test_a_checkpoint_that_lost_most_examples_is_a_gap_and_takes_none_from_the_others() -> None:
    losses = falling()
    losses[8, 2:] = np.nan
    losses[4] = np.nan
    losses[2, 0] = np.nan
    found = mean_loss(losses)
    assert np.flatnonzero(np.isnan(found.values)).tolist() == [4, 8]
    np.testing.assert_allclose(found.values[0], losses[0, 1:].mean(dtype=np.float64))
    assert found.words == "over the 5 of 6 examples measured at every checkpoint that has one"


def test_examples_whose_label_says_to_ignore_them_do_not_count() -> None:
    losses, counted = falling(), np.array([False, True, True, False, True, False])
    losses[:, ~counted] = np.nan
    found = mean_loss(losses, counted)
    np.testing.assert_allclose(found.values, losses[:, counted].mean(axis=1, dtype=np.float64))
    assert (found.over, found.total, found.words) == (3, 3, "")


@pytest.mark.parametrize(
    "losses", [np.full((3, 4), np.nan), np.where(np.eye(4), np.nan, 1.0), np.ones((2, 0))]
)
def test_without_an_example_that_is_always_measured_there_is_none(losses: np.ndarray) -> None:
    assert np.isnan(mean_loss(losses).values).all()


def test_mining_sees_the_same_mean_loss_as_the_trace() -> None:
    trace = make_case().trace
    trace.losses[5, 3] = np.nan
    trace.losses[-1, 2:] = np.nan
    np.testing.assert_array_equal(survey(trace.losses).mean_loss.values, mean_loss(trace.losses).values)
