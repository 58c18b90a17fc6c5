"""Options of losses against torch's own reductions, in float64: value, gradient and Hessian of the mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from opsigcli.datasets import open_source
from opsigcli.derivatives.gauss_newton import GaussNewtonOperator
from opsigcli.derivatives.gradient_sketch import gradient_sketches
from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.derivatives.per_example_curvature import directional_derivatives
from opsigcli.errors import ObjectiveError, UsageError
from opsigcli.objective.base import Objective
from opsigcli.objective.losses.base import open_loss

N, D, C, L = 11, 4, 3, 5
RNG = np.random.default_rng(3)
X, LABELS = RNG.normal(size=(N, D)), RNG.integers(0, C, N)
SEVERAL = RNG.integers(0, 2, (N, C)).astype(float)
NUMBERS = (2 * RNG.normal(size=(N, C))).astype(np.float32)
SOME_VOID = np.where(np.arange(N) % 4 == 1, 255, LABELS)
TOKENS = RNG.integers(0, C, (N, L))
TOKENS[0, 1:], TOKENS[1, :3] = -100, -100
MAPS = RNG.integers(0, C, (N, 2, 3))
MAPS[0, 0], MAPS[1, 1, 1:] = 255, 255
WEIGHT = torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)

Mean = Callable[[Tensor, Tensor], Tensor]


def focal_mean(z: Tensor, y: Tensor) -> Tensor:
    surprise = F.cross_entropy(z, y, reduction="none")
    return (WEIGHT[y] * (1 - torch.exp(-surprise)) ** 1.5 * surprise).sum() / WEIGHT[y].sum()


def generalised_mean(z: Tensor, y: Tensor) -> Tensor:
    own = z.softmax(1)[torch.arange(len(z)), y]
    return (WEIGHT[y] * (1 - own**0.4) / 0.4).sum() / WEIGHT[y].sum()


def ce(**options: object) -> Mean:
    return lambda z, y: F.cross_entropy(z, y, **options)  # type: ignore[arg-type]


def tokens(**options: object) -> Mean:
    return lambda z, y: F.cross_entropy(z.flatten(0, 1), y.flatten(), **options)  # type: ignore[arg-type]


def by_sequence(z: Tensor, y: Tensor) -> Tensor:
    return torch.stack([F.cross_entropy(a, b) for a, b in zip(z, y, strict=True)]).mean()


def as_float(loss: Callable[..., Tensor], **options: object) -> Mean:
    return lambda z, y: loss(z, y.to(z.dtype), **options)


# spec -> targets and the mean that torch minimises
CASES: dict[str, tuple[np.ndarray, Mean]] = {
    "ce?label_smoothing=0.1": (LABELS, ce(label_smoothing=0.1)),
    "ce?weight=0.2,0.5,1": (LABELS, ce(weight=WEIGHT)),
    "ce?weight=0.2,0,1": (LABELS, ce(weight=WEIGHT * torch.tensor([1, 0, 1]))),
    "ce?weight=0.2,0.5,1&label_smoothing=0.1": (LABELS, ce(weight=WEIGHT, label_smoothing=0.1)),
    "ce?ignore_index=255": (SOME_VOID, ce(ignore_index=255)),
    "ce?weight=.2,.5,1.": (LABELS, ce(weight=WEIGHT)),
    "ce?ignore_index=0": (LABELS, ce(ignore_index=0)),
    "ce?weight=0.2,0.5,1&ignore_index=255": (MAPS, ce(weight=WEIGHT, ignore_index=255)),
    "ce?ignore_index=255&label_smoothing=0.2": (MAPS, ce(ignore_index=255, label_smoothing=0.2)),
    "nll?weight=0.2,0.5,1": (LABELS, lambda z, y: F.nll_loss(z, y, WEIGHT)),
    "focal?gamma=1.5&weight=0.2,0.5,1": (LABELS, focal_mean),
    "gce?q=0.4&weight=0.2,0.5,1": (LABELS, generalised_mean),
    "lm": (TOKENS, tokens()),
    "lm?mean=tokens&label_smoothing=0.1": (TOKENS, tokens(label_smoothing=0.1)),
    "lm?weight=0.2,0.5,1": (TOKENS, tokens(weight=WEIGHT)),
    "lm?mean=sequences": (TOKENS, by_sequence),
    "bce?pos_weight=3": (SEVERAL, as_float(F.binary_cross_entropy_with_logits, pos_weight=torch.tensor(3.0))),
    "bce?pos_weight=3,1,0.5&weight=1,2,4": (
        SEVERAL,
        as_float(
            F.binary_cross_entropy_with_logits,
            pos_weight=torch.tensor([3, 1, 0.5]).double(),
            weight=torch.tensor([1.0, 2, 4]).double(),
        ),
    ),
    "mse?outputs=sum&scale=0.5": (NUMBERS, lambda z, y: 0.5 * (z - y).square().sum(1).mean()),
    "huber?delta=0.7": (NUMBERS, as_float(F.huber_loss, delta=0.7)),
    "smooth_l1?beta=0.3": (NUMBERS, as_float(F.smooth_l1_loss, beta=0.3)),
    "l1": (NUMBERS, as_float(F.l1_loss)),
}
every_case = pytest.mark.parametrize(
    ("spec", "targets", "mean"), [(spec, *case) for spec, case in CASES.items()], ids=CASES
)


class Maps(nn.Module):
    """Logits (B, C, 2, 3) of inputs (B, D)."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.outside = nn.Linear(D, 4), nn.Linear(4, C * 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.outside(torch.tanh(self.inside(x))).view(-1, C, 2, 3)


def opened(
    folder: Path, spec: str, targets: np.ndarray, batch_size: int = 4, **arrays: np.ndarray
) -> Objective:
    x: np.ndarray = X
    torch.manual_seed(0)
    model: nn.Module = nn.Sequential(nn.Linear(D, 4), nn.Tanh(), nn.Linear(4, C))
    if targets.shape == (N, L):
        x = np.random.default_rng(4).integers(0, 6, (N, L))
        model = nn.Sequential(nn.Embedding(6, 4), nn.Tanh(), nn.Linear(4, C))
    elif targets.ndim == 3:
        model = Maps()
    elif spec.startswith("nll"):
        model.append(nn.LogSoftmax(1))
    np.savez(folder / "d.npz", x=x, y=targets, **arrays)
    return Objective(
        model, open_source(f"npz:{folder / 'd.npz'}"), spec, batch_size=batch_size, dtype=torch.float64
    )


def truth(objective: Objective, targets: np.ndarray, mean: Mean) -> tuple[Tensor, Tensor, Tensor]:
    """Value, gradient and Hessian of torch's mean, by another route."""
    inputs = objective.read(np.arange(N))
    y = torch.as_tensor(targets)
    y = y.double() if y.is_floating_point() else y
    names, parameters = objective.parameter_names, objective.parameters
    sizes = [p.numel() for p in parameters]

    def value(flat: Tensor) -> Tensor:
        parts = {n: part.view_as(p) for n, part, p in zip(names, flat.split(sizes), parameters, strict=True)}
        return mean(functional_call(objective.model, parts, (inputs,)), y)

    flat = torch.cat([p.detach().reshape(-1) for p in parameters]).requires_grad_()
    loss = value(flat)
    (gradient,) = torch.autograd.grad(loss, flat)
    return loss.detach(), gradient, torch.autograd.functional.hessian(value, flat.detach())


@every_case
def test_the_mean_its_gradient_and_its_hessian_are_those_of_torchs_own_reduction(
    tmp_path: Path, spec: str, targets: np.ndarray, mean: Mean
) -> None:
    objective = opened(tmp_path, spec, targets)
    loss, gradient, hessian = truth(objective, targets, mean)
    found, parts = objective.mean_loss_and_gradient()
    assert found == pytest.approx(float(loss), rel=1e-12)
    assert objective.mean_loss() == pytest.approx(float(loss), rel=1e-5)
    torch.testing.assert_close(torch.cat([p.reshape(-1) for p in parts]), gradient, rtol=1e-9, atol=1e-12)
    operator = hessian_operator(objective)
    columns = torch.stack([operator(row) for row in torch.eye(operator.size).double()])
    torch.testing.assert_close(columns, hessian, rtol=1e-8, atol=1e-11)


@every_case
def test_single_examples_add_up_to_the_mean_in_every_instrument(
    tmp_path: Path, spec: str, targets: np.ndarray, mean: Mean
) -> None:
    objective = opened(tmp_path, spec, targets)
    _, gradient, hessian = truth(objective, targets, mean)
    v = torch.randn(len(gradient), generator=torch.Generator().manual_seed(0)).double()
    slopes, curvatures = directional_derivatives(objective, v)
    assert float(slopes.astype(float).mean()) == pytest.approx(float(gradient @ v), rel=1e-4, abs=1e-6)
    assert float(curvatures.astype(float).mean()) == pytest.approx(float(v @ hessian @ v), rel=1e-4, abs=1e-5)
    norms = gradient_sketches(objective, objective.counted, dimensions=16).norms
    single = [objective.mean_loss_and_gradient(np.array([i]))[1] for i in objective.counted]
    lengths = np.array([float(torch.cat([p.reshape(-1) for p in parts]).norm()) for parts in single])
    own = 1.0 if objective.weights is None else objective.weights[objective.counted]
    np.testing.assert_allclose(norms, lengths * own, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("spec", ["ce?weight=0.2,0.5,1", "lm", "ce?weight=0.2,0.5,1&ignore_index=255"])
def test_the_gauss_newton_matrix_is_that_of_the_same_mean(tmp_path: Path, spec: str) -> None:
    targets, mean = CASES[spec]
    objective = opened(tmp_path, spec, targets)
    linear = nn.Sequential(nn.Linear(D, C))  # whose Hessian is its Gauss-Newton matrix
    if spec == "lm":
        linear = nn.Sequential(nn.Embedding(6, C))
    elif targets.ndim == 3:
        linear = nn.Sequential(nn.Linear(D, 6 * C), nn.Unflatten(1, (C, 2, 3)))
    objective = Objective(linear, objective.source, spec, batch_size=4, dtype=torch.float64)
    _, _, hessian = truth(objective, targets, mean)
    operator = GaussNewtonOperator(objective)
    columns = torch.stack([operator(row) for row in torch.eye(operator.size).double()])
    torch.testing.assert_close(columns, hessian, rtol=1e-8, atol=1e-11)


@every_case
def test_the_loss_of_an_example_is_what_torch_gives_for_it_alone(
    tmp_path: Path, spec: str, targets: np.ndarray, mean: Mean
) -> None:
    objective = opened(tmp_path, spec, targets)
    losses = objective.losses()
    for i in objective.counted:
        if objective.weights is not None and objective.weights[i] == 0:
            continue  # torch has 0/0 for it
        inputs = objective.read(np.array([i]))
        y = torch.as_tensor(targets[i : i + 1])
        alone = mean(objective.model(inputs), y.double() if y.is_floating_point() else y)
        assert losses[i] == pytest.approx(float(alone.detach()), rel=1e-5)


def test_the_mean_of_a_batch_is_torchs_mean_of_that_batch(tmp_path: Path) -> None:
    batch = np.array([0, 3, 4, 9])
    objective = opened(tmp_path, "ce?weight=0.2,0.5,1", LABELS)
    outputs = objective.model(objective.read(batch)).detach()
    expected = F.cross_entropy(outputs, torch.as_tensor(LABELS[batch]), weight=WEIGHT)
    assert objective.mean_loss_and_gradient(batch)[0] == pytest.approx(float(expected), rel=1e-9)


def test_weights_of_examples_and_of_classes_multiply(tmp_path: Path) -> None:
    own = np.arange(1.0, N + 1)
    objective = opened(tmp_path, "ce?weight=0.2,0.5,1", LABELS, weights=own)
    each = F.cross_entropy(
        objective.model(torch.as_tensor(X)).detach(), torch.as_tensor(LABELS), reduction="none"
    )
    w = own * WEIGHT.numpy()[LABELS]
    expected = float((each.numpy() * w).sum() / w.sum())
    assert objective.mean_loss_and_gradient()[0] == pytest.approx(expected, rel=1e-6)  # inputs are float32
    assert "weight in the data × the weight of its class (0.2, 0.5, 1)" in objective.mean
    np.testing.assert_allclose(objective.losses(), each, rtol=1e-5)


def test_a_function_may_return_weights_beside_the_losses(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch.nn.functional as F\n"
        "def f(z, y): return F.cross_entropy(z, y, reduction='none'), 1.0 + y\n"
    )
    objective = opened(tmp_path, f"file:{tmp_path / 'net.py'}:f", LABELS)
    each = F.cross_entropy(
        objective.model(torch.as_tensor(X)).detach(), torch.as_tensor(LABELS), reduction="none"
    )
    expected = np.average(each, weights=1.0 + LABELS)
    assert objective.mean_loss_and_gradient()[0] == pytest.approx(expected, rel=1e-6)
    assert not objective.notes


def test_a_function_with_weights_of_classes_is_told_of_torchs_own_mean(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch, torch.nn.functional as F\n"
        "W = torch.tensor([.2, 1., 5.])\n"
        "def f(z, y): return F.cross_entropy(z, y, weight=W.to(z.dtype), reduction='none')\n"
    )
    objective = opened(tmp_path, f"file:{tmp_path / 'net.py'}:f", LABELS)
    assert "give --loss 'ce?weight=0.2,1,5'" in objective.notes[0]


@pytest.mark.parametrize(
    ("spec", "said", "hint"),
    [
        ("ce?label_smothing=0.1", "label_smothing", "label_smoothing"),
        ("ce?label_smoothing=2", "from 0 to 1", "label_smoothing"),
        ("ce?weight=a", "finite numbers", "weight"),
        ("ce?weight=1,-1,1", "at least 0", "weight"),
        ("ce?weight=1,0,1&label_smoothing=0.1", "no class of weight 0", "small weight"),
        ("ce?l2=0.01", "unknown option 'l2'", "--weight-decay"),
        ("mse?reduction=sum", "unknown option 'reduction'", "outputs=sum"),
        ("lm?mean=token", "tokens, sequences", "mean"),
        ("huber?delta=0", "above 0", "delta"),
        ("cee?weight=1", "unknown loss 'cee'", "'ce'"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_words(spec: str, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_loss(spec)
    assert said in caught.value.message
    assert hint in caught.value.hint


def test_as_many_weights_as_classes_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ObjectiveError, match="3 classes"):
        opened(tmp_path, "ce?weight=1,2", LABELS)


def test_the_sigmoid_focal_loss_is_torchvisions() -> None:
    ops = pytest.importorskip("torchvision.ops")
    z, y = torch.randn(5, 3).double(), torch.rand(5, 3).round().double()
    for alpha, gamma in ((0.25, 2), (-1, 1.5)):
        found = open_loss(f"sigmoid_focal?alpha={alpha}&gamma={gamma}").of_examples(z, y)
        torch.testing.assert_close(found, ops.sigmoid_focal_loss(z, y, alpha, gamma).mean(1))
