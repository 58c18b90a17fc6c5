"""The objective: per-example losses, their mean and its gradient, for the weights that are loaded."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from opsigcli.errors import ObjectiveError
from opsigcli.examples import IGNORED, ExampleSource
from opsigcli.objective.batch_norm import DataStatistics, batch_statistics, statistics_of
from opsigcli.objective.contract import check_contract, one_tensor, require_contract
from opsigcli.objective.convert import convert
from opsigcli.objective.counting import example_counts, marked, measured_examples
from opsigcli.objective.label_forms import as_stored
from opsigcli.objective.losses.base import ExampleLoss, open_loss
from opsigcli.objective.module_caches import clear_caches
from opsigcli.objective.padding import padding_of
from opsigcli.objective.planes import lay_out, read_inputs
from opsigcli.objective.sizes import measure
from opsigcli.objective.torch_workarounds import Workarounds
from opsigcli.objective.weighting import pack_weights, unweighted, weighted
from opsigcli.usercode import guarded

RESIDENT_BYTES = 1 << 30  # inputs that fit are read once and stay on the device


class Objective:
    """Mean loss ``L(θ) = Σ_i w_i ℓ(f_θ(x_i), y_i) / Σ_i w_i`` over a source, in eval mode, in a fixed order.

    w_i is the example's weight in the source times what it counts by in the loss (weights of classes, labelled tokens);
    mostly all are alike. ``losses`` are the examples' own, without w; derivatives are those of L and its terms.

    Args:
        model: maps inputs (B, …) to outputs (B, …).
        source: N examples.
        loss: a name in ``LOSSES``, or a function of the user's (see ``open_loss``).
        device: where to compute.
        batch_size: examples per forward pass, at most: fewer where they put out much. It bounds memory and does not
            change what is computed.
        dtype: floating type of weights and inputs.

    Raises:
        ObjectiveError: the source is empty, no example counts, a label or token is out of range, or the outputs do not
            fit the loss.
        UsageError: there is no such loss.
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
        self.model = convert(model, device, dtype).eval()
        self.source = source
        self.loss = loss
        self.kind = open_loss(loss)
        self.example_loss: ExampleLoss = self.kind.of_examples  # ℓ (B,) of outputs and ``targets``
        self.loss_fn: ExampleLoss = self.kind.of_examples  # w ℓ (B,)
        # Which tokens are not read, in words; and what whoever reads the numbers should know.
        self.padding, note = padding_of(model, source if source.sequences is None else source.sequences.whole)
        self.notes = [*lay_out(self.model, source), *([note] if note else [])]
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.dtype = dtype
        # BatchNorm over each batch as it comes, for derivatives of the mean loss.
        self.batch_statistics = False
        self.data_statistics: DataStatistics | None = None  # None: BatchNorm uses those stored
        self.measured = measured_examples(source, self.kind)
        if not self.measured.any():
            raise ObjectiveError(
                f"expected labels, found only {IGNORED} (ignore) in {source.spec}",
                "check the labels in --data",
            )
        self._counted = None if self.measured.all() else np.flatnonzero(self.measured)
        self._resident: Tensor | None = None
        # (N,) of the examples in the mean loss, with a mean of 1 over those that count; None = all 1.
        self.weights: NDArray[np.float64] | None = None
        self.mean = ""  # how the mean is taken, in words, where not all examples count alike
        self.kind = as_stored(self)
        with guarded(ObjectiveError, "a forward pass over one example", "let the model take batches of one"):
            sizes = measure(self.model, self.read(self.counted[:1]))
        self.batch_size = min(batch_size, sizes.most)
        self.notes += sizes.said
        self.outputs_per_token = require_contract(self)
        self._weigh()

    @property
    def n(self) -> int:
        """Number of examples N that count: those whose label does not say to ignore them."""
        return len(self.source) if self._counted is None else len(self._counted)

    @property
    def counted(self) -> NDArray[np.int64]:
        """(n,) positions of the examples that count."""
        return np.arange(self.n) if self._counted is None else self._counted

    def holds_with(self, loss: str) -> bool:
        """Whether the contract of model and data holds with another loss."""
        other = copy.copy(self)
        other.loss, other.kind, other.notes = loss, open_loss(loss), []
        other.measured = measured_examples(self.source, other.kind)
        other._counted = np.flatnonzero(other.measured)
        try:
            other.kind = as_stored(other)
            check_contract(other)
        except ObjectiveError:
            return False
        return bool(other.n)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trainable parameters in the model's order; a shared one counts once."""
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def parameter_names(self) -> list[str]:
        """Names of ``parameters``."""
        return [name for name, p in self.model.named_parameters() if p.requires_grad]

    def statistics(self) -> AbstractContextManager[None]:
        """The context in which derivatives of the mean loss are taken: with BatchNorm's statistics as wanted."""
        return batch_statistics(self.model) if self.batch_statistics else nullcontext()

    def use_statistics(self, mode: str) -> None:
        """From now on BatchNorm uses the statistics of ``mode``: stored, re-estimate, or batch.

        The last is the second, but that derivatives of the mean loss go through the statistics; the batch size must
        then hold all examples.
        """
        self.data_statistics = statistics_of(mode, self.model, self.counted, self.read)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put weights (a full state dict that fits) into the model."""
        clear_caches(self.model)
        self.model.load_state_dict(dict(weights), strict=True)

    def settle(self) -> None:
        """Put the model into eval mode, with nothing kept from passes before and BatchNorm's statistics as wanted."""
        clear_caches(self.model.eval())
        if self.data_statistics is not None:
            self.data_statistics.refresh(self.model)

    def outputs(self, inputs: Tensor, weights: dict[str, Tensor] | None = None) -> Tensor:
        """The model's outputs, to be differentiated; with other ``weights`` by name, for torch.func transforms."""
        clear_caches(self.model)
        with Workarounds():
            found: Tensor = (
                self.model(inputs) if weights is None else functional_call(self.model, weights, (inputs,))
            )
        return found

    def batches(self, positions: NDArray[np.int64] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets in the order of ``positions`` (default: all that count), the last batch as short as
        it is."""
        order = self.counted if positions is None else np.asarray(positions, dtype=np.int64)
        for start in range(0, len(order), self.batch_size):
            yield self.batch(order[start : start + self.batch_size])

    def batch(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Inputs and targets at ``positions``, on the device."""
        if self._resident is None and self._input_bytes() <= RESIDENT_BYTES:
            with torch.inference_mode(False):  # what is kept must also serve gradients
                self._resident = self.read(np.arange(len(self.source)))
        if self._resident is None:
            inputs = self.read(positions)
        elif len(positions) == len(self.source) and np.array_equal(positions, np.arange(len(self.source))):
            inputs = self._resident
        else:
            inputs = self._resident[torch.as_tensor(positions, device=self.device)]
        return inputs, self.targets(positions)

    def keep(self, inputs: Tensor) -> None:
        """Use ``inputs``, those of all examples, which are at hand already."""
        self._resident = inputs

    def targets(self, positions: NDArray[np.int64]) -> Tensor:
        """Targets at ``positions`` as ``loss_fn`` and ``example_loss`` take them, on the device."""
        targets = self._as_stored(positions)
        if self.weights is not None:
            targets = pack_weights(targets, torch.as_tensor(self.weights[positions]))
        return targets.to(self.device, non_blocking=True)

    def bare_targets(self, positions: NDArray[np.int64]) -> Tensor:
        """Targets at ``positions`` without weights, as ``kind`` takes them, on the device."""
        return self._as_stored(positions).to(self.device)

    def _as_stored(self, positions: NDArray[np.int64]) -> Tensor:
        targets = marked(torch.as_tensor(self.source.read_targets(positions)), self.kind)
        return targets.to(self.dtype) if targets.is_floating_point() else targets

    @property
    def token_loss(self) -> ExampleLoss | None:
        """The loss of every token of a sequence, where examples are tokens and share their sequences' passes."""
        return None if self.source.sequences is None else self.kind.of_tokens

    def mass(self, positions: NDArray[np.int64]) -> float:
        """``Σ w_i`` over the examples at ``positions``: what a sum over them is divided by for their mean."""
        return float(len(positions) if self.weights is None else self.weights[positions].sum())

    @torch.inference_mode()
    def losses(self, positions: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Loss of each example, (N,) or (len(positions),) float32, in eval mode; NaN where its label is ignored."""
        self.settle()
        positions = np.arange(len(self.source)) if positions is None else positions
        found = [
            self.example_loss(self.model(inputs), targets) for inputs, targets in self.batches(positions)
        ]
        return torch.cat(found).float().cpu().numpy()

    def mean_loss(self, positions: NDArray[np.int64] | None = None) -> float:
        """``L(θ)`` over ``positions`` (default: all that count), in eval mode."""
        order = self.counted if positions is None else positions
        weights = None if self.weights is None or not self.mass(order) else self.weights[order]
        return float(np.average(self.losses(order).astype(np.float64), weights=weights))

    def mean_loss_and_gradient(
        self,
        positions: NDArray[np.int64] | None = None,
        *,
        micro_batches: bool = True,
        losses: list[Tensor] | None = None,
    ) -> tuple[float, list[Tensor]]:
        """Mean loss over ``positions`` (default: all that count) and its gradient, one tensor per trainable parameter.

        The sum over micro-batches is divided by the examples' weights together: a mean of batch means would weigh
        a short last batch too much. The model stays in the mode it is in, so that training can keep batch
        statistics; with ``micro_batches=False`` the whole batch passes at once, as those need. ``losses`` gets those of
        the examples of each piece, without w, from the same pass.
        """
        order = self.counted if positions is None else np.asarray(positions, dtype=np.int64)
        parameters = self.parameters
        total = torch.zeros((), device=self.device, dtype=torch.float64)
        gradient = [torch.zeros_like(p) for p in parameters]
        pieces = self.batches(order) if micro_batches else iter([self.batch(order)])
        for inputs, targets in pieces:
            with self.statistics():
                outputs = one_tensor(self.outputs(inputs))
                summed = self.loss_fn(outputs, targets).sum()
            if losses is not None:
                losses.append(self.example_loss(outputs.detach(), targets))
            parts = torch.autograd.grad(summed, parameters, allow_unused=True)
            for whole, part in zip(gradient, parts, strict=True):
                if part is not None:
                    whole.add_(part)
            total += summed.detach()
        mass = self.mass(order) or 1.0  # examples that do not count at all have no gradient
        return float(total) / mass, [g / mass for g in gradient]

    def read(self, positions: NDArray[np.int64], source: ExampleSource | None = None) -> Tensor:
        """Inputs at ``positions``, read from the source (or from the sequences its tokens lie in), on the device."""
        inputs = read_inputs(self.model, source or self.source, positions)
        return inputs.to(self.device, self.dtype if inputs.is_floating_point() else inputs.dtype)

    def _input_bytes(self) -> int:
        width = torch.finfo(self.dtype).bits // 8
        return len(self.source) * int(np.prod(self.source.input_shape, dtype=np.int64)) * width

    def _weigh(self) -> None:
        """Find the examples' weights, scaled to a mean of 1, where they are not all alike, and multiply by them.

        Raises:
            ObjectiveError: no weight is above 0.
        """
        weights, by = example_counts(self.source, self.kind, self.measured)
        if weights is None or not self.n:
            return
        mean = np.mean(weights[self.measured])
        if mean > 0 and not np.ptp(weights[self.measured]):
            return
        if not mean > 0:
            raise ObjectiveError(
                f"expected weights above 0 in {self.source.spec}, found none among {self.n} examples",
                "check the weights in --data and --loss, and which examples are left out",
            )
        like = self.targets(self.counted[:1])
        self.example_loss = unweighted(self.kind.of_examples, like)
        self.loss_fn = weighted(self.kind.of_examples, like)
        self.weights = weights / mean
        self.mean = f"Σ w ℓ / Σ w, w of an example = {by}"
