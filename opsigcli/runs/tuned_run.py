"""How the parameters of a stored run train at each of its checkpoints."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from opsigcli.errors import CheckpointError, ModelError
from opsigcli.runs.clipping import clip_of
from opsigcli.runs.movement import Movement, would_move
from opsigcli.runs.run_optimizer import RunOptimizer
from opsigcli.runs.state_order import owners
from opsigcli.runs.trained_run import TrainedRun
from opsigcli.runs.tuning import Clip, Tuning

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

AVERAGED = (
    "no ratio: these weights are a moving average, and no step of the optimizer starts from them; trace the trained "
    "weights (--weights model, where the files hold both)"
)
LATE = (
    "the learning rate in a checkpoint is the one that its weights were reached with (saved before scheduler.step()): "
    "each is judged by that of the next checkpoint, at which the step from it was made"
)
LATE_LAST = (
    "the learning rate in a checkpoint is the one that its weights were reached with (saved before scheduler.step()), "
    "and there is no checkpoint one step on to tell that of the next step: judged by its own"
)


APART = 1.5  # times, from which on a note says that the next learning rate is another


def changed_later(own: float | None, later: float | None) -> str:
    """That the next checkpoint has another learning rate, where nothing tells by which of them the steps between were
    made; "" where it is about the same, or one is not known.

    Args:
        own: at a checkpoint, None or NaN where not known.
        later: at the next one, which lies several steps on.
    """
    low, high = sorted((own or 0.0, later or 0.0))
    if not (low > 0 and high >= APART * low):
        return ""
    return (
        f"the learning rate is {own:.4g} here and {later:.4g} at the next checkpoint, which is not one step on: judged "
        f"by its own; where it was saved before scheduler.step(), the steps that follow were made at {later:.4g}"
    )


class TunedRun:
    """A run with its optimizer: what trains at each checkpoint, and by which rule.

    Args:
        run: the run, opened.
        optimizer: of the run, or given instead.
        positions: of examples whose gradient is enough where one is looked at; None is all.
    """

    def __init__(
        self, run: TrainedRun, optimizer: RunOptimizer, positions: NDArray[np.int64] | None = None
    ) -> None:
        self.run, self.optimizer, self.positions = run, optimizer, positions
        self.movement = Movement(run)
        self.trainable = frozenset(run.objective.parameter_names)  # as the factory has it
        self.trained = self.trainable  # as it is now
        # Where hyper-parameters in a checkpoint are those of the step that led to it: rows with one a step on.
        self.late: frozenset[int] | None = None
        self.changing: dict[int, str] = {}  # rows by whose rate the steps may not have been made, and why
        self.looked: frozenset[int] = frozenset()  # rows whose next checkpoint is asked for its rate
        # What was found of each row.
        self._owners: dict[int, dict[str, str]] = {}
        self._frozen: dict[int, frozenset[str]] = {}

    @cached_property
    def _clip(self) -> Clip | None:
        return clip_of(self.run.path(0).parent)

    def at(self, row: int, *, with_state: bool = False) -> Tuning:
        """How each parameter is updated at checkpoint ``row`` of the trace, which is loaded then.

        Raises:
            CheckpointError: the checkpoint cannot be read.
            ModelError: its weights do not fit.
            UsageError: a hyper-parameter does not fit the optimizer.
        """
        later = self._rate_after(row)
        found = self._judged(row, with_state=with_state)
        note = (self.changing.get(row) or changed_later(found.lr, later)) if found.parts else ""
        return replace(found, notes=(*found.notes, note)) if note else found

    def _rate_after(self, row: int) -> float | None:
        """The learning rate at the next checkpoint, of what trains these weights; None where it is not asked for."""
        if row not in self.looked:
            return None
        try:
            return self._recorded(row + 1, with_state=False).lr
        except (CheckpointError, ModelError):  # which is said where that one is measured
            return None

    def _judged(self, row: int, *, with_state: bool) -> Tuning:
        """With the hyper-parameters of the next checkpoint where the recorded ones are those of the step before."""
        if self.late is None:
            return self._recorded(row, with_state=with_state)
        following = self._recorded(row + 1, with_state=False) if row in self.late else None
        found = self._recorded(row, with_state=with_state)
        if not found.parts:
            return found
        if following is None or not _alike(found, following):
            return replace(found, notes=(*found.notes, LATE_LAST))
        parts = [replace(a, hyper=b.hyper) for a, b in zip(found.parts, following.parts, strict=True)]
        return replace(found, parts=tuple(parts), notes=(*found.notes, LATE))

    def _recorded(self, row: int, *, with_state: bool) -> Tuning:
        moved, before = self.movement.moved(), self.trained
        self.train(self.trainable)  # groups are told of the model as its factory made it
        try:
            self.run.load(row)
            found = self.optimizer.at(
                self.run.path(row),
                self.run.objective.model,
                self.run.lrs[row],
                moved,
                self.movement.evidence(row, self.gradient),
                with_state,
                lambda: self.trainable - self.movement.still(row),
            )
            if self.run.averaged(row):
                return Tuning(reason=AVERAGED)
            found = self._without_frozen(row, self._in_order(row, found))
            self.run.load(row)
            return replace(found, clip=self._clip)
        finally:
            self.train(before)

    def train(self, names: Collection[str]) -> bool:
        """Let these parameters train and no others; whether that is another set than before."""
        if self.trained == names:
            return False
        for name, parameter in self.run.objective.model.named_parameters():
            parameter.requires_grad_(name in names)
        self.trained = frozenset(names)
        return True

    def untrained(self) -> int:
        """Weights that the model's factory lets train and that do not."""
        parameters = dict(self.run.objective.model.named_parameters())
        return sum(parameters[name].numel() for name in self.trainable - self.trained)

    def gradient(self) -> dict[str, Tensor]:
        """The mean loss's gradient, at the weights that are loaded, by parameter."""
        objective = self.run.objective
        _, parts = objective.mean_loss_and_gradient(self.positions)
        return {
            name: part.detach().cpu() for name, part in zip(objective.parameter_names, parts, strict=True)
        }

    def _in_order(self, row: int, tuning: Tuning) -> Tuning:
        """With the state of equal modules exchanged where the weights show that it follows another order."""
        if tuning.named or not tuning.state:
            return tuning
        try:
            if row not in self._owners:
                step = self.movement.step(row)
                self.run.load(row)
                self.train(tuning.parameters | self.trainable)
                self._owners[row] = owners(tuning.state, step, self.gradient())
            of = self._owners[row]
            state = {name: tuning.state[of.get(name, name)] for name in tuning.state}
            return replace(tuning, state=state)
        except CheckpointError as error:
            if any(part.rule.preconditions for part in tuning.parts):
                return Tuning(reason=f"no threshold: {error.message}; {error.hint}")
            return replace(tuning, state={}, unusable=error.message)

    def _without_frozen(self, row: int, tuning: Tuning) -> Tuning:
        """Without parameters that train at other checkpoints, as where a body is unfrozen bit by bit.

        Those that stand still from this checkpoint to the next, though its gradient would have moved them.
        """
        if row not in self._frozen:
            self._frozen[row] = self._stands_still(row, tuning)
        frozen = self._frozen[row]
        parts = [
            replace(part, parameters=tuple(name for name in part.parameters if name not in frozen))
            for part in tuning.parts
        ]
        return replace(tuning, parts=tuple(part for part in parts if part.parameters))

    def _stands_still(self, row: int, tuning: Tuning) -> frozenset[str]:
        still = self.movement.still(row) & tuning.parameters
        self.run.load(row)
        # Where nothing moves, the learning rate is 0, or files are copies.
        if not still or still == tuning.parameters:
            return frozenset()
        self.train(tuning.parameters | self.trainable)
        slopes = self.gradient()
        weights = dict(self.run.objective.model.named_parameters())
        return frozenset(
            name
            for part in tuning.parts
            for name in part.parameters
            if name in still and would_move(part, weights[name].detach().cpu(), slopes[name])
        )


def _alike(first: Tuning, second: Tuning) -> bool:
    """Whether the same rules update the same parameters."""
    one, other = ([(part.name, part.parameters) for part in tuning.parts] for tuning in (first, second))
    return one == other
