"""Training on part of the data, and without mined groups: weights of examples and texts go with the part."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Opsig
from safetensors.numpy import load_file

from opsigcli.curvature.lanczos import top_eigenvalues
from opsigcli.datasets import open_source
from opsigcli.datasets.planted import Planted
from opsigcli.datasets.subset import Subset
from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.examples import IGNORED, ExampleSource
from opsigcli.gradients.arm import STEPS, TOLD, train_on
from opsigcli.models.base import build
from opsigcli.objective.base import Objective
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.runs.tuning import Part, Tuning

TEXT = "gpt?layers=1&width=8&heads=2"
N = 60


def write_weighted(folder: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, N)
    labels[::9] = 3  # a class that may be left out as a whole
    arrays = {"x": rng.normal(size=(N, 5)).astype(np.float32), "y": labels, "weights": rng.random(N) ** 3}
    np.savez(folder / "w.npz", **arrays)
    return arrays


def naive_losses(arrays: dict[str, np.ndarray], weights: dict[str, np.ndarray]) -> np.ndarray:
    """Cross-entropy of every example by the mlp of the tests, in float64."""
    double = {name: value.astype(np.float64) for name, value in weights.items()}
    hidden = np.tanh(arrays["x"] @ double["hidden1.weight"].T + double["hidden1.bias"])
    z = hidden @ double["head.weight"].T + double["head.bias"]
    return np.log(np.exp(z).sum(axis=1)) - z[np.arange(N), arrays["y"]]


def trained(opsig: Opsig, folder: Path, ids: np.ndarray, how: str, *words: Any) -> dict[str, Any]:
    (folder / "ids.txt").write_text("\n".join(map(str, ids)))
    done = opsig("train", folder / "run", *words, how, folder / "ids.txt", "--json")
    assert done.code == 0, done.err
    return done.json["result"]


@pytest.mark.parametrize("how", ["--exclude", "--downweight"])
def test_a_run_on_part_of_weighted_examples_has_their_weighted_mean_loss(
    opsig: Opsig, tmp_path: Path, how: str
) -> None:
    arrays = write_weighted(tmp_path)
    ids = np.flatnonzero(arrays["y"] == 3)
    words = ("--data", f"npz:{tmp_path}/w.npz", "--model", "mlp?hidden=6", "--steps", 4, "--save-every", 4)
    found = trained(opsig, tmp_path, ids, how, *words)["mean_loss"]
    losses = naive_losses(arrays, load_file(tmp_path / "run" / "step-000004.safetensors"))
    kept = np.setdiff1d(np.arange(N), ids) if how == "--exclude" else np.arange(N)
    assert found == pytest.approx(np.average(losses[kept], weights=arrays["weights"][kept]), rel=1e-5)
    # The model has an output for every class of the whole, so that the run can be traced on all examples.
    assert opsig("trace", tmp_path / "run", "--store", tmp_path / "o.h5").code == 0


@pytest.mark.parametrize("how", ["--exclude", "--downweight"])
def test_an_update_on_part_of_weighted_examples_is_the_gradient_of_their_weighted_mean(
    opsig: Opsig, tmp_path: Path, how: str
) -> None:
    arrays = write_weighted(tmp_path)
    ids = np.arange(0, N, 4)
    words = ("--data", f"npz:{tmp_path}/w.npz", "--model", "mlp?hidden=6", "--steps", 1, "--save-every", 1)
    trained(opsig, tmp_path, ids, how, *words, "--lr", 0.5)
    before, after = (load_file(tmp_path / "run" / f"step-00000{step}.safetensors") for step in (0, 1))
    model = build("mlp?hidden=6", input_shape=(5,), outputs=4).double()
    model.load_state_dict({name: torch.as_tensor(value) for name, value in before.items()})
    share = np.where(np.isin(np.arange(N), ids), 0.0 if how == "--exclude" else 0.1, 1.0) * arrays["weights"]
    losses = torch.nn.functional.cross_entropy(
        model(torch.as_tensor(arrays["x"]).double()), torch.as_tensor(arrays["y"]), reduction="none"
    )
    (losses * torch.as_tensor(share)).sum().div(share.sum()).backward()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(
            before[name] - 0.5 * parameter.grad.numpy(), after[name], rtol=1e-4, atol=1e-6
        )


def mean_loss_of_text(model: torch.nn.Module, source: ExampleSource, positions: np.ndarray) -> float:
    """The mean over all labelled tokens, one example and token at a time."""
    losses = []
    for position in positions:
        rows = np.array([position])
        logits = model(torch.as_tensor(source.read(rows)))[0].detach().double().log_softmax(-1).numpy()
        targets = source.read_targets(rows)[0]
        losses += [-logits[place, t] for place, t in enumerate(targets) if t != IGNORED]
    return float(np.mean(losses))


@pytest.mark.parametrize("how", ["--exclude", "--downweight"])
@pytest.mark.parametrize("kind", ["babble", "text", "tokens"])
def test_a_language_model_is_trained_on_part_of_a_text(
    opsig: Opsig, tmp_path: Path, how: str, kind: str
) -> None:
    (tmp_path / "t.txt").write_text("a b c d e f g a b c\n\nb c a\n\n" + "d e a b f g " * 9)
    data = {
        "babble": "babble?sentences=30&context=8",
        "text": f"text:{tmp_path / 't.txt'}?context=4",
        "tokens": f"text:{tmp_path / 't.txt'}?context=4&per=token",
    }[kind]
    source = open_source(data)
    words = ("--data", data, "--model", TEXT, "--loss", "lm", "--steps", 2, "--save-every", 2)
    found = trained(opsig, tmp_path, source.ids[::3], how, *words)["mean_loss"]
    model = build(TEXT, input_shape=source.input_shape, outputs=len(source.classes))
    weights = load_file(tmp_path / "run" / "step-000002.safetensors")
    model.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})
    everything = np.arange(len(source))
    kept = everything[everything % 3 > 0] if how == "--exclude" else everything
    assert found == pytest.approx(mean_loss_of_text(model, source, kept), rel=1e-4)


@pytest.mark.parametrize("kind", ["weights", "babble"])
def test_what_is_left_without_a_group_is_trained_and_measured_as_it_counts(tmp_path: Path, kind: str) -> None:
    if kind == "weights":
        write_weighted(tmp_path)
        source, spec, loss = open_source(f"npz:{tmp_path}/w.npz"), "mlp?hidden=6", "ce"
    else:
        source, spec, loss = open_source("babble?sentences=30&context=8"), TEXT, "lm"
    model = build(spec, input_shape=source.input_shape, outputs=source.outputs)
    initial = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    whole = Objective(model, source, loss)
    run: Any = SimpleNamespace(
        objective=whole,
        source=source,
        run=SimpleNamespace(batch_size=None),
        batch_norm=None,
        load=lambda _row: whole.load(initial),
    )
    removed = np.arange(0, len(source), 3)
    names = tuple(whole.parameter_names)
    tuning = Tuning((Part("all parameters", "gd", OPTIMIZERS.load("gd"), {"lr": 0.05}, names),))
    kept = np.setdiff1d(np.arange(len(source)), removed)
    arm, course = train_on(run, tuning, 0, removed, [kept], None)
    left = Subset(source, kept)
    alone = Objective(model, left, loss)
    assert course[STEPS] == pytest.approx(alone.mean_loss(), rel=1e-6)
    alone.load(initial)
    operator = hessian_operator(alone)
    sharpness = float(top_eigenvalues(operator, operator.size, 1).eigenvalues[0])
    assert arm[TOLD.index("sharpness_start")] == pytest.approx(sharpness, rel=1e-4)
    if kind == "weights":
        unweighted = Subset(source, left._positions)
        unweighted.weights = None
        assert course[STEPS] != pytest.approx(Objective(model, unweighted, loss).mean_loss(), rel=1e-3)


def test_a_part_in_which_no_example_counts_is_refused_in_words(opsig: Opsig, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", x=np.ones((4, 2)), y=np.arange(4) % 2, weights=np.array([1.0, 1, 0, 0]))
    (tmp_path / "ids.txt").write_text("0\n1")
    words = ("--data", f"npz:{tmp_path}/w.npz", "--steps", 1, "--exclude", tmp_path / "ids.txt")
    done = opsig("train", tmp_path / "run", *words)
    assert done.code == 3
    assert "expected weights above 0" in done.err


@pytest.mark.slow
def test_causes_are_compared_on_weighted_examples(opsig: Opsig, tmp_path: Path) -> None:
    planted = Planted("img2", 400)
    everything = np.arange(400)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, 400)
    np.savez(tmp_path / "p.npz", x=planted.read(everything), y=planted.labels, weights=weights)
    store = tmp_path / "o.h5"
    words = ("--data", f"npz:{tmp_path}/p.npz", "--model", "mlp?hidden=32,32", "--steps", 120)
    assert opsig("train", tmp_path / "run", *words).code == 0
    assert opsig("trace", tmp_path / "run", "--store", store).code == 0
    done = opsig("mine", "--store", store, "--causal", "--surrogates", 0, "--json")
    assert done.code == 0, done.err
    causal = done.json["result"]["causal"]
    source = open_source(f"npz:{tmp_path}/p.npz")
    model = build("mlp?hidden=32,32", input_shape=source.input_shape, outputs=source.outputs)
    saved = load_file(tmp_path / "run" / f"step-{causal['step']:06d}.safetensors")
    model.load_state_dict({name: torch.as_tensor(value) for name, value in saved.items()})
    operator = hessian_operator(Objective(model, source, "ce"))
    sharpness = float(top_eigenvalues(operator, operator.size, 1).eigenvalues[0])
    arms = {arm["removed"]: arm for arm in causal["arms"] if arm["step"] == causal["step"]}
    assert arms["nothing"]["sharpness_start"] == pytest.approx(sharpness, rel=1e-3)
