"""The step check: the update made against the update of the rule whose threshold is given."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import Opsig
from short_runs import Make, checks, sgd, short_run

from opsigcli.sharpness_records import SharpnessPoint
from opsigcli.store.decode import build
from opsigcli.store.reader import open_store

pytestmark = pytest.mark.slow  # many short runs

DATA, MODEL = "planted?n=200", "mlp?hidden=8"


@pytest.mark.parametrize(
    "words",
    [
        ("--optimizer", "gd", "--lr", 0.3),
        ("--optimizer", "momentum", "--lr", 0.05),
        ("--optimizer", "nesterov", "--lr", 0.05),
        ("--optimizer", "dampened", "--lr", 0.3),
        ("--optimizer", "adam", "--lr", 0.01),
        ("--optimizer", "adamw", "--lr", 0.01),
        ("--optimizer", "rmsprop", "--lr", 0.01),
        ("--optimizer", "sgd", "--lr", 0.3, "--batch-size", 50, "--seed", 3),
        ("--model", "cnn?norm=batch&widths=4,8", "--lr", 0.3),
    ],
)
def test_the_steps_of_a_run_confirm_its_rule(opsig: Opsig, tmp_path: Path, words: tuple[object, ...]) -> None:
    run, store = tmp_path / "run", tmp_path / "s.h5"
    assert opsig("train", run, "--data", DATA, "--model", MODEL, "--steps", 4, *words).code == 0
    assert opsig("trace", run, "--store", store).code == 0
    *found, last = checks(opsig, store)
    assert [check["verdict"] for check in found] == ["confirmed"] * 4
    assert max(check["relative_error"] for check in found) < 1e-4
    assert (last["verdict"], last["relative_error"]) == ("cannot be told", None)


@pytest.fixture
def foreign(opsig: Opsig, tmp_path: Path) -> Callable[..., Path]:
    """The store of a run of plain torch on data of its own."""
    return partial(short_run, opsig, tmp_path)


HEAVY = sgd(lr=0.1, momentum=0.9)
ADAM: Make = lambda parameters: torch.optim.Adam(parameters, lr=0.01)  # noqa: E731


@pytest.mark.parametrize(
    ("made", "assumed", "cause"),
    [
        (sgd(lr=0.2), ("--lr", 0.4), "learning rate of 0.2 instead of 0.4"),
        (HEAVY, ("--momentum", 0.95), "lr 0.1 and momentum 0.9"),
        (HEAVY, ("--optimizer", "gd"), "lr 0.1 and momentum 0.9"),
        (sgd(lr=0.2), ("--optimizer", "momentum", "--momentum", 0.9), "gradient descent with lr 0.2"),
        (sgd(lr=0.2), ("--optimizer", "adam"), "gradient descent with lr 0.2"),
        (
            sgd(lr=0.1, momentum=0.9, nesterov=True),
            ("--optimizer", "gd"),
            "nesterov with lr 0.1 and momentum 0.9",
        ),
        (sgd(lr=0.2, weight_decay=0.01), ("--weight-decay", 0), "weight decay of 0.01 instead of 0"),
        (ADAM, ("--lr", 0.02), "learning rate of 0.01 instead of 0.02"),
        (ADAM, ("--optimizer", "gd"), "adaptive rule"),
    ],
)
def test_a_wrong_rule_is_contradicted_and_the_right_one_is_named(
    opsig: Opsig, foreign: Callable[..., Path], made: Make, assumed: tuple[object, ...], cause: str
) -> None:
    store = foreign(made)
    assert checks(opsig, store, "--steps", "4:4")[0]["verdict"] == "confirmed"
    (found,) = checks(opsig, store, "--steps", "4:4", *assumed)
    assert found["verdict"] == "contradicted"
    assert cause in found["reason"]


def test_a_ratio_that_the_weights_contradict_makes_no_phase(
    opsig: Opsig, foreign: Callable[..., Path]
) -> None:
    words = ("sharpness", "--store", foreign(sgd(lr=0.2)), "--tolerance", 0.05, "--json")
    top = max(point["eigenvalues"][0] for point in opsig(*words).json["result"]["points"])
    wrong = opsig(*words, "--lr", 2.1 / top).json["result"]
    assert {point["step_check"]["verdict"] for point in wrong["points"][:-1]} == {"contradicted"}
    assert max(point["ratio"] for point in wrong["points"]) > 1
    assert not any("edge" in phase["name"] for phase in wrong["phases"])


def test_the_state_of_another_rule_stops_no_measurement(opsig: Opsig, foreign: Callable[..., Path]) -> None:
    (found,) = checks(opsig, foreign(ADAM), "--steps", "4:4", "--optimizer", "nadam")
    assert found["verdict"] == "cannot be told"
    assert "not one of nadam" in found["reason"]


def test_a_run_whose_steps_are_on_all_examples_is_not_told_of_minibatches(
    opsig: Opsig, foreign: Callable[..., Path]
) -> None:
    """The optimizer is SGD by its state, which alone says nothing of batches."""
    words = ("sharpness", "--store", foreign(sgd(lr=0.2)), "--steps", "4:4")
    assert "minibatches" in opsig(*words, "--no-step-check", "--fresh").err
    assert "minibatches" not in opsig(*words, "--fresh").err


def test_label_smoothing_is_named(opsig: Opsig, foreign: Callable[..., Path]) -> None:
    (found,) = checks(opsig, foreign(sgd(lr=0.2), smoothing=0.1), "--steps", "4:4")
    assert found["verdict"] == "contradicted"
    assert "label smoothing of 0.1" in found["reason"]


@pytest.mark.parametrize("made", [sgd(lr=0.2), HEAVY])
def test_weights_of_classes_are_named_and_confirmed_when_given(
    opsig: Opsig, foreign: Callable[..., Path], made: Make
) -> None:
    store = foreign(made, weights=(5.0, 1.0, 1.0, 1.0))
    (found,) = checks(opsig, store, "--steps", "4:4")
    assert found["verdict"] == "contradicted"
    assert "classes with weights 2.5,0.5,0.5,0.5 in the mean loss" in found["reason"]
    place = store.parent
    words = ("--model", f"file:{place}/net.py:Tanh", "--data", f"npz:{place}/data.npz", "--fresh")
    assert (
        opsig("trace", place / "run", "--store", store, *words, "--loss", "ce?weight=2.5,.5,.5,.5").code == 0
    )
    assert checks(opsig, store, "--steps", "4:4")[0]["verdict"] == "confirmed"


def test_momentum_is_checked_without_its_state(opsig: Opsig, foreign: Callable[..., Path]) -> None:
    store = foreign(HEAVY, state=False)
    right = ("--steps", "4:4", "--optimizer", "momentum", "--lr", 0.1)
    assert checks(opsig, store, *right)[0]["verdict"] == "confirmed"
    assert checks(opsig, store, *right, "--momentum", 0.5)[0]["verdict"] == "contradicted"
    (unknown,) = checks(opsig, store, "--steps", "4:4")
    assert unknown["verdict"] == "cannot be told"
    assert "momentum with lr 0.1 and momentum 0.9" in unknown["reason"]


def test_a_batch_that_is_not_known_is_held_against_random_ones(
    opsig: Opsig, foreign: Callable[..., Path]
) -> None:
    store = foreign(sgd(lr=0.2), batch=40)
    words = ("--steps", "2:5", "--minibatch", 40)
    found = checks(opsig, store, *words)
    assert [check["verdict"] for check in found] == ["cannot be told"] * 4
    assert "random batches of 40" in found[0]["reason"]
    assert {check["verdict"] for check in checks(opsig, store, *words, "--lr", 0.8)} == {"contradicted"}


def test_checkpoints_further_apart_are_not_checked(opsig: Opsig, tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "s.h5"
    assert opsig("train", run, "--data", DATA, "--model", MODEL, "--steps", 4, "--save-every", 2).code == 0
    assert opsig("trace", run, "--store", store).code == 0
    assert checks(opsig, store)[0]["reason"].startswith("the next checkpoint is 2 steps away, not one")
    assert checks(opsig, store, "--no-step-check", "--fresh") == [None, None, None]


def test_a_contradiction_is_told_everywhere(
    opsig: Opsig, foreign: Callable[..., Path], tmp_path: Path
) -> None:
    store = foreign(sgd(lr=0.2))
    words = ("sharpness", "--store", store, "--steps", "4:4", "--lr", 0.4)
    result = opsig(*words, "--json")
    assert any("not confirmed by the weights" in warning for warning in result.json["warnings"])
    assert "not confirmed by the weights" in opsig(*words).out
    assert "not confirmed by the weights" in opsig("report", "--full", "--store", store).out
    page = tmp_path / "page.html"
    assert opsig("report", "--html", "--output", page, "--store", store).code == 0
    assert "not confirmed by the weights" in page.read_text()
    with open_store(store) as kept:
        assert kept.sharpness[0].step_check.verdict == "contradicted"


def test_points_written_before_there_was_a_check_have_none() -> None:
    old = {"step": 1, "eigenvalues": [2.0], "residuals": [0.0], "converged": True, "matvecs": 3}
    data = json.loads(json.dumps(old | {"threshold": None, "ratio": None}))
    assert build(SharpnessPoint, data, "a point").step_check is None
