"""Which groups gain and lose in forks of one checkpoint: by plain loops, and from the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Opsig
from reporting_case import make_case, with_losses

from opsigcli.comparison.compare import compare
from opsigcli.records import Case

N, T, FORKED = 60, 21, 8


def fork(slope: float) -> Case:
    """A run like any other up to a step; after it the losses of each label go up by its own slope."""
    case = make_case(checkpoints=T, examples=N, pairs=1)
    losses = 1 + np.random.default_rng(0).random((T, N))
    losses[FORKED + 1 :] += slope * np.arange(1, T - FORKED)[:, None] * (1 + case.trace.labels)
    return with_losses(case, losses.astype(np.float32))


def test_changes_are_those_of_a_plain_loop_from_the_last_step_at_which_the_runs_are_the_same() -> None:
    cases = [fork(0.0), fork(0.1), fork(-0.2)]
    found = compare(cases).gains
    assert found is not None
    steps = cases[0].trace.steps
    first = FORKED + 1 + (T - FORKED - 1) // 2
    assert (found.step, found.first, found.last) == (steps[FORKED], steps[first], steps[-1])
    pair = cases[0].mining.pairs[0]  # type: ignore[union-attr]
    sets = {
        "all examples": np.arange(N),
        "A pair 1, first group": cases[0].trace.positions(pair.first.ids),
        "C pair 1, second group": cases[2].trace.positions(pair.second.ids),
        cases[0].run.classes[1]: np.flatnonzero(cases[0].trace.labels == 1),
    }
    told = {gain.group: gain for gain in found.groups}
    for name, places in sets.items():
        expected = [
            np.mean([np.mean(case.trace.losses[t][places]) for t in range(first, T)])
            - np.mean(case.trace.losses[FORKED][places])
            for case in cases
        ]
        assert told[name].changes == pytest.approx(expected, abs=1e-5)
        assert told[name].members == len(places)


def test_runs_that_are_nowhere_the_same_have_no_gains() -> None:
    other = fork(0.0)
    moved = with_losses(other, np.asarray(other.trace.losses) + 0.1)
    assert compare([other, moved]).gains is None
    assert compare([other, replace(other, run=replace(other.run, unit="epoch"))]).gains is None
    assert compare([other, replace(other, store=Path("other.h5"))]).gains is None  # and the same everywhere


def test_forks_stand_beside_each_other_with_what_differs(opsig: Opsig, tmp_path: Path) -> None:
    run, at = tmp_path / "run", tmp_path / "run/step-000006.safetensors"
    made = ("--data", "planted?n=200", "--model", "mlp?hidden=5", "--steps", 10)
    assert opsig("train", run, *made).code == 0
    for name, words in (("low", ("--lr", 0.01)), ("high", ("--lr", 2)), ("moved", ("--perturb", "step"))):
        assert opsig("train", tmp_path / name, "--from", at, *words).code == 0
    names = ("run", "low", "high", "moved")
    for name in names:
        assert opsig("trace", tmp_path / name, "--store", tmp_path / f"{name}.h5").code == 0
    stores = [tmp_path / f"{name}.h5" for name in names]
    shown = opsig("report", *stores)
    assert shown.code == 0
    assert "Which groups gain" in shown.out
    result = opsig("report", *stores, "--json").json["result"]
    assert (result["gains"]["step"], result["gains"]["first"], result["gains"]["last"]) == (6, 9, 10)
    assert "lr 0.3 -> 0.01" in result["runs"][1]["settings"]["fork of"]
    assert "moved by step" in result["runs"][3]["settings"]["fork of"]
    page = tmp_path / "page.html"
    assert opsig("report", *stores, "--output", page).code == 0
    assert "gain and which lose" in page.read_text()
