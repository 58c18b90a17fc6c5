"""What every loss of the table keeps to. A new entry needs a case here."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from opsigcli.datasets import open_source
from opsigcli.errors import ObjectiveError
from opsigcli.objective.base import Objective
from opsigcli.objective.losses import LOSSES
from opsigcli.objective.losses.base import open_loss
from opsigcli.objective.weighting import pack_weights, weighted
from opsigcli.records import IGNORED

N, C, L = 7, 3, 4
RNG = np.random.default_rng(0)
LABELS = np.arange(N) % C
TOKENS = RNG.integers(0, C, (N, L))
TOKENS[0, 2:], TOKENS[1, 0] = IGNORED, IGNORED


def softmax(z: np.ndarray) -> np.ndarray:
    exp = np.exp(z - z.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[labels] if classes > 1 else labels.reshape(-1, 1).astype(float)


def cross_entropy(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p, wanted = softmax(z), y if y.dtype.kind == "f" else one_hot(y, z.shape[1])
    return -(wanted * np.log(p)).sum(axis=1), p * wanted.sum(axis=1, keepdims=True) - wanted


def squared_error(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    gap = z - (y if y.dtype.kind == "f" else one_hot(y, z.shape[1]))
    return (gap**2).mean(axis=1), 2 * gap / z.shape[1]


def binary(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    wanted, p = y if y.dtype.kind == "f" else one_hot(y, z.shape[1]), 1 / (1 + np.exp(-z))
    losses = -(wanted * np.log(p) + (1 - wanted) * np.log(1 - p))
    return losses.mean(axis=1), (p - wanted) / z.shape[1]


def next_token(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    losses, residuals = np.zeros(len(z)), np.zeros_like(z)
    for i in range(len(z)):
        labelled = np.flatnonzero(y[i] != IGNORED)
        for j in labelled:
            p = softmax(z[i, j])
            losses[i] -= np.log(p[y[i, j]]) / len(labelled)
            residuals[i, j] = (p - np.eye(C)[y[i, j]]) / len(labelled)
    return losses, residuals


@dataclass(frozen=True)
class Case:
    """Outputs and targets that a loss takes, and the loss with its gradient by the outputs, in NumPy."""

    outputs: np.ndarray
    targets: np.ndarray
    naive: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


CASES = {
    ("ce", "labels"): Case(RNG.normal(size=(N, C)), LABELS, cross_entropy),
    ("ce", "probabilities"): Case(RNG.normal(size=(N, C)), RNG.dirichlet(np.ones(C), N), cross_entropy),
    ("mse", "labels"): Case(RNG.normal(size=(N, C)), LABELS, squared_error),
    ("mse", "one output"): Case(RNG.normal(size=(N, 1)), LABELS, squared_error),
    ("mse", "numbers"): Case(RNG.normal(size=(N, C)), RNG.normal(size=(N, C)), squared_error),
    ("bce", "labels"): Case(RNG.normal(size=(N, C)), LABELS, binary),
    ("bce", "one output"): Case(RNG.normal(size=(N, 1)), LABELS % 2, binary),
    ("bce", "several labels"): Case(RNG.normal(size=(N, C)), RNG.random((N, C)).round(), binary),
    ("lm", "tokens"): Case(RNG.normal(size=(N, L, C)), TOKENS, next_token),
}
every_case = pytest.mark.parametrize(
    ("name", "case"), [(n, c) for (n, _), c in CASES.items()], ids=map(" ".join, CASES)
)
OF_LABELS = {
    key: case for key, case in CASES.items() if case.targets.ndim == 1 and case.targets.dtype.kind == "i"
}


def test_every_loss_of_the_table_has_a_case() -> None:
    assert {name for name, _ in CASES} == set(LOSSES)


@every_case
def test_losses_and_their_gradients_are_those_of_a_naive_twin(name: str, case: Case) -> None:
    outputs = torch.tensor(case.outputs, requires_grad=True)
    losses = open_loss(name).of_examples(outputs, torch.tensor(case.targets))
    expected, residuals = case.naive(case.outputs, case.targets)
    np.testing.assert_allclose(losses.detach(), expected, rtol=1e-12)
    (found,) = torch.autograd.grad(losses.sum(), outputs)
    np.testing.assert_allclose(found, residuals, rtol=1e-10, atol=1e-14)


@every_case
def test_weights_multiply_losses_and_gradients(name: str, case: Case) -> None:
    outputs, targets = torch.tensor(case.outputs, requires_grad=True), torch.tensor(case.targets)
    weights = np.arange(N) / 2
    packed = pack_weights(targets, torch.tensor(weights))
    losses = weighted(open_loss(name).of_examples, targets)(outputs, packed)
    expected, residuals = case.naive(case.outputs, case.targets)
    np.testing.assert_allclose(losses.detach(), weights * expected, rtol=1e-12)
    (found,) = torch.autograd.grad(losses.sum(), outputs)
    by_example = weights.reshape(-1, *[1] * (residuals.ndim - 1))
    np.testing.assert_allclose(found, by_example * residuals, rtol=1e-10, atol=1e-14)


@every_case
def test_the_loss_of_an_example_is_the_same_alone_and_beside_others(name: str, case: Case) -> None:
    loss = open_loss(name).of_examples
    outputs, targets = torch.tensor(case.outputs), torch.tensor(case.targets)
    alone = torch.cat([loss(outputs[i : i + 1], targets[i : i + 1]) for i in range(N)])
    torch.testing.assert_close(loss(outputs, targets), alone, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("name", "case"), [(n, c) for (n, _), c in OF_LABELS.items()], ids=map(" ".join, OF_LABELS)
)
def test_an_ignored_label_is_not_measured_and_changes_no_other_loss(name: str, case: Case) -> None:
    targets = case.targets.copy()
    targets[2] = IGNORED
    outputs = torch.tensor(case.outputs, requires_grad=True)
    losses = open_loss(name).of_examples(outputs, torch.tensor(targets))
    expected, residuals = case.naive(case.outputs, case.targets)
    expected[2] = np.nan
    np.testing.assert_allclose(losses.detach(), expected, rtol=1e-12)
    (found,) = torch.autograd.grad(losses[torch.arange(N) != 2].sum(), outputs)
    residuals[2] = 0
    np.testing.assert_allclose(found, residuals, rtol=1e-10, atol=1e-14)


def test_a_sequence_without_labels_is_not_measured() -> None:
    loss = open_loss("lm")
    targets = torch.tensor(TOKENS)
    targets[3] = IGNORED
    outputs = torch.tensor(CASES["lm", "tokens"].outputs)
    assert torch.isnan(loss.of_examples(outputs, targets)).tolist() == [i == 3 for i in range(N)]


@pytest.mark.parametrize("name", [name for name in LOSSES if open_loss(name).of_tokens is not None])
def test_the_loss_of_a_sequence_is_the_mean_over_its_labelled_tokens(name: str) -> None:
    loss, case = open_loss(name), next(case for (other, _), case in CASES.items() if other == name)
    outputs, targets = torch.tensor(case.outputs), torch.tensor(case.targets)
    tokens = loss.of_tokens(outputs, targets)
    means = [tokens[i][targets[i] != IGNORED].mean() for i in range(N)]
    torch.testing.assert_close(loss.of_examples(outputs, targets), torch.stack(means), rtol=1e-12, atol=0)


class Linear(nn.Module):
    """Outputs of a given shape, linear in the inputs."""

    def __init__(self, inputs: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight, self.shape = nn.Parameter(torch.randn(int(np.prod(shape)), inputs)), shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.weight.T).reshape(len(x), *self.shape)


def problem(
    folder: Path, name: str, targets: np.ndarray, shape: tuple[int, ...], batch_size: int
) -> Objective:
    inputs = np.random.default_rng(1).normal(size=(N, L))
    if targets.ndim == 2 and targets.dtype.kind == "i":  # tokens, which one-hot inputs stand for
        np.savez(folder / "d.npz", x=np.random.default_rng(1).integers(0, C, targets.shape), y=targets)
        torch.manual_seed(0)
        model: nn.Module = nn.Embedding(C, shape[-1])
    else:
        np.savez(folder / "d.npz", x=inputs, y=targets)
        torch.manual_seed(0)
        model = Linear(L, shape)
    source = open_source(f"npz:{folder / 'd.npz'}")
    return Objective(model, source, name, batch_size=batch_size, dtype=torch.float64)


@every_case
def test_the_gradient_of_the_mean_loss_is_the_chain_of_residual_and_inputs(
    tmp_path: Path, name: str, case: Case
) -> None:
    objective = problem(tmp_path, name, case.targets, case.outputs.shape[1:], batch_size=4)
    inputs, _ = objective.batch(np.arange(N))
    targets = objective.source.read_targets(np.arange(N))
    targets = targets if targets.dtype.kind == "i" else targets.astype(np.float64)
    losses, residuals = case.naive(objective.model(inputs).detach().numpy(), targets)
    mean, (found,) = objective.mean_loss_and_gradient()
    assert mean == pytest.approx(losses.mean(), rel=1e-12)
    if name == "lm":
        expected = np.zeros(found.shape)
        np.add.at(expected, inputs.numpy(), residuals)
    else:
        expected = residuals.reshape(N, -1).T @ inputs.numpy()
    np.testing.assert_allclose(found, expected / N, rtol=1e-10, atol=1e-14)


@every_case
def test_losses_and_gradients_do_not_depend_on_the_batch_size(tmp_path: Path, name: str, case: Case) -> None:
    found = []
    for size in (1, 3, N):
        objective = problem(tmp_path, name, case.targets, case.outputs.shape[1:], size)
        found.append((objective.losses(), *objective.mean_loss_and_gradient()[1], objective.mean_loss()))
    for one, other in itertools.pairwise(found):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


UNFIT = {
    "ce": [((2,), LABELS), ((), LABELS), ((C,), TOKENS.clip(0)), ((C,), RNG.normal(size=(N, 2)))],
    "mse": [((2,), LABELS), ((C,), TOKENS.clip(0)), ((C,), RNG.normal(size=(N, 2)))],
    "bce": [((2,), LABELS), ((C,), TOKENS.clip(0)), ((C,), RNG.random((N, 2)))],
    "lm": [((C,), LABELS), ((2,), TOKENS), ((C,), RNG.normal(size=(N, L)))],
}


@pytest.mark.parametrize(
    ("name", "shape", "targets"), [(name, *each) for name in LOSSES for each in UNFIT[name]]
)
def test_outputs_that_do_not_fit_are_refused_in_words(
    tmp_path: Path, name: str, shape: tuple[int, ...], targets: np.ndarray
) -> None:
    with pytest.raises(ObjectiveError) as caught:
        problem(tmp_path, name, targets, shape, 4)
    assert caught.value.hint
