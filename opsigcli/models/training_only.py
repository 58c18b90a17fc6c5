"""What a model does in training alone: what it draws at random, and statistics of batches."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Sized
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm

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
    """Number of modules that use the statistics of a batch in training, and others after it."""
    return sum(
        isinstance(module, nn.modules.batchnorm._BatchNorm)
        and (module.track_running_stats or module.running_mean is not None)
        for module in model.modules()
    )


class InTraining(NamedTuple):
    """How the outputs of a model in training mode differ from those of the trace, for the same inputs."""

    draws: bool = False  # two passes differ
    otherwise: bool = (
        False  # both are alike, and unlike the one in eval mode: as by statistics of batches of its own
    )
    instead: str = ""  # what it puts out in place of one tensor, as with auxiliary classifiers


def in_training(model: nn.Module, inputs: Tensor) -> InTraining:
    """Two passes over inputs (B, …) in training mode, with BatchNorms as in the trace, beside the one in eval mode.

    The model, in eval mode, is left as it was.
    Nothing is found where it fails in training, or is too large to be tried.
    """
    first, second = _in_training(model, inputs)
    if first is None:
        return InTraining()
    if not isinstance(first, Tensor):
        many = f" of {len(first)}" if isinstance(first, Sized) else ""
        return InTraining(instead=f"{type(first).__name__}{many}")
    if not isinstance(second, Tensor) or not first.numel():
        return InTraining()
    with torch.no_grad():
        plain = model(inputs)
    allowed = TOLERANCE * float(first.abs().max())
    again, apart = (float((first - other).abs().max()) for other in (second, plain))
    return InTraining(again > allowed, apart > allowed >= again)


def spectral_norms(model: nn.Module) -> dict[str, float]:
    """Weights under spectral norm: name -> the share of the spectral norm that the stored vectors miss.

    The weight is divided by ``u·Wv``, whose vectors a pass in training moves towards the top singular ones: they miss
    ``1 − |u·Wv| / ‖W‖₂``, which is nothing once they are there. torch's two forms are known.
    """
    found = {}
    for name, module in model.named_modules():
        for own in module._forward_pre_hooks.values():
            if isinstance(own, SpectralNorm):
                weight = own.reshape_weight_to_matrix(getattr(module, f"{own.name}_orig"))
                vectors = (getattr(module, f"{own.name}_{letter}") for letter in "uv")
                found[f"{name}.{own.name}".lstrip(".")] = _missed(weight, *vectors)
        if isinstance(module, ParametrizationList):
            for own in module:
                if isinstance(own, _SpectralNorm) and module.original.ndim > 1:
                    matrix = own._reshape_weight_to_matrix(module.original)
                    found[name.replace("parametrizations.", "").lstrip(".")] = _missed(matrix, own._u, own._v)
    return found


def _missed(matrix: Tensor, u: Tensor, v: Tensor) -> float:
    with torch.no_grad():
        whole = float(torch.linalg.matrix_norm(matrix.double(), 2))
        return 1 - abs(float(u.double() @ matrix.double() @ v.double())) / whole if whole else 0.0


def _in_training(model: nn.Module, inputs: Tensor) -> tuple[Any, Any]:
    """What a copy of the model puts out in two passes in training mode; None where it cannot be tried, or fails."""
    if sum(parameter.numel() for parameter in model.parameters()) > _TRIED:
        return None, None
    try:
        with torch.no_grad(), torch.random.fork_rng(), guarded(OpsigError, "two passes in training mode"):
            trial = copy.deepcopy(model).train()
            for module in trial.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
            return trial(inputs), trial(inputs)
    except OpsigError:
        return None, None


def _rate(module: nn.Module) -> float:
    """The largest probability with which a module of its own leaves something out; 0 where it has none."""
    own = vars(module)
    rates = [own[name] for name in own if _RATES.fullmatch(name)]
    if re.search(r"[Dd]rop|StochasticDepth", type(module).__name__):
        rates += [own.get("p", 0.0), own.get("prob", 0.0)]
    return max((float(rate) for rate in rates if isinstance(rate, float) and 0 < rate <= 1), default=0.0)
