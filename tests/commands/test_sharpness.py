"""``opsig sharpness``: what its options measure, seen through the command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Opsig

from opsigcli.cli.app import run
from opsigcli.datasets import open_source
from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.errors import UsageError
from opsigcli.runs.build_objective import build_objective
from opsigcli.stability.budget import Budget, coarse_to_fine, step_range
from opsigcli.stability.solver import Solver

DATA, MODEL = "planted?n=200", "mlp?hidden=6"
SGD = ("--optimizer", "sgd", "--batch-size", 20, "--lr", 0.2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run, traced and mined."""
    folder = tmp_path_factory.mktemp("sharpness")
    words = [
        ["train", folder / "run", "--data", DATA, "--model", MODEL, "--steps", 40, "--lr", 0.5],
        ["trace", folder / "run", "--store", folder / "s.h5"],
        ["mine", "--store", folder / "s.h5"],
    ]
    for some in words:
        assert run([str(word) for word in [*some, "--quiet"]]) == 0
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made / "s.h5", tmp_path / "s.h5"))


def dense(made: Path, file: str, positions=None) -> torch.Tensor:
    """The float64 Hessian at a checkpoint, column by column."""
    from safetensors.torch import load_file

    objective = build_objective(MODEL, open_source(DATA), "ce", device="cpu", batch_size=200)
    objective.load(load_file(made / "run" / file))
    objective.model.double()
    objective.dtype, objective._resident = torch.float64, None
    operator = hessian_operator(objective, positions=positions)
    return torch.stack([operator(row) for row in torch.eye(operator.size, dtype=torch.float64)])


def test_only_the_steps_asked_for_are_measured(opsig: Opsig, store: Path) -> None:
    result = opsig("sharpness", "--store", store, "--steps", "10:20", "--every", 5, "--json").json["result"]
    assert [p["step"] for p in result["points"]] == [10, 15, 20]
    more = opsig("sharpness", "--store", store, "--steps", "30:", "--every", 10, "--json").json["result"]
    assert [p["step"] for p in more["points"]] == [30, 40]
    with h5py.File(store) as file:  # what was measured before is kept
        assert [p["step"] for p in json.loads(file["sharpness"].asstr()[()])] == [10, 15, 20, 30, 40]


def test_float64_is_float64(opsig: Opsig, store: Path, made: Path) -> None:
    words = ("sharpness", "--store", store, "--steps", "40:40", "--tolerance", 1e-6, "--top", 2, "--json")
    narrow, wide = (
        opsig(*words, "--precision", name).json["result"]["points"][0] for name in ("float32", "float64")
    )
    truth = torch.linalg.eigvalsh(dense(made, narrow["file"])).flip(0)[:2]
    with h5py.File(store) as file:
        assert json.loads(file["provenance"]["sharpness"].asstr()[()])["dtype"] == "float64"
    assert wide["converged"]
    np.testing.assert_allclose(wide["eigenvalues"], truth, rtol=1e-6)
    assert wide["eigenvalues"] != narrow["eigenvalues"]
    assert opsig(*words, "--precision", "bf16").code == 2


@pytest.mark.parametrize("text", ["5", "20:10", "a:b", "1:2:3"])
def test_steps_that_are_no_range_are_an_error(opsig: Opsig, store: Path, text: str) -> None:
    assert opsig("sharpness", "--store", store, "--steps", text).code == 2


def test_a_range_without_a_checkpoint_is_an_error(opsig: Opsig, store: Path) -> None:
    result = opsig("sharpness", "--store", store, "--steps", "900:")
    assert result.code == 2
    assert "the trace has 0 to 40" in result.err


@pytest.mark.parametrize("text", ["0s", "10", "ten minutes", "5x", "-3s"])
def test_a_budget_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="budget"):
        Budget(text)


def test_budget_and_ranges_are_read() -> None:
    assert step_range("3:9") == (3, 9)
    assert step_range(":9") == (-np.inf, 9)
    budget = Budget("7hvp")
    budget.spend(6)
    assert not budget.spent
    budget.spend()
    assert "7hvp" in budget.spent
    assert not Budget("1h").spent


@pytest.mark.parametrize("count", range(1, 20))
def test_coarse_to_fine_takes_every_place_once_and_the_ends_first(count: int) -> None:
    order = coarse_to_fine(count)
    assert sorted(order) == list(range(count))
    if count > 2:
        assert order[:3] == [0, count - 1, (count - 1) // 2]


def test_a_spent_budget_leaves_honest_points_and_the_next_command_goes_on(opsig: Opsig, store: Path) -> None:
    first = opsig("sharpness", "--store", store, "--every", 10, "--budget", "25hvp", "--json")
    assert first.code == 4
    points = {p["step"]: p for p in first.json["result"]["points"]}
    assert {0, 40} <= set(points)
    assert first.json["result"]["steps_left"] == sorted(set(range(0, 41, 10)) - set(points))
    partial = [p for p in points.values() if p["partial"]]
    assert sum(p["matvecs"] for p in points.values()) == 25
    assert len(partial) == 1
    assert "budget of 25hvp" in partial[0]["reason"] or partial[0]["converged"]
    assert any("budget" in w for w in first.json["warnings"])
    second = opsig("sharpness", "--store", store, "--every", 10, "--json")
    assert second.code == 0
    result = second.json["result"]["points"]
    assert [p["step"] for p in result] == [0, 10, 20, 30, 40]
    assert all(p["converged"] and not p["partial"] for p in result)
    for p in result:  # finished points are taken over bit by bit
        if p["step"] in points and not points[p["step"]]["partial"]:
            assert p == points[p["step"]]


def test_layers_examples_and_groups_agree_with_a_dense_hessian(opsig: Opsig, made: Path, store: Path) -> None:
    words = ("--every", 20, "--steps", "20:", "--top", 2, "--layers", "--groups", "--per-example", "--secant")
    result = opsig("sharpness", "--store", store, *words, "--json").json["result"]
    point = result["points"][0]
    hessian = dense(made, point["file"])
    values, vectors = torch.linalg.eigh(hessian)
    objective = build_objective(MODEL, open_source(DATA), "ce", device="cpu", batch_size=200)
    sizes = [p.numel() for p in objective.parameters]
    places = torch.arange(sum(sizes)).split(sizes)
    assert [layer["name"] for layer in point["layers"]] == ["hidden1", "head"]
    for i, layer in enumerate(point["layers"]):
        where = torch.cat(places[2 * i : 2 * i + 2])
        block = torch.linalg.eigvalsh(hessian[where][:, where])[-1]
        assert layer["eigenvalue"] == pytest.approx(float(block), rel=1e-3)
        shares = vectors[where][:, [-1, -2]].square().sum(0)
        np.testing.assert_allclose(layer["shares"], shares.numpy(), atol=0.01)
        assert layer["converged"]
    whole = point["kinds"][0]
    assert (whole["kind"], whole["parameters"]) == ("mlp", sum(sizes))
    assert whole["eigenvalue"] == pytest.approx(float(values[-1]), rel=1e-3)
    with h5py.File(store) as file:
        step = list(file["example_curvature/steps"][()]).index(point["step"])
        curvatures = file["example_curvature/values"][step].astype(float)
        ids, labels = file["example_ids"][()], file["labels"][()]
        mined = {
            f"pair {n} {side}": file[f"groups/pair-{n:02d}-{side}"][()]
            for n in range(1, len(file["groups"]) // 2 + 1)
            for side in ("first", "second")
        }
    assert curvatures.mean() == pytest.approx(point["eigenvalues"][0], rel=1e-4)
    ordered = np.sort(curvatures)[::-1]
    assert point["concentration"] == pytest.approx(ordered[:10].sum() / ordered.sum(), rel=1e-4)
    assert [g["name"] for g in point["groups"]] == list(mined)
    outside = ~np.isin(ids, np.concatenate(list(mined.values())))
    for group in point["groups"]:
        inside = np.isin(ids, mined[group["name"]])
        assert group["fraction"] == pytest.approx(inside.mean())
        assert group["share"]["value"] == pytest.approx(curvatures[inside].sum() / curvatures.sum(), rel=1e-3)
        others = [curvatures[(labels == label) & outside] for label in labels[inside]]
        null = sum(each.mean() for each in others) / curvatures.sum()
        error = np.sqrt(sum(each.var() for each in others) / 199) / abs(curvatures.sum())  # of 199 draws
        assert abs(group["share"]["null"] - null) < 5 * error
        assert group["cosine"] ** 2 <= group["alignment"]["value"] + 1e-6 <= 1 + 2e-6


def test_the_secant_is_the_change_of_the_gradient_along_the_step(
    opsig: Opsig, made: Path, store: Path
) -> None:
    from safetensors.torch import load_file

    point = opsig("sharpness", "--store", store, "--steps", "20:20", "--secant", "--json").json["result"][
        "points"
    ][0]
    objective = build_objective(MODEL, open_source(DATA), "ce", device="cpu", batch_size=200)
    found = []
    for step in (20, 21):
        objective.load(load_file(made / "run" / f"step-{step:06d}.safetensors"))
        _, parts = objective.mean_loss_and_gradient()
        flat = torch.cat([p.detach().double().reshape(-1) for p in objective.parameters])
        found.append((flat, torch.cat([g.double().reshape(-1) for g in parts])))
    (a, g), (b, h) = found
    assert point["secant"] == pytest.approx(float((h - g) @ (b - a) / (b - a).square().sum()), rel=1e-3)
    assert point["secant_step"] == 21


def test_groups_need_mining(opsig: Opsig, made: Path, tmp_path: Path) -> None:
    store = tmp_path / "bare.h5"
    assert opsig("trace", made / "run", "--store", store).code == 0
    result = opsig("sharpness", "--store", store, "--groups")
    assert result.code == 3
    assert "opsig mine" in result.err


@pytest.mark.slow
def test_the_spectrum_agrees_with_a_dense_hessian(opsig: Opsig, made: Path, store: Path) -> None:
    point = opsig("sharpness", "--store", store, "--steps", "20:20", "--spectrum", "--json").json["result"][
        "points"
    ][0]
    found = point["spectrum"]
    values = torch.linalg.eigvalsh(dense(made, point["file"])).numpy()
    assert abs(found["hessian_trace"] - values.sum()) < 5 * found["trace_error"] + 1e-3 * abs(values.sum())
    assert found["gauss_newton"] + found["remainder"] == pytest.approx(point["eigenvalues"][0])
    exact = np.exp(-0.5 * ((np.array(found["grid"])[:, None] - values) / found["width"]) ** 2).mean(1)
    exact /= found["width"] * np.sqrt(2 * np.pi)
    off = np.abs(np.array(found["density"]) - exact)
    assert (off <= 5 * np.array(found["errors"]) + 0.02 * exact.max()).all()


@pytest.mark.slow
def test_a_subset_is_stored_and_its_spread_told(opsig: Opsig, made: Path, store: Path) -> None:
    found = opsig("sharpness", "--store", store, "--every", 20, "--examples", 40, "--json")
    point = found.json["result"]["points"][1]
    assert point["examples"] == 40
    with h5py.File(store) as file:
        chosen, ids = file["sharpness_examples"][()], file["example_ids"][()]
    assert len(set(chosen)) == 40
    exact = torch.linalg.eigvalsh(dense(made, point["file"], np.flatnonzero(np.isin(ids, chosen))))[-1]
    assert point["eigenvalues"][0] == pytest.approx(float(exact), rel=1e-3)
    assert len(point["subsets"]) == 4
    assert len({round(value, 6) for value in point["subsets"]}) == 4
    spread = found.json["result"]["subset"]
    assert spread["least"] < spread["most"]
    assert any("40 of 200 examples" in warning for warning in found.json["warnings"])
    whole = opsig("sharpness", "--store", store, "--every", 20, "--json").json["result"]
    assert whole["points"][1]["examples"] is None
    with h5py.File(store) as file:
        assert "sharpness_examples" not in file


def test_fewer_examples_than_inputs_give_the_layers_of_all_weights(
    opsig: Opsig, made: Path, store: Path
) -> None:
    words = ("--store", store, "--steps", "20:20", "--examples", 40, "--top", 2, "--json")
    (plain,) = opsig("sharpness", *words).json["result"]["points"]
    (point,) = opsig("sharpness", *words, "--layers", "--fresh").json["result"]["points"]
    with h5py.File(store) as file:
        chosen = np.flatnonzero(np.isin(file["example_ids"][()], file["sharpness_examples"][()]))
    hessian = dense(made, point["file"], chosen)
    vectors = torch.linalg.eigh(hessian)[1]
    sizes = [layer["parameters"] for layer in point["layers"]]
    assert sum(sizes) == len(hessian)
    for layer, where in zip(point["layers"], torch.arange(sum(sizes)).split(sizes), strict=True):
        block = torch.linalg.eigvalsh(hessian[where][:, where])[-1]
        assert layer["eigenvalue"] == pytest.approx(float(block), rel=1e-3)
        np.testing.assert_allclose(
            layer["shares"], vectors[where][:, [-1, -2]].square().sum(0).numpy(), atol=0.01
        )
    assert point["matvecs"] > plain["matvecs"]  # those of the blocks are counted


def test_a_minibatch_run_has_batch_sharpness(opsig: Opsig, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    opsig("train", tmp_path / "run", "--data", DATA, "--model", MODEL, "--steps", 6, *SGD)
    opsig("trace", tmp_path / "run", "--store", store)
    found = opsig("sharpness", "--store", store, "--every", 3, "--weight-decay", 0.5, "--json").json
    for point in found["result"]["points"]:
        assert point["threshold"] == pytest.approx(2 / 0.2 - 0.5)
        assert 16 <= point["batches"] <= 256
        assert point["batch_error"] > 0
        assert point["batch_ratio"] == pytest.approx(point["batch_sharpness"] / point["threshold"])
    assert any("batch sharpness" in warning for warning in found["warnings"])


@pytest.fixture(scope="module")
def normed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trace of a net with BatchNorm on small pictures, under full-batch gradient descent."""
    folder = tmp_path_factory.mktemp("normed")
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    np.savez(
        folder / "d.npz",
        x=rng.normal(size=(40, 3, 8, 8)).astype("f4") + labels[:, None, None, None],
        y=labels,
    )
    data, model = f"npz:{folder / 'd.npz'}", "resnet?norm=batch&width=2"
    words = [
        ["train", folder / "run", "--data", data, "--model", model, "--steps", 6, "--lr", 2],
        ["trace", folder / "run", "--store", folder / "s.h5"],
    ]
    for some in words:
        assert run([str(word) for word in [*some, "--quiet"]]) == 0
    return folder / "s.h5"


@pytest.mark.slow
def test_batch_norm_has_stored_statistics_or_those_of_all_examples(opsig: Opsig, normed: Path) -> None:
    words = ("sharpness", "--store", normed, "--every", 3, "--json")
    running, batch = (opsig(*words, "--batch-norm", name).json for name in ("stored", "batch"))
    for found, name in ((running, "stored"), (batch, "batch")):
        assert [p["batch_norm"] for p in found["result"]["points"]] == [name] * 3
        told = any("held fixed" in line for line in found["warnings"])
        assert told == (name == "stored" and max(p["ratio"] for p in found["result"]["points"]) >= 0.9)
    first, second = running["result"]["points"], batch["result"]["points"]
    assert all(a["eigenvalues"] != b["eigenvalues"] for a, b in zip(first, second, strict=True))
    # Along the step the gradients are those of training: the secant's equation holds with them alone.
    assert opsig(*words[:-1], "--batch-norm", "batch", "--layers", "--secant", "--spectrum").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--groups"], "couple"),
        (["--per-example"], "couple"),
        (["--batch-norm", "none"], "stored, re-estimate, batch"),
    ],
)
def test_batch_statistics_that_cannot_be_had_are_an_error(
    opsig: Opsig, normed: Path, words: list[str], said: str
) -> None:
    if words == ["--groups"]:
        opsig("mine", "--store", normed, "--method", "simple")
    result = opsig("sharpness", "--store", normed, "--batch-norm", "batch", *words)
    assert result.code == 2
    assert said in " ".join(result.err.split())


def test_batch_statistics_need_a_batch_norm(opsig: Opsig, store: Path) -> None:
    result = opsig("sharpness", "--store", store, "--batch-norm", "batch")
    assert result.code == 2
    assert "BatchNorm, found none" in " ".join(result.err.split())


def test_phases_are_stored_and_told(opsig: Opsig, store: Path) -> None:
    result = opsig("sharpness", "--store", store, "--every", 4, "--json").json["result"]
    assert result["phases"]
    assert all(p["first_step"] <= p["last_step"] for p in result["phases"])
    with h5py.File(store) as file:
        assert json.loads(file["phases"].asstr()[()]) == result["phases"]


@pytest.mark.slow
def test_two_processes_give_the_answer_of_one(opsig: Opsig, store: Path, tmp_path: Path) -> None:
    both = Path(shutil.copy(store, tmp_path / "two.h5"))
    words = ["--every", "20", "--top", "2", "--layers", "--groups", "--secant", "--json"]
    one = opsig("sharpness", "--store", store, *words).json["result"]["points"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "opsigcli", "sharpness", "--store", str(both), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    two = json.loads(ran.stdout)["result"]["points"]
    assert [p["step"] for p in two] == [p["step"] for p in one]
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a["eigenvalues"], b["eigenvalues"], rtol=1e-5)
        assert a["matvecs"] == b["matvecs"]
        np.testing.assert_allclose(
            [layer["eigenvalue"] for layer in a["layers"]],
            [layer["eigenvalue"] for layer in b["layers"]],
            rtol=1e-4,
        )
        np.testing.assert_allclose(
            [g["share"]["value"] for g in a["groups"]], [g["share"]["value"] for g in b["groups"]], atol=1e-4
        )
        if a["secant"] is not None:
            assert a["secant"] == pytest.approx(b["secant"], rel=1e-3)
    with h5py.File(both) as file:
        assert json.loads(file["provenance/sharpness"].asstr()[()])["options"]["processes"] == 2


def test_another_learning_rate_keeps_the_eigenvalues_and_gives_the_numbers_of_measuring_anew(
    opsig: Opsig, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        "sharpness",
        "--store",
        store,
        "--every",
        10,
        "--no-step-check",
        "--json",
        "--optimizer",
        "momentum",
    )
    other = ("--lr", 0.02, "--weight-decay", 0.01, "--momentum", 0.8)
    anew = opsig(*words, *other, "--fresh").json["result"]["points"]
    assert opsig(*words, "--lr", 0.5, "--fresh").code == 0
    monkeypatch.setattr(Solver, "solve", lambda *_: pytest.fail("eigenvalues were computed again"))
    kept = opsig(*words, *other).json["result"]["points"]
    assert len(kept) == len(anew) > 1
    for one, two in zip(kept, anew, strict=True):
        assert one == two


def test_a_preconditioned_operator_is_solved_again_for_another_rule(opsig: Opsig, store: Path) -> None:
    words = ("sharpness", "--store", store, "--every", 20, "--no-step-check", "--json")
    opsig(*words, "--optimizer", "gd", "--lr", 0.5, "--fresh")
    moved = opsig(*words, "--optimizer", "adam", "--lr", 0.01).json["result"]["points"]
    assert all(point["threshold"] is None and "second moments" in point["reason"] for point in moved)
