"""The objective: per-example losses, their mean and its gradient, for the weights that are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from opsigcli.errors import ObjectiveError
from opsigcli.objective.losses import ExampleLoss, open_loss
from opsigcli.records import ExampleSource

RESIDENT_BYTES = 1 << 30  # inputs that fit are read once and stay on the device


class Objective:
    """Mean loss ``L(θ) = (1/N) Σ_i ℓ(f_θ(x_i), y_i)`` over a source, in eval mode, in a fixed order.

    Args:
        model: maps inputs (B, …) to outputs (B, …).
        source: N examples.
        loss: a name in ``LOSSES``.
        device: where to compute.
        batch_size: examples per forward pass; it bounds memory and does not change what is computed.
        dtype: floating type of weights and inputs.

    Raises:
        ObjectiveError: the source is empty, a label is out of range, or the outputs do not fit the loss.
    """

    def __init__(
        self,
        model: nn.Module,
        source: ExampleSource,
        loss: str,
        *,
        device: str | torch.device = "cpu",
        batch_size: int = 256,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if len(source) == 0:
            raise ObjectiveError(f"expected examples, found none in {source.spec}", "check --data")
        self.model = model.to(device=device, dtype=dtype).eval()
        self.source = source
        self.loss = loss
        self.loss_fn: ExampleLoss = open_loss(loss)
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.dtype = dtype
        self._targets = torch.as_tensor(np.asarray(source.targets))
        if self._targets.is_floating_point():
            self._targets = self._targets.to(dtype)
        self._resident: Tensor | None = None
        self._check_outputs()

    @property
    def n(self) -> int:
        """Number of examples N."""
        return len(self.source)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trainable parameters in the model's order; a shared one counts once."""
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def parameter_names(self) -> list[str]:
        """Names of ``parameters``."""
        return [name for name, p in self.model.named_parameters() if p.requires_grad]

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put weights (a full state dict that fits) into the model."""
        self.model.load_state_dict(dict(weights), strict=True)

    def batches(self, positions: NDArray[np.int64] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets in the order of ``positions`` (default: all), the last batch as short as it is."""
        order = np.arange(self.n) if positions is None else np.asarray(positions, dtype=np.int64)
        for start in range(0, len(order), self.batch_size):
            yield self.batch(order[start : start + self.batch_size])

    def batch(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Inputs and targets at ``positions``, on the device."""
        if self._resident is None and self._input_bytes() <= RESIDENT_BYTES:
            with torch.inference_mode(False):  # what is kept must also serve gradients
                self._resident = self._read(np.arange(self.n))
        if self._resident is None:
            inputs = self._read(positions)
        elif len(positions) == self.n and np.array_equal(positions, np.arange(self.n)):
            inputs = self._resident
        else:
            inputs = self._resident[torch.as_tensor(positions, device=self.device)]
        return inputs, self._targets[torch.as_tensor(positions)].to(self.device, non_blocking=True)

    @torch.inference_mode()
    def losses(self, positions: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Loss of each example, (N,) or (len(positions),) float32, in eval mode."""
        self.model.eval()
        found = [self.loss_fn(self.model(inputs), targets) for inputs, targets in self.batches(positions)]
        return torch.cat(found).float().cpu().numpy()

    def mean_loss_and_gradient(
        self, positions: NDArray[np.int64] | None = None, *, micro_batches: bool = True
    ) -> tuple[float, list[Tensor]]:
        """Mean loss over ``positions`` (default: all) and its gradient, one tensor per trainable parameter.

        The sum over micro-batches is divided by the number of examples: a mean of batch means would weigh
        a short last batch too much. The model stays in the mode it is in, so that training can keep batch
        statistics; with ``micro_batches=False`` the whole batch passes at once, as those need.
        """
        order = np.arange(self.n) if positions is None else np.asarray(positions, dtype=np.int64)
        parameters = self.parameters
        total = torch.zeros((), device=self.device, dtype=torch.float64)
        gradient = [torch.zeros_like(p) for p in parameters]
        pieces = self.batches(order) if micro_batches else iter([self.batch(order)])
        for inputs, targets in pieces:
            summed = self.loss_fn(self.model(inputs), targets).sum()
            parts = torch.autograd.grad(summed, parameters, allow_unused=True)
            for whole, part in zip(gradient, parts, strict=True):
                if part is not None:
                    whole.add_(part)
            total += summed.detach()
        return float(total / len(order)), [g / len(order) for g in gradient]

    def _read(self, positions: NDArray[np.int64]) -> Tensor:
        inputs = torch.as_tensor(self.source.read(positions))
        return inputs.to(self.device, self.dtype if inputs.is_floating_point() else inputs.dtype)

    def _input_bytes(self) -> int:
        width = torch.finfo(self.dtype).bits // 8
        return self.n * int(np.prod(self.source.input_shape, dtype=np.int64)) * width

    @torch.inference_mode()
    def _check_outputs(self) -> None:
        """Refuse outputs that do not fit the loss or the labels before an hour is spent."""
        inputs, targets = self.batch(np.arange(min(self.n, 8)))
        outputs = self.model(inputs)
        integer = not self._targets.is_floating_point()
        single = outputs.ndim == 1 or outputs.shape[-1] == 1
        if integer and self.loss in ("ce", "mse", "bce") and not (single and self.loss != "ce"):
            classes = outputs.shape[1] if outputs.ndim > 1 else 1
            low, high = int(self._targets.min()), int(self._targets.max())
            if low < 0 or high >= classes:
                bad = low if low < 0 else high
                where = int(self.source.ids[int(np.flatnonzero(np.asarray(self.source.labels) == bad)[0])])
                raise ObjectiveError(
                    f"expected labels from 0 to {classes - 1} (the model has {classes} outputs), "
                    f"found label {bad} (example {where})",
                    "check the number of classes in --model, or the labels in --data",
                )
        losses = self.loss_fn(outputs, targets)
        if losses.shape != (len(targets),):
            raise ObjectiveError(
                f"expected one loss per example, shape ({len(targets)},), found {tuple(losses.shape)} from "
                f"outputs {tuple(outputs.shape)}",
                "choose a --loss that fits the model's outputs",
            )


def example_loss(
    objective: Objective, parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor
) -> Tensor:
    """Losses (B,) as a function of named parameters, for torch.func transforms."""
    outputs: Any = functional_call(objective.model, parameters, (inputs,))
    return objective.loss_fn(outputs, targets)
