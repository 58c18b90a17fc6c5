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
from opsigcli.examples import IGNORED
from opsigcli.objective.base import Objective
from opsigcli.objective.losses import LOSSES
from opsigcli.objective.losses.base import open_loss
from opsigcli.objective.weighting import pack_weights, weighted

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


def log_likelihood(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return -z[np.arange(len(z)), y], -one_hot(y, z.shape[1])


def focal(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = softmax(z)
    own = p[np.arange(len(z)), y]
    slope = 2 * (1 - own) * np.log(own) - (1 - own) ** 2 / own  # of the loss by p_y
    return -((1 - own) ** 2) * np.log(own), (slope * own)[:, None] * (one_hot(y, z.shape[1]) - p)


def generalised(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = softmax(z)
    own = p[np.arange(len(z)), y]
    return (1 - own**0.7) / 0.7, (own**0.7)[:, None] * (p - one_hot(y, z.shape[1]))


def sigmoid_focal(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    wanted = y if y.dtype.kind == "f" else one_hot(y, z.shape[1])
    sign, alpha = 2 * wanted - 1, 0.25 * wanted + 0.75 * (1 - wanted)
    q = 1 / (1 + np.exp(-sign * z))
    slope = 2 * (1 - q) * np.log(q) - (1 - q) ** 2 / q
    count = z.shape[1]
    return (-alpha * (1 - q) ** 2 * np.log(q)).mean(1), alpha * slope * q * (1 - q) * sign / count


def binary_of_probabilities(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    losses = -(y * np.log(z) + (1 - y) * np.log(1 - z))
    return losses.mean(1), (z - y) / (z * (1 - z)) / z.shape[1]


def absolute(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.abs(z - y).mean(1), np.sign(z - y) / z.shape[1]


def huber(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    gap = z - y
    return np.where(np.abs(gap) < 1, gap**2 / 2, np.abs(gap) - 0.5).mean(1), gap.clip(-1, 1) / z.shape[1]


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
    ("nll", "labels"): Case(np.log(softmax(RNG.normal(size=(N, C)))), LABELS, log_likelihood),
    ("focal", "labels"): Case(RNG.normal(size=(N, C)), LABELS, focal),
    ("gce", "labels"): Case(RNG.normal(size=(N, C)), LABELS, generalised),
    ("sigmoid_focal", "labels"): Case(RNG.normal(size=(N, C)), LABELS, sigmoid_focal),
    ("sigmoid_focal", "several labels"): Case(
        RNG.normal(size=(N, C)), RNG.random((N, C)).round(), sigmoid_focal
    ),
    ("bce_prob", "several labels"): Case(
        RNG.uniform(0.1, 0.9, (N, C)), RNG.random((N, C)).round(), binary_of_probabilities
    ),
    ("l1", "numbers"): Case(RNG.normal(size=(N, C)), RNG.normal(size=(N, C)), absolute),
    ("huber", "numbers"): Case(RNG.normal(size=(N, C)), 2 * RNG.normal(size=(N, C)), huber),
    ("smooth_l1", "numbers"): Case(RNG.normal(size=(N, C)), 2 * RNG.normal(size=(N, C)), huber),
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


class Probabilities(Linear):
    """Between 0 and 1, and linear in the inputs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 + 0.01 * super().forward(x)


class LogProbabilities(Linear):
    """Of classes, from logits linear in the inputs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).log_softmax(-1)


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
        if name == "bce_prob":
            model = Probabilities(L, shape)
        elif name == "nll":
            model = LogProbabilities(L, shape)
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
    outputs = objective.model(inputs).detach().numpy()
    losses, residuals = case.naive(outputs, targets)
    if name == "nll":  # from log-probabilities to logits
        residuals = residuals - np.exp(outputs) * residuals.sum(1, keepdims=True)
    counts = (targets != IGNORED).sum(1) if name == "lm" else np.ones(N)  # trainers' mean is over tokens
    mean, (found,) = objective.mean_loss_and_gradient()
    assert mean == pytest.approx(np.average(losses, weights=counts), rel=1e-12)
    residuals = residuals * (counts / counts.mean()).reshape(-1, *[1] * (residuals.ndim - 1))
    if case.targets.ndim == 2 and case.targets.dtype.kind == "i":
        expected = np.zeros(found.shape)
        np.add.at(expected, inputs.numpy(), residuals)
    else:
        expected = residuals.reshape(N, -1).T @ inputs.numpy() * (0.01 if name == "bce_prob" else 1)
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
    "nll": [((2,), LABELS), ((C,), TOKENS.clip(0))],
    **{name: [((2,), LABELS), ((C,), TOKENS.clip(0))] for name in ("focal", "gce")},
    **{
        name: [((C,), RNG.normal(size=(N, 2)))]
        for name in ("sigmoid_focal", "bce_prob", "l1", "huber", "smooth_l1")
    },
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
