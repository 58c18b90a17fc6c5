"""One trace from its options to its store, also in several rounds and by several workers."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from opsigcli.checkpoints.series import Series
from opsigcli.errors import Interrupted, UsageError
from opsigcli.examples import ExampleSource
from opsigcli.look_records import Look
from opsigcli.objective.evaluate import Evaluator
from opsigcli.options import TraceOptions
from opsigcli.outcome import plain
from opsigcli.probe_records import ProbeTrace
from opsigcli.progress import Progress
from opsigcli.records import Run, TraceSummary
from opsigcli.runs.build_objective import build_objective
from opsigcli.runs.device import own_device
from opsigcli.runs.load_weights import Loader
from opsigcli.runs.preparation_beside import hold_beside
from opsigcli.runs.probes import OpenProbe, open_probe
from opsigcli.runs.provenance import provenance
from opsigcli.runs.recorded_losses import RECORDED, recorded_beside
from opsigcli.runs.run_specs import specs
from opsigcli.runs.virtual_step import VirtualStep
from opsigcli.store.lock import locked
from opsigcli.store.opening import require_replaceable
from opsigcli.store.reader import Store, open_store
from opsigcli.store.units import Units
from opsigcli.store.writer import TraceContent, write_trace, write_training
from opsigcli.tracing import same_trace
from opsigcli.tracing.batch_norm_gap import Gap, batch_norm_gaps, gaps_of
from opsigcli.tracing.beside import beside_lowest, facts_of, log_beside, look_at_ends
from opsigcli.tracing.known_again import known_again
from opsigcli.tracing.norm_statistics import statistics_of
from opsigcli.tracing.precision import require_precision
from opsigcli.tracing.probes import keep_probes
from opsigcli.tracing.rows import Row, known_steps
from opsigcli.tracing.sharding import Sharding
from opsigcli.tracing.worker import VIRTUAL as STEP
from opsigcli.tracing.worker import Worker
from opsigcli.training_records import AgainstLog, RecordedFact
from opsigcli.trust import sign

MERGING = 3600.0  # seconds that a worker waits for another one to merge


class Session:
    """A run opened for tracing: its data read and its model built once, however many rounds follow.

    Args:
        options: of ``opsig trace``.
        run: the run.
        source: its examples.
        sharding: the units of this process, when several work on the trace.

    Raises:
        UsageError: one of several processes is to start anew.
    """

    def __init__(
        self, options: TraceOptions, run: Run, source: ExampleSource, sharding: Sharding | None
    ) -> None:
        if sharding is not None and options.fresh:
            raise UsageError(
                "--fresh is for one process: workers use one another's finished units",
                f"remove {options.store} and start the workers without --fresh",
            )
        self.options, self.source, self.sharding = options, source, sharding
        self._fresh = options.fresh  # in the first round; units of a killed process are used all the same
        self.run = replace(run, precision=options.precision)
        self._evaluator: Evaluator | None = None
        self._loader: Loader | None = None
        self.worker: Worker | None = None
        self.rows: list[Row] = []
        self.done: list[Row] = []
        self.failed: dict[str, str] = {}
        self.waiting = 0  # units that other workers have not finished
        self.again: list[str] = []  # files that were written again, with the weights that were traced
        self.removed: list[str] = []  # what the store held of another run, in words
        self.measured: dict[str, Any] = {}
        self.summary: TraceSummary | None = None  # of the store, once it is whole
        self.infinite: list[int] = []  # steps at which some loss is not finite
        self.log: AgainstLog | None = None
        self.facts: tuple[RecordedFact, ...] = ()
        self.gaps: tuple[Gap, ...] = ()  # of the losses with BatchNorm's stored statistics
        self.asked, self.probes = list[OpenProbe](), tuple[ProbeTrace, ...]()  # now; and all of the store
        self.look: Look | None = None  # how the ends of the run do beside a guess

    def trace(self, series: Series, progress: Progress) -> None:
        """Bring the store up to date with the series.

        Raises:
            CheckpointError: no checkpoint could be traced, as the first one cannot be read.
            ModelError: the model cannot be built, or no checkpoint fits it.
            UsageError: options do not go together, or not with this run.
            DatasetError: the classes of the data have another order than the run wrote down.
            ObjectiveError: the precision would drown the loss deltas.
            StoreError: the store holds another run, is in use, or cannot be written.
            Interrupted: a signal arrived; finished checkpoints are kept.
        """
        with ExitStack() as stack:
            own = self.options.store
            if self.sharding is not None:  # workers share the store, and no two have the same part
                own = own.with_name(f"{own.name}.{str(self.sharding).replace('/', '-of-')}")
            stack.enter_context(locked(own))
            store = self._open(stack)
            self.rows, self.again = known_again(series, store, self.options, self._worker)
            self.failed = {item.file: item.error.message for item in series.failed}
            worker = self.worker = self._worker(series, store)
            if worker.grid(self.rows):
                self._work(worker, progress)
            self._finish(worker, store, series)
            if self.options.store.exists() and not self.waiting:
                self.probes = keep_probes(self.options.store, self.asked, worker, progress)
            self._fresh = False

    def _work(self, worker: Worker, progress: Progress) -> None:
        grid = worker.grid(self.rows)
        total = len(grid) if self.sharding is None else len(self.sharding.units(len(grid)))
        unit = "checkpoint" if len(grid) == len({unit.row.file for unit in grid}) else "unit"
        stopped: KeyboardInterrupt | None = None
        first: Exception | None = None
        try:
            with progress.task("trace", total, unit) as task:
                first = worker.compute(self.rows, task)
        except KeyboardInterrupt as signal:
            stopped = signal
        if first is not None and self.sharding is None and not self._finished(worker):
            raise first
        if stopped is not None:
            kept, left = len(self._finished(worker)), len(worker.missing(self.rows))
            if self.sharding is None:
                self._finish(worker, None, worker.series, stopped)
            raise Interrupted(
                stopped, f"interrupted: {kept} checkpoints are traced and kept, {left} units are left"
            )

    @property
    def batch_norm(self) -> dict[str, Any] | None:
        """BatchNorm's statistics, and how far the loss with those stored is off; None without BatchNorm."""
        return {"statistics": self.run.batch_norm, "gaps": self.gaps} if self.run.batch_norm else None

    def _finished(self, worker: Worker) -> list[Row]:
        """The rows whose losses are in the store, and those with nothing left to compute."""
        missing = {unit.row.file for unit in worker.missing(self.rows)}
        return [row for row in self.rows if row.stored is not None or row.file not in missing]

    def _finish(
        self, worker: Worker, store: Store | None, series: Series, stopped: KeyboardInterrupt | None = None
    ) -> None:
        """Merge finished rows into the store, unless other workers still have some to finish."""
        self.done = self._finished(worker)
        self.failed |= worker.failures(self.rows)
        self.waiting = sum(unit.row.file not in self.failed for unit in worker.missing(self.rows))
        if stopped is None and self.waiting and self.sharding is not None:
            return
        with ExitStack() as stack:
            if self.sharding is not None:  # the last to finish merges; another may have been as fast
                stack.enter_context(locked(self.options.store, wait=MERGING))
                store = self._open(stack)
                self.rows, self.again = known_again(series, store, self.options, self._worker)
                self.done = self._finished(worker)
            elif stopped is not None:
                store = self._open(stack)
            new = any(row.stored is None for row in self.done) or self._stepped(worker, store)
            new |= same_trace.known_otherwise(store, self.run, [row.lr for row in self.done])
            enough = len(self.done) >= min(2, len(self.rows))
            if new and enough:
                content = self._content(worker, store, stopped is not None)
                self.removed += write_trace(self.options.store, content)
            if stopped is None and self.options.store.exists():
                self._look_beside(worker, series)
            if stopped is None or (new and enough):
                unfinished = [row for row in self.rows if row not in self.done]  # serves the next run
                worker.units.clear(keep={unit.key for unit in worker.grid(unfinished)})

    def _stepped(self, worker: Worker, store: Store | None) -> bool:
        """Whether there are virtual steps to be put into the store, or those that are there to be put first in it."""
        if worker.virtual is None:
            return False
        known = known_steps(store, self.options)
        return (
            known is None
            or bool(known.at)
            or any(worker.units.has(unit.key) for unit in worker.grid(self.done) if unit.shard == STEP)
        )

    def _look_beside(self, worker: Worker, series: Series) -> None:
        """Keep what the run recorded of its training, where the store does not say the same already."""
        objective = worker.evaluator.objective
        with open_store(self.options.store) as store:
            self.summary, self.infinite = store.summary
            log = log_beside(series, self.summary)
            self.gaps = gaps_of(store.provenance["trace"].options)
            facts = facts_of(series, self.run, objective, self.gaps)
            look = look_at_ends(objective, worker.loader, series, self.done, store.look)
            look = beside_lowest(look, self.summary, self.run.axis)
            before = (store.training_log, store.recorded_facts, store.look, store.failed)
            known = (log, facts, look, self.failed) == before
        self.log, self.facts, self.look = log, facts, look
        if not known:
            write_training(self.options.store, log, facts, look, self.failed)

    def _open(self, stack: ExitStack) -> Store | None:
        """The store that is added to; None for a new one."""
        if self._fresh:
            require_replaceable(self.options.store)
        if not self.options.store.exists() or self._fresh:
            return None
        store = stack.enter_context(open_store(self.options.store))
        same_trace.require_same_run(store, self.run)
        return store

    def _worker(self, series: Series, store: Store | None) -> Worker:
        options = self.options
        if self._evaluator is None:
            objective = build_objective(
                self.run.model,
                self.source,
                self.run.loss,
                device=own_device(options.device),
                batch_size=256,
                config=self.run.config,
            )
            objective.notes += hold_beside(series, self.source)
            self._loader = Loader(objective.model, self.run.partial)
            statistics = statistics_of(objective, self._loader, series, store, options)
            if statistics:
                self.run = replace(self.run, batch_norm=statistics)
            objective.use_statistics(statistics or "stored")
            require_precision(options.precision, objective, self._loader, series)
            self._evaluator = Evaluator(objective, batch_size=options.batch_size, precision=options.precision)
            self.asked = [open_probe(spec, objective) for spec in dict.fromkeys(options.probe)]
            objective.batch_size = self._evaluator.batch_size  # suits gradients as well
        evaluator, loader = self._evaluator, self._loader
        assert loader is not None  # made with the evaluator
        virtual = None
        if options.virtual_step:
            virtual = VirtualStep(series, evaluator.objective, self.run, loader, options)
        self.measured = {
            "batch_size": evaluator.batch_size,
            "shard_size": evaluator.shard_size,
            "device": evaluator.objective.device.type,
            "virtual": virtual.facts if virtual else None,
        }
        told = {name: getattr(evaluator.objective, name) for name in ("mean", "padding")}
        told["batch_norm"] = self.run.batch_norm
        self.measured |= {name: value for name, value in told.items() if value}
        if store is not None:
            same_trace.require_same_virtual(known_steps(store, self.options), virtual)
            same_trace.require_same_mean(store, evaluator.objective)
            same_trace.require_same_padding(store, evaluator.objective)
        recorded = recorded_beside(options.store, series.manifest, self.run)
        units = Units(options.store, same_trace.identity(self.run) | self.measured)
        return Worker(series, evaluator, loader, units, virtual, self.sharding, recorded)

    def _content(self, worker: Worker, store: Store | None, stopping: bool) -> TraceContent:
        objective = worker.evaluator.objective
        # Who worked on it, and who waited for it, is no part of what it is, nor of how it is repeated.
        whole = replace(self.options, shard=None, watch=False, idle=TraceOptions.idle)
        made = provenance("trace", whole, objective, precision=self.run.precision)
        made.options.update(plain(self.measured) | ({"recorded": RECORDED} if worker.recorded else {}))
        if self.run.batch_norm and not stopping:  # a signal does not wait for more passes
            made.options["batch_norm_gap"] = plain(batch_norm_gaps(worker, self.rows))
        if objective.notes:
            made.options["notes"] = list(objective.notes)
        return TraceContent(
            run=replace(self.run, fit="; ".join(worker.loader.fits) or self.run.fit),
            signature=sign(specs(self.run)),
            steps=[row.step for row in self.done],
            files=[row.file for row in self.done],
            sha256=[row.sha256 for row in self.done],
            lrs=[row.lr for row in self.done],
            example_ids=self.source.ids,
            labels=self.source.labels,
            names=self.source.names,
            rows=worker.rows(self.done, store),
            provenance=made,
            known_pairs=self.source.known_pairs,
            measured=None if objective.measured.all() else objective.measured,
            weights=objective.weights,
            virtual=worker.steps(self.done, store, known_steps(store, self.options)),
            stepped=replace(made, seed=worker.virtual.seed) if worker.virtual else None,
        )
