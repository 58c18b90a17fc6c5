"""Which statistics BatchNorm uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from opsigcli.errors import ObjectiveError
from opsigcli.objective.torch_workarounds import affine, by_channel

SAMPLE = 1024  # examples that statistics are re-estimated on, at most
SAMPLE_BYTES = 1 << 28  # of their inputs, which are kept
PASS_BYTES = 1 << 30  # of activations in flight
ALIVE = 4  # activations of the largest size at a time, in a forward pass


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The BatchNorms of a model."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def unstored(model: nn.Module) -> list[str]:
    """Names of the BatchNorms whose statistics no checkpoint stores, as ``track_running_stats=False`` makes them."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        and (module.running_mean is None or "running_mean" in module._non_persistent_buffers_set)
    ]


def alone(model: nn.Module) -> None:
    """Have SyncBatchNorms be BatchNorms of one process.

    Processes that share a measurement hold parts of the examples, and the statistics are those of the data.
    """
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            changed: Any = module
            changed.forward = MethodType(_BatchNorm.forward, module)


def make_room(model: nn.Module) -> None:
    """Give BatchNorms without stored statistics a place for those of the data, which no state dict has.

    In eval mode they would take those of each batch, and no example would have a loss of its own. In training they go
    on with the batch's.
    """
    for name in unstored(model):
        module = model.get_submodule(name)
        if module.running_mean is not None:
            continue
        module.track_running_stats = False
        at = None if module.weight is None else module.weight.device
        for buffer, fill in (("running_mean", torch.zeros), ("running_var", torch.ones)):
            delattr(module, buffer)
            module.register_buffer(buffer, fill(module.num_features, device=at), persistent=False)


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """BatchNorms take mean and variance from the batch, as in training, and leave their running statistics alone.

    All else stays in the mode it is in.
    """
    found = batch_norms(model)
    kept = [(module.training, module.track_running_stats) for module in found]
    try:
        for module in found:
            module.training, module.track_running_stats = True, False
        yield
    finally:
        for module, (training, track) in zip(found, kept, strict=True):
            module.training, module.track_running_stats = training, track


class DataStatistics:
    """Mean and variance of every BatchNorm's inputs over examples of the data, at the weights that the model has.

    Every layer sees the layers before it normalised by the same examples: where these fit one pass, the statistics are
    those of one batch that holds them all. Else means and second moments are averaged over batches.

    Args:
        counted: (n,) positions that count; all, or a fixed random ``SAMPLE`` of them.
        read: gives the inputs (B, …) at positions.
    """

    def __init__(self, counted: NDArray[np.int64], read: Callable[[NDArray[np.int64]], Tensor]) -> None:
        one = read(counted[:1])
        most = int(min(SAMPLE, max(2, SAMPLE_BYTES // max(one.nbytes, 1))))
        if len(counted) > most:
            counted = np.sort(np.random.default_rng(0).permutation(counted)[:most])
        self.positions = counted
        self._read = read
        self._inputs: Tensor | None = None
        self._batches = 0
        self._seen: tuple[Any, ...] = ()

    def forget(self) -> None:
        """Estimate anew, also where the weights look as they did."""
        self._seen = ()

    @torch.no_grad()
    def refresh(self, model: nn.Module) -> None:
        """Put them into the model, which is in eval mode, where its weights were changed since."""
        now = tuple((p.data_ptr(), p._version) for p in model.parameters())
        if now == self._seen:
            return
        if self._inputs is None:
            with torch.inference_mode(False):
                self._inputs = self._read(self.positions)
            with _Moments() as tried:
                model(self._inputs[:1])
            room = PASS_BYTES // max(tried.largest * ALIVE, 1)
            self._batches = -(-len(self.positions) // max(int(room), 2))
        with _one_thread(self._inputs), _Moments() as moments:
            for first in range(self._batches):
                model(self._inputs[first :: self._batches])
        moments.put()
        self._seen = now


class _Moments(TorchFunctionMode):
    """Within this context, BatchNorms that would use stored statistics use those of their batch, which are gathered."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0  # bytes of the largest input
        self._sums: dict[int, tuple[Tensor, Tensor, int, Tensor, Tensor]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        return self._normalise(*args, **given) if func is F.batch_norm else func(*args, **given)

    def _normalise(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float | None = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if training or running_mean is None or running_var is None:
            return F.batch_norm(
                input, running_mean, running_var, weight, bias, training, momentum or 0.0, eps
            )
        self.largest = max(self.largest, input.nbytes)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        variance, mean = torch.var_mean(input, axes, correction=0)
        count = input.numel() // input.shape[1]
        first, second = mean.double() * count, (variance.double() + mean.double().square()) * count
        _, _, before, one, two = self._sums.get(id(running_mean), (None, None, 0, 0.0, 0.0))
        self._sums[id(running_mean)] = (running_mean, running_var, before + count, one + first, two + second)
        return by_channel(input, *affine(mean, variance, weight, bias, eps))

    def put(self) -> None:
        """Make the mean over all that was gathered the stored statistics."""
        for mean, variance, count, first, second in self._sums.values():
            mean.copy_(first / count)
            variance.copy_((second / count - (first / count).square()).clamp_min(0))


@contextmanager
def _one_thread(inputs: Tensor) -> Iterator[None]:
    """Sums in one order on every machine: the losses must not depend on who computes them."""
    if inputs.device.type != "cpu":
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def statistics_of(
    mode: str, model: nn.Module, counted: NDArray[np.int64], read: Callable[[NDArray[np.int64]], Tensor]
) -> DataStatistics | None:
    """What puts the statistics of the data into the model; None where those stored are used, or there are none.

    Raises:
        ObjectiveError: those stored are asked for, and a BatchNorm has none.
    """
    if mode == "stored" and (bare := unstored(model)):
        raise ObjectiveError(
            f"expected statistics stored for every BatchNorm, found none for {len(bare)}, the first {bare[0]!r} "
            "(track_running_stats=False)",
            "add --batch-norm batch, which takes those of the data",
        )
    if mode == "stored" or not any(norm.running_mean is not None for norm in batch_norms(model)):
        return None
    return DataStatistics(counted, read)
