"""The units of a trace (checkpoint × shard of examples), and who computes them.

The grid of units depends on model, data and checkpoints alone: who computes a unit, and beside how many others, leaves
no trace in it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opsigcli.checkpoints.series import Series
from opsigcli.errors import CheckpointError, ModelError
from opsigcli.objective.contract import require_contract
from opsigcli.objective.evaluate import Evaluator
from opsigcli.objective.independence import refuse_coupling
from opsigcli.progress import Task
from opsigcli.runs.load_weights import Loader
from opsigcli.runs.other_head import of_other_head
from opsigcli.runs.recorded_losses import RecordedLosses, differing
from opsigcli.store.decode import decode_unit
from opsigcli.store.units import Units
from opsigcli.tracing.rows import Row
from opsigcli.tracing.sharding import Sharding

if TYPE_CHECKING:
    from torch import Tensor

    from opsigcli.runs.virtual_step import VirtualStep
    from opsigcli.store.reader import Store
    from opsigcli.store.results import Results

VIRTUAL = -1  # in place of a shard: losses of all examples after a virtual step


@dataclass(frozen=True)
class Unit:
    """One piece of work."""

    row: Row
    shard: int

    @property
    def key(self) -> str:
        """Its name among the units of its configuration."""
        kind = "virtual" if self.shard == VIRTUAL else f"losses-{self.shard:04d}"
        return f"{kind}-{self.row.sha256[:32]}"


@dataclass
class Worker:
    """Computes units and gives the rows made of them.

    Args:
        series: the checkpoints.
        evaluator: over the model and all examples.
        loader: puts weights into that model.
        units: where finished units are kept.
        virtual: takes virtual steps; None where none are wanted.
        sharding: which units are this worker's; None = all.
        recorded: losses that need no computing; None where there are none.
    """

    series: Series
    evaluator: Evaluator
    loader: Loader
    units: Units
    virtual: VirtualStep | None = None
    sharding: Sharding | None = None
    recorded: RecordedLosses | None = None
    computed: int = 0  # units
    failed: dict[str, str] = field(default_factory=dict)  # file -> reason
    _held: int | None = None
    _independent: bool = False  # the first checkpoint with finite losses showed that batches do not matter
    _weights: dict[int, Future[Any]] = field(default_factory=dict)

    def grid(self, rows: list[Row]) -> list[Unit]:
        """All units of the rows that no store holds: shard by shard, so that each is decoded once."""
        losses = [Unit(row, shard) for shard in range(self._shards) for row in rows if row.stored is None]
        return losses + [
            Unit(row, VIRTUAL) for row in rows if self.virtual and row.place is not None and not row.stepped
        ]

    def missing(self, rows: list[Row]) -> list[Unit]:
        """Units that nobody has finished."""
        failed = self.failures(rows)
        return [u for u in self.grid(rows) if u.row.file in failed or not self.units.has(u.key)]

    def compute(self, rows: list[Row], task: Task) -> Exception | None:
        """Compute this worker's missing units; returns the error of the first checkpoint that failed.

        The next checkpoint is hashed and read, and the last unit written, while one is computed.

        Raises:
            StoreError: a unit cannot be written.
            ObjectiveError: the loss of an example depends on its batch, or the outputs do not fit it.
        """
        grid = self.grid(rows)
        mine = grid if self.sharding is None else [grid[i] for i in self.sharding.units(len(grid))]
        first: Exception | None = None
        self._try_recorded(mine)
        with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as writing:
            written: Future[None] | None = None
            todo = mine if self.units.none() else [unit for unit in mine if not self.units.has(unit.key)]
            task.advance(len(mine) - len(todo), "kept")
            for unit, following in zip(todo, [*todo[1:], None], strict=False):
                try:
                    known = self._recorded(unit)
                    losses = self._losses(unit, following, reading) if known is None else known
                    self.units.discard(_failure(unit.row))
                except (CheckpointError, ModelError) as error:
                    first = first or error
                    self._fail(unit.row, error.message)
                    task.advance(note=f"{unit.row.file} failed")
                    continue
                if written is not None:
                    written.result()
                written = writing.submit(self.units.write, unit.key, losses)
                self.computed += known is None
                with np.errstate(invalid="ignore"):
                    mean = np.nanmean(losses) if np.isfinite(losses).any() else float("nan")
                task.advance(note=f"checkpoint {unit.row.step}, mean loss {mean:.4f}")
            if written is not None:
                written.result()
        return first

    def failures(self, rows: list[Row]) -> dict[str, str]:
        """File -> reason, of checkpoints that any worker found unreadable."""
        for row in rows:
            done = row.stored is not None and (row.stepped or not self.virtual)
            if done or row.file in self.failed:
                continue
            try:
                raw = self.units.read(_failure(row))
            except CheckpointError as error:  # not even its name among the units can be told
                self.failed[row.file] = error.message
                continue
            reason = None if raw is None else decode_unit(str, raw.tobytes())
            if reason is not None:
                self.failed[row.file] = reason
        return self.failed

    def row(self, row: Row) -> NDArray[np.float32]:
        """The losses (N,) of one row from its units; a damaged unit is computed again."""
        return np.concatenate([self._unit(Unit(row, shard)) for shard in range(self._shards)])

    def after_virtual_step(self, row: Row) -> NDArray[np.float32]:
        """The losses (N,) after the virtual step from one row."""
        return self._unit(Unit(row, VIRTUAL))

    def rows(self, rows: list[Row], store: Store | None) -> Iterator[NDArray[np.float32]]:
        """The losses of each row, (N,): those that the store holds already, and new ones from their units."""
        for row in rows:
            if store is not None and row.stored is not None:
                yield store.losses_at(row.stored)
            else:
                yield self.row(row)

    def steps(
        self, rows: list[Row], store: Store | None, known: Results | None
    ) -> Iterator[NDArray[np.float32] | None] | None:
        """What the virtual step from each row does to its losses, (N,); None where there are none to be taken.

        Args:
            rows: of the trace.
            store: that has the losses of some; None for a new one.
            known: the steps that the store has.
        """
        if self.virtual is None:
            return None
        missing = {unit.row.file for unit in self.missing(rows)}

        def found() -> Iterator[NDArray[np.float32] | None]:
            for row, before in zip(rows, self.rows(rows, store), strict=True):
                if row.stepped and known is not None:
                    yield known.file[f"{known.at}virtual_deltas"][row.stored]
                elif row.place is None or row.file in missing:
                    yield None  # of a checkpoint that is gone, or of which a signal came before
                else:
                    with np.errstate(invalid="ignore"):
                        yield self.after_virtual_step(row) - before

        return found()

    @property
    def _shards(self) -> int:
        return -(-len(self.evaluator.objective.source) // self.evaluator.shard_size)

    def _unit(self, unit: Unit) -> NDArray[np.float32]:
        total, size = len(self.evaluator.objective.source), self.evaluator.shard_size
        count = total if unit.shard == VIRTUAL else min(size, total - unit.shard * size)
        found = self.units.read(unit.key, (count,))
        if found is None:
            with ThreadPoolExecutor(1) as reading:
                found = self._losses(unit, None, reading)
            self.units.write(unit.key, found)
        return found

    def _fail(self, row: Row, reason: str) -> None:
        self.failed[row.file] = reason
        if self.sharding is not None:  # another worker may be the one that merges
            with contextlib.suppress(CheckpointError):  # a file that is gone is so for all of them
                self.units.write(_failure(row), np.frombuffer(json.dumps(reason).encode(), np.uint8))

    def _recorded(self, unit: Unit) -> NDArray[np.float32] | None:
        """The losses of a unit that training had already."""
        if self.recorded is None or unit.shard == VIRTUAL:
            return None
        found = self.recorded.read(unit.row.sha256, len(self.evaluator.objective.source))
        size = self.evaluator.shard_size
        return None if found is None else found[unit.shard * size : (unit.shard + 1) * size]

    def _try_recorded(self, units: list[Unit]) -> None:
        """Compute one unit that training had, the last, and do without all of them where its losses are others."""
        for unit in reversed(units):
            known = self._recorded(unit)
            if known is not None and np.isfinite(known).any():
                with ThreadPoolExecutor(1) as reading:
                    apart = differing(known, self._losses(unit, None, reading))
                if apart:
                    self.recorded = None
                    said = f"losses that training recorded are up to {apart:.2g} from those of a trace"
                    self.evaluator.objective.notes.append(f"{said}: all were computed anew")
                return

    def _losses(self, unit: Unit, following: Unit | None, reading: ThreadPoolExecutor) -> NDArray[np.float32]:
        if unit.row.file in self.failed:
            raise CheckpointError(self.failed[unit.row.file])
        place = unit.row.place
        assert place is not None  # rows without a file are stored, and stored rows are not computed
        weights = self._weights.pop(place, None) or reading.submit(self._fetch, place)
        if following is not None and following.row.place is not None and following.row.place != place:
            self._weights = {following.row.place: reading.submit(self._fetch, following.row.place)}
        state = weights.result()
        try:
            self.loader.load(state, unit.row.file)
        except ModelError as error:
            source = self.evaluator.objective.source
            raise of_other_head(error, state, self.loader.model, source) from error
        self.evaluator.objective.settle()
        if not self._independent:
            require_contract(self.evaluator.objective, again=True)
            self._independent = refuse_coupling(self.evaluator.objective, unit.row.file)
        if unit.shard != VIRTUAL:
            self._hold(unit.shard)
            return self.evaluator.losses()
        assert self.virtual is not None
        self.virtual.step(place)
        return np.concatenate([self._held_losses(shard) for shard in range(self._shards)])

    def _fetch(self, place: int) -> dict[str, Tensor]:
        self.series.sha256(place)  # kept there; the file then lies in the system's cache
        return self.series.read(place)

    def _held_losses(self, shard: int) -> NDArray[np.float32]:
        self._hold(shard)
        return self.evaluator.losses()

    def _hold(self, shard: int) -> None:
        if shard != self._held:
            size, n = self.evaluator.shard_size, len(self.evaluator.objective.source)
            self.evaluator.hold(np.arange(shard * size, min((shard + 1) * size, n)))
            self._held = shard


def _failure(row: Row) -> str:
    return f"failed-{row.sha256[:32]}"
