"""Why there is no ratio where the sharpness measured is not of what training moved."""

from __future__ import annotations

from torch import nn

from opsigcli.models.training_only import spectral_norms
from opsigcli.records import Run

MISSED = 0.05  # of the norm; an error of so much moves sharpness by about a tenth
ADAPTERS = (
    "no ratio: training moved adapters (LoRA), and the sharpness is over the weights that they are merged into, of "
    "which no step was made"
)


def unheld(run: Run, model: nn.Module) -> str:
    """Why its sharpness is held against no threshold; "" where it is.

    Of a small language model sharpness over the weights merged was .039, and over the adapters that trained .16.

    Args:
        run: that was traced.
        model: with the weights of a checkpoint.
    """
    return ADAPTERS if run.base else astray(model)


def astray(model: nn.Module) -> str:
    """Why the sharpness is not that of the step that training made, where vectors of a spectral norm are not there yet.

    At the first steps torch's older form has vectors drawn at random, and the weight is divided by too little: of a
    small network the sharpness was 5,870 then, and 12.7 after the one pass in training that comes before any step.
    """
    off = {name: share for name, share in spectral_norms(model).items() if share > MISSED}
    if not off:
        return ""
    name = max(off, key=lambda name: off[name])
    return (
        f"no ratio: the vectors of spectral norm in this checkpoint miss {off[name]:.0%} of the norm of {name}, and "
        "training's next pass moves them before its step: sharpness is of the model as it is stored"
    )
