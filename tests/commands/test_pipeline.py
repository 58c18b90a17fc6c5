"""train, trace, mine, sharpness and report, from one end to the other."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Opsig
from safetensors.torch import load_file, save_file

from opsigcli.checkpoints.writer import state_path
from opsigcli.datasets import open_source
from opsigcli.runs.build_objective import build_objective
from opsigcli.store.reader import open_store


def test_the_embedded_default_finds_the_planted_pairs(finished: Path) -> None:
    with open_store(finished / "opsig.h5") as store:
        mining = store.mining
    assert mining is not None
    assert mining.recovery is not None
    assert mining.recovery["found"] == mining.recovery["known"] > 0
    assert mining.recovery["f1"] > 0.9


def test_traced_losses_equal_a_naive_float64_loop(finished: Path) -> None:
    with open_store(finished / "opsig.h5") as store:
        run, trace = store.run, store.trace
    source = open_source(run.data)
    objective = build_objective(run.model, source, "ce", device="cpu", batch_size=7)
    from safetensors.torch import load_file

    for row in (0, 3, len(trace.steps) - 1):
        objective.load(load_file(finished / "run" / trace.files[row]))
        model = objective.model.double().eval()
        for position in range(0, len(source), 17):
            inputs = torch.as_tensor(source.read(np.array([position]))).double()
            logits = model(inputs)[0]
            expected = (torch.logsumexp(logits, 0) - logits[int(source.labels[position])]).item()
            np.testing.assert_allclose(trace.losses[row, position], expected, rtol=1e-5, atol=1e-5)
        objective.model.float()


def test_loss_deltas_are_later_minus_earlier(finished: Path) -> None:
    with h5py.File(finished / "opsig.h5") as file:
        np.testing.assert_array_equal(file["loss_deltas"][()], np.diff(file["losses"][()], axis=0))
        assert file["complete"][()].all()
        assert file["losses"].shape == (121, 400)


def test_the_loss_trace_is_the_training_loss_of_full_batch_descent(opsig: Opsig, tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "s.h5"
    made = opsig("train", run, "--data", "planted?n=200", "--steps", 4, "--json").json["result"]
    traced = opsig("trace", run, "--store", store, "--json").json["result"]
    assert traced["steps"] == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(traced["mean_losses"][-1], made["mean_loss"], rtol=1e-6)


def test_batch_size_does_not_change_the_losses(opsig: Opsig, finished: Path, tmp_path: Path) -> None:
    store = tmp_path / "other.h5"
    assert opsig("trace", finished / "run", "--store", store, "--batch-size", 7).code == 0
    with h5py.File(store) as one, h5py.File(finished / "opsig.h5") as two:
        np.testing.assert_allclose(one["losses"][()], two["losses"][()], rtol=1e-5, atol=1e-5)


def test_tracing_again_computes_only_what_is_new(opsig: Opsig, tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "s.h5"
    common = ("train", run, "--data", "planted?n=200", "--save-every", 2)
    assert opsig(*common, "--steps", 4).code == 0
    assert opsig("trace", run, "--store", store).code == 0
    again = opsig("trace", run, "--store", store, "--json").json["result"]["checkpoints"]
    assert [row["status"] for row in again] == ["kept"] * 3
    assert opsig(*common, "--steps", 8).code == 0
    grown = opsig("trace", run, "--store", store, "--json").json["result"]["checkpoints"]
    assert [row["status"] for row in grown] == ["kept"] * 3 + ["computed"] * 2


def test_a_folder_that_keeps_only_its_newest_files_loses_no_row(opsig: Opsig, tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "s.h5"
    common = ("train", run, "--data", "planted?n=200")
    opsig(*common, "--steps", 3)
    opsig("trace", run, "--store", store)
    (run / "step-000000.safetensors").unlink()
    opsig(*common, "--steps", 5)
    result = opsig("trace", run, "--store", store, "--json").json["result"]
    assert result["steps"] == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
def test_mining_again_needs_neither_model_nor_checkpoints(opsig: Opsig, case: Path) -> None:
    store = case / "opsig.h5"
    first = opsig("mine", "--store", store, "--json").json["result"]
    for path in (case / "run").iterdir():
        path.unlink()
    second = opsig("mine", "--store", store, "--json").json["result"]
    assert first == second


def test_top_lists_are_the_largest_deltas_of_each_step(opsig: Opsig, case: Path) -> None:
    result = opsig("mine", "--store", case / "opsig.h5", "--top", 3, "--json").json["result"]
    with h5py.File(case / "opsig.h5") as file:
        deltas, ids = file["loss_deltas"][()], file["example_ids"][()]
    for row, top in zip(deltas, result["top"], strict=True):
        order = np.argsort(row, kind="stable")
        np.testing.assert_allclose(top["up_deltas"], row[order[::-1][:3]])
        np.testing.assert_allclose(top["down_deltas"], row[order[:3]])
        assert set(top["down_ids"]) == set(ids[order[:3]])


def test_the_planted_pairs_are_named_with_what_was_found(opsig: Opsig, case: Path) -> None:
    for words in (("mine",), ("report",)):
        said = opsig(*words, "--store", case / "opsig.h5").err
        assert "planted pair 1 (" in said
        assert "found as pair" in said


def test_export_holds_every_member_once(opsig: Opsig, case: Path) -> None:
    store = case / "opsig.h5"
    pairs = opsig("mine", "--store", store, "--json", "--export", case / "g.csv").json["result"]["pairs"]
    rows = list(csv.DictReader((case / "g.csv").read_text().splitlines()))
    expected = [
        (str(n), side, str(i))
        for n, p in enumerate(pairs, 1)
        for side in ("first", "second")
        for i in p[side]["ids"]
    ]
    assert [(row["pair"], row["side"], row["id"]) for row in rows] == expected
    assert opsig("mine", "--store", store, "--export", case / "g.jsonl").code == 0
    lines = [json.loads(line) for line in (case / "g.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [int(row["id"]) for row in rows]


@pytest.mark.slow
def test_sharpness_agrees_with_a_dense_float64_hessian(opsig: Opsig, tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "s.h5"
    data, model = "planted?n=200", "mlp?hidden=4"
    opsig("train", run, "--data", data, "--model", model, "--steps", 3, "--lr", 0.5)
    opsig("trace", run, "--store", store)
    points = opsig("sharpness", "--store", store, "--top", 2, "--json").json["result"]["points"]
    source = open_source(data)
    objective = build_objective(model, source, "ce", device="cpu", batch_size=200)
    from safetensors.torch import load_file

    for point in points:
        objective.load(load_file(run / point["file"]))
        objective.model.double()
        names = objective.parameter_names
        shapes = [p.shape for p in objective.parameters]
        flat = torch.cat([p.detach().reshape(-1) for p in objective.parameters])
        inputs, labels = torch.as_tensor(source.read(np.arange(200))).double(), torch.as_tensor(source.labels)

        def loss(theta: torch.Tensor) -> torch.Tensor:
            parts = torch.split(theta, [s.numel() for s in shapes])  # noqa: B023
            named = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}  # noqa: B023
            out = torch.func.functional_call(objective.model, named, (inputs,))  # noqa: B023
            return torch.nn.functional.cross_entropy(out, labels)  # noqa: B023

        dense = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat)).flip(0)[:2]
        np.testing.assert_allclose(point["eigenvalues"], dense.numpy(), rtol=1e-3)
        assert point["converged"]
        assert point["threshold"] == 4.0
        np.testing.assert_allclose(point["ratio"], point["eigenvalues"][0] / 4.0, rtol=1e-6)
        objective.model.float()


def test_adam_is_held_against_its_preconditioned_threshold(opsig: Opsig, tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "s.h5"
    words = ("--optimizer", "adam", "--lr", 0.01, "--batch-size", 50, "--data", "planted?n=200", "--steps", 4)
    opsig("train", run, *words, "--model", "mlp?hidden=8")
    opsig("trace", run, "--store", store)
    points = opsig("sharpness", "--store", store, "--json").json["result"]["points"]
    assert points[0]["ratio"] is None  # no update was made, so there are no second moments
    for point in points[1:]:
        np.testing.assert_allclose(point["threshold"], 38 / 0.01)
        np.testing.assert_allclose(point["ratio"], point["preconditioned"] / 3800)


def test_weights_without_a_gradient_so_far_give_no_ratio(opsig: Opsig, tmp_path: Path) -> None:
    """A second moment of 0 leaves only Adam's ε, and 1/ε of any curvature there."""
    run, store = tmp_path / "run", tmp_path / "s.h5"
    words = ("--optimizer", "adam", "--lr", 0.01, "--data", "planted?n=200", "--steps", 1)
    opsig("train", run, *words, "--model", "mlp?hidden=8")
    opsig("trace", run, "--store", store)
    beside = state_path(next(run.glob("*1.safetensors")))
    state = load_file(beside)
    name = next(name for name in state if name.endswith("exp_avg_sq"))
    state[name][0] = 0
    save_file(state, beside)
    point = opsig("sharpness", "--store", store, "--steps", "1:1", "--json").json["result"]["points"][0]
    assert point["converged"]
    assert point["ratio"] is None
    assert "second moment is 0" in point["reason"]
    assert point["preconditioned"] > 100 * point["threshold"]


def test_report_is_the_same_file_twice(opsig: Opsig, case: Path) -> None:
    store, first, second = case / "opsig.h5", case / "a.html", case / "b.html"
    assert opsig("report", "--html", "-o", first, "--store", store).code == 0
    assert opsig("report", "--html", "-o", second, "--store", store).code == 0
    assert first.read_bytes() == second.read_bytes()
    assert opsig("report", "--full", "--store", store).out
