"""Gradients of single tokens in the last layer, from one forward pass for all tokens of a sequence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from opsigcli.derivatives.count_sketch import CountSketch, ScatteredSketch
from opsigcli.derivatives.gradient_sketch import GradientSketch
from opsigcli.objective.base import Objective
from opsigcli.objective.counting import marked
from opsigcli.progress import Task

ROOM = 4 << 20  # logits of the tokens that are sketched at a time


class TokenSketcher:
    """Sketches of the gradients ``∂ℓ_t/∂W = δ_t h_tᵀ`` of a last linear layer ``z = W h + b``, one for each token t.

    ``δ_t = ∂ℓ_t/∂z`` (softmax − one-hot for cross-entropy), and h is what goes into the layer. What the loss of a token
    changes in the layers before, and in an embedding that is the same tensor as W, is not in it: who is worth
    comparing is told without a backward pass. A sketch of the outer product is the circular convolution of count
    sketches of both factors, which is a linear map S of it: ``E⟨S g, S g'⟩ = ⟨g, g'⟩`` and
    ``Var⟨S g, S g'⟩ ≤ 11 ‖g‖² ‖g'‖² / k``; cosines of a small text were off by .043 for k = 512 (root mean square). The
    same seed gives the same S.

    Args:
        objective: whose examples are tokens.
        layer: its last layer, as ``last_layer`` finds it.
        dimensions: k, the length of a sketch.
        seed: of S.

    Reference:
        Pham & Pagh 2013, Fast and scalable polynomial kernels via explicit feature maps;
        Avron, Nguyen & Woodruff 2014, Subspace embeddings for the polynomial kernel, lemma 2 (the variance).
    """

    def __init__(self, objective: Objective, layer: nn.Linear, dimensions: int, seed: int) -> None:
        self._objective, self._layer, self._k = objective, layer, dimensions
        rng, weight = np.random.default_rng([seed, 2]), layer.weight.detach()
        self._biased = layer.bias is not None and layer.bias.requires_grad
        self._of_outputs = CountSketch([len(weight)], dimensions, rng, weight)
        # Neighbours must not stay neighbours on both sides: (i, j) and (i + 1, j − 1) would always meet.
        self._of_inputs = ScatteredSketch(weight.shape[1] + self._biased, dimensions, rng, weight)

    def __call__(self, positions: NDArray[np.int64], task: Task | None = None) -> GradientSketch:
        """Sketches of the tokens at ``positions``, at the weights that are loaded.

        Args:
            positions: M tokens.
            task: advanced by the tokens done.

        Returns:
            sketches (M, k), exact norms (M,) in nats per unit of weight, δ (M, V) in nats per unit of logit; of more
            than k logits as sketches (M, k), by the hashes that the gradients' have.
        """
        width = min(self._k, len(self._layer.weight))
        found = GradientSketch(
            np.empty((len(positions), self._k), np.float32),
            np.empty(len(positions), np.float32),
            np.empty((len(positions), width), np.float32),
        )
        self._objective.settle()
        for rows, went_in, logits in self._passes(positions):
            for some in np.array_split(np.arange(len(rows)), -(-logits.numel() // ROOM)):
                places = rows[some]
                parts = self._sketched(went_in[some], logits[some], positions[places])
                for whole, part in zip(found, parts, strict=True):
                    whole[places] = part.float().cpu().numpy()
            if task is not None:
                task.advance(len(rows))
        return found

    def _passes(self, positions: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
        """Rows of ``positions`` (B,), what went into the last layer for them (B, D), and their logits (B, V)."""
        objective = self._objective
        assert objective.source.sequences is not None
        _, places, columns = objective.source.sequences.locate(positions)
        order = np.argsort(places, kind="stable")
        firsts = np.unique(places, return_index=True)[1]  # a token of each sequence, whose input is all of it
        size = objective.batch_size
        for at in range(0, len(firsts), size):
            rows = order[slice(*np.searchsorted(places[order], [at, at + size]))]
            where = torch.as_tensor(places[rows] - at), torch.as_tensor(columns[rows])
            seen = watched(objective.model, objective.read(positions[firsts[at : at + size]]), [self._layer])
            logits = seen[None][0].came_out
            went_in = seen[self._layer][0].went_in.reshape(*logits.shape[:-1], -1)
            yield rows, went_in[where], logits[where]

    def _sketched(
        self, went_in: Tensor, logits: Tensor, positions: NDArray[np.int64]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sketches (B, k), norms (B,) and residuals (B, V) or (B, k) of the tokens at ``positions`` (B,)."""
        residuals = self._residuals(logits, positions)
        if self._biased:
            went_in = torch.cat([went_in, went_in.new_ones(len(went_in), 1)], dim=1)
        narrow = self._of_outputs([residuals])
        spectrum = torch.fft.rfft(narrow) * torch.fft.rfft(self._of_inputs(went_in))
        norms = torch.linalg.vector_norm(residuals, dim=1) * torch.linalg.vector_norm(went_in, dim=1)
        wide = residuals.shape[1] > self._k
        return torch.fft.irfft(spectrum, n=self._k), norms, narrow if wide else residuals

    def _residuals(self, logits: Tensor, positions: NDArray[np.int64]) -> Tensor:
        """δ (B, V) of tokens, by autograd through the loss alone."""
        objective, of_tokens = self._objective, self._objective.token_loss
        assert of_tokens is not None
        labels = marked(torch.as_tensor(objective.source.labels[positions]), objective.kind)
        leaf = logits.detach().requires_grad_()
        with torch.enable_grad():
            total = of_tokens(leaf[:, None], labels[:, None].to(objective.device)).sum()
        (residuals,) = torch.autograd.grad(total, leaf)
        if objective.weights is not None:
            residuals = residuals * torch.as_tensor(objective.weights[positions, None]).to(residuals)
        return residuals


class Call(NamedTuple):
    """One call of a layer."""

    went_in: Tensor
    came_out: Tensor


def last_layer(objective: Objective) -> nn.Linear | None:
    """The trainable linear layer whose outputs, as they are, are the logits of tokens; None where there is none."""
    if objective.token_loss is None:
        return None
    objective.settle()
    inputs = objective.read(objective.counted[:1])
    width = watched(objective.model, inputs, [])[None][0].came_out.shape[-1]
    linear = [
        module
        for module in objective.model.modules()
        if type(module) is nn.Linear and module.out_features == width and module.weight.requires_grad
    ]
    seen = watched(objective.model, inputs, linear)
    logits = seen[None][0].came_out
    for layer in linear:
        if len(seen[layer]) == 1 and _same(seen[layer][0].came_out, logits):
            return layer
    return None


@torch.no_grad()
def watched(model: nn.Module, inputs: Tensor, layers: list[nn.Linear]) -> dict[nn.Module | None, list[Call]]:
    """The calls of some layers in one forward pass, and under None that of the model itself."""
    seen: dict[nn.Module | None, list[Call]] = defaultdict(list)

    def keep(layer: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
        seen[layer].append(Call(given[0], output))

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        seen[None].append(Call(inputs, model(inputs)))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _same(first: Tensor, second: Tensor) -> bool:
    """Whether both hold one and the same memory in one order, and not only equal numbers."""
    one = first.is_contiguous() and second.is_contiguous() and first.numel() == second.numel()
    return one and first.data_ptr() == second.data_ptr()
