"""Architectures of timm and torchvision, each with a habit that broke something once, against plain derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torchvision
from problems import Rows
from torch import nn

from opsigcli.derivatives.check_hvp import check_second_derivatives
from opsigcli.derivatives.gauss_newton import GaussNewtonOperator
from opsigcli.derivatives.gradient_sketch import gradient_sketches
from opsigcli.derivatives.hvp import hessian_operator
from opsigcli.derivatives.per_example_curvature import directional_derivatives
from opsigcli.objective.base import Objective
from opsigcli.objective.evaluate import Evaluator
from opsigcli.runs.load_weights import Loader

EXAMPLES = 3  # in batches of two: the last one is one example
# name -> (where from, pixels)
NETS = {
    "mobilenet_v3_small": ("torchvision", 64),  # hardsigmoid
    "shufflenet_v2_x0_5": ("torchvision", 64),  # channels in another order, depthwise convolutions
    "levit_128s": ("timm", 224),  # attention biases kept in eval mode
    "efficientvit_m0": ("timm", 224),  # windows as examples, residuals that start at 0
    "xcit_nano_12_p16_224": ("timm", 64),  # normalised keys, a table that all examples share
    "test_vit": ("timm", 160),
    "test_convnext": ("timm", 64),
    "test_nfnet": ("timm", 64),  # standardised weights
    "test_efficientnet": ("timm", 64),
}

pytestmark = pytest.mark.slow  # nine architectures of timm and torchvision


def build(name):
    torch.manual_seed(0)
    library = torchvision.models.get_model if NETS[name][0] == "torchvision" else timm.create_model
    return library(name, num_classes=3)


def states(name):
    """Weights of three checkpoints: those of the start, moved, with statistics as after some training."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        weights = build(name).state_dict()
        for key, value in weights.items():
            if value.is_floating_point():
                size = float(value.std()) if value.numel() > 1 else 0.0
                value.add_(torch.randn(value.shape, generator=generator), alpha=0.05 * (size or 1.0))
            if key.endswith("running_var"):
                value.abs_().add_(0.5)
        yield weights


@pytest.fixture(scope="module", params=NETS)
def name(request):
    return request.param


def images(name):
    return Rows((3, NETS[name][1], NETS[name][1]), EXAMPLES)


@pytest.fixture(scope="module")
def problem(name):
    """In float64, at the last checkpoint."""
    model = build(name)
    model.load_state_dict(list(states(name))[-1])
    return Objective(model, images(name), "ce", batch_size=2, dtype=torch.float64)


@pytest.fixture(scope="module")
def direction(problem):
    size = sum(p.numel() for p in problem.parameters)
    v = torch.randn(size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return v / v.norm()


@pytest.fixture(scope="module")
def product(problem, direction):
    return hessian_operator(problem)(direction)


def moved(name, problem, direction, step):
    """Outputs and gradient of the mean loss of all examples at ``θ + step v``, of a model that was never used."""
    plain = build_like(name, problem)
    at = 0
    with torch.no_grad():
        for p in plain.parameters():
            p.add_(direction[at : at + p.numel()].view_as(p), alpha=step)
            at += p.numel()
    inputs, targets = problem.batch(np.arange(EXAMPLES))
    outputs = plain(inputs)
    loss = nn.functional.cross_entropy(outputs, targets)
    parts = torch.autograd.grad(loss, list(plain.parameters()))
    return outputs.detach(), torch.cat([part.reshape(-1) for part in parts])


def build_like(name, problem):
    plain = build(name).double().eval()
    plain.load_state_dict(problem.model.state_dict())
    return plain


def test_losses_are_those_of_a_model_that_was_never_used(name):
    source = images(name)
    objective = Objective(build(name), source, "ce", batch_size=2)
    evaluator, loader = Evaluator(objective), Loader(objective.model, partial=False)
    evaluator.hold(np.arange(EXAMPLES))
    for weights in states(name):
        loader.load(weights, "here")
        plain = build(name).eval()
        plain.load_state_dict(weights)
        with torch.no_grad():
            outputs = plain(torch.as_tensor(source.inputs))
            expected = nn.functional.cross_entropy(outputs, torch.as_tensor(source.labels), reduction="none")
        np.testing.assert_allclose(evaluator.losses(), expected, rtol=2e-5, atol=1e-6)


def test_second_derivatives_pass_the_check(name):
    check_second_derivatives(Objective(build(name), images(name), "ce", batch_size=2))


def test_products_are_differences_of_gradients(name, problem, direction, product):
    gradients = [moved(name, problem, direction, sign * 1e-7)[1] for sign in (1, -1)]
    expected = (gradients[0] - gradients[1]) / 2e-7
    assert float((product - expected).norm()) <= 1e-4 * float(expected.norm())


def test_curvatures_of_the_examples_add_up(problem, direction, product):
    found = directional_derivatives(problem, direction)
    gradient = torch.cat([g.reshape(-1) for g in problem.mean_loss_and_gradient()[1]])
    np.testing.assert_allclose(found.curvatures.mean(), float(direction @ product), rtol=1e-4)
    np.testing.assert_allclose(found.slopes.mean(), float(direction @ gradient), rtol=1e-4)


def test_gauss_newton_is_the_curvature_of_the_moved_outputs(name, problem, direction):
    outputs = [moved(name, problem, direction, sign * 1e-5)[0] for sign in (1, 0, -1)]
    changed, p = (outputs[0] - outputs[2]) / 2e-5, outputs[1].softmax(1)
    expected = ((p * changed.square()).sum(1) - (p * changed).sum(1).square()).mean()
    np.testing.assert_allclose(
        float(direction @ GaussNewtonOperator(problem)(direction)), float(expected), rtol=1e-3
    )


def test_sketches_have_the_norms_of_single_gradients(name, problem, monkeypatch):
    import opsigcli.derivatives.gradient_sketch as module

    monkeypatch.setattr(module, "LARGE", 0)
    plain, norms = build_like(name, problem), []
    inputs, targets = problem.batch(np.arange(EXAMPLES))
    for i in range(EXAMPLES):
        pair = [i, (i + 1) % EXAMPLES]  # a second example of weight 0, as torch's BatchNorm needs two
        losses = nn.functional.cross_entropy(plain(inputs[pair]), targets[pair], reduction="none")
        parts = torch.autograd.grad(losses[0], list(plain.parameters()))
        norms.append(float(torch.cat([part.reshape(-1) for part in parts]).norm()))
        plain.train().eval()
    found = gradient_sketches(problem, np.arange(EXAMPLES), dimensions=64)
    np.testing.assert_allclose(found.norms, norms, rtol=1e-5)
