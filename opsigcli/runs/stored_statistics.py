"""BatchNorm's stored statistics, as what they tell of a run: whether training moved them, and which inputs it had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from opsigcli.errors import CheckpointError, ModelError
from opsigcli.objective.batch_norm import batch_norms, batch_statistics, unstored

if TYPE_CHECKING:
    from torch import Tensor, nn

    from opsigcli.checkpoints.series import Series
    from opsigcli.runs.load_weights import Loader

NAMED = 3  # BatchNorms
START = 0.5  # weight of their start in stored statistics, from which they tell nothing of inputs


def statistics_stay(loader: Loader, series: Series) -> bool:
    """Whether the first and the last checkpoint have other weights and the same statistics of every BatchNorm."""
    return moved_none(staying(loader, series))


def moved_none(stay: dict[str, bool]) -> bool:
    """Whether training moved the weights, and no BatchNorm's statistics (``staying``)."""
    return bool(stay) and all(stay.values())


def kept_apart(stay: dict[str, bool]) -> str:
    """Which BatchNorms kept their statistics where others moved theirs, and what to do; "" where all are alike.

    Training froze them, as of a body that was trained before, and no choice of statistics holds for all: in a small
    network λ₁ was 1.40 as it trained, and 1.00 with all of them taken from the data.

    Args:
        stay: of each BatchNorm, whether its statistics stay (``staying``).
    """
    frozen = [name for name, same in stay.items() if same]
    if not frozen or len(frozen) == len(stay):
        return ""
    named = f"{', '.join(frozen[:NAMED])}{f' and {len(frozen) - NAMED} more' if len(frozen) > NAMED else ''}"
    return (
        f"{len(frozen)} of {len(stay)} BatchNorms keep their statistics from the first checkpoint to the last "
        f"({named}): if training froze them, losses and sharpness by the data's own statistics are not those of "
        "training; let the factory of --model build them as modules that use the stored ones "
        "(torchvision.ops.FrozenBatchNorm2d, where weight and bias are frozen too)"
    )


def staying(loader: Loader, series: Series) -> dict[str, bool]:
    """BatchNorm -> whether the first and the last checkpoint have the same of it; {} where weights are alike.

    Those that store none have the batch's, which moved.
    """
    seen: list[tuple[list[Tensor], dict[str, list[Tensor]]]] = []
    for place in (0, len(series) - 1):
        try:
            loader.load(series.read(place), series.checkpoints[place].file)
        except (CheckpointError, ModelError):
            return {}  # which is said where the checkpoint is read again
        weights = [value.detach().clone() for value in loader.model.parameters()]
        seen.append((weights, {name: [v.clone() for v in of] for name, of in _stored(loader.model).items()}))
    (weights, stored), (others, then) = seen
    if all(map(torch.equal, weights, others)):
        return {}
    bare = unstored(loader.model)
    return {name: name not in bare and all(map(torch.equal, of, then[name])) for name, of in stored.items()}


def _stored(model: nn.Module) -> dict[str, list[Tensor]]:
    """Mean and variance that each BatchNorm stores, by its name."""
    norms = batch_norms(model)
    return {
        name: [value for value in (norm.running_mean, norm.running_var) if value is not None]
        for name, norm in model.named_modules()
        if any(norm is one for one in norms) and norm.running_mean is not None
    }


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
        bare = {model.get_submodule(name) for name in unstored(model)}
        self._kept = {
            norm: (norm.running_mean.float().clone(), norm.running_var.float().clone(), start)
            for norm in batch_norms(model)
            if norm not in bare
            and norm.running_mean is not None
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
