"""Per-example gradients, small enough to keep: count sketches with exact norms, and output residuals."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad, vmap
from torch.overrides import TorchFunctionMode

from opsigcli.derivatives.count_sketch import CountSketch
from opsigcli.derivatives.factored_sketch import FactoredLayers
from opsigcli.derivatives.micro_batch import fit_micro_batch
from opsigcli.derivatives.prefixes import seen_tokens
from opsigcli.errors import ObjectiveError
from opsigcli.objective.base import Objective
from opsigcli.progress import Task

Float32s = NDArray[np.float32]

# Gradients of one chunk: the allocator returns larger blocks to the system, and fresh pages cost more than the work.
CHUNK_BYTES = 30 << 20
MOST_EXAMPLES = 64  # bounds the activations of a chunk when the model has few parameters
WIDEST = (
    2048  # residuals of more outputs are sketched to so many dimensions: cosines are then off by about .02
)
LARGE = 1 << 20  # parameters above which layers are sketched from their factors
FACTORS_BYTES = 256 << 20  # factors of one chunk then
TOLERANCE = 1e-3  # of its length: how far a gradient by vmap may be from the same without


class GradientSketch(NamedTuple):
    """Gradients of M examples at one checkpoint."""

    sketch: Float32s  # (M, k); inner products are unbiased estimates of the gradients' inner products
    norms: Float32s  # (M,) exact ‖g_i‖
    residuals: (
        Float32s  # (M, C) gradient of the loss with respect to the outputs, or (M, 2048) sketches of it
    )


def gradient_sketches(
    objective: Objective,
    positions: NDArray[np.int64],
    *,
    dimensions: int = 512,
    seed: int = 0,
    progress_task: Task | None = None,
) -> GradientSketch:
    """Count sketches ``S g_i`` of the gradients ``g_i = ∇_θ ℓ_i`` at the weights that are loaded.

    ``S`` (k × P) has one random sign per column in a random row, so that ``E⟨S x, S y⟩ = ⟨x, y⟩`` and
    ``Var⟨S x, S y⟩ ≤ (‖x‖² ‖y‖² + ⟨x, y⟩²) / k``. The same seed and parameters give the same S, so sketches of
    several checkpoints can be compared. Gradients live in chunks; no P × M matrix is ever held. Where a model has more
    than a million parameters, its linear and convolutional layers are sketched from what went in and what came back
    (``FactoredLayers``), without their gradients ever being made; S is then random to a lesser degree, and the
    variance up to three times as large.

    Args:
        objective: model, loss and data, with weights loaded.
        positions: M examples.
        dimensions: k, the length of a sketch.
        seed: of S.
        progress_task: advanced by the examples done; its note says when the model cannot be vectorised and
            examples are differentiated one at a time.

    Returns:
        sketches (M, k), exact norms (M,) in nats per unit of weight, output residuals (M, C) in nats per unit
        of output; residuals of more than 2048 outputs as sketches (M, 2048).

    Raises:
        ObjectiveError: the loss has no gradient with respect to the parameters.

    Reference:
        Charikar, Chen & Farach-Colton 2002, Finding frequent items in data streams;
        Weinberger et al. 2009, arXiv 0902.2206, section 2 (signed feature hashing);
        Pham & Pagh 2013, Fast and scalable polynomial kernels via explicit feature maps (sketches of products).
    """
    parameters = dict(zip(objective.parameter_names, objective.parameters, strict=True))
    if not parameters:
        raise ObjectiveError(
            "expected a model with trainable parameters, found none", "check requires_grad in --model"
        )
    objective.settle()
    total = sum(p.numel() for p in parameters.values())
    watched = None
    if total > LARGE or any(isinstance(module, torch.nn.Conv2d) for module in objective.model.modules()):
        watched = FactoredLayers(objective, dimensions, seed, factored=total > LARGE)
        parameters = {name: p for name, p in parameters.items() if name not in watched.weights}
        watched = watched if watched.watched else None
    single = _Single(objective, parameters, dimensions, seed, watched.watched if watched else frozenset())
    largest = max((p.numel() * p.element_size() for p in parameters.values()), default=1)
    chunk = int(np.clip(CHUNK_BYTES // largest, 1, MOST_EXAMPLES))
    if watched is not None and watched.bytes_each:
        chunk = int(np.clip(FACTORS_BYTES // watched.bytes_each, 1, chunk))
    fit_micro_batch(objective, objective.parameters, twice=False)  # large outputs
    chunk = min(chunk, objective.batch_size)
    narrow: CountSketch | None = None
    sketches, norms, residuals = [], [], []
    positions = np.asarray(positions, dtype=np.int64)
    needed = seen_tokens(objective, positions)
    order = np.arange(len(positions)) if needed is None else np.argsort(needed, kind="stable")
    for start in range(0, len(positions), chunk):
        some = order[start : start + chunk]
        inputs, targets = objective.batch(positions[some])
        if needed is not None:  # what follows these tokens changes nothing
            inputs, targets = (each[:, : int(needed[some].max())] for each in (inputs, targets))
        seen = watched(inputs, targets) if watched is not None else None
        residual = _output_residuals(objective, inputs, targets, seen.outputs if seen else None)
        if residual.shape[1] > WIDEST:
            narrow = narrow or CountSketch(
                [residual.shape[1]], WIDEST, np.random.default_rng(seed), objective.parameters[0].detach()
            )
            residual = narrow([residual])
        residuals.append(residual.cpu())
        sketch, squares = single(inputs, targets, seen.others if seen else {})
        if seen is not None:
            sketch, squares = sketch + seen.sketch, squares + seen.squares
        sketches.append(sketch.float().cpu())
        norms.append(squares.sqrt().float().cpu())
        if progress_task is not None:
            progress_task.advance(len(targets), single.note)
    back = np.argsort(order)
    return GradientSketch(*(torch.cat(parts).float().numpy()[back] for parts in (sketches, norms, residuals)))


class _Single:
    """Sketches (B, k) and squared norms (B,) float64 of gradients with respect to some parameters."""

    def __init__(
        self,
        objective: Objective,
        parameters: dict[str, torch.nn.Parameter],
        dimensions: int,
        seed: int,
        known: frozenset[str],
    ) -> None:
        sizes = [p.numel() for p in parameters.values()]
        self.note = ""
        self._held = False  # gradients of a batch were held against others
        self._objective, self._names, self._k = objective, tuple(parameters), dimensions
        self._parameters = parameters = {n: p for n, p in parameters.items() if n not in known}
        self._hashing = CountSketch(
            sizes, dimensions, np.random.default_rng(seed), objective.parameters[0].detach()
        )
        self._gradients: _PerExample = _Vectorised(objective, parameters)

    def __call__(self, inputs: Tensor, targets: Tensor, known: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """``known`` has the gradients (B, n) that were had already, by name."""
        count, like = len(targets), self._objective.parameters[0]
        squares = torch.zeros(count, dtype=torch.float64, device=like.device)
        if not self._names:
            return like.new_zeros(count, self._k), squares
        made = dict(known)
        if self._parameters:
            made |= zip(self._parameters, self._differentiated(inputs, targets), strict=True)
        flat = [made[name].detach().reshape(count, -1) for name in self._names]
        for g in flat:
            squares += torch.linalg.vector_norm(g, dim=1).double().square()
        return self._hashing(flat), squares

    def _differentiated(self, inputs: Tensor, targets: Tensor) -> list[Tensor]:
        gradients = self._gradients
        try:
            found = gradients(inputs, targets)
            if not (isinstance(gradients, _Vectorised) and gradients.answered and not self._held):
                return found
        except Exception as error:  # whatever a model does that vmap does not know
            if isinstance(gradients, _OneByOne):
                raise ObjectiveError(
                    f"the loss cannot be differentiated for single examples: {type(error).__name__}: {error}",
                    "check that --model and --loss are differentiable in eval mode",
                ) from error
            found = []
        slow = _OneByOne(self._objective, self._parameters)
        if found and _agree(found, exact := slow(inputs, targets)):
            self._held = True
            return exact
        self._gradients = slow
        self.note = "one example at a time: the model defeats vmap"
        return exact if found else self._differentiated(inputs, targets)


_PerExample = Callable[[Tensor, Tensor], list[Tensor]]


class _Vectorised:
    """Gradients of every example of a batch at once."""

    def __init__(self, objective: Objective, parameters: dict[str, torch.nn.Parameter]) -> None:
        self._weights = {name: p.detach() for name, p in parameters.items()}
        self.answered = (
            False  # a question about data was, so that the gradients are to be held against others
        )

        def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            with _NothingIsTrue() as asked:
                found = objective.loss_fn(objective.outputs(x[None], weights), y[None])[0]
            self.answered |= asked.answered
            return found

        self._gradient = vmap(grad(loss), in_dims=(None, 0, 0))

    def __call__(self, inputs: Tensor, targets: Tensor) -> list[Tensor]:
        with warnings.catch_warnings():
            # Kernels that vmap runs in a loop are slow, not wrong.
            warnings.filterwarnings("ignore", "There is a performance drop")
            return list(self._gradient(self._weights, inputs, targets).values())


class _NothingIsTrue(TorchFunctionMode):
    """Answers "no" where a model asks whether something holds for an example that vmap has no answer for.

    Transformers asks whether a mask hides nothing, to leave it away then; with the mask the gradients are the same.
    """

    answered = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        try:
            return func(*args, **(kwargs or {}))
        except RuntimeError:
            if func is not Tensor.__bool__:
                raise
            self.answered = True
            return False


def _agree(first: list[Tensor], second: list[Tensor]) -> bool:
    """Whether every example's gradients are the same up to rounding."""
    gaps, sizes = (
        torch.stack([p.flatten(1).double().square().sum(1) for p in parts]).sum(0).sqrt()
        for parts in ([a - b for a, b in zip(first, second, strict=True)], second)
    )
    return bool((gaps <= TOLERANCE * sizes).all())


class _OneByOne:
    """The same gradients from one backward pass per example."""

    def __init__(self, objective: Objective, parameters: dict[str, torch.nn.Parameter]) -> None:
        self._objective, self._parameters = objective, list(parameters.values())

    def __call__(self, inputs: Tensor, targets: Tensor) -> list[Tensor]:
        rows = []
        for x, y in zip(inputs, targets, strict=True):
            loss = self._objective.loss_fn(self._objective.outputs(x[None]), y[None])[0]
            parts = torch.autograd.grad(loss, self._parameters, allow_unused=True)
            rows.append(
                [
                    torch.zeros_like(p) if g is None else g
                    for p, g in zip(self._parameters, parts, strict=True)
                ]
            )
        return [torch.stack(column) for column in zip(*rows, strict=True)]


def _output_residuals(
    objective: Objective, inputs: Tensor, targets: Tensor, residuals: Tensor | None = None
) -> Tensor:
    """``∂ℓ_i/∂b`` for a bias b on the outputs that all positions of an example share: (B, C) nats per unit.

    For outputs (B, C) that is ``∂ℓ_i/∂z_i``: softmax − one-hot for cross-entropy, sigmoid − target over C for binary
    cross-entropy, 2 (z − y) / C for squared error. Outputs of a sequence, (B, L, V) with targets (B, L), are summed
    over L: two texts that predict a token at different places have the same residual there, as they have the same
    gradient in the last layer. Other outputs are flattened. ``residuals`` are ∂ℓ_i/∂z_i where they are known.
    """
    if residuals is None:
        with torch.no_grad():
            outputs = objective.outputs(inputs)
        outputs = outputs.detach().requires_grad_()
        with torch.enable_grad():
            total = objective.loss_fn(outputs, targets).sum()
        (residuals,) = torch.autograd.grad(total, outputs)
    if objective.outputs_per_token:
        residuals = residuals.flatten(1, -2).sum(1)
    flat: Tensor = residuals.reshape(len(targets), -1)
    return flat
