"""How every parameter of a model was updated at a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opsigcli.optimizers.base import Optimizer


@dataclass(frozen=True)
class Part:
    """Parameters that one rule updates with one set of hyper-parameters."""

    label: str  # as a message calls the group
    name: str  # of the rule
    rule: Optimizer
    hyper: dict[str, Any]
    parameters: tuple[str, ...]  # names


@dataclass(frozen=True)
class Clip:
    """Scaling of longer gradients to one norm."""

    norm: float
    whole: bool  # of gradients of all examples; else of batches, whose norms a checkpoint does not tell


@dataclass(frozen=True)
class Tuning:
    """How every parameter was updated at a checkpoint, or why that is not known."""

    parts: tuple[Part, ...] = ()
    state: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by parameter
    reason: str = ""  # why there is no threshold
    unusable: str = ""  # why the state cannot be used
    estimated: str = ""  # what of the state is an estimate, in words
    named: bool = True  # the checkpoint says which parameter each piece of state is of
    clip: Clip | None = None
    notes: tuple[str, ...] = ()  # where options contradict the checkpoint
    settings: str = ""  # of the run, that a checkpoint without an optimizer of its own is judged by

    @property
    def parameters(self) -> frozenset[str]:
        """The names of those that train."""
        return frozenset(name for part in self.parts for name in part.parameters)

    @property
    def largest(self) -> float | None:
        """The largest norm of a gradient in an update; None without clipping."""
        return None if self.clip is None else self.clip.norm

    @property
    def lr(self) -> float | None:
        """The learning rate; None where there are several, or none."""
        rates = {part.hyper.get("lr") for part in self.parts}
        return rates.pop() if len(rates) == 1 else None
