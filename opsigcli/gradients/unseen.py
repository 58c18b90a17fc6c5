"""Data that were never mined, under the weights of the run."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.errors import UsageError
from opsigcli.gradients.contents import contents
from opsigcli.gradients.pair_curvature import can_be_opened
from opsigcli.mining.oscillation import oscillation
from opsigcli.mining.similarity import Gradients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.gradients.sketch_store import Sketches
    from opsigcli.objective.base import Objective
    from opsigcli.records import Floats, Ints


class UnseenData:
    """Gradients and losses of ``--test-data``, as ``unseen.Unseen`` has them; computed when they are asked for.

    Args:
        sketches: of the run.
        spec: of the data; as many examples as candidates are drawn where there are more. Of these, examples of the run
            itself, by their content, are left out (but tokens, whose first ones are alike in many texts).

    Raises:
        UsageError: their classes are others, or they are the data that were mined.
        OpsigError: model or data cannot be opened.
    """

    def __init__(self, sketches: Sketches, spec: str) -> None:
        from opsigcli.gradients.ablation import open_test

        self._sketches = sketches
        self._source = open_test(spec, sketches.opened.source)
        self._of_run = 0  # how many of those drawn are examples of the run
        if self._source.fingerprint == sketches.opened.source.fingerprint or not len(self._positions):
            raise UsageError(
                f"expected --test-data that were not mined, found the data of the run itself in {spec}",
                "name a split that was held out of training, or leave out --test-data",
            )

    @property
    def note(self) -> str:
        """That examples of the run were left out; "" where there were none."""
        if not self._of_run:
            return ""
        which = f"{self._of_run} of the {self._of_run + len(self._positions)} examples drawn of --test-data"
        return f"{which} are examples of the run itself, by their content, and were left out of unseen ones"

    @cached_property
    def _objective(self) -> Objective:
        from opsigcli.objective.base import Objective

        of = self._sketches.opened.objective
        return Objective(
            of.model, self._source, of.loss, device=of.device, batch_size=of.batch_size, dtype=of.dtype
        )

    @cached_property
    def _positions(self) -> Ints:
        options, counted = self._sketches.options, self._objective.counted
        drawn = np.random.default_rng([options.seed, 2]).permutation(len(counted))[: options.candidates]
        positions, mined = counted[np.sort(drawn)], self._sketches.store.trace.digests
        if mined is None or self._source.sequences is not None:
            return positions
        seen = np.isin(contents(self._source, self._sketches.progress, positions), mined)
        self._of_run = int(seen.sum())
        return positions[~seen]

    @property
    def labels(self) -> Ints:
        """(N',) class indices."""
        return np.asarray(self._source.labels)[self._positions]

    @cached_property
    def gradients(self) -> Sequence[Gradients]:
        """Theirs, one per checkpoint compared, in the projection of the candidates'."""
        from opsigcli.derivatives.gradient_sketch import gradient_sketches

        sketches, positions, found = self._sketches, self._positions, []
        dimensions, seed = sketches.options.sketch_dimensions, sketches.options.seed
        total = len(sketches.rows) * len(positions)
        with sketches.progress.task("unseen gradients", total, "example") as task:
            for row in sketches.rows:
                sketches.opened.load(row)
                made = gradient_sketches(
                    self._objective, positions, dimensions=dimensions, seed=seed + row, progress_task=task
                )
                found.append(Gradients(row, made.sketch, made.norms, made.residuals))
        return found

    @cached_property
    def high_passed(self) -> Floats:
        """(T−1, N') high-passed loss deltas, nats; NaN where not measured."""
        sketches, positions = self._sketches, self._positions
        of = [self._source.fingerprint.encode(), positions.tobytes()]
        losses = np.full((len(sketches.store.losses), len(positions)), np.nan, dtype=np.float32)
        with sketches.progress.task("unseen losses", len(losses), "checkpoint") as task:
            for row in range(len(losses)):

                def measured(row: int = row) -> Floats:
                    sketches.opened.load(row)
                    return np.asarray(self._objective.losses(positions), dtype=np.float32)

                if can_be_opened(sketches, row):  # a checkpoint may be gone since it was traced
                    losses[row] = sketches.pieces("unseen", [*of, str(row).encode()], measured)
                task.advance()
        return oscillation(losses, np.arange(len(positions))).high_passed
