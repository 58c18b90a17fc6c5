"""Gradient sketches at the checkpoints worth comparing: from the store, or computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opsigcli.errors import Interrupted, StoreError
from opsigcli.examples import ExampleSource
from opsigcli.gradients.candidate_screening import REFERENCES, Bounds, Screen, cuts, looked_at
from opsigcli.gradients.compared import OPPOSITION, compared
from opsigcli.gradients.others import Others
from opsigcli.gradients.pieces import Pieces, name_of
from opsigcli.gradients.thumbnails import look
from opsigcli.mining.oscillation import choose_candidates
from opsigcli.mining.similarity import Gradients
from opsigcli.options import MineOptions
from opsigcli.progress import Progress, Task
from opsigcli.store.reader import Store
from opsigcli.store.units import Units

if TYPE_CHECKING:
    from torch import nn

    from opsigcli.derivatives.token_sketch import TokenSketcher
    from opsigcli.mining.trace_stats import Survey
    from opsigcli.records import Floats, Ints
    from opsigcli.runs.stored_run import StoredRun

GIB = 1 << 30
FEWEST = 4096  # references of tokens: a group is seen where a few of its members are among them


class Sketches:
    """What mining needs of the model: gradients of the candidates, and more about them where it is asked for.

    Everything computed is in ``kept``, which goes into the store, so that mining again needs no model.
    """

    def __init__(
        self,
        options: MineOptions,
        store: Store,
        seen: Survey,
        window: tuple[int, int] | None,
        progress: Progress,
    ) -> None:
        self.options, self.store, self.progress = options, store, progress
        self._usable = np.flatnonzero(seen.examples).astype(np.int64)
        run = store.run
        if options.batch_norm not in (None, run.batch_norm or "stored"):
            raise StoreError(
                f"the losses in {store.path} were traced with --batch-norm {run.batch_norm or 'stored'}, and gradients "
                f"with {options.batch_norm} would be of another function",
                "leave out --batch-norm, or trace again with it and --fresh",
            )
        chosen = compared(store, options, seen, window, self._usable)
        self.rows, self.key, self.note = chosen.rows, chosen.key, chosen.note
        self.kept: dict[str, NDArray[Any]] = dict(chosen.kept)
        self.units = Units(options.store, {"key": self.key})
        self.pieces = Pieces(self.units)
        self.run: StoredRun | None = None
        self.new = False
        self._made_by = store.gradients_made_by if self.kept else ("", "")
        if "positions" in self.kept:
            self.candidates: Ints = self.kept["positions"]
        elif len(self._usable) <= options.candidates:
            self.candidates = self._usable
        else:  # until gradients say more
            self.candidates = choose_candidates(store.losses, options.candidates, options.seed, seen)

    @property
    def opened(self) -> StoredRun:
        """The run, opened when it is first needed."""
        if self.run is None:
            from opsigcli.runs.stored_run import StoredRun

            self.run = StoredRun(self.store, self.options)
        return self.run

    @property
    def source(self) -> ExampleSource | None:
        """The data, where gradients had to be computed."""
        return self.run.source if self.run else None

    @property
    def made_by(self) -> tuple[str, str]:
        """On which device, and by which version of torch, gradients were computed; "" where none were."""
        if self.run is None or self._made_by[0]:
            return self._made_by
        import torch

        return str(self.run.objective.device), str(torch.__version__)

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

    @property
    def outside(self) -> Others | None:
        """The examples that are no candidates; None where there are none."""
        others = self._others(self.candidates)
        return Others(self, others, len(self.store.measured)) if len(others) else None

    def take(self) -> list[Gradients]:
        """The gradients of the candidates, one entry per checkpoint compared.

        Raises:
            Interrupted: a signal arrived; the gradients taken so far are kept.
        """
        kept = self.kept
        if kept:
            return [
                Gradients(row, kept["sketches"][at], kept["norms"][at], kept["residuals"][at])
                for at, row in enumerate(self.rows)
            ]
        if not self.rows:  # no checkpoint has losses that could be compared
            return []
        self.new = True
        taken: list[Gradients] = []
        try:
            if len(self._usable) > self.options.candidates:
                self.candidates = self._most_opposed()
            self._look()
            with self.progress.task("gradients", len(self.rows) * len(self.candidates), "example") as task:
                for row in self.rows:
                    taken.append(self._at(row, task))
        except KeyboardInterrupt as signal:
            raise Interrupted(
                signal, f"interrupted: gradients of {len(taken)} of {len(self.rows)} checkpoints are kept"
            ) from None
        return taken

    def sketch(self, row: int, positions: Ints, task: Task | None = None) -> Gradients:
        """Gradients at one checkpoint; the same projection for whoever asks."""
        from opsigcli.derivatives.gradient_sketch import gradient_sketches

        self.opened.load(row)
        found = gradient_sketches(
            self.opened.objective,
            positions,
            dimensions=self.options.sketch_dimensions,
            seed=self.options.seed + row,  # fresh at every checkpoint, so that errors average out
            progress_task=task,
        )
        return Gradients(row, found.sketch, found.norms, found.residuals)

    @cached_property
    def last_layer(self) -> nn.Linear | None:
        """Where examples are tokens, the layer whose gradients stand for whole ones, when all of them are looked at."""
        from opsigcli.derivatives.token_sketch import last_layer

        found = last_layer(self.opened.objective)
        if found is None and self.opened.source.sequences is not None:
            self.opened.notes.append(
                "tokens are screened by a whole backward pass each: the model's logits are not the outputs of a "
                "trainable linear layer, whose gradients would take one forward pass for all tokens of a sequence"
            )
        return found

    def screened(self, row: int) -> Callable[[Ints, Task], Gradients]:
        """Gradients by which all examples are looked at, at one checkpoint: whole ones, or those of the last layer.

        Its weights are loaded once, when they are first needed; nothing else may be loaded before the last call.
        """
        sketchers: list[TokenSketcher] = []

        def sketch(positions: Ints, task: Task) -> Gradients:
            if self.last_layer is None:
                return self.sketch(row, positions, task)
            if not sketchers:
                from opsigcli.derivatives.token_sketch import TokenSketcher

                self.opened.load(row)
                dimensions, seed = self.options.sketch_dimensions, self.options.seed + row
                sketchers.append(TokenSketcher(self.opened.objective, self.last_layer, dimensions, seed))
            return Gradients(row, *sketchers[0](positions, task))

        return sketch

    def once(self, word: str, of: Sequence[bytes], compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """What ``compute`` gives, kept as gradients are; ``of`` says what it depends on."""
        name = name_of(word, of)
        if name not in self.kept:
            self.kept[name], self.new = self.pieces(word, of, compute), True
        return self.kept[name]

    def knows(self, word: str, of: Sequence[bytes]) -> bool:
        """Whether ``once`` would compute nothing."""
        return name_of(word, of) in self.kept

    @property
    def looked_at(self) -> tuple[int, ...]:
        """The checkpoints at which all examples are looked at; of tokens one, as they are many to begin with."""
        return looked_at(self.rows, len(self.store.losses) if self.last_layer is None else 1)

    def screen(self) -> Screen:
        """All examples at some of the checkpoints compared."""
        dimensions, sequences = self.options.sketch_dimensions, None
        references = REFERENCES
        if self.last_layer is not None:
            located = self.opened.source.sequences
            assert located is not None  # examples are tokens
            sequences = located.locate(self._usable)[1]
            # Two operations for each number of a direction and each reference, as for each weight in a forward pass.
            weights = sum(p.numel() for p in self.opened.objective.model.parameters())
            affordable = OPPOSITION * len(self.store.losses) * weights / (2 * dimensions)
            references = int(np.clip(affordable, FEWEST, REFERENCES))
        return Screen(
            self.units,
            self.looked_at,
            self._usable,
            self.screened,
            dimensions,
            self.options.seed,
            self.progress,
            cuts(len(self._usable), sequences),
            Bounds(references, self.options.screening_space * GIB),
        )

    def arrays(self, gradients: Sequence[Gradients]) -> dict[str, NDArray[Any]]:
        """The gradients, and what else was computed with them, as the store keeps them."""
        more = ("feature-", "swings-", "curvature-", "growth-", "joined-", "eigen-", "weights")
        return {n: v for n, v in self.kept.items() if n.startswith(more)} | {
            "rows": np.array(self.rows, dtype=np.int64),
            "positions": self.candidates,
            "sketches": np.stack([at.sketch for at in gradients]),
            "norms": np.stack([at.norms for at in gradients]),
            "residuals": np.stack([at.residuals for at in gradients]),
        }

    def _most_opposed(self) -> Ints:
        """The examples of the highest opposition degree; a quarter of the candidates is drawn at random."""
        limit = self.options.candidates
        degree = self.screen().degree()
        chosen = self._usable[np.argsort(-degree, kind="stable")[: limit - limit // 4]]
        others = np.random.default_rng([self.options.seed, 1]).permutation(self._others(chosen))
        drawn = others[: limit // 4]
        candidates = np.sort(np.concatenate([chosen, drawn]))
        # Those drawn stand for all that were not compared.
        self.kept["weights"] = np.where(np.isin(candidates, drawn), len(others) / len(drawn), 1.0)
        return candidates

    def _others(self, positions: Ints) -> Ints:
        """All usable examples but these."""
        left = np.zeros(len(self.store.measured), dtype=bool)
        left[self._usable] = True
        left[positions] = False
        return np.flatnonzero(left)

    def _at(self, row: int, task: Task) -> Gradients:
        """Gradients of the candidates at one checkpoint; together they are one unit, which is there or is not."""
        name, k = f"gradients-{row}", self.options.sketch_dimensions
        both = self.units.read(name, (len(self.candidates), None))
        if both is not None:
            task.advance(len(self.candidates), note="kept")
            return Gradients(row, both[:, :k], both[:, k], both[:, k + 1 :])
        found = self.sketch(row, self.candidates, task)
        self.units.write(name, np.concatenate([found.sketch, found.norms[:, None], found.residuals], axis=1))
        return found

    def _look(self) -> None:
        """Look at the candidates: features of images, tokens of texts."""
        seen = look(self.opened.source, self.candidates)
        self.kept |= {f"feature-{name}": values for name, values in seen.items()}
