"""How far the mean loss with BatchNorm's stored statistics is from that with those of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from opsigcli.axis import STEPS, Axis
from opsigcli.errors import CheckpointError, ModelError
from opsigcli.objective.batch_norm import batch_norms, statistics_of, unstored

if TYPE_CHECKING:
    from opsigcli.tracing.rows import Row
    from opsigcli.tracing.worker import Worker

LARGE = 0.1  # of the loss of the data's statistics, from which the gap is a warning
DIGITS = 6  # of what is stored: the last ones depend on the number of threads


@dataclass(frozen=True)
class Gap:
    """Both losses at one checkpoint, over the examples that the statistics were taken of."""

    step: int
    stored: float  # nats, eval mode with the checkpoint's statistics
    re_estimated: (
        float  # nats, with those of the data: the loss in train mode, of one batch that holds it all
    )
    examples: int
    frozen: bool = False  # the stored statistics are those of the first checkpoint, though weights moved


def normalised(model: torch.nn.Module) -> bool:
    """Whether there is a BatchNorm with stored statistics."""
    return any(norm.running_mean is not None for norm in batch_norms(model))


def batch_norm_gaps(worker: Worker, rows: Sequence[Row]) -> list[Gap]:
    """The gap at the first, the middle and the last checkpoint whose file is there; [] where none is stored."""
    there = [row for row in rows if row.place is not None and row.file not in worker.failed]
    chosen = [there[at] for at in sorted({0, len(there) // 2, len(there) - 1})] if there else []
    objective = worker.evaluator.objective
    kept, found = objective.data_statistics, []
    statistics = kept or statistics_of("re-estimate", objective.model, objective.counted, objective.read)
    if statistics is None or unstored(objective.model):
        return []
    first: list[torch.Tensor] = []
    try:
        for row in chosen:
            losses: list[float] = []
            frozen = False
            for used in (None, statistics):
                assert row.place is not None
                try:
                    worker.loader.load(worker.series.read(row.place), row.file)
                except (CheckpointError, ModelError):
                    break
                if used is None:
                    own = [
                        norm.running_mean.clone()
                        for norm in batch_norms(objective.model)
                        if norm.running_mean is not None
                    ]
                    frozen = bool(first) and all(map(torch.equal, own, first))
                    first = first or own
                objective.data_statistics = used
                losses.append(float(f"{objective.mean_loss(statistics.positions):.{DIGITS}g}"))
            else:
                found.append(Gap(row.step, losses[0], losses[1], len(statistics.positions), frozen))
    finally:
        objective.data_statistics = kept
    return found


def gaps_of(options: dict[str, Any]) -> tuple[Gap, ...]:
    """The gaps that a store's trace was written with."""
    return tuple(Gap(**gap) for gap in options.get("batch_norm_gap", ()))


def gap_words(gaps: Sequence[Gap], axis: Axis = STEPS) -> str:
    """The gaps in words; "" without any."""
    if not gaps:
        return ""
    each = ", ".join(
        f"{gap.stored:.3g} against {gap.re_estimated:.3g} at {axis.at(gap.step)}" for gap in gaps
    )
    return f"mean loss with the stored statistics against those of the data: {each}"


def gap_warnings(gaps: Sequence[Gap], mode: str, axis: Axis = STEPS) -> list[str]:
    """A warning where the stored statistics are those of other weights, and the trace uses them."""
    if gaps and gaps[-1].frozen:
        frozen = (
            "BatchNorm's stored statistics never change along the run, so its layers were frozen in training"
        )
        return [
            f"{frozen}, and are used ({gap_words(gaps, axis)}); --batch-norm batch takes those of the data"
            if mode == "stored"
            else f"{frozen}: trace with --batch-norm stored --fresh"
        ]
    large = [gap for gap in gaps if not abs(gap.stored - gap.re_estimated) <= LARGE * gap.re_estimated]
    if not large:
        return []
    if mode == "stored":
        return [
            f"BatchNorm's stored statistics do not belong to the weights: {gap_words(large, axis)}; loss deltas and "
            "spikes may be those of stale statistics alone: trace with --batch-norm batch"
        ]
    return [
        f"BatchNorm's stored statistics do not belong to the weights ({gap_words(large, axis)}) and are not "
        "used; --batch-norm stored takes them, as for layers that were frozen in training"
    ]
