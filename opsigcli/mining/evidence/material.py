"""What evidence is computed from: the candidates, a pair, and class-matched random pairs beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining import METHODS
from opsigcli.mining.class_matched import class_matched
from opsigcli.mining.parts import parts
from opsigcli.mining.resampled import HALVED, OF_PROPOSALS, Half, searched_in_halves
from opsigcli.mining.search import Search
from opsigcli.mining.side_by_side import side_by_side
from opsigcli.mining.similarity import gradient_similarity
from opsigcli.mining.trace_stats import first_step
from opsigcli.mining_records import (
    Evidence,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from opsigcli.mining.inputs import Candidates, Settings
    from opsigcli.mining.similarity import Gradients, Known
    from opsigcli.records import Floats, Ints

    Sides = tuple[Ints, Ints]

DRAWS = 199  # class-matched random pairs of the null
HELD_OUT = 8  # loss deltas below which a correlation over steps means nothing
SOUGHT = "no p: the search looked for it"
NULL = f"null: {DRAWS} draws of random candidates of the same labels and sizes"


@dataclass(frozen=True)
class Material:
    """What is known of the M candidates, row by row."""

    candidates: Candidates
    labels: Ints  # (M,)
    similarity: Floats | None  # (M, M) gradient similarity, zero diagonal; None for losses alone
    high_passed: Floats  # (T−1, M) high-passed loss deltas
    energy: Floats  # (M,) share of the energy of all examples' high-passed loss deltas
    examples: int  # N
    settings: Settings  # how pairs were sought
    by_chance: Floats = field(
        default_factory=lambda: np.zeros(0)
    )  # clarity of the clearest pair per surrogate
    deltas: Floats | None = None  # (T−1, M) loss deltas, nats
    findable: bool = False  # some pair may be a finding, so that what takes long is worth the time
    known: Known = field(default_factory=dict)  # features of all candidates by checkpoint
    rotations: Floats = field(
        default_factory=lambda: np.zeros(0)
    )  # clarity likewise, where surrogates are mixtures and some pair may be a finding

    @cached_property
    def halved(self) -> list[Half]:
        """What the same search finds in halves of what was compared; [] where no chance was asked for either."""
        if not self.settings.surrogates:
            return []
        method, searched = METHODS.load(self.settings.method), self.search

        def search(similarity: Floats, rows: Ints) -> list[Sides]:
            found: list[Sides] = method(searched.only(rows, similarity))
            return found

        kinds = HALVED if self.findable else OF_PROPOSALS
        return searched_in_halves(self.candidates, self.labels, self.settings, search, self.known, kinds)

    @property
    def search(self) -> Search:
        """What the method may look at."""
        steps = touched(self.candidates.gradients, len(self.high_passed))
        deltas = self.high_passed if self.deltas is None else self.deltas
        some = self.candidates
        return Search(self.similarity, deltas, self.high_passed, self.energy, some.weights, steps, some.parts)

    @cached_property
    def halves(self) -> tuple[Floats, Floats] | None:
        """Gradient similarity at every other checkpoint compared, and at the rest; None where there is but one."""
        gradients, ask, whole = self.candidates.gradients, self.settings, self.similarity
        if len(gradients) < 2 or whole is None:
            return None
        first, some = gradients[::2], self.candidates.among
        every_other = gradient_similarity(
            first, self.labels, ask.similarity, ask.seed, some, known=self.known
        )
        # Of sums over checkpoints the rest is what is left.
        rest = (whole * len(gradients) - every_other * len(first)) / (len(gradients) - len(first))
        return every_other, rest

    def held_out(self) -> Ints:
        """Loss deltas that no compared checkpoint begins or ends, after the first 10 %, all measured."""
        steps = len(self.high_passed)
        seen = set(touched(self.candidates.gradients, steps))
        free = np.array([t for t in range(first_step(steps), steps) if t not in seen], dtype=np.int64)
        return free[np.isfinite(self.high_passed[free]).all(axis=1)]

    def strongest(self, sides: Sides) -> tuple[int, float]:
        """The loss delta at which two groups move most against one another, after the first 10 %.

        Returns:
            Its row, 0 where nothing was measured, and by how much more the first group rises then, nats.
        """
        gap = self.high_passed[:, sides[0]].mean(axis=1) - self.high_passed[:, sides[1]].mean(axis=1)
        gap[: first_step(len(gap))] = np.nan
        row = int(np.nanargmax(np.abs(gap))) if np.isfinite(gap).any() else 0
        return row, float(gap[row])


def touched(gradients: Sequence[Gradients], steps: int) -> tuple[int, ...]:
    """Loss deltas, of ``steps``, that a compared checkpoint begins or ends."""
    both = {t for at in gradients for t in (at.checkpoint - 1, at.checkpoint)}
    return tuple(sorted(t for t in both if 0 <= t < steps))


@dataclass(frozen=True)
class Proposed:
    """Two groups that were proposed as opposing."""

    sides: Sides  # rows of the candidates in them
    members: Sides  # positions of all their examples: those candidates, and who joined from outside
    left_out: NDArray[np.bool_] | None = None  # (M,) candidates of other pairs that are told from it

    @property
    def outside(self) -> int:
        """How many members are no candidates."""
        return sum(map(len, self.members)) - sum(map(len, self.sides))

    def joined(self, others: Sides) -> Proposed:
        """The same pair with more members, by their positions."""
        first, second = (np.union1d(*both) for both in zip(self.members, others, strict=True))
        return replace(self, members=(first, second))

    def swapped(self) -> Proposed:
        """The same pair with its second side first."""
        return replace(self, sides=self.sides[::-1], members=self.members[::-1])


@dataclass(frozen=True)
class Matched:
    """A pair beside the class-matched random pairs that it is held against; of these R + 1 the pair is the first."""

    material: Material
    pair: Proposed
    groups: Sides  # rows, (R + 1, |A|) and (R + 1, |B|)
    others: Ints  # rows outside every pair
    members: Ints  # positions of the members of all pairs

    @classmethod
    def of(cls, material: Material, pair: Proposed, pairs: Sequence[Proposed], seed: int) -> Matched:
        """Draw the random pairs from all candidates, members included: else they would not be exchangeable."""
        none = np.zeros(0, dtype=np.int64)
        taken = np.concatenate([none, *(rows for each in pairs for rows in each.sides)])
        members = np.concatenate([none, *(positions for each in pairs for positions in each.members)])
        first, second = class_matched(material.labels, pair.sides, none, np.random.default_rng(seed), DRAWS)
        own = [
            rows[np.lexsort((rows, material.labels[rows]))] for rows in pair.sides
        ]  # by label, as those drawn
        groups = np.vstack([own[0], first]), np.vstack([own[1], second])
        return cls(material, pair, groups, np.setdiff1d(np.arange(len(material.labels)), taken), members)

    @property
    def similarity(self) -> Floats:
        """(M, M) gradient similarity, zero diagonal."""
        assert self.material.similarity is not None, "evidence that needs gradients is asked of them alone"
        return self.material.similarity

    @property
    def size(self) -> int:
        """Members of both sides among the candidates."""
        return sum(map(len, self.pair.sides))

    @cached_property
    def averages(self) -> tuple[Floats, Floats]:
        """The groups as rows of weights that average over them, (R + 1, M) each."""
        first, second = (_averages(rows, len(self.material.labels)) for rows in self.groups)
        return first, second

    @cached_property
    def nearness(self) -> tuple[Floats, Floats]:
        """Mean similarity of the first groups, and of the second ones, to every candidate, (R + 1, M) each."""
        return self.averages[0] @ self.similarity, self.averages[1] @ self.similarity

    @cached_property
    def parts(self) -> tuple[list[Ints], list[Ints]]:
        """The columns of the groups that either side consists of."""
        both = parts(self.similarity, self.pair.sides, self.material.labels)
        first, second = (
            [np.flatnonzero(np.isin(rows[0], part)) for part in of]
            for rows, of in zip(self.groups, both, strict=True)
        )
        return first, second

    @cached_property
    def nearest(self) -> tuple[Floats, Floats]:
        """Mean similarity to the other members of the own group, of others to the most alike, (R + 1, M) each."""
        return self._nearest(0), self._nearest(1)

    def _nearest(self, side: int) -> Floats:
        rows, columns = self.groups[side], self.parts[side]
        found: Floats | None = None
        own: Floats = np.zeros(rows.shape)
        for part in columns:
            some = rows[:, part]
            whole = len(columns) == 1
            near = (
                self.nearness[side] if whole else _averages(some, len(self.material.labels)) @ self.similarity
            )
            # A mean over a group includes a member's own zero diagonal entry; the factor takes it out.
            more = len(part) / max(len(part) - 1, 1)
            own[:, part] = more * np.take_along_axis(near, some, axis=1)
            found = near.copy() if found is None else np.maximum(found, near)
        assert found is not None
        np.put_along_axis(found, rows, own.astype(found.dtype), axis=1)
        return found

    @cached_property
    def gradients(self) -> tuple[Floats, Floats]:
        """Cosines of the groups' mean gradients at each checkpoint (K, R + 1), and root mean square norms (R + 1,)."""
        both = np.concatenate(self.averages)
        at_checkpoints, draws = self.material.candidates.gradients, len(both) // 2
        cosines, squares = np.zeros((len(at_checkpoints), draws)), np.zeros(draws)
        means = side_by_side(lambda at: both @ at.sketch, at_checkpoints)
        for row, mean in enumerate(means):
            a, b = mean[:draws], mean[draws:]
            norm_a, norm_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
            norms, inner = norm_a * norm_b, (a * b).sum(axis=1)
            cosines[row] = np.divide(inner, norms, out=np.zeros_like(inner), where=norms > 0)
            squares += (norm_a**2 + norm_b**2) / 2
        return cosines, np.sqrt(squares / len(at_checkpoints))


@dataclass(frozen=True)
class Kind:
    """A line of the table of evidence: one number, or several that are measured together."""

    definitions: Mapping[str, str]  # name -> what it is, and its null
    measure: Callable[[Matched], Mapping[str, Evidence]]  # by name; {} where the material does not allow it
    needs_gradients: bool = True

    @classmethod
    def number(
        cls,
        name: str,
        definition: str,
        measure: Callable[[Matched], Evidence | None],
        *,
        needs_gradients: bool = True,
    ) -> Kind:
        """A single number, called as it is defined."""

        def named(pair: Matched) -> dict[str, Evidence]:
            found = measure(pair)
            return {} if found is None else {name: replace(found, definition=name)}

        return cls({name: definition}, named, needs_gradients)


def beside_null(statistic: Floats) -> Evidence:
    """Entry 0 and the mean of the others, without a p-value: the search looked for extremes of it."""
    return Evidence(float(statistic[0]), float(statistic[1:].mean()))


def against_null(statistic: Floats, *, tail: str) -> Evidence:
    """Entry 0 against the other entries: their mean, and the share at least as extreme, the pair itself counted."""
    value, null = statistic[0], statistic[1:]
    extreme = null >= value if tail == "high" else null <= value
    return Evidence(float(value), float(null.mean()), float((1 + extreme.sum()) / (1 + len(null))))


def _averages(rows: Ints, m: int) -> Floats:
    """Each row of indices as a row of weights that averages over them, (R, M)."""
    weights = np.zeros((len(rows), m), dtype=np.float32)
    np.put_along_axis(weights, rows, np.float32(1 / rows.shape[1]), axis=1)
    return weights
