"""A recorder for training loops: checkpoints every few steps, each step around a spike, and the manifest."""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints import atomic
from opsigcli.checkpoints.manifest import Manifest, read_manifest, write_manifest
from opsigcli.errors import UsageError
from opsigcli.options import MANIFEST
from opsigcli.recording.described import described, unwrapped
from opsigcli.recording.saved import Saved, copied, write
from opsigcli.recording.spikes import Jumps

if TYPE_CHECKING:
    import torch
    from torch import nn

SECONDS = 5.0  # between two writes of a long manifest
SHORT = 100  # rows of a manifest that is written at each checkpoint


class Recorder:
    """Saves what ``opsig trace`` and ``opsig sharpness`` need, so that they need no options.

    Use it as a context, and call ``step`` after each update (and after the schedule of the learning rate)::

        specs = {"model": "py:nets:build", "data": "npz:train.npz"}
        with opsig.Recorder("run", net, opt, **specs, every=50) as recorder:
            for inputs, targets in loader:
                ...
                opt.step()
                recorder.step(loss)

    Args:
        folder: where checkpoints and the manifest go; it is made.
        module: what is trained; wrappers of DistributedDataParallel and torch.compile are taken off.
        optimizer: over its parameters.
        data: spec of the examples, without augmentation, as ``--data`` takes it, or a map-style dataset.
        model: spec that builds the module, as ``--model`` takes it. None, and a dataset: only a Python program that
            gives both again can trace the run, ``opsig.trace(folder, model=module, data=dataset)``.
        loss: spec of the loss.
        every: steps between checkpoints.
        dense_on_spike: steps before and after a jump of the loss at which every step is saved. So many copies of
            weights and optimizer state are kept in memory. 0: none.
        batch_size: examples per update; None is the full batch.
        step: updates that the module has seen, where a run goes on.
        fresh: begin anew where another run is.

    Raises:
        UsageError: a spec is unknown, or the folder holds another run.
        ModelError: the spec builds another model than the module.
        DatasetError: the data cannot be read.
        ObjectiveError: the code of a loss cannot be loaded.
        CheckpointError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        data: Any,
        model: str | None = None,
        loss: str = "ce",
        every: int = 100,
        dense_on_spike: int = 0,
        batch_size: int | None = None,
        step: int = 0,
        fresh: bool = False,
    ) -> None:
        for name, value, least in (
            ("every", every, 1),
            ("dense_on_spike", dense_on_spike, 0),
            ("step", step, 0),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"expected {name} to be a whole number of at least {least}, found {value!r}")
        self.folder = Path(folder)
        self.updates = step  # made so far
        self._module, self._optimizer = unwrapped(module), optimizer
        self._every, self._dense = every, dense_on_spike
        self._ring: deque[Saved] = deque(maxlen=max(dense_on_spike, 1))
        self._jumps = Jumps()
        self._dense_until = -1
        self._written = 0.0
        self._speaks = _first_process()
        self._manifest: Manifest | None = None
        if self._speaks:
            self._manifest = self._begun(
                described(self._module, optimizer, model, data, loss, batch_size), fresh
            )
            self._steps = {row.step for row in self._manifest.checkpoints}
            if step not in self._steps:
                self._save(self._copied())
            self.write_manifest()

    def step(self, loss: Any = None, *, updates: int | None = None) -> None:
        """Count an update that was made, and save what is due.

        Args:
            loss: of the update's batch: a number, or a tensor of one. A jump of it is what makes checkpoints dense.
            updates: made so far, where it is not one more than before; the same number again is passed over.

        Raises:
            CheckpointError: the checkpoint cannot be written.
        """
        now = self.updates + 1 if updates is None else updates
        if now <= self.updates:
            return
        self.updates = now
        if not self._speaks:
            return
        if loss is not None and self._dense:  # to look at it may wait for a GPU
            self.see(float(loss.detach() if hasattr(loss, "detach") else loss))
        due = now % self._every == 0 or now <= self._dense_until
        if due or self._dense:
            saved = self._copied()
            if due:
                self._save(saved)
            if self._dense:
                self._ring.append(saved)

    def see(self, loss: float) -> None:
        """Look at a loss of training without counting an update: after a jump of it every step is saved for a while.

        Raises:
            CheckpointError: the steps before it cannot be written.
        """
        if self._speaks and self._dense and self._jumps.jumped(loss):
            self._dense_until = max(self._dense_until, self.updates + self._dense)
            while self._ring:
                saved = self._ring.popleft()
                if saved.step not in self._steps:
                    self._save(saved)

    def close(self) -> None:
        """Save the last step, and the manifest.

        Raises:
            CheckpointError: they cannot be written.
        """
        if self._speaks:
            if self.updates not in self._steps:
                self._save(self._copied())
            self.write_manifest()

    def write_manifest(self) -> None:
        """Write the manifest with the checkpoints so far.

        Raises:
            CheckpointError: it cannot be written.
        """
        if self._manifest is not None:
            write_manifest(self.folder, self._manifest)
            self._written = time.monotonic()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begun(self, manifest: Manifest, fresh: bool) -> Manifest:
        """The manifest, with the rows of the run that goes on.

        Raises:
            UsageError: the folder holds another run, or checkpoints of none.
            CheckpointError: the folder cannot be made.
        """
        atomic.make_folder(self.folder)
        atomic.sweep(self.folder, rf"step-\d+\.pt|{re.escape(MANIFEST)}")
        old = None if fresh else read_manifest(self.folder)
        if old is None:
            if not fresh and any(self.folder.glob("step-*.pt")):
                raise UsageError(
                    f"expected an empty folder, found checkpoints without {MANIFEST} in {self.folder}",
                    "name another folder, or begin anew with fresh=True",
                )
            return manifest
        for name in ("model", "data", "loss", "fingerprint"):
            if getattr(old, name) != getattr(manifest, name):
                raise UsageError(
                    f"{self.folder} holds a run with {name} {getattr(old, name)!r}; now it is "
                    f"{getattr(manifest, name)!r}",
                    "name another folder, or begin anew with fresh=True",
                )
        if old.checkpoints and not self.updates:
            raise UsageError(
                f"{self.folder} holds a run of {old.checkpoints[-1].step} steps",
                "to go on with it, say where with step=N; name another folder, or begin anew with fresh=True",
            )
        # What comes after the step that training goes on from belongs to another future.
        return replace(manifest, checkpoints=tuple(r for r in old.checkpoints if r.step <= self.updates))

    def _copied(self) -> Saved:
        return copied(self._module, self._optimizer, self.updates)

    def _save(self, saved: Saved) -> None:
        assert self._manifest is not None
        row = write(self.folder, saved)
        rows = sorted((*self._manifest.checkpoints, row), key=lambda row: row.step)
        self._manifest = replace(self._manifest, checkpoints=tuple(rows))
        self._steps.add(saved.step)
        if len(rows) <= SHORT or time.monotonic() - self._written > SECONDS:
            self.write_manifest()


def _first_process() -> bool:
    """Whether this process saves: of several that train together the first."""
    import torch.distributed as group

    return not (group.is_available() and group.is_initialized()) or group.get_rank() == 0
