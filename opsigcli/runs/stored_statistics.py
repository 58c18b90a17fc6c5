"""BatchNorm's stored statistics, as what they tell of a run: whether training moved them, and which inputs it had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from opsigcli.errors import CheckpointError, ModelError
from opsigcli.objective.batch_norm import batch_norms, batch_statistics

if TYPE_CHECKING:
    from torch import Tensor, nn

    from opsigcli.checkpoints.series import Series
    from opsigcli.runs.load_weights import Loader

START = 0.5  # weight of their start in stored statistics, from which they tell nothing of inputs


def statistics_stay(loader: Loader, series: Series) -> bool:
    """Whether the first and the last checkpoint have other weights and the same statistics of every BatchNorm."""
    first: list[Tensor] = []
    for place in (0, len(series) - 1):
        try:
            loader.load(series.read(place), series.checkpoints[place].file)
        except (CheckpointError, ModelError):
            return False  # which is said where the checkpoint is read again
        if not place:
            first = [value.detach().clone() for value in (*loader.model.parameters(), *_stored(loader.model))]
    same = list(map(torch.equal, first, (*loader.model.parameters(), *_stored(loader.model))))
    weights = len(list(loader.model.parameters()))
    return not all(same[:weights]) and all(same[weights:])


def _stored(model: nn.Module) -> list[Tensor]:
    kept = [norm for norm in batch_norms(model) if norm.running_mean is not None]
    return [value for norm in kept for value in (norm.running_mean, norm.running_var) if value is not None]


def _start(norm: Any) -> float:
    """The weight of 0 and 1, from which they started, in the stored mean and variance."""
    if not norm.running_mean.any() and bool((norm.running_var == 1).all()):
        return 1.0
    # There is none in files of old versions.
    batches = 0 if norm.num_batches_tracked is None else int(norm.num_batches_tracked)
    return float((1 - norm.momentum) ** batches) if batches and norm.momentum is not None else 0.0


class FirstBatchNorm:
    """The BatchNorm that inputs reach first, with the statistics that the checkpoint stores for it.

    Layers before it are linear in most networks, so that its statistics are those of the inputs of training; what
    BatchNorms make of inputs hides constants that these were scaled with.

    Args:
        model: with the checkpoint's weights and statistics, before they are replaced.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._kept = {
            norm: (norm.running_mean.float().clone(), norm.running_var.float().clone(), start)
            for norm in batch_norms(model)
            if norm.running_mean is not None
            and norm.running_var is not None
            and (start := _start(norm)) < START
        }

    def pass_through(self, inputs: Tensor) -> tuple[Tensor, float | None]:
        """Outputs with the statistics of the batch, and how far the stored ones are from these, in nats.

        KL(stored ‖ batch) = ½ (v/s − 1 + log(s/v) + (m − μ)²/s) of normal distributions with means m, μ and variances
        v, s; the mean over channels. Those of the batch are mixed with as much of their start as the stored ones have.

        Args:
            inputs: (B, …).

        Returns:
            The model's outputs; nats, or None where no BatchNorm with stored statistics was reached.
        """
        seen: list[tuple[Any, Tensor, Tensor]] = []

        def look(norm: Any, given: tuple[Tensor, ...]) -> None:
            if not seen:
                axes = [axis for axis in range(given[0].ndim) if axis != 1]
                variance, mean = torch.var_mean(given[0].float(), axes, correction=0)
                seen.append((norm, mean, variance))

        hooks = [norm.register_forward_pre_hook(look) for norm in self._kept]
        try:
            with torch.inference_mode(), batch_statistics(self._model):
                outputs: Tensor = self._model(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        if not seen:
            return outputs, None
        norm, mean, variance = seen[0]
        stored_mean, stored_variance, start = self._kept[norm]
        mean, variance = (1 - start) * mean, (1 - start) * variance + start + norm.eps
        ratio = (stored_variance + norm.eps) / variance
        nats = (ratio - 1 - ratio.log() + (stored_mean - mean).square() / variance) / 2
        return outputs, float(nats.mean())
