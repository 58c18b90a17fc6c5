"""``opsig mine``: top loss deltas, opposing groups and pairs, and who holds the loss spikes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsigcli.commands.context import StoredRun, provenance
from opsigcli.commands.export import export_groups, require_format
from opsigcli.commands.known import tell_known_pairs
from opsigcli.commands.pictures import take_pictures, wanted_ids
from opsigcli.errors import Interrupted
from opsigcli.mining.mine import mine as find_pairs
from opsigcli.mining.residual import Gradients
from opsigcli.mining.series import checkpoints_to_compare, choose_candidates
from opsigcli.options import MineOptions
from opsigcli.outcome import Outcome
from opsigcli.progress import Progress
from opsigcli.records import Case, ExampleSource, LossTrace, Mining, Thumbnails
from opsigcli.store.reader import Store, open_store
from opsigcli.store.units import Units
from opsigcli.store.writer import locked, write_gradients, write_mining


def mine(options: MineOptions, progress: Progress) -> Outcome:
    """Mine the trace of a store, and keep what was found there.

    Per-example gradients are computed once, kept in the store as random projections, and used again when the
    command is repeated on the same trace.

    Raises:
        StoreError: there is no readable store.
        MiningError: the trace is too short.
        OpsigError: model, data or checkpoints cannot be opened.
        Interrupted: a signal arrived; the gradients computed so far are kept.
    """
    if options.export is not None:
        require_format(options.export)
    with locked(options.store):
        with open_store(options.store) as store:
            trace, run, known_pairs = store.trace, store.run, store.known_pairs
            sketches = _Sketches(options, store, trace.losses)
            gradients = sketches.take(progress)
            found = find_pairs(
                trace.losses,
                trace.labels,
                trace.example_ids,
                trace.steps,
                run.classes,
                gradients=gradients,
                candidates=sketches.candidates,
                top=options.top,
                seed=options.seed,
                known_pairs=known_pairs,
            )
            objective = sketches.run.objective if sketches.run else None
            found = replace(found, provenance=provenance("mine", options, objective))
            pictures = _pictures(store, found, trace, sketches.source)
        if sketches.new:
            write_gradients(options.store, sketches.key, sketches.arrays(gradients))
            sketches.units.clear()
        write_mining(options.store, found, pictures)
    case = Case(run, trace, found)
    messages = list(tell_known_pairs(known_pairs, case))
    if options.export is not None:
        count = export_groups(options.export, found, trace, run.classes)
        messages.append(f"wrote {count} rows to {options.export}")
    return Outcome(
        schema="opsig/mine",
        inputs={"store": str(options.store), "options": found.provenance.options if found.provenance else {}},
        result={
            "pairs": found.pairs,
            "top": found.top,
            "spikes": found.spikes,
            "recovery": found.recovery,
            "method": found.method,
            "gradient_steps": found.gradient_steps,
            "candidates": found.candidates,
            "notes": found.notes,
        },
        messages=tuple(messages),
        view=case,
    )


class _Sketches:
    """Gradient sketches at the checkpoints worth comparing: from the store, or computed."""

    def __init__(self, options: MineOptions, store: Store, losses: NDArray[Any]) -> None:
        self.options, self.store = options, store
        self.rows = checkpoints_to_compare(losses, options.gradient_checkpoints)
        self.candidates = choose_candidates(losses, options.candidates, options.seed)
        run = store.run
        made_from = {
            "model": options.model or run.model,
            "loss": run.loss,
            "fingerprint": run.fingerprint,
            "sha256": [store.sha256[row] for row in self.rows],
            "candidates": hashlib.sha256(self.candidates.tobytes()).hexdigest(),
            "dimensions": options.sketch_dimensions,
            "seed": options.seed,
        }
        self.key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
        self.units = Units(options.store, {"key": self.key})
        self.run: StoredRun | None = None
        self.new = False

    @property
    def source(self) -> ExampleSource | None:
        """The data, where gradients had to be computed."""
        return self.run.source if self.run else None

    def take(self, progress: Progress) -> list[Gradients]:
        """The gradients, one entry per checkpoint compared."""
        kept = self.store.gradients(self.key)
        if kept is not None:
            return [
                Gradients(row, kept["sketches"][at], kept["norms"][at], kept["residuals"][at])
                for at, row in enumerate(self.rows)
            ]
        self.new = True
        self.run = StoredRun(self.store, self.options)
        taken: list[Gradients] = []
        try:
            with progress.task("gradients", len(self.rows) * len(self.candidates), "example") as task:
                for row in self.rows:
                    taken.append(self._at(row, task))
        except KeyboardInterrupt as signal:
            raise Interrupted(
                signal, f"interrupted: gradients of {len(taken)} of {len(self.rows)} checkpoints are kept"
            ) from None
        return taken

    def _at(self, row: int, task: Any) -> Gradients:
        """Gradients at one checkpoint; each array is a unit of its own."""
        from opsigcli.objective.sketch import gradient_sketches

        names = ("sketch", "norms", "residuals")
        units = [self.units.read(f"gradients-{row}-{name}") for name in names]
        parts = [unit for unit in units if unit is not None]
        if len(parts) == len(names):
            task.advance(len(self.candidates), note="kept")
            return Gradients(row, *parts)
        assert self.run is not None
        self.run.load(row)
        found = gradient_sketches(
            self.run.objective,
            self.candidates,
            dimensions=self.options.sketch_dimensions,
            seed=self.options.seed + row,  # fresh at every checkpoint, so that errors average out
            progress_task=task,
        )
        for name in names:
            self.units.write(f"gradients-{row}-{name}", getattr(found, name))
        return Gradients(row, found.sketch, found.norms, found.residuals)

    def arrays(self, gradients: list[Gradients]) -> dict[str, NDArray[Any]]:
        """The gradients as the store keeps them."""
        return {
            "rows": np.array(self.rows, dtype=np.int64),
            "positions": self.candidates,
            "sketches": np.stack([at.sketch for at in gradients]),
            "norms": np.stack([at.norms for at in gradients]),
            "residuals": np.stack([at.residuals for at in gradients]),
        }


def _pictures(
    store: Store, found: Mining, trace: LossTrace, source: ExampleSource | None
) -> Thumbnails | None:
    """Pictures for the report; those the store has are used again."""
    ids = wanted_ids(found, trace)
    kept = store.thumbnails
    if kept is not None and set(ids) <= set(map(int, kept.ids)):
        return kept
    if source is None:
        from opsigcli.datasets import open_source

        source = open_source(store.run.data)
    return take_pictures(source, ids)
