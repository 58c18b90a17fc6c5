"""Refuse a precision that would drown the loss deltas, with the numbers measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opsigcli.checkpoints.series import Series
from opsigcli.errors import ObjectiveError, UsageError
from opsigcli.objective.precision import LARGEST_SHARE, check_precision
from opsigcli.options import PRECISIONS
from opsigcli.runs.load_weights import Loader

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective
    from opsigcli.objective.evaluate import Evaluator

EXAMPLES = 256  # on which the error is measured


def require_precision(precision: str, objective: Objective, loader: Loader, series: Series) -> None:
    """Measure the error of the loss deltas at the first, middle and last neighbouring checkpoints.

    Args:
        precision: float32, bf16 or tf32.
        objective: model, data and loss.
        loader: puts weights into that model.
        series: the checkpoints.

    Raises:
        UsageError: the precision is unknown, or this device does not have it.
        CheckpointError: a checkpoint cannot be read.
        ModelError: its weights do not fit.
        ObjectiveError: the median error exceeds a tenth of the median |loss delta|.
    """
    from opsigcli.objective.evaluate import Evaluator

    if precision not in PRECISIONS:
        raise UsageError(
            f"expected --precision {', '.join(PRECISIONS)}; found {precision!r}",
            "leave --precision out for float32",
        )
    if precision == "float32":
        return
    if precision == "tf32" and objective.device.type != "cuda":
        raise UsageError(
            f"tf32 is a mode of NVIDIA GPUs; the device here is {objective.device}",
            "leave --precision out, or name a GPU with --device",
        )
    chosen = np.unique(
        objective.counted[np.linspace(0, objective.n - 1, min(EXAMPLES, objective.n)).astype(int)]
    )
    exact, low = (Evaluator(objective, precision=name) for name in ("float32", precision))
    exact.hold(chosen)
    low.hold(chosen)
    last = len(series) - 2
    for place in sorted({0, last // 2, last} if last >= 0 else set()):
        (first, rough), (second, rougher) = (_both(loader, series, place + k, exact, low) for k in (0, 1))
        found = check_precision((first, second), (rough, rougher))
        if found.drowns:
            steps = series.steps
            raise ObjectiveError(
                f"{precision} would drown the signal: between checkpoints {steps[place]} and {steps[place + 1]} its "
                f"error in the loss delta is {found.error:.2g} (median of {len(chosen)} examples), "
                f"{found.share:.0%} of the typical delta of {found.delta:.2g}; at most {LARGEST_SHARE:.0%} is allowed",
                "leave --precision out to trace in float32",
            )


def _both(
    loader: Loader, series: Series, place: int, exact: Evaluator, low: Evaluator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Losses at one checkpoint, in float32 and in the lower precision."""
    loader.load(series.read(place), series.checkpoints[place].file)
    return exact.losses(), low.losses()
