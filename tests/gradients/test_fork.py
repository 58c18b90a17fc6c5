"""Where causal arms start: at and after the onset of period two, never before; and what the arms then are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import Opsig

from opsigcli.gradients.ablation import compare_causes
from opsigcli.gradients.arm import STEPS, train_on
from opsigcli.gradients.fork import APART, FORKS, fork, forks, spread, traced_period_two
from opsigcli.mining.inputs import compute_now
from opsigcli.options import MineOptions
from opsigcli.progress import NoProgress
from opsigcli.reporting.removal import sentences
from opsigcli.result_records import MINED, NOBODY, RANDOM, Causal
from opsigcli.runs.stored_run import StoredRun
from opsigcli.store.reader import Store, open_store

DATA = "planted?scenario=vec3&n=240&seed=3"


@pytest.fixture
def traced(opsig: Opsig, tmp_path: Path) -> Any:
    """Trains on three planted pairs and traces; the store."""

    def make(*words: object, steps: int = 100) -> Path:
        run, store = tmp_path / "run", tmp_path / "o.h5"
        done = opsig("train", run, "--data", DATA, "--model", "mlp?hidden=24,24", "--steps", steps, *words)
        assert done.code == 0, done.err
        assert opsig("trace", run, "--store", store).code == 0
        return store

    return make


def planted(store: Store) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(store.trace.positions(a), store.trace.positions(b)) for a, b in store.known_pairs]


def where(path: Path) -> tuple[tuple[int, ...], str, Store]:
    with open_store(path) as store:
        found = forks(StoredRun(store, MineOptions()), store.trace, planted(store), compute_now)
        return tuple(int(store.trace.steps[row]) for row in found.rows), found.note, store


def first_alternation(losses: np.ndarray, first: np.ndarray, second: np.ndarray) -> int:
    """Where 20 changes of sign in a row begin, or 36 of 40, counted one by one."""
    deltas = np.diff(losses[:, first].mean(1) - losses[:, second].mean(1))
    turns = [deltas[t] * deltas[t - 1] < 0 for t in range(1, len(deltas))]
    for t in range(len(turns)):
        if all(turns[t : t + 2]) and (sum(turns[t : t + 20]) == 20 or sum(turns[t : t + 40]) >= 36):
            return t + 1
    return len(deltas)


def test_forks_are_at_and_after_the_onset_of_period_two(traced: Any) -> None:
    path = traced("--lr", 0.4)
    steps, note, _ = where(path)
    with open_store(path) as store:
        losses = np.asarray(store.trace.losses, dtype=np.float64)
        onset = min(first_alternation(losses, *pair) for pair in planted(store))
    assert len(steps) == FORKS
    assert steps[0] == onset
    assert steps[0] < steps[1] < steps[2]
    assert f"begin to alternate at step {onset}" in note


def test_a_run_that_never_oscillates_has_no_fork_and_no_arm(traced: Any) -> None:
    path = traced("--lr", 0.02, steps=60)
    steps, note, _ = where(path)
    assert steps == ()
    assert "no period two is seen" in note
    with open_store(path) as store:
        found = compared(store)
    assert found.arms == ()
    assert found.effects == ()
    assert "no period two" in found.notes[0]


@pytest.mark.parametrize(("rate", "oscillates"), [(0.4, True), (0.02, False)])
def test_between_checkpoints_far_apart_training_goes_on_to_see_it(
    traced: Any, rate: float, oscillates: bool
) -> None:
    path = traced("--lr", rate, "--save-every", 20)
    steps, note, _ = where(path)
    with open_store(path) as store:
        assert not traced_period_two(store.trace, planted(store)).any()
    assert bool(steps) == oscillates
    assert (
        f"training went on from, losses of the mined pairs alternate within {STEPS} updates from" in note
    ) == (oscillates)  # not at the checkpoint itself


def compared(store: Store, test: str | None = None) -> Causal:
    """The comparison, where the planted pairs are the mined ones."""
    ids = store.trace.example_ids
    counted = [
        SimpleNamespace(first=SimpleNamespace(ids=ids[first]), second=SimpleNamespace(ids=ids[second]))
        for first, second in planted(store)
    ]
    mined: Any = SimpleNamespace(counted=counted, digest="d")
    run = StoredRun(store, MineOptions())
    return compare_causes(mined, run, store.trace, 0, NoProgress(), test)


@pytest.mark.parametrize("rule", ["gd", "momentum", "adam"])
def test_training_goes_on_with_the_optimizers_state_as_the_run_did(traced: Any, rule: str) -> None:
    path = traced("--optimizer", rule, "--lr", 0.01 if rule == "adam" else 0.05, steps=90)
    everybody = np.arange(240)
    with open_store(path) as store:
        run = StoredRun(store, MineOptions())
        found = train_on(run, fork(run, 25), 25, everybody[:0], [everybody], None, sharpness=False)
        losses = np.asarray(store.trace.losses, dtype=np.float64)[25:86]
    np.testing.assert_allclose(found[1, :-1], losses.mean(1), rtol=1e-4)
    swung = np.abs(losses[2:] - 2 * losses[1:-1] + losses[:-2]).mean() / 4
    assert found[1, -1] == pytest.approx(swung, rel=1e-2)


@pytest.mark.slow
def test_arms_are_equal_in_number_and_planted_pairs_are_a_cause_that_random_examples_are_not(
    traced: Any,
) -> None:
    path = traced("--lr", 0.4)
    with open_store(path) as store:
        size = sum(len(side) for pair in planted(store) for side in pair)
        found = compared(store, "planted?scenario=vec3&n=200&seed=9")
    assert {arm.examples for arm in found.arms if arm.removed != NOBODY} == {size}
    steps = {arm.step for arm in found.arms}
    assert len(steps) == FORKS
    for step in steps:
        of = [arm.removed for arm in found.arms if arm.step == step]
        assert (of.count(NOBODY), of.count(MINED), of.count(RANDOM), len(of)) == (1, 1, 5, 10)
    told = {(effect.outcome, effect.control): effect for effect in found.effects}
    assert told["sharpness", ""].beats
    assert told["sharpness", RANDOM].beats
    assert any("are a cause of the sharpness at once" in text for text in sentences(found))
    assert all(arm.test_loss is not None and 0 <= arm.accuracy <= 1 for arm in found.arms)


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        (range(30, 180), (30, 80, 130)),  # a third, two thirds
        (range(30, 36), (30,)),  # one stretch of period two is one observation
        (range(30, 58), (30, 50)),
        ([30, 49, 50, 69, 70], (30, 50, 70)),
    ],
)
def test_forks_lie_a_stretch_of_period_two_apart(rows: Any, chosen: tuple[int, ...]) -> None:
    assert spread(np.array(rows), np.arange(200)) == chosen
    assert spread(np.array(rows), np.arange(200) * APART) == tuple(
        rows[k * len(rows) // FORKS] for k in range(FORKS)
    )
