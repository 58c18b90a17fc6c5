"""What a model does in training alone: what it draws at random, and statistics of batches."""

from __future__ import annotations

import copy
import re
from collections import Counter

import torch
from torch import Tensor, nn

from opsigcli.errors import OpsigError
from opsigcli.models.checks import TOLERANCE
from opsigcli.usercode import guarded

# Attributes that hold a probability with which something is left out in training.
_TRIED = 100_000_000  # parameters of a model that is copied to be tried
_RATES = re.compile(r"(\w+_)?(dropout|pdrop)(_(p|prob|rate))?|drop|drop_(prob|rate|path)|layerdrop")


def drawn_at_random(model: nn.Module) -> dict[str, str]:
    """``dropout`` and ``drop path``, each with the classes of modules that leave something out, how often, how many."""
    found: dict[str, Counter[tuple[str, float]]] = {}
    for module in model.modules():
        name = type(module).__name__
        rate = _rate(module)
        if rate:
            kind = "drop path" if re.search(r"path|depth|drop_?block", name, re.IGNORECASE) else "dropout"
            found.setdefault(kind, Counter())[name, rate] += 1
    return {
        kind: ", ".join(f"{name} {rate:g} ({count}×)" for (name, rate), count in sorted(modules.items()))
        for kind, modules in found.items()
    }


def batch_norms(model: nn.Module) -> int:
    """Number of modules that use the statistics of a batch in training, and stored ones after it."""
    return sum(
        isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
        for module in model.modules()
    )


def differs_in_training(model: nn.Module, inputs: Tensor) -> bool:
    """Whether two passes over the same inputs (B, …) in training mode, with BatchNorm's as in the trace, differ.

    The model is left as it was; False also where it gives no tensor in training, fails, or is too large to be tried.
    """
    if sum(parameter.numel() for parameter in model.parameters()) > _TRIED:
        return False
    try:
        with torch.no_grad(), torch.random.fork_rng(), guarded(OpsigError, "two passes in training mode"):
            trial = copy.deepcopy(model).train()
            for module in trial.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
            first, second = trial(inputs), trial(inputs)
    except OpsigError:
        return False
    if not isinstance(first, Tensor) or not isinstance(second, Tensor) or not first.numel():
        return False
    return float((first - second).abs().max()) > TOLERANCE * float(first.abs().max())


def _rate(module: nn.Module) -> float:
    """The largest probability with which a module of its own leaves something out; 0 where it has none."""
    own = vars(module)
    rates = [own[name] for name in own if _RATES.fullmatch(name)]
    if re.search(r"[Dd]rop|StochasticDepth", type(module).__name__):
        rates += [own.get("p", 0.0), own.get("prob", 0.0)]
    return max((float(rate) for rate in rates if isinstance(rate, float) and 0 < rate <= 1), default=0.0)
