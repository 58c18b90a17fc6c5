"""``opsig sharpness --quick``: critical sharpness along the run's own update, seen through the command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Opsig
from safetensors.torch import load_file, save_file

from opsigcli.cli.app import run
from opsigcli.datasets import open_source
from opsigcli.runs.build_objective import build_objective

DATA, MODEL = "planted?n=200", "mlp?hidden=6"
RULES = {
    "gd": ("--lr", 0.5),
    "momentum": ("--lr", 0.1),
    "adam": ("--lr", 0.02),
}


@pytest.fixture(scope="module", params=RULES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run of each rule, traced."""
    folder = tmp_path_factory.mktemp(request.param)
    words = [
        *(["train", folder / "run", "--data", DATA, "--model", MODEL, "--steps", 30]),
        *(["--optimizer", request.param, *RULES[request.param]]),
    ]
    for some in (words, ["trace", folder / "run", "--store", folder / "s.h5"]):
        assert run([str(word) for word in [*some, "--quiet"]]) == 0
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made / "s.h5", tmp_path / "s.h5"))


def crossing(start: Path, end: Path, near: float) -> float:
    """In float64, the multiple of the step at which the loss is back at its start, by bisection about ``near``."""
    first, second = (load_file(path) for path in (start, end))
    objective = build_objective(
        MODEL, open_source(DATA), "ce", device="cpu", batch_size=200, precision="float64"
    )
    inputs, targets = objective.batch(objective.counted)

    def loss(s: float) -> float:
        objective.load({key: first[key] + s * (second[key].double() - first[key]) for key in first})
        with torch.no_grad():
            return float(objective.loss_fn(objective.model(inputs), targets).mean())

    low, high = 0.8 * near, 1.2 * near
    assert loss(low) <= loss(0) < loss(high)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if loss(middle) <= loss(0) else (low, middle)
    return low


def test_the_ratio_is_that_of_the_rates_in_float64(opsig: Opsig, made: Path, store: Path) -> None:
    found = opsig("sharpness", "--quick", "--store", store, "--steps", ":29", "--every", 6, "--json").json
    points = found["result"]["critical_sharpness"]
    assert [p["step"] for p in points] == [0, 6, 12, 18, 24]
    compared = 0
    for p in points:
        assert p["direction"] == "next checkpoint"
        assert p["forward_passes"] < 10
        assert p["gradients"] == 0
        if p["ratio"] is None:
            assert "not found" in p["reason"]
            continue
        files = [
            made / "run" / p["file"],
            made / "run" / p["file"].replace(f"{p['step']:d}.", f"{p['step'] + 1:d}."),
        ]
        truth = 1 / crossing(files[0], files[1], 1 / p["ratio"])
        assert abs(p["ratio"] - truth) <= 1.1 * p["error"] * truth
        assert p["ratio"] == pytest.approx(p["critical_sharpness"] / p["threshold"])
        assert p["threshold"] == pytest.approx(2 / p["lr"])
        compared += 1
    assert compared >= 3


def test_the_step_of_the_optimizer_stands_for_a_checkpoint_that_is_not_there(
    opsig: Opsig, made: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few"
    shutil.copytree(made / "run", few)
    for file in few.iterdir():  # every sixth stays
        digits = "".join(c for c in file.stem.split(".")[0] if c.isdigit())
        if file.suffix == ".safetensors" and digits and int(digits) % 6:
            file.unlink()
    whole, sparse = made / "s.h5", tmp_path / "few.h5"
    assert opsig("trace", few, "--store", sparse, "--quiet").code in (0, 4)
    copy = Path(shutil.copy(whole, tmp_path / "whole.h5"))
    words = ("sharpness", "--quick", "--steps", "6:24", "--every")
    real = opsig(*words, 6, "--store", copy, "--json").json["result"]["critical_sharpness"]
    virtual = opsig(*words, 1, "--store", sparse, "--json").json["result"]["critical_sharpness"]
    assert [p["step"] for p in real] == [p["step"] for p in virtual]
    for a, b in zip(real, virtual, strict=True):
        assert (b["direction"], b["gradients"]) == ("optimizer step", 1)
        if a["ratio"] is not None and b["ratio"] is not None:
            assert abs(a["ratio"] - b["ratio"]) <= 1.1 * (a["error"] + b["error"]) * a["ratio"]


def test_it_stands_beside_the_sharpness_and_is_not_measured_twice(opsig: Opsig, store: Path) -> None:
    opsig("sharpness", "--store", store, "--every", 10)
    with h5py.File(store) as file:
        before = file["sharpness"].asstr()[()]
    words = ("sharpness", "--quick", "--store", store, "--every", 10, "--json")
    first, again = opsig(*words), opsig(*words)
    assert first.json["result"]["critical_sharpness"] == again.json["result"]["critical_sharpness"]
    with h5py.File(store) as file:
        assert file["sharpness"].asstr()[()] == before
        assert [p["step"] for p in json.loads(file["critical_sharpness"].asstr()[()])] == [0, 10, 20, 30]
    opsig("sharpness", "--store", store, "--every", 15)
    report = opsig("report", "--full", "--store", store, "--json").json["result"]
    assert len(report["critical_sharpness"]) == 4
    text = opsig("report", "--full", "--store", store).out
    assert "Critical sharpness along the run's updates" in text


@pytest.mark.parametrize(
    "words",
    [
        ("--layers", "--top", 3),
        ("--tolerance", 0.01),
        ("--max-matvecs", 20),
        ("--minibatch", 8),
        ("--all-parameters",),
        ("--no-step-check",),
        ("--budget", "50hvp"),
    ],
)
def test_what_it_has_no_use_for_is_refused(opsig: Opsig, store: Path, words: tuple[object, ...]) -> None:
    refused = opsig("sharpness", "--quick", *words, "--store", store)
    assert refused.code == 2
    assert all(str(word) in refused.err for word in words if str(word).startswith("--"))


def test_weights_that_are_not_finite_have_none_and_say_so(
    opsig: Opsig, made: Path, store: Path, tmp_path: Path
) -> None:
    run_copy, broken = tmp_path / "run", tmp_path / "broken.h5"
    shutil.copytree(made / "run", run_copy)
    file = next(path for path in run_copy.glob("*.safetensors") if path.stem.endswith("30"))
    weights = load_file(file)
    next(iter(weights.values())).fill_(torch.nan)
    save_file(weights, file)
    opsig("trace", run_copy, "--store", broken, "--quiet")
    words = ("sharpness", "--quick", "--store", broken, "--steps", "30:30", "--json")
    (point,) = opsig(*words).json["result"]["critical_sharpness"]
    assert point["ratio"] is None
    assert "not finite" in point["reason"]


def test_a_dry_run_counts_passes_and_measures_nothing(opsig: Opsig, store: Path) -> None:
    planned = opsig("sharpness", "--quick", "--every", 10, "--dry-run", "--store", store, "--json").json
    assert planned["result"]["units"] == 4
    with h5py.File(store) as file:
        assert "critical_sharpness" not in file


def test_a_subset_and_batches_of_any_size_are_measured(opsig: Opsig, store: Path) -> None:
    words = ("sharpness", "--quick", "--store", store, "--steps", "5:5", "--fresh", "--json")
    one, two = (
        opsig(*words, "--batch-size", size).json["result"]["critical_sharpness"][0] for size in (7, 200)
    )
    np.testing.assert_allclose(one["ratio"], two["ratio"], rtol=2 * one["error"])
    part = opsig(*words, "--examples", 50).json["result"]["critical_sharpness"][0]
    assert part["examples"] == 50


@pytest.mark.slow
def test_two_processes_give_the_value_of_one_where_examples_count_by_their_tokens(
    opsig: Opsig, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    tokens = random.integers(1, 12, (40, 9))
    labels = tokens[:, 1:].copy()
    for row in range(30):  # the first process has sequences of few labels
        labels[row, 1 + row % 3 :] = -100
    np.savez(tmp_path / "d.npz", x=tokens[:, :-1], y=labels)
    words = ["--model", "gpt?layers=1&width=8&heads=2", "--data", f"npz:{tmp_path / 'd.npz'}", "--loss", "lm"]
    steps = ["--optimizer", "adam", "--lr", 0.05, "--steps", 4, "--save-every", 2]
    assert opsig("train", tmp_path / "run", *words, *steps, "--quiet").code == 0
    store = tmp_path / "one.h5"
    assert opsig("trace", tmp_path / "run", "--store", store, "--quiet").code == 0
    both = shutil.copy(store, tmp_path / "two.h5")
    asked = ["sharpness", "--quick", "--precision", "float64", "--json", "--store"]
    one = opsig(*asked, store).json["result"]["critical_sharpness"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ran = subprocess.run(
        [*launch, "-m", "opsigcli", *asked, str(both)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    two = json.loads(ran.stdout)["result"]["critical_sharpness"]
    assert all(p["direction"] == "optimizer step" and p["ratio"] for p in one)
    for a, b in zip(one, two, strict=True):
        assert b["ratio"] == pytest.approx(a["ratio"], rel=1e-6)


def test_the_end_of_a_schedule_has_curvature_along_the_gradient_and_no_ratio(
    opsig: Opsig, tmp_path: Path
) -> None:
    """An update of length 0 would leave the loss where it is, however many times it were made."""
    folder = tmp_path / "run"
    train = (
        "train",
        folder,
        "--data",
        DATA,
        "--model",
        MODEL,
        "--steps",
        20,
        "--save-every",
        10,
        "--lr",
        0.5,
    )
    assert (
        opsig(*train, "--optimizer", "sgd", "--batch-size", 200, "--schedule", "cosine", "--quiet").code == 0
    )
    assert opsig("trace", folder, "--store", tmp_path / "s.h5", "--quiet").code == 0
    points = opsig("sharpness", "--quick", "--store", tmp_path / "s.h5", "--json").json
    last = points["result"]["critical_sharpness"][-1]
    assert (last["step"], last["lr"], last["ratio"]) == (20, 0.0, None)
    assert last["direction"] == "gradient"
    assert last["critical_sharpness"] > 0
    assert last["reason"] == "no ratio: the learning rate is 0 there, and no step is made"


def test_a_subset_is_told_wherever_the_values_are(opsig: Opsig, store: Path, tmp_path: Path) -> None:
    """Critical sharpness of 100 of 900 examples was half of that of all, and was shown as that of the run."""
    words = ("sharpness", "--quick", "--every", 20, "--examples", 50, "--store", store)
    told = "critical sharpness is that of 50 random examples of"
    done = opsig(*words, "--json").json
    assert any(told in warning for warning in done["warnings"])
    assert told in " ".join(opsig(*words).out.split()).lower()
    assert told in " ".join(opsig("report", "--full", "--store", store).out.split()).lower()
    page = tmp_path / "page.html"
    assert opsig("report", "-o", page, "--store", store).code == 0
    assert page.read_text("utf-8").lower().count(told) >= 2  # beside the chart, and among the notes


@pytest.mark.parametrize("words", [("--quick", "--examples"), ("--examples",), ("--minibatch",)])
def test_more_examples_than_there_are_are_refused(opsig: Opsig, store: Path, words: tuple[str, ...]) -> None:
    done = opsig("sharpness", "--store", store, *words, 10**6)
    assert (done.code, f"expected {words[-1]} of at most" in done.err) == (2, True), done.err
