"""Learning rates in checkpoints that are those of the steps that led to them: saved before ``scheduler.step()``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Opsig
from short_runs import Make, sgd, short_run

ADAM: Make = lambda parameters: torch.optim.Adam(parameters, lr=0.01)  # noqa: E731
SAID = "saved before scheduler.step()"


@pytest.mark.parametrize(
    ("made", "batch", "first", "unit"),
    [
        pytest.param(sgd(lr=0.2), None, 0.2, 2.0, id="gd"),
        pytest.param(sgd(lr=0.1, momentum=0.9), 60, 0.1, 3.8, id="momentum"),
        pytest.param(ADAM, None, 0.01, 38.0, id="adam"),
    ],
)
def test_each_is_judged_by_the_rate_of_the_next(
    opsig: Opsig, tmp_path: Path, made: Make, batch: int | None, first: float, unit: float
) -> None:
    store = short_run(opsig, tmp_path, made, batch=batch, decay=0.8, late=True)
    found = opsig("sharpness", "--store", store, "--tolerance", 0.05, "--json")
    *points, last = found.json["result"]["points"]
    rates = [first * 0.8**step for step in range(7)]
    assert [point["lr"] for point in points] == pytest.approx(rates)
    assert [point["threshold"] for point in points[1:]] == pytest.approx([unit / lr for lr in rates[1:]])
    assert {point["step_check"]["verdict"] for point in points} == {"confirmed"}
    assert not any(point["ratio_contradicted"] for point in [*points, last])
    assert last["lr"] == pytest.approx(rates[-1])  # of the step that led there
    assert any("judged by its own" in note for note in last["notes"])
    assert sum(SAID in line for line in found.json["warnings"]) == 2
    quick = opsig("sharpness", "--store", store, "--quick", "--json").json["result"]["critical_sharpness"]
    assert [point["lr"] for point in quick[:-1]] == pytest.approx(rates)


def test_rates_that_are_those_of_the_next_step_are_left(opsig: Opsig, tmp_path: Path) -> None:
    store = short_run(opsig, tmp_path, sgd(lr=0.2), decay=0.8)
    found = opsig("sharpness", "--store", store, "--tolerance", 0.05, "--json").json
    assert [point["lr"] for point in found["result"]["points"]] == pytest.approx(
        [0.2 * 0.8**k for k in range(8)]
    )
    assert SAID not in " ".join(found["warnings"])


def test_a_rate_that_is_given_is_left(opsig: Opsig, tmp_path: Path) -> None:
    store = short_run(opsig, tmp_path, sgd(lr=0.2), decay=0.8, late=True)
    found = opsig("sharpness", "--store", store, "--tolerance", 0.05, "--lr", 0.05, "--json").json
    assert {point["lr"] for point in found["result"]["points"]} == {0.05}
    assert SAID not in " ".join(found["warnings"])


@pytest.mark.parametrize(("decay", "noted"), [(0.5, 6), (0.9, 0)])
def test_of_checkpoints_many_steps_apart_a_rate_that_changes_is_noted(
    opsig: Opsig, tmp_path: Path, decay: float, noted: int
) -> None:
    store = short_run(opsig, tmp_path, sgd(lr=0.2), decay=decay, late=True, updates=1, counted=True)
    epochs = tmp_path / "epochs"
    epochs.mkdir()
    for step in range(8):
        saved = torch.load(tmp_path / "run" / f"step_{step}.pt")
        torch.save({**saved, "step": 10 * step}, epochs / f"step_{10 * step}.pt")
    words = ("--model", f"file:{tmp_path}/net.py:Tanh", "--data", f"npz:{tmp_path}/data.npz")
    assert opsig("trace", epochs, "--store", store, "--fresh", *words).code == 0
    measure = ("sharpness", "--store", store, "--tolerance", 0.05, "--json")
    found = opsig(*measure).json
    said = [any(SAID in note for note in point["notes"]) for point in found["result"]["points"]]
    assert (sum(said), said[-1]) == (noted, False)
    assert sum(SAID in line for line in found["warnings"]) == bool(noted)
    given = opsig(*measure, "--lr", 0.1).json["result"]["points"]
    assert not any(SAID in note for point in given for note in point["notes"])


@pytest.mark.parametrize("made", [pytest.param(sgd(lr=0.2), id="gd"), pytest.param(ADAM, id="adam")])
def test_the_last_checkpoint_is_judged_anew_when_another_one_follows(
    opsig: Opsig, tmp_path: Path, made: Make
) -> None:
    store, later = short_run(opsig, tmp_path, made, decay=0.8, late=True), tmp_path / "later"
    words = (
        "trace",
        tmp_path / "run",
        "--model",
        f"file:{tmp_path}/net.py:Tanh",
        "--data",
        f"npz:{tmp_path}/data.npz",
    )
    later.mkdir()
    for step in (6, 7):
        (tmp_path / "run" / f"step_{step}.pt").rename(later / f"step_{step}.pt")
    assert opsig(*words, "--store", store, "--fresh").code == 0
    measure = ("sharpness", "--store", store, "--tolerance", 0.05, "--json")
    first = opsig(*measure).json["result"]["points"]
    assert first[5]["step_check"]["verdict"] == "cannot be told"
    for step in (6, 7):
        (later / f"step_{step}.pt").rename(tmp_path / "run" / f"step_{step}.pt")
    assert opsig(*words, "--store", store).code == 0
    then = opsig(*measure).json["result"]["points"]
    assert then[5]["step_check"]["verdict"] == "confirmed"
    assert then[5]["threshold"] == pytest.approx(first[5]["threshold"] / 0.8)
    assert not any("judged by its own" in note for note in then[5]["notes"])
    assert then[5]["eigenvalues"] == pytest.approx(first[5]["eigenvalues"], rel=0.05)
    assert opsig(*measure, "--steps", "0:4").json["result"]["points"][4] == then[4]
