"""Losses of examples that training keeps as it goes, from the pass of its own gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from opsigcli.errors import StoreError, UsageError
from opsigcli.store.reader import open_store
from opsigcli.store.units import Units

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from opsigcli.checkpoints.manifest import Manifest
    from opsigcli.objective.base import Objective
    from opsigcli.options import TrainOptions
    from opsigcli.records import Floats, Run
    from opsigcli.runs.trainer import Trainer

AGREE = 1e-4  # nats, and of the loss: what float32 makes of one function in two forms is a hundredth of it
RECORDED = "losses are those of the passes of training, but for the last checkpoint"
TRACE = "leave out --record-losses, and run opsig trace on the checkpoints"


class RecordedLosses:
    """The losses of one run's checkpoints, each a file beside the store until that has them.

    Those before an update belong to the checkpoint that the update begins at, which they are known by: made again after
    a kill they replace themselves, and those of the last checkpoint, which no update begins at, are not among them.

    Args:
        store: that they go to.
        manifest: of the run.
    """

    def __init__(self, store: Path, manifest: Manifest) -> None:
        made = {name: getattr(manifest, name) for name in ("model", "loss", "fingerprint")}
        self._units = Units(store, {"recorded": made})

    def keep(self, sha256: str, losses: Sequence[Tensor], objective: Objective) -> None:
        """Keep the losses of the examples that count, in their order, at the checkpoint of this sha256.

        Raises:
            StoreError: the disk is full, or the folder cannot be written.
        """
        whole = np.full(len(objective.source), np.nan, dtype=np.float32)
        whole[objective.counted] = _joined(losses)
        self._units.write(f"recorded-{sha256[:32]}", whole)

    def read(self, sha256: str, examples: int) -> Floats | None:
        """The losses (N,) float32 at the checkpoint of this sha256; None where there are none, or damaged ones."""
        return self._units.read(f"recorded-{sha256[:32]}", (examples,))

    @property
    def some(self) -> bool:
        """Whether there are any."""
        return not self._units.none()

    def clear(self) -> None:
        """Remove them all: the store has them."""
        self._units.clear()


def recorded_beside(store: Path, manifest: Manifest | None, run: Run) -> RecordedLosses | None:
    """The losses that training recorded of this run and that the store does not have yet; None where there are none."""
    if manifest is None or (manifest.loss, manifest.fingerprint) != (run.loss, run.fingerprint):
        return None
    found = RecordedLosses(store, manifest)
    return found if found.some else None


def require_recordable(options: TrainOptions, trainer: Trainer, examples: int) -> None:
    """Refuse to record where the gradient's pass does not have the losses that a trace would compute.

    Args:
        options: of the run.
        trainer: at any weights.
        examples: of the data.

    Raises:
        UsageError: an update passes some examples alone, or changed, or training has another function than a trace.
    """
    objective = trainer.objective
    if options.batch_size is not None and options.batch_size < objective.n:
        raise UsageError(
            f"expected updates on all {objective.n} examples with --record-losses, found --batch-size "
            f"{options.batch_size}: a pass has no losses of the others",
            TRACE,
        )
    if options.augment or len(objective.source) < examples:
        flag = "--augment" if options.augment else "examples left out (--exclude)"
        raise UsageError(
            f"expected updates on all examples as they are with --record-losses, found {flag}: "
            "the trace would have other losses",
            TRACE,
        )
    trainer.settle_statistics()
    losses: list[Tensor] = []
    trainer.gradient(losses)
    apart = differing(_joined(losses), objective.losses(objective.counted))
    if apart:
        raise UsageError(
            f"expected one function in training and evaluation with --record-losses, found losses {apart:.2g} "
            "apart: dropout, or less precision on this device",
            TRACE,
        )


def require_own_store(path: Path, known: Sequence[str]) -> None:
    """Refuse a store with checkpoints of another run, before hours are spent on one that cannot be written there.

    Args:
        path: of the store; it need not be there.
        known: the sha256 of the run's checkpoints so far.

    Raises:
        StoreError: it has others, or is no store.
    """
    if not path.exists():
        return
    with open_store(path) as store:
        if not set(store.sha256) <= set(known):
            raise StoreError(
                f"expected a store of this run, found one with other checkpoints: {path}",
                "name another store with --store, or move that one away",
            )


def differing(recorded: Floats, computed: Floats) -> float:
    """The largest difference of two vectors of losses (N,), nats; 0 where float32 explains it."""
    if np.allclose(recorded, computed, rtol=AGREE, atol=AGREE, equal_nan=True):
        return 0.0
    with np.errstate(invalid="ignore"):
        return float(np.nan_to_num(np.abs(recorded - computed), nan=np.inf).max())


def _joined(losses: Sequence[Tensor]) -> Floats:
    found: Floats = torch.cat(list(losses)).float().cpu().numpy()
    return found
