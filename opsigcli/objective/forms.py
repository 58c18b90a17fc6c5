"""In which form a model is evaluated fastest: batch size, memory layout, folded BatchNorms.

All three are told from the model's structure and the number of examples, and none is timed: the order of sums depends
on them, and losses must be the same to the bit whoever computes them, and when. The bounds come from measurements over
a dozen architectures (see tests/benchmarks/trace.py, which holds each against the plain model).
"""

from __future__ import annotations

import contextlib

import numpy as np
import torch
from torch import Tensor, nn

from opsigcli.objective.base import Objective
from opsigcli.objective.fold import Folded
from opsigcli.objective.sizes import Sizes

# Bytes of the largest activation of a batch. Larger ones miss the caches of a CPU core, and from 32 MB on the C library
# takes fresh pages for each. A batch passes over all weights once, so heavy models want more of it.
LEAST_BYTES, MOST_BYTES = 4 << 20, 16 << 20
MOST_EXAMPLES = 1024
GPU_BYTES, GPU_EXAMPLES = 256 << 20, 8192
# Folding anew at a checkpoint costs about as much per weight as it saves per number that BatchNorm would put out.
WORTH_FOLDING = 2.0
# Slower in channels-last than what the convolutions around them gain.
NORMS_BY_CHANNEL = (nn.GroupNorm, nn.InstanceNorm2d)
PROBED = 8  # examples on which another form of the model has to agree with the plain one
AGREEMENT = 1e-5  # relative to the loss, or nats where that is below 1


def suitable_batch(objective: Objective, sizes: Sizes) -> int:
    """Examples in a batch: the power of two at which the largest activation fits the budget; eight where they may be
    so many."""
    weights = sum(p.numel() * p.element_size() for p in objective.model.parameters())
    budget, most = float(np.clip(weights / 2, LEAST_BYTES, MOST_BYTES)), MOST_EXAMPLES
    if objective.device.type != "cpu":
        budget, most = GPU_BYTES, GPU_EXAMPLES
    return int(2 ** np.floor(np.log2(np.clip(budget / sizes.largest, min(8, sizes.most), most))))


@torch.no_grad()  # not inference mode: weights laid out in it could not be trained any more
def put_channels_last(objective: Objective) -> bool:
    """Lay the model's weights out channels-last, where convolutions gain by it; False: they are as they were.

    A model need not bear it: one that takes a ``view`` of an activation fails, and is left alone.
    """
    model, inputs = objective.model, objective.read(objective.counted[:PROBED])
    kinds = [type(module) for module in model.modules()]
    if inputs.ndim != 4 or nn.Conv2d not in kinds or any(kind in NORMS_BY_CHANNEL for kind in kinds):
        return False
    targets = objective.targets(objective.counted[:PROBED])
    plain = objective.loss_fn(model.eval()(inputs), targets)
    model.to(memory_format=torch.channels_last)
    with contextlib.suppress(RuntimeError):
        turned = inputs.contiguous(memory_format=torch.channels_last)
        if agree(plain, objective.loss_fn(model(turned), targets)):
            return True
    model.to(memory_format=torch.contiguous_format)
    return False


def fold(model: nn.Module, sizes: Sizes, examples: int) -> Folded | None:
    """The model without its BatchNorms, where that pays over so many examples a checkpoint; else None."""
    try:
        folded = Folded(model)
    except ValueError:
        return None
    saved = sum(sizes.outputs.get(norm, 0) for norm in folded.norms)
    return folded if examples * saved >= WORTH_FOLDING * folded.weights else None


def agree(first: Tensor, second: Tensor) -> bool:
    """Whether two forms give the same losses, NaN and infinity included."""
    first, second = first.double(), second.double()
    close = ((first - second).abs() <= AGREEMENT * first.abs().clamp_min(1.0)) & first.isfinite()
    return bool((close | (first == second) | (first.isnan() & second.isnan())).all())
