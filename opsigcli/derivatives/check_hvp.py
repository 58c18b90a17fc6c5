"""Whether second derivatives are those of the function that is computed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from opsigcli.derivatives.double_backward import (
    QUICK,
    derivative_along,
    second_derivatives,
    twice_differentiable_gradient,
)
from opsigcli.errors import CurvatureError
from opsigcli.objective.base import Objective
from opsigcli.objective.module_caches import clear_caches

EXAMPLES = 2  # float64 is slow
COUPLED = 8  # where statistics of the batch couple them
STEPS = (1e-8, 1e-9, 1e-10, 1e-7)  # relative to ‖θ‖
TOLERANCE = 1e-2
REPEATS = 0.1  # of what two steps differ from the product, they may differ from each other
DIRECTIONS = 2


def check_second_derivatives(objective: Objective) -> None:
    """Hold Hessian-vector products against differences of gradients, in float64 on a few examples.

    A custom operation whose backward pass detaches what it saved has a right gradient, and second derivatives that
    leave it out without a word; ``(∇L(θ + εv) − ∇L(θ − εv)) / 2ε`` shows it. Kinks (ReLU) between the two points
    spoil a comparison, and a large network has one in nearly every step; what a kink adds grows as the step shrinks,
    as rounding does. So a product is wrong only where two steps differ from it and agree with each other. Where no
    step is conclusive, and where a model does not run in float64, it passes.

    Raises:
        CurvatureError: the products are wrong.
    """
    twin = copy.copy(objective)
    clear_caches(objective.model)  # a copy cannot be made of what has a graph
    try:
        twin.model = copy.deepcopy(objective.model).double().eval()
        few = COUPLED if objective.batch_statistics else EXAMPLES
        inputs, targets = objective.batch(objective.counted[:few])
        inputs = inputs.double() if inputs.is_floating_point() else inputs
        targets = targets.double() if targets.is_floating_point() else targets
        with _Double():
            twin.model(inputs)
    except (RuntimeError, TypeError, copy.Error):
        return
    reached = _reached(twin, inputs, targets)
    for seed in range(DIRECTIONS):
        direction = _direction(twin, seed, reached)
        exact = _product(twin, direction, inputs, targets)
        before: Tensor | None = None
        for step in STEPS:
            found = _differences(twin, direction, inputs, targets, step)
            gap, scale = float((found - exact).norm()), max(float(found.norm()), float(exact.norm()))
            if gap <= TOLERANCE * scale:
                return
            if before is not None and float((found - before).norm()) <= REPEATS * gap:
                raise CurvatureError(
                    f"the model's second derivatives are wrong: they differ by {gap / scale:.0%} from differences "
                    "of its gradients",
                    "look for a custom autograd function whose backward detaches, or is another function's (straight "
                    f"through a rounding); write it with differentiable operations. {QUICK}",
                )
            before = found


class _Double(TorchFunctionMode):
    """float64 wherever a model asks for float32: steps as small as these would be lost there."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = {name: _wider(value) for name, value in (kwargs or {}).items()}
        return (Tensor.double if func is Tensor.float else func)(*map(_wider, args), **given)


def _wider(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


def _direction(twin: Objective, seed: int, reached: Sequence[bool]) -> list[Tensor]:
    """A random direction of length ‖θ‖, in which every tensor moves in proportion to its own size.

    What autograd takes for constants stays: the row of an embedding that stands for padding, and parameters that no
    gradient reaches, as of a body under ``no_grad``.
    """
    generator = torch.Generator().manual_seed(seed)
    embeddings = [m for m in twin.model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
    padding = {id(m.weight): m.padding_idx for m in embeddings if m.padding_idx is not None}
    found = []
    for p, moves in zip(twin.parameters, reached, strict=True):
        v = torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p) * moves
        if id(p) in padding:
            v[padding[id(p)]] = 0
        found.append(v * (p.detach().norm() / v.norm().clamp_min(1e-300)))
    return found


def _reached(twin: Objective, inputs: Tensor, targets: Tensor) -> list[bool]:
    """Whether each parameter has a gradient."""
    with second_derivatives(twin.model), _Double(), torch.enable_grad(), twin.statistics():
        loss = twin.loss_fn(twin.outputs(inputs), targets).sum()
        if not loss.requires_grad:
            return [False] * len(twin.parameters)
        parts = torch.autograd.grad(loss, twin.parameters, allow_unused=True)
    return [part is not None for part in parts]


def _product(twin: Objective, direction: list[Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
    parameters = twin.parameters
    with second_derivatives(twin.model), _Double(), torch.enable_grad():
        gradient = twice_differentiable_gradient(twin, parameters, inputs, targets, len(targets))
        return _flat(derivative_along(gradient, direction, parameters), parameters)


def _differences(
    twin: Objective, direction: list[Tensor], inputs: Tensor, targets: Tensor, step: float
) -> Tensor:
    """``(∇L(θ + εv) − ∇L(θ − εv)) / 2ε``."""
    parameters = twin.parameters
    kept = [p.detach().clone() for p in parameters]
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, at, v in zip(parameters, kept, direction, strict=True):
                p.copy_(at + sign * step * v)
        with _Double(), torch.enable_grad(), twin.statistics():
            loss = twin.loss_fn(twin.outputs(inputs), targets).sum() / len(targets)
            ends.append(_flat(torch.autograd.grad(loss, parameters, allow_unused=True), parameters))
    with torch.no_grad():
        for p, at in zip(parameters, kept, strict=True):
            p.copy_(at)
    return (ends[0] - ends[1]) / (2 * step)


def _flat(parts: Sequence[Tensor | None], parameters: list[nn.Parameter]) -> Tensor:
    return torch.cat(
        [
            (torch.zeros_like(p) if part is None else part.detach()).reshape(-1)
            for part, p in zip(parts, parameters, strict=True)
        ]
    )
