"""The mean loss of a run: one definition for curves, spikes, phases, words and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from opsigcli.records import Floats, Ints


ROUNDING = 1e-12  # relative difference of mean losses from which all losses of two checkpoints are compared


@dataclass(frozen=True)
class MeanLoss:
    """The mean loss at every checkpoint, over one set of examples.

    ``L_t = Σ_{i ∈ M} w_i ℓ_{t,i} / Σ_{i ∈ M} w_i`` with the weights w of the run's objective (mostly all
    alike), where M are the examples with a finite loss at every checkpoint that counts,
    and a checkpoint counts where at least half of the examples have one. M is the same at all checkpoints, so that a
    difference is a change of one quantity, not of who was measured; and a checkpoint at which nearly all losses are
    gone (the run diverged) takes no examples out of the others.
    """

    values: Floats  # (T,) float64, nats; NaN = the checkpoint does not count, or M is empty
    examples: NDArray[np.bool_]  # (N,) M
    finite: Ints  # (T,) examples with a finite loss, of those that could have one
    total: int  # examples that could have one: all but those whose label says to ignore them

    @property
    def over(self) -> int:
        """Examples that the mean is over."""
        return int(self.examples.sum())

    @property
    def words(self) -> str:
        """Which examples the mean is over, where they are not all; "" where they are."""
        if self.over == self.total:
            return ""
        every = (
            "every checkpoint" if (2 * self.finite >= self.total).all() else "every checkpoint that has one"
        )
        return f"over the {self.over:,} of {self.total:,} examples measured at {every}"


def mean_loss(
    losses: Any, counted: NDArray[np.bool_] | None = None, weights: Floats | None = None
) -> MeanLoss:
    """The mean loss of a trace, read one checkpoint at a time; a second time where some losses are missing.

    Args:
        losses: (T, N) nats, an array or one that stays in a file; NaN = not measured.
        counted: (N,) False = its label says to ignore it; None = all count.
        weights: (N,) w; None = all alike.
    """
    checkpoints, examples = losses.shape
    running = RunningMean(checkpoints, examples, counted, weights)
    for row in losses:
        running.add(row)
    return running.of(losses)


class RunningMean:
    """The mean loss from checkpoints that are seen one after another, for whoever reads them anyway.

    Args:
        checkpoints: T.
        examples: N.
        counted: (N,) False = its label says to ignore it; None = all count.
        weights: (N,) w; None = all alike.
    """

    def __init__(
        self,
        checkpoints: int,
        examples: int,
        counted: NDArray[np.bool_] | None = None,
        weights: Floats | None = None,
    ) -> None:
        import numpy as np

        self._weights = weights
        self._values = np.full(checkpoints, np.nan)
        self._finite = np.zeros(checkpoints, dtype=np.int64)
        self._counted = np.ones(examples, dtype=bool) if counted is None else counted.copy()
        self._total = int(self._counted.sum())
        self._examples = self._counted.copy()
        self._seen = 0

    def add(self, row: Floats) -> None:
        """Look at the losses of the next checkpoint, (N,)."""
        import numpy as np

        finite = np.isfinite(row) & self._counted
        known = int(np.count_nonzero(finite))
        self._finite[self._seen] = known
        if known and 2 * known >= self._total:
            if known < self._total:
                self._examples &= finite
            else:
                self._values[self._seen] = _mean(row, self._counted, self._weights)
        self._seen += 1

    def of(self, losses: Any) -> MeanLoss:
        """The mean loss of ``losses`` (T, N), whose checkpoints were all seen; read again if some are missing."""
        import numpy as np

        counts = (self._finite > 0) & (2 * self._finite >= self._total)
        if not self._examples.any():
            self._values[:] = np.nan
        elif not (self._examples == self._counted).all():
            for t, row in enumerate(losses):
                if counts[t]:
                    self._values[t] = _mean(row, self._examples, self._weights)
        return MeanLoss(self._values, self._examples, self._finite, self._total)


def unmoved_rows(losses: Any, means: Floats) -> Ints:
    """Rows whose losses are those of the row before to the bit: weights that did not move.

    Args:
        losses: (T, N) nats, an array or one that stays in a file; NaN = not measured.
        means: (T,) their means: losses are read where two in a row are alike, or there are none.

    Returns:
        Indices, increasing.
    """
    import numpy as np

    alike = np.isclose(means[1:], means[:-1], rtol=ROUNDING, atol=0, equal_nan=True)
    same = []
    for row in np.flatnonzero(alike).tolist():
        before, after = (np.asarray(losses[t]) for t in (row, row + 1))
        told = np.isfinite(after)
        if told.any() and np.array_equal(after[told], before[told]):
            same.append(row + 1)
    return np.array(same, dtype=np.int64)


def _mean(row: Floats, examples: NDArray[np.bool_], weights: Floats | None) -> float:
    import numpy as np

    if weights is not None:
        whole = float(weights[examples].sum())
        return float(weights[examples] @ row[examples].astype(np.float64)) / whole if whole else float("nan")
    return float(np.mean(row if examples.all() else row[examples], dtype=np.float64))
