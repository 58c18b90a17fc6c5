"""``opsig mine``: top loss deltas, opposing groups and pairs, and who holds the loss spikes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opsigcli.commands.causal import causal_words, compare_causes
from opsigcli.commands.context import StoredRun, provenance
from opsigcli.commands.curvature import with_curvature
from opsigcli.commands.export import export_groups, require_format
from opsigcli.commands.known import tell_known_pairs
from opsigcli.commands.pictures import look, same_groups, take_pictures, wanted_ids
from opsigcli.errors import Interrupted, UsageError
from opsigcli.mining.methods import METHODS, NEEDS_GRADIENTS
from opsigcli.mining.mine import mine as find_pairs
from opsigcli.mining.residual import SIMILARITIES, Gradients, opposition_to
from opsigcli.mining.series import checkpoints_to_compare, choose_candidates, oscillation
from opsigcli.mining.top import measured
from opsigcli.mining.window import first_window
from opsigcli.options import MineOptions
from opsigcli.outcome import Outcome
from opsigcli.progress import Progress
from opsigcli.records import Case, ExampleSource, LossTrace, Mining, Thumbnails
from opsigcli.store.reader import Store, open_store
from opsigcli.store.units import Units
from opsigcli.store.writer import locked, write_gradients, write_mining

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints


REFERENCES = 1500  # random examples that the others are held against when there are too many to compare
PIECE = 2048


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
    METHODS.load(options.method)
    _require("window", options.window, ("run", "first"))
    _require("similarity", options.similarity, SIMILARITIES)
    if options.export is not None:
        require_format(options.export)
    with locked(options.store):
        with open_store(options.store) as store:
            trace, run, known_pairs = store.trace, store.run, store.known_pairs
            virtual = store.virtual
            window = _window(options, trace.losses)
            sketches = _Sketches(options, store, trace.losses, window)
            gradients = sketches.take(progress) if options.method in NEEDS_GRADIENTS else []
            found = find_pairs(
                trace.losses,
                trace.labels,
                trace.example_ids,
                trace.steps,
                run.classes,
                gradients=gradients,
                candidates=sketches.candidates,
                method=options.method,
                top=options.top,
                seed=options.seed,
                known_pairs=known_pairs,
                similarity=options.similarity,
                window=window,
                probe=sketches.swings if options.method == "full" else None,
                features=sketches.features if gradients else None,
                surrogates=options.surrogates,
                weights=sketches.weights,
            )
            before = len(sketches.kept)
            pairs = with_curvature(
                found.pairs,
                sketches.run,
                sketches.rows,
                store.sharpness,
                trace,
                options.seed,
                sketches.kept,
            )
            sketches.new |= len(sketches.kept) > before
            found = replace(found, pairs=pairs)
            causal = None
            if options.causal and sketches.rows:
                causal = compare_causes(
                    found, sketches.opened, sketches.rows[0], trace, options.seed, progress, options.test_data
                )
            objective = sketches.run.objective if sketches.run else None
            found = replace(found, provenance=provenance("mine", options, objective))
            pictures = _pictures(store, found, trace, sketches.source)
        if sketches.new:
            write_gradients(options.store, sketches.key, sketches.arrays(gradients))
            sketches.units.clear()
        write_mining(options.store, found, pictures)
    case = Case(run, trace, found, virtual=virtual)
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
            "explained": found.explained,
            "causal": causal,
            "virtual": virtual,
        },
        messages=(*messages, *(causal_words(causal) if causal else ())),
        view=case,
    )


class _Sketches:
    """Gradient sketches at the checkpoints worth comparing: from the store, or computed."""

    def __init__(
        self, options: MineOptions, store: Store, losses: NDArray[Any], window: tuple[int, int] | None
    ) -> None:
        self.options, self.store = options, store
        self.rows = checkpoints_to_compare(losses, options.gradient_checkpoints, window)
        usable = np.flatnonzero(measured(losses)[1]).astype(np.int64)
        run = store.run
        made_from = {
            "model": options.model or run.model,
            "loss": run.loss,
            "fingerprint": run.fingerprint,
            "sha256": [store.sha256[row] for row in self.rows],
            "examples": hashlib.sha256(usable.tobytes()).hexdigest(),
            "candidates": options.candidates,
            "dimensions": options.sketch_dimensions,
            "seed": options.seed,
        }
        self.key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
        self.units = Units(options.store, {"key": self.key})
        self.run: StoredRun | None = None
        self.new = False
        self.kept = store.gradients(self.key) or {}
        self._usable = usable
        if "positions" in self.kept:
            self.candidates: Ints = self.kept["positions"]
        elif len(usable) <= options.candidates:
            self.candidates = usable
        else:  # until gradients say more
            self.candidates = choose_candidates(losses, options.candidates, options.seed)

    @property
    def opened(self) -> StoredRun:
        """The run, opened when it is first needed."""
        if self.run is None:
            self.run = StoredRun(self.store, self.options)
        return self.run

    @property
    def source(self) -> ExampleSource | None:
        """The data, where gradients had to be computed."""
        return self.run.source if self.run else None

    def take(self, progress: Progress) -> list[Gradients]:
        """The gradients, one entry per checkpoint compared."""
        kept = self.kept
        if kept:
            return [
                Gradients(row, kept["sketches"][at], kept["norms"][at], kept["residuals"][at])
                for at, row in enumerate(self.rows)
            ]
        self.new = True
        taken: list[Gradients] = []
        try:
            if len(self._usable) > self.options.candidates:
                self.candidates = self._most_opposed(progress)
            self._look()
            with progress.task("gradients", len(self.rows) * len(self.candidates), "example") as task:
                for row in self.rows:
                    taken.append(self._at(row, task))
        except KeyboardInterrupt as signal:
            raise Interrupted(
                signal, f"interrupted: gradients of {len(taken)} of {len(self.rows)} checkpoints are kept"
            ) from None
        return taken

    def _most_opposed(self, progress: Progress) -> Ints:
        """The examples that oppose random references most, a quarter of them drawn at random.

        At the compared checkpoint in the middle, in pieces: no more than a piece's gradients are held.
        """
        from opsigcli.objective.sketch import gradient_sketches

        row, limit = self.rows[len(self.rows) // 2], self.options.candidates
        rng = np.random.default_rng(self.options.seed)
        degree = self.units.read(f"opposition-{row}")
        if degree is None:
            self.opened.load(row)
            drawn = rng.permutation(self._usable)[:REFERENCES]
            k, seed = self.options.sketch_dimensions, self.options.seed
            references = Gradients(
                row, *gradient_sketches(self.opened.objective, drawn, dimensions=k, seed=seed)
            )
            found = []
            with progress.task("opposition", len(self._usable), "example") as task:
                for at in range(0, len(self._usable), PIECE):
                    piece = self._usable[at : at + PIECE]
                    rows = gradient_sketches(
                        self.opened.objective, piece, dimensions=k, seed=seed, progress_task=task
                    )
                    found.append(opposition_to(references, Gradients(row, *rows)))
            degree = np.nan_to_num(np.concatenate(found), nan=-1.0)
            self.units.write(f"opposition-{row}", degree)
        chosen = self._usable[np.argsort(-degree, kind="stable")[: limit - limit // 4]]
        others = np.random.default_rng([self.options.seed, 1]).permutation(np.setdiff1d(self._usable, chosen))
        drawn = others[: limit // 4]
        candidates = np.sort(np.concatenate([chosen, drawn]))
        # Those drawn stand for all that were not compared.
        self.kept["weights"] = np.where(np.isin(candidates, drawn), len(others) / len(drawn), 1.0)
        return candidates

    def _at(self, row: int, task: Any) -> Gradients:
        """Gradients at one checkpoint; each array is a unit of its own."""
        from opsigcli.objective.sketch import gradient_sketches

        names = ("sketch", "norms", "residuals")
        units = [self.units.read(f"gradients-{row}-{name}") for name in names]
        parts = [unit for unit in units if unit is not None]
        if len(parts) == len(names):
            task.advance(len(self.candidates), note="kept")
            return Gradients(row, *parts)
        self.opened.load(row)
        found = gradient_sketches(
            self.opened.objective,
            self.candidates,
            dimensions=self.options.sketch_dimensions,
            seed=self.options.seed + row,  # fresh at every checkpoint, so that errors average out
            progress_task=task,
        )
        for name in names:
            self.units.write(f"gradients-{row}-{name}", getattr(found, name))
        return Gradients(row, found.sketch, found.norms, found.residuals)

    def swings(self, first: Ints, second: Ints, watched: Ints) -> Floats:
        """Loss swings along a pair's direction at every checkpoint compared, (K, M); kept as gradients are."""
        from opsigcli.objective.probe import swing

        digest = hashlib.sha256(b"|".join(part.tobytes() for part in (first, second, watched))).hexdigest()
        name = f"swings-{digest[:24]}"
        if name not in self.kept:
            rows = []
            for row in self.rows:
                self.opened.load(row)
                rows.append(swing(self.opened.objective, first, second, watched))
            self.kept[name], self.new = np.stack(rows), True
        return self.kept[name]

    @property
    def weights(self) -> Floats | None:
        """How many of all examples each candidate stands for, (M,); None when each is itself alone."""
        return self.kept.get("weights")

    @property
    def features(self) -> dict[str, Floats]:
        """What can be seen in the candidates, name to (M,); {} where examples are no images."""
        prefix = "feature-"
        # In the store's order, so that equally good features are named alike when mined again.
        return {n[len(prefix) :]: v for n, v in sorted(self.kept.items()) if n.startswith(prefix)}

    def _look(self) -> None:
        """Look at the candidates: features of images, tokens of texts."""
        seen = look(self.opened.source, self.candidates)
        self.kept |= {f"feature-{name}": values for name, values in seen.items()}

    def arrays(self, gradients: list[Gradients]) -> dict[str, NDArray[Any]]:
        """The gradients, and what else was computed with them, as the store keeps them."""
        extra = {
            n: v
            for n, v in self.kept.items()
            if n.startswith(("feature-", "swings-", "curvature-", "weights"))
        }
        return extra | {
            "rows": np.array(self.rows, dtype=np.int64),
            "positions": self.candidates,
            "sketches": np.stack([at.sketch for at in gradients]),
            "norms": np.stack([at.norms for at in gradients]),
            "residuals": np.stack([at.residuals for at in gradients]),
        }


def _require(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"expected --{name} to be one of {', '.join(known)}; found {value!r}")


def _window(options: MineOptions, losses: NDArray[Any]) -> tuple[int, int] | None:
    """Loss deltas of the first oscillation, where that is asked for."""
    if options.window == "run":
        return None
    return first_window(oscillation(losses).amplitude)


def _pictures(
    store: Store, found: Mining, trace: LossTrace, source: ExampleSource | None
) -> Thumbnails | None:
    """Pictures for the report; those the store has are used again."""
    ids = wanted_ids(found, trace)
    kept = store.thumbnails
    if kept is not None and set(ids) <= set(map(int, kept.ids)) and same_groups(store.mining, found):
        return kept
    if source is None:
        from opsigcli.datasets import open_source

        source = open_source(store.run.data)
    return take_pictures(source, ids, found)
