"""Whether second derivatives are those of the function that is computed."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from opsigcli.errors import CurvatureError
from opsigcli.objective.base import Objective
from opsigcli.objective.caches import forget
from opsigcli.objective.twice import second_derivatives, twice_differentiable_gradient

EXAMPLES = 2  # float64 is slow
COUPLED = 8  # where statistics of the batch couple them
STEPS = (1e-8, 1e-7, 1e-9, 1e-6)  # relative to ‖θ‖, in float64; each along another direction
TOLERANCE = 1e-2


def check_second_derivatives(objective: Objective) -> None:
    """Hold one Hessian-vector product against differences of gradients, in float64 on a few examples.

    A custom operation whose backward pass detaches what it saved has a right gradient, and second derivatives that
    leave it out without a word; ``(∇L(θ + εv) − ∇L(θ − εv)) / 2ε`` shows it. Kinks (ReLU) between the two points
    spoil a comparison: a ResNet-50 has millions of places for one, and with steps of 1e-6 or 1e-7 there always are
    some. In smaller steps rounding may drown the difference. Hence several are tried, and all that say something must
    disagree. Models that do not run in float64 pass.

    Raises:
        CurvatureError: the products are wrong.
    """
    twin = copy.copy(objective)
    forget(objective.model)  # a copy cannot be made of what has a graph
    try:
        twin.model = copy.deepcopy(objective.model).double().eval()
        few = COUPLED if objective.batch_statistics else EXAMPLES
        inputs, targets = objective.batch(objective.counted[:few])
        inputs = inputs.double() if inputs.is_floating_point() else inputs
        targets = targets.double() if targets.is_floating_point() else targets
        twin.model(inputs)
    except (RuntimeError, TypeError, copy.Error):
        return
    found: list[float] = []
    for seed, step in enumerate(STEPS):
        difference = _difference(twin, inputs, targets, seed, step)
        if difference is not None and difference <= TOLERANCE:
            return
        found += [] if difference is None else [difference]
    if not found:
        return
    raise CurvatureError(
        f"the model's second derivatives are wrong: they differ by {min(found):.0%} from differences of its gradients",
        "look for a custom autograd function whose backward detaches; write it with differentiable operations",
    )


def _difference(twin: Objective, inputs: Tensor, targets: Tensor, seed: int, step: float) -> float | None:
    """Relative difference of the two products along one random direction; None where rounding hides it."""
    parameters = twin.parameters
    generator = torch.Generator().manual_seed(seed)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p) for p in parameters]
    # Every tensor moves in proportion to its own size.
    direction = [
        v * (p.detach().norm() / v.norm().clamp_min(1e-300))
        for v, p in zip(direction, parameters, strict=True)
    ]
    size = sum(float(p.detach().square().sum()) for p in parameters) ** 0.5
    length = sum(float(v.square().sum()) for v in direction) ** 0.5
    if not size or not length:
        return None
    direction = [v * (size / length) for v in direction]
    with second_derivatives(twin.model), torch.enable_grad():
        gradient = twice_differentiable_gradient(twin, parameters, inputs, targets, len(targets))
        pairs = [
            (g, v) for g, v in zip(gradient, direction, strict=True) if g is not None and g.requires_grad
        ]
        product: tuple[Tensor | None, ...] = (None,) * len(parameters)
        if pairs:
            outputs, vectors = zip(*pairs, strict=True)
            product = torch.autograd.grad(outputs, parameters, vectors, allow_unused=True)
    exact = _flat(product, parameters)
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, v in zip(parameters, direction, strict=True):
                p.add_(v, alpha=sign * step)
        with torch.enable_grad(), twin.statistics():
            loss = twin.loss_fn(twin.outputs(inputs), targets).sum() / len(targets)
            ends.append(_flat(torch.autograd.grad(loss, parameters, allow_unused=True), parameters))
        with torch.no_grad():
            for p, v in zip(parameters, direction, strict=True):
                p.sub_(v, alpha=sign * step)
    differences = (ends[0] - ends[1]) / (2 * step)
    scale = max(float(differences.norm()), float(exact.norm()))
    # Differences of gradients carry rounding of the gradients divided by the step.
    noise = 1e-13 * float(ends[0].norm()) / step
    return float((differences - exact).norm()) / scale if scale > 1e3 * noise else None


def _flat(parts: tuple[Tensor | None, ...], parameters: list[torch.nn.Parameter]) -> Tensor:
    return torch.cat(
        [
            (torch.zeros_like(p) if part is None else part.detach()).reshape(-1)
            for part, p in zip(parts, parameters, strict=True)
        ]
    )
