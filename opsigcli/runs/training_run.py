"""A run of ``opsig train``: its folder, which it goes on with, and its trainer."""

from __future__ import annotations

import hashlib
import math
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.checkpoints import atomic
from opsigcli.checkpoints.digest import sha256
from opsigcli.checkpoints.example_weights import read_example_weights, write_example_weights
from opsigcli.checkpoints.formats.safetensors_file import SafetensorsFile
from opsigcli.checkpoints.manifest import Manifest, Row, read_manifest, write_manifest
from opsigcli.checkpoints.writer import save_weights, state_path
from opsigcli.datasets import open_source
from opsigcli.datasets.subset import Subset
from opsigcli.errors import CheckpointError, UsageError
from opsigcli.optimizers.schedules import Schedule
from opsigcli.options import EXAMPLE_WEIGHTS, MANIFEST, TrainOptions
from opsigcli.parameters import require
from opsigcli.runs.batch_changes import BatchChanges
from opsigcli.runs.build_objective import build_objective
from opsigcli.runs.fork import Fork, move, open_fork, read_move
from opsigcli.runs.kept_examples import example_weights
from opsigcli.runs.load_weights import Loader
from opsigcli.runs.recorded_losses import RecordedLosses, require_own_store, require_recordable
from opsigcli.runs.run_specs import signed_manifest
from opsigcli.runs.save_steps import SaveSteps
from opsigcli.runs.trainer import Trainer
from opsigcli.runs.training_rule import training_rule, with_preset
from opsigcli.usercode import absolute_spec

if TYPE_CHECKING:
    from torch import Tensor

    from opsigcli.examples import ExampleSource
    from opsigcli.optimizers.base import Optimizer
    from opsigcli.progress import Task

MICRO_BATCH = 2048  # examples per pass of a full batch
LEFT_BEHIND = rf"step-\d+(?:\.optimizer)?\.safetensors|{re.escape(MANIFEST)}|{re.escape(EXAMPLE_WEIGHTS)}"
MANIFEST_SECONDS = 1.0  # the manifest is rewritten at most this often, and at the end
WEIGHTS = re.compile(r"step-(\d+)\.safetensors")


class TrainingRun:
    """A run's folder and its trainer, opened where the run stopped, or where it forks from another one.

    Args:
        options: of ``opsig train``.

    Raises:
        UsageError: the directory holds a run made with other options.
        OpsigError: model or data cannot be opened, or a checkpoint cannot be written.
    """

    def __init__(self, options: TrainOptions) -> None:
        require(options, "save_optimizer")
        options = with_preset(options)
        fork = open_fork(options)
        options = options if fork is None else fork.options(options)
        self.options, self._move = options, read_move(options.perturb)
        self.folder = options.directory
        source = open_source(options.data)
        if fork is not None:
            fork.require_same_data(source.fingerprint, options.given)
        rule, hyper = training_rule(options)
        self.schedule = Schedule(options.schedule, options.steps)
        self.saved = SaveSteps(options.save_every, options.save_steps or "")
        changes = BatchChanges.of(options.augment or "", source)
        model = absolute_spec(options.model)
        self.weights = example_weights(options, source, {} if fork is None else fork.less)
        kept = source if self.weights is None else Subset(source, np.flatnonzero(self.weights > 0))
        objective = build_objective(
            model, kept, options.loss, device=options.device, batch_size=MICRO_BATCH, seed=options.seed
        )
        self.manifest = signed_manifest(
            source,
            model=model,
            loss=options.loss,
            optimizer=rule.name,
            hyper=hyper,
            schedule=self.schedule.spec,
            clip=options.clip,
            augment=str(changes or ""),
            batch_size=options.batch_size,
            steps=options.steps,
            save_every=options.save_every,
            save_steps=str(self.saved),
            seed=options.seed,
        )
        self._less = self._counting_less(source)
        if fork is not None:
            self.manifest = replace(
                self.manifest,
                forked_from=str(fork.path),
                forked_step=fork.row.step,
                forked_sha256=sha256(fork.path),
                differs=fork.differs(self.manifest, self._less),
                perturb=str(self._move or ""),
                reset_state=options.reset_state,
            )
        optimizer = rule.build(objective.parameters, hyper)
        counts = None if self.weights is None else self.weights[self.weights > 0]
        uneven = counts if counts is not None and (counts < 1).any() else None
        self.trainer = Trainer(
            objective,
            optimizer,
            options.batch_size,
            options.seed,
            uneven,
            clip=options.clip,
            changes=changes,
            factor=self.schedule.factor if self.schedule.spec else None,
        )
        if options.record_losses:
            require_recordable(options, self.trainer, len(source))
        self.rows = self._open_folder()
        self.recorded: RecordedLosses | None = None
        if options.record_losses:
            self.recorded = RecordedLosses(options.store, self.manifest)
            if not options.fresh:
                require_own_store(options.store, [row.sha256 for row in self.rows])
        self._written, self._reader = 0.0, SafetensorsFile()
        self._restore(fork, rule, hyper)
        if options.dry_run:
            return
        write_example_weights(self.folder, self._digest(), self._less)
        if not self.rows:
            self.write_manifest()  # before the first checkpoint: a killed run is known again
            self._save()

    def train(self, task: Task) -> bool:
        """Train up to the last step; True when the loss stopped being finite."""
        trainer, options = self.trainer, self.options
        task.advance(min(trainer.step, options.steps), "resumed" if trainer.step else "")
        while trainer.step < options.steps:
            at = self.rows[-1]
            losses: list[Tensor] | None = (
                [] if self.recorded is not None and at.step == trainer.step else None
            )
            if self._move is not None and trainer.step == self.manifest.forked_step:
                length = move(trainer, self._move)
                task.advance(0, f"moved by {length:.4g}")
                losses = None  # the checkpoint has the weights before the move
            loss = trainer.update(losses)
            if self.recorded is not None and losses:
                self.recorded.keep(at.sha256, losses, trainer.objective)
            task.advance(note=f"loss {loss:.4f}")
            diverged = not math.isfinite(loss)
            if diverged or trainer.step in self.saved or trainer.step == options.steps:
                self._save()
            if diverged:
                return True
        return False

    def write_manifest(self) -> None:
        """Write the manifest with the checkpoints so far, also one whose saving was interrupted half-way."""
        self.rows = self._saved({row.file: row for row in self.rows})
        write_manifest(self.folder, replace(self.manifest, checkpoints=tuple(self.rows)))
        self._written = time.monotonic()

    def _open_folder(self) -> list[Row]:
        """The checkpoints that are already there, if this very run made them; a dry run changes nothing.

        Raises:
            CheckpointError: the folder cannot be made.
            UsageError: another run, or something else, made them.
        """
        dry = self.options.dry_run
        if dry and not self.folder.is_dir():
            return []
        if not dry:
            atomic.make_folder(self.folder)
            atomic.sweep(self.folder, LEFT_BEHIND)
        old = None if self.options.fresh else read_manifest(self.folder)
        found = self._files()
        if self.options.fresh:
            # Killed in between, what is left is the beginning of the old run.
            for path in () if dry else reversed(found):
                path.unlink()
                state_path(path).unlink(missing_ok=True)
            return []
        if old is None:
            if found:
                raise UsageError(
                    f"expected an empty folder or a run of opsig train, found {found[0].name} without "
                    f"{MANIFEST} in {self.folder}",
                    "name another folder, or start anew with --fresh",
                )
            return []
        self._require_same_run(old)
        self._require_same_weights()
        # A killed process may have saved checkpoints after it last wrote the manifest.
        return self._saved({row.file: row for row in old.checkpoints})

    def _digest(self) -> str:
        """Of the examples' weights; "" when all count alike."""
        return "" if self.weights is None else hashlib.sha256(self.weights.tobytes()).hexdigest()

    def _require_same_weights(self) -> None:
        """Refuse to resume with other weights of examples, which lie beside the manifest.

        Raises:
            UsageError: they differ.
        """
        if read_example_weights(self.folder)[0] != self._digest():
            raise UsageError(
                f"{self.folder} holds a run with other --exclude or --downweight examples",
                "give the same files to resume it, name another folder, or start anew with --fresh",
            )

    def _counting_less(self, source: ExampleSource) -> dict[int, float]:
        """Example id -> weight of those that count less."""
        counts = () if self.weights is None else zip(source.ids.tolist(), self.weights.tolist(), strict=True)
        return {i: w for i, w in counts if w < 1}

    def _files(self) -> list[Path]:
        found = sorted((p for p in self.folder.iterdir() if WEIGHTS.fullmatch(p.name)), key=_step)
        for path in (each for file in found for each in (file, state_path(file))):
            if path.is_dir():
                raise CheckpointError(
                    f"expected a file at {path}, found a folder", "move it away, or name another folder"
                )
        return found

    def _saved(self, known: dict[str, Row]) -> list[Row]:
        """A row for every checkpoint in the folder."""
        return [known.get(path.name) or self._row(path) for path in self._files()]

    def _require_same_run(self, old: Manifest) -> None:
        free = ("steps", "signature", "checkpoints", "schema", "forked_from")  # a parent may be moved
        for name, now in vars(self.manifest).items():
            before = getattr(old, name)
            if name not in free and before != now:
                raise UsageError(
                    f"{self.folder} holds a run made with {name} {_text(before)}; now it is {_text(now)}",
                    "give the same options to resume it, name another folder, or start anew with --fresh",
                )

    def _save(self) -> None:
        path = self.folder / f"step-{self.trainer.step:06d}.safetensors"
        lr = self._lr(self.trainer.step)
        facts = {"step": self.trainer.step, "lr": lr, "optimizer": self.manifest.optimizer}
        state = self.trainer.state()
        # The state goes first: weights without it could not be resumed from.
        if state:
            save_weights(state_path(path), state, facts)
        save_weights(path, self.trainer.weights(), facts)
        if (
            self.options.save_optimizer == "last"
        ):  # only now: a killed run goes on from a checkpoint that has its own
            for row in self.rows:
                state_path(self.folder / row.file).unlink(missing_ok=True)
        self.rows.append(self._row(path))
        if time.monotonic() - self._written > MANIFEST_SECONDS:
            self.write_manifest()

    def _row(self, path: Path) -> Row:
        step = _step(path)
        return Row(path.name, step, lr=self._lr(step), sha256=sha256(path))

    def _lr(self, step: int) -> float:
        """The learning rate of the update from a step."""
        return self.options.lr * self.schedule.factor(step)

    def _restore(self, fork: Fork | None, rule: Optimizer, hyper: dict[str, Any]) -> None:
        """Go to the last checkpoint of the folder; in an empty one to that of the fork, if this is one."""
        if self.rows:
            path, step = self.folder / self.rows[-1].file, self.rows[-1].step
            state = self._reader.read(state_path(path)) if state_path(path).exists() else {}
        elif fork is not None:
            path, step, state = fork.path, fork.row.step, fork.state(rule, hyper, self.options.reset_state)
        else:
            return
        Loader(self.trainer.objective.model, partial=False).load(self._reader.read(path), path.name)
        self.trainer.restore_state(step, state)


def _step(path: Path) -> int:
    match = WEIGHTS.fullmatch(path.name)
    return int(match[1]) if match else 0


def _text(value: Any) -> str:
    return "full" if value is None else str(value) or "none"
