"""Groups on their way out and back: methods, windows, exports, retraining, and the causal comparison."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Opsig

from opsigcli.datasets.planted import Planted
from opsigcli.datasets.subset import Subset
from opsigcli.objective.base import Objective
from opsigcli.runs.example_ids import read_ids
from opsigcli.runs.trainer import Trainer


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "jsonl", "npz", "json", "pt"])
def test_every_export_is_read_back_as_the_ids_of_the_groups(opsig: Opsig, case: Path, ending: str) -> None:
    file = case / f"g.{ending}"
    result = opsig("mine", "--store", case / "opsig.h5", "--export", file, "--surrogates", 0, "--json").json[
        "result"
    ]
    ids = sorted(i for p in result["pairs"] for side in ("first", "second") for i in p[side]["ids"])
    assert ids
    assert read_ids(file).tolist() == ids
    if ending == "pt":
        subset = torch.utils.data.Subset(list(range(400)), torch.load(file, weights_only=True)["indices"])
        assert len(subset) == len(ids)
    if ending == "npz":
        with np.load(file) as arrays:
            assert arrays["pair_1_first"].tolist() == result["pairs"][0]["first"]["ids"]


def test_an_export_says_which_groups_are_findings(opsig: Opsig, case: Path) -> None:
    store, asked = case / "opsig.h5", ("--method", "full", "--surrogates", 9, "--gradient-checkpoints", 2)
    for rate, finding in ((1.0, True), (0.0, False)):
        words = ("mine", "--store", store, *asked, "--false-discovery-rate", rate)
        result = opsig(*words, "--export", case / "g.csv", "--json").json["result"]
        pairs = {str(n): str(pair["finding"]).lower() for n, pair in enumerate(result["pairs"], 1)}
        rows = list(csv.DictReader((case / "g.csv").read_text().splitlines()))
        assert {row["pair"]: row["finding"] for row in rows} == pairs
        assert finding in [pair["finding"] for pair in result["pairs"]]
        ends = f"rows to {case / 'g.csv'}: {len(pairs)} of {len(pairs)} pairs are no findings"
        assert (ends in " ".join(opsig(*words, "--export", case / "g.csv").err.split())) == (not finding)


@pytest.mark.slow
def test_mining_again_needs_no_checkpoints_and_finds_the_same(opsig: Opsig, case: Path) -> None:
    store = case / "opsig.h5"
    first = opsig("mine", "--store", store, "--json").json["result"]["pairs"]
    shutil.rmtree(case / "run", ignore_errors=True)
    again = opsig("mine", "--store", store, "--json").json["result"]["pairs"]
    assert first == again
    for name in ("curvature", "clarity", "swing_held", "persistence"):
        assert name in first[0]["evidence"]
    assert first[0]["evidence"]["clarity"]["p_value"] == pytest.approx(0.025)
    assert {"structural", "discrete"} <= set(first[0]["traits"])


@pytest.mark.parametrize("method", ["top", "losses"])
def test_methods_on_losses_alone_need_no_model_and_do_not_judge(
    opsig: Opsig, case: Path, method: str
) -> None:
    shutil.rmtree(case / "run", ignore_errors=True)
    result = opsig("mine", "--store", case / "opsig.h5", "--method", method, "--json").json["result"]
    assert result["method"] == method
    assert result["pairs"]
    for pair in result["pairs"]:
        assert pair["verdict"] == "proposed from losses alone, not judged"
        assert pair["opposition"]["value"] is None
    assert any("losses alone" in note for note in result["notes"])


@pytest.mark.slow
def test_the_first_oscillation_and_other_similarities_can_be_asked_for(opsig: Opsig, case: Path) -> None:
    for choice in (["--window", "first"], ["--similarity", "centred"], ["--similarity", "raw"]):
        words = ["mine", "--store", case / "opsig.h5", *choice, "--surrogates", 0, "--json"]
        result = opsig(*words).json["result"]
        # Cosines about the mean show classes as well, which is why they are not the default.
        assert result["pairs"] if "centred" in choice else result["recovery"]["found"] >= 1
    assert opsig("mine", "--store", case / "opsig.h5", "--method", "ful").code == 2


def test_training_without_examples_equals_training_on_the_others(tmp_path: Path, opsig: Opsig) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("\n".join(map(str, range(0, 200, 7))))
    words = ["--data", "planted?n=200", "--model", "mlp?hidden=8", "--steps", 3, "--save-every", 3]
    found = opsig("train", tmp_path / "less", *words, "--exclude", ids, "--json").json["result"]["mean_loss"]
    source = Planted(n=200)
    left = Subset(source, np.setdiff1d(np.arange(200), np.arange(0, 200, 7)))
    from opsigcli.models.base import build

    model = build("mlp?hidden=8", input_shape=source.input_shape, outputs=6)
    objective = Objective(model, left, "ce")
    trainer = Trainer(objective, torch.optim.SGD(objective.parameters, 0.3), None, 0)
    for _ in range(3):
        trainer.update()
    assert found == pytest.approx(float(objective.losses().mean()), rel=1e-5)
    assert opsig("train", tmp_path / "less", *words).code == 2  # the examples are part of the run
    assert opsig("train", tmp_path / "less", *words, "--exclude", ids).code == 0


def test_a_weighted_update_is_the_gradient_of_the_weighted_mean() -> None:
    source = Planted("vec3", 200)
    torch.manual_seed(0)
    objective = Objective(torch.nn.Linear(64, 4), source, "ce", dtype=torch.float64, batch_size=64)
    weights = np.random.default_rng(0).random(200).astype(np.float32)
    before = [p.detach().clone() for p in objective.parameters]
    inputs, targets = objective.batch(np.arange(200))
    losses = objective.loss_fn(objective.model(inputs), targets)
    share = torch.as_tensor(weights).double()
    expected = torch.autograd.grad((losses * share).sum() / share.sum(), objective.parameters)
    trainer = Trainer(objective, torch.optim.SGD(objective.parameters, 1.0), None, 0, weights)
    trainer.update()
    for old, new, gradient in zip(before, objective.parameters, expected, strict=True):
        torch.testing.assert_close(old - new, gradient)


@pytest.mark.parametrize("text", ["", "id\n", "a b", "999999"])
def test_a_file_without_fitting_ids_is_refused(opsig: Opsig, tmp_path: Path, text: str) -> None:
    (tmp_path / "ids.txt").write_text(text)
    found = opsig("train", tmp_path / "r", "--steps", 1, "--exclude", tmp_path / "ids.txt")
    assert found.code == 2
    assert "ids.txt" in found.err


@pytest.mark.slow
def test_the_causal_comparison_has_equal_sized_arms_and_its_caveat(opsig: Opsig, case: Path) -> None:
    words = ["--causal", "--surrogates", 0, "--test-data", "planted?n=200&seed=1"]
    causal = opsig("mine", "--store", case / "opsig.h5", *words, "--json").json["result"]["causal"]
    arms = {arm["removed"]: arm for arm in causal["arms"]}
    size = arms["the mined groups"]["examples"]
    assert [arm["examples"] for arm in causal["arms"]] == [0, *[size] * 9] * 3
    assert arms["the mined groups"]["sharpness_start"] < arms["nothing"]["sharpness_start"]
    assert causal["sentences"][0].startswith("The sharpness at once is lower by ")
    assert all(0 <= arm["accuracy"] <= 1 for arm in arms.values())
    assert "another direction" in causal["caveat"]


def test_a_part_of_a_source_keeps_its_ids() -> None:
    source = Planted("img2", 200)
    part = Subset(source, np.array([5, 3, 190]))
    assert part.ids.tolist() == [5, 3, 190]
    np.testing.assert_array_equal(part.read(np.array([2, 0])), source.read(np.array([190, 5])))
    assert part.labels.tolist() == source.labels[[5, 3, 190]].tolist()
    assert json.dumps([len(part), part.spec])
    np.testing.assert_array_equal(part.image(1), source.image(3))


def test_where_examples_are_many_those_that_oppose_most_are_compared(opsig: Opsig, case: Path) -> None:
    words = ["mine", "--store", case / "opsig.h5", "--candidates", 120, "--surrogates", 0, "--json"]
    result = opsig(*words).json["result"]
    assert result["candidates"] == 120
    assert result["recovery"]["found"] == result["recovery"]["known"]
    shutil.rmtree(case / "run", ignore_errors=True)
    assert opsig(*words).json["result"]["pairs"] == result["pairs"]
