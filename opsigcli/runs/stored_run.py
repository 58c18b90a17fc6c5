"""The run of a store, opened again: its examples, its model, and the weights of its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from opsigcli.errors import CheckpointError, UsageError
from opsigcli.runs.build_objective import build_objective
from opsigcli.runs.load_adapter import base_digest
from opsigcli.runs.load_weights import Loader
from opsigcli.runs.run_specs import SpecOptions, trusted_run
from opsigcli.runs.written_again import said_of, same_losses

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective
    from opsigcli.records import Floats
    from opsigcli.store.reader import Store


ANOTHER_MEAN = (
    "the trace in the store was made with another mean, by an older version: its mean losses are not those that "
    "gradients and curvature are of; trace again with --fresh"
)


class StoredRunOptions(SpecOptions, Protocol):
    """The options of a command that computes with the run of a store."""

    @property
    def device(self) -> str:
        """Name of the device, or auto."""

    @property
    def batch_size(self) -> int:
        """Examples per pass."""

    @property
    def batch_norm(self) -> str | None:
        """Statistics of BatchNorm; None as those of the trace."""

    @property
    def unsafe_pickle(self) -> bool:
        """Let pickle run the code of checkpoints that cannot be read otherwise."""


class StoredRun:
    """The run of a store, opened again for computing: its source, its objective, its checkpoints' weights.

    Args:
        store: an open store.
        options: the command's.
        precision: float32 or float64, of the model's weights.

    Raises:
        TrustError: the store names code and this user did not write it.
        OpsigError: the data or the model cannot be opened, or the data is not what was traced.
    """

    def __init__(self, store: Store, options: StoredRunOptions, precision: str = "float32") -> None:
        from opsigcli.datasets import open_source

        run = store.run
        self.run = trusted_run(store, options)
        self.store, self.files, self.sha256 = store, store.files, store.sha256
        self._written_again: list[int] = []  # rows whose files are others, with the weights of then
        self._said = ""  # of these
        self.lrs = [float(lr) for lr in store.lrs]  # NaN where unknown
        self.steps = [int(step) for step in store.file["steps"][()]]
        self.source = open_source(self.run.data)
        if self.source.fingerprint != run.fingerprint:
            raise UsageError(
                f"the examples in {self.run.data} are not those that were traced into {store.path}",
                "restore the data, or trace again with --fresh",
            )
        self.objective = build_objective(
            self.run.model,
            self.source,
            run.loss,
            device=options.device,
            batch_size=options.batch_size,
            precision=precision,
            config=self.run.config,
        )
        self.notes = [ANOTHER_MEAN] if another_mean(store.weights, self.objective) else []
        self.batch_norm = options.batch_norm or run.batch_norm or "stored"
        self.objective.use_statistics(self.batch_norm)
        self.unsafe = options.unsafe_pickle
        self.loader = Loader(self.objective.model, run.partial)

    def path(self, row: int) -> Path:
        """Where checkpoint ``row`` of the trace was."""
        return Path(self.run.checkpoints) / self.files[row]

    def averaged(self, row: int) -> bool:
        """Whether the weights of checkpoint ``row`` are a moving average of those that were trained.

        Raises:
            CheckpointError: the file cannot be read.
        """
        from opsigcli.runs.trained_run import holds_average

        return holds_average(self.path(row), self.run.key, self.run.weights or "", self.unsafe)

    def load(self, row: int) -> None:
        """Put the weights of checkpoint ``row`` of the trace into the objective.

        Raises:
            CheckpointError: the file is gone, was changed since it was traced, or cannot be read.
            ModelError: the weights do not fit.
        """
        from opsigcli.checkpoints import digest
        from opsigcli.checkpoints.formats import formats

        path = self.path(row)
        if not path.exists():
            raise CheckpointError(
                f"expected the checkpoint {path}, which was traced; it is gone",
                "put it back, or trace the folder that holds the checkpoints now",
            )
        base = getattr(self.objective.model, "folder", "")
        if self.run.base and base_digest(Path(base)) != self.run.base:
            raise CheckpointError(
                f"the base model in {base} is not the one whose adapters were traced",
                "restore it, name it with --model hf:BASE, or trace again with --fresh",
            )
        written_again = digest.sha256(path) != self.sha256[row]
        reader = next(reader for reader in formats(self.unsafe) if reader.recognises(path))
        self.loader.load(reader.read(path, self.run.key, self.run.weights), str(path))
        self.objective.settle()
        if written_again and row not in self._written_again:
            self._accept(row, path)

    def _accept(self, row: int, path: Path) -> None:
        """Take weights of a file that was written again for those that were traced, where their losses are the same.

        Raises:
            CheckpointError: they are not.
        """
        if not same_losses(self.objective, self.store.losses_at(row)):
            raise CheckpointError(
                f"the checkpoint {path} was changed since it was traced: its losses are others",
                "put back the file that was traced, or trace again with --fresh",
            )
        self._written_again.append(row)
        self.notes[:] = [note for note in self.notes if note != self._said]
        self._said = said_of([self.files[at] for at in self._written_again])
        self.notes.append(self._said)


def another_mean(before: Floats | None, objective: Objective) -> bool:
    """Whether examples counted otherwise in a store than they do now, as in stores of older versions.

    Args:
        before: (N,) the weights of examples in the store; None where all count alike.
        objective: with those of now.
    """
    now = objective.weights
    if before is None or now is None:
        return before is not now
    return before.shape != now.shape or not np.allclose(before, now)
