"""What mining is given: a loss trace, what is known of the candidates, and what is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from opsigcli.axis import STEPS, Axis
from opsigcli.errors import MiningError
from opsigcli.mining.large_groups import large_groups
from opsigcli.mining.similarity import Gradients
from opsigcli.mining.trace_stats import survey
from opsigcli.options import MineOptions
from opsigcli.token_ids import LABELLED, Naming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from opsigcli.mining.eigen import EigenStep
    from opsigcli.mining.extend import Outside
    from opsigcli.mining.trace_stats import Survey
    from opsigcli.mining.unseen import Unseen
    from opsigcli.mining_records import (
        Evidence,
    )
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]
    # (first, second, watched) positions to loss swings (M,) along the pair's direction, checkpoint by checkpoint
    Swings = Callable[[Ints, Ints, Ints], Iterable[Floats]]
    # (word, all that it depends on, how to compute it) to what was computed, now or by a process that was stopped
    Keep = Callable[[str, Sequence[bytes], Callable[[], NDArray[Any]]], NDArray[Any]]


UNSEEN = "what can be seen in the examples is not in the store: opsig trace looks at it"


class Probe(Protocol):
    """What happens along a pair's direction."""

    def __call__(self, sides: Sides) -> Iterable[Floats]:
        """Loss swings of all candidates across the direction of the pair, at one checkpoint or more: (M,) nats each.

        Each costs passes over the data, and is made when it is looked at.
        """


class Curvature(Protocol):
    """Curvature of the loss along a pair's direction."""

    def __call__(self, sides: Sides, members: Ints) -> Evidence | None:
        """The evidence, or None where it cannot be measured.

        Args:
            sides: positions of the pair's two groups.
            members: positions of the members of all pairs, which the null leaves out.
        """


class Growth(Protocol):
    """How much a swing along a pair's direction grows each step by its curvature."""

    def __call__(self, sides: Sides, rows: Sequence[int]) -> Floats | None:
        """``|1 − η uᵀHu|`` at some checkpoints, or None where that says nothing of the rule.

        Args:
            sides: positions of the pair's two groups.
            rows: checkpoints.
        """


@dataclass(frozen=True)
class Trace:
    """A loss trace, of which no more than a few rows are ever held."""

    losses: Any  # (T, N) nats, array or h5py dataset; NaN = not measured
    labels: Ints  # (N,) class indices
    ids: Ints  # (N,) example ids
    steps: Ints  # (T,) increasing
    classes: Sequence[str] = ()  # names of the classes; () = the indices are the names
    deltas: Any = None  # (T−1, N) loss deltas, where they are stored
    counted: NDArray[np.bool_] | None = None  # (N,) False = its label says to ignore it; None = all count
    weights: Floats | None = None  # (N,) of each example in the mean loss; None = all alike
    seen: Mapping[str, NDArray[Any]] = field(
        default_factory=dict
    )  # feature -> (N,): numbers, NaN = not looked at; or categories, -1 likewise
    unseen: str = UNSEEN  # why, where there are none
    loss: str = ""  # its spec
    axis: Axis = STEPS  # what the steps count
    naming: Naming = LABELLED

    @property
    def outputs(self) -> int:
        """Classes that the model tells apart, as far as names and labels say."""
        return max(len(self.classes), int(self.labels.max(initial=-1)) + 1)

    @cached_property
    def survey(self) -> Survey:
        """The losses, read once."""
        return survey(self.losses, self.counted, self.weights)


@dataclass(frozen=True)
class Candidates:
    """The M examples that pairs are sought among; without gradients only the methods on losses alone seek any."""

    positions: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # (M,) in the trace
    gradients: Sequence[Gradients] = ()  # one per checkpoint compared
    weights: Floats | None = None  # (M,) how many of all examples each stands for; None = one
    features: Mapping[str, NDArray[Any]] = field(
        default_factory=dict
    )  # name -> (M, …) what can be seen in them
    swings: Swings | None = None
    curvature: Curvature | None = None
    growth: Growth | None = None
    unseen: Unseen | None = None  # examples of other data, where some were given
    outside: Outside | None = None  # the other examples; None = nobody is asked to join the pairs found
    eigen: Sequence[EigenStep] = ()  # parts of the loss deltas of all N along the Hessian's top eigenvectors
    apart: NDArray[np.bool_] | None = (
        None  # (M,) members of large groups, whose gradients are not the usual ones
    )

    def only(self, good: NDArray[np.bool_]) -> Candidates:
        """The candidates for which ``good`` (M,) holds."""
        return replace(
            self,
            positions=self.positions[good],
            gradients=[at.only(good) for at in self.gradients],
            weights=None if self.weights is None else self.weights[good],
            features={name: values[good] for name, values in self.features.items()},
            apart=None if self.apart is None else self.apart[good],
        )

    @property
    def parts(self) -> Floats | None:
        """(J, M) nats: their parts along each eigenvector in each step; None where none were made."""
        if not self.eigen:
            return None
        return np.concatenate([step.parts[:-1, self.positions] for step in self.eigen])

    def without_gradients(self) -> Candidates:
        """What the methods on losses alone look at."""
        return replace(
            self, gradients=(), swings=None, curvature=None, growth=None, outside=None, unseen=None
        )

    @property
    def among(self) -> Ints | None:
        """Rows that the usual gradient is fitted to; None = all.

        Where candidates were chosen, those drawn for all others and of those chosen the same share, as without the far
        ends of all whoever is far out would be unusual; and no members of large groups.
        """
        if self.weights is None:
            return None if self.apart is None else np.flatnonzero(~self.apart)
        drawn = np.random.default_rng(0).random(len(self.weights))
        usual = (self.weights > 1) | (drawn * self.weights.max() < 1)
        return np.flatnonzero(usual if self.apart is None else usual & ~self.apart)

    def without_large_groups(self, seed: int) -> Candidates:
        """The same, with members of ``large_groups`` left out of what is usual."""
        members = large_groups(self.gradients, seed, self.among)
        if not len(members):
            return self
        return replace(self, apart=np.isin(np.arange(len(self.positions)), members))

    @cached_property
    def probe(self) -> Probe | None:
        """The swings along the direction between two sets of rows; each is asked for once."""
        if self.swings is None:
            return None
        swings, at, known = self.swings, self.positions, dict[bytes, _Once]()

        def along(sides: Sides) -> Iterable[Floats]:
            key = sides[0].tobytes() + b"|" + sides[1].tobytes()
            if key not in known:
                known[key] = _Once(swings(at[sides[0]], at[sides[1]], at))
            return known[key]

        return along


class _Once:
    """What an iterator gives, asked for when it is looked at and not again."""

    def __init__(self, rows: Iterable[Floats]) -> None:
        self._known, self._rest = list["Floats"](), iter(rows)

    def __iter__(self) -> Iterator[Floats]:
        at = 0
        while True:
            if at == len(self._known):
                try:
                    self._known.append(next(self._rest))
                except StopIteration:
                    return
            yield self._known[at]
            at += 1


@dataclass(frozen=True)
class Settings:
    """How pairs are sought."""

    method: str  # a name in METHODS
    top: int = MineOptions.top  # examples on each side of a step
    seed: int = MineOptions.seed  # of everything random
    similarity: str = MineOptions.similarity  # what gradients are compared by, one of SIMILARITIES
    window: tuple[int, int] | None = (
        None  # loss deltas that classes are to explain; None = after the first 10 %
    )
    surrogates: int = (
        0  # of these similarities, that the search is repeated in, at most, for p-values after selection
    )
    false_discovery_rate: float = MineOptions.false_discovery_rate  # that findings pass


def compute_now(_word: str, _of: Sequence[bytes], compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """A ``Keep`` that keeps nothing."""
    return compute()


def require_two(checkpoints: int) -> None:
    """Mining compares checkpoints.

    Raises:
        MiningError: there are fewer than two.
    """
    if checkpoints < 2:
        raise MiningError(
            f"expected at least two checkpoints to compare, found {checkpoints} in the trace",
            "trace a folder with more checkpoints",
        )


def require_fit(trace: Trace, candidates: Candidates) -> None:
    """The arrays belong to one trace.

    Raises:
        MiningError: there are fewer than two checkpoints, or shapes do not fit one another.
    """
    t, n = trace.losses.shape
    require_two(t)
    if not (len(trace.labels) == len(trace.ids) == n and len(trace.steps) == t):
        raise MiningError(
            f"expected {n} labels and ids and {t} steps for losses of shape ({t}, {n}), "
            f"found {len(trace.labels)}, {len(trace.ids)} and {len(trace.steps)}",
            "trace again into a new store",
        )
    m = len(candidates.positions)
    for at in candidates.gradients:
        if len(at.sketch) != m or len(at.residuals) != m or not 0 <= at.checkpoint < t:
            raise MiningError(
                f"expected gradients of {m} candidates at one of {t} checkpoints, found "
                f"{len(at.sketch)} at checkpoint {at.checkpoint}",
                "compute the gradients again",
            )
