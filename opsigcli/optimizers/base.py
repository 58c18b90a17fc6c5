"""What every optimizer in the table can tell about itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from opsigcli.errors import CheckpointError, UsageError
from opsigcli.registry import unknown

Hyper = Mapping[str, Any]
State = Mapping[Any, Mapping[str, Any]]

_BELOW_ONE = ("momentum", "dampening", "betas")


def no_shift(hyper: Hyper) -> float:
    """Nothing to add to the Hessian."""
    return 0.0


@dataclass(frozen=True)
class Optimizer:
    """An update rule with its stability threshold.

    On a quadratic with Hessian H the rule converges while λmax(H), or λmax(P⁻¹(H + shift·I)) for a rule that
    preconditions with P, stays below ``stability_threshold``.
    """

    name: str
    defaults: Mapping[str, Any]  # hyper-parameters it takes, with their values; ``lr`` has none: NaN
    make: Callable[[list[Tensor], Hyper], torch.optim.Optimizer]
    limit: Callable[[Hyper], float]  # for lr > 0
    weigh: Callable[[Mapping[str, Any], Hyper], Tensor | None] | None = (
        None  # state of one parameter -> its P
    )
    added: Callable[[Hyper], float] = no_shift

    @property
    def preconditions(self) -> bool:
        """The threshold holds for the preconditioned Hessian."""
        return self.weigh is not None

    def settle(self, hyper: Hyper) -> dict[str, Any]:
        """``hyper`` with defaults filled in.

        Raises:
            UsageError: a name is not known, or a value is out of range.
        """
        for key in hyper:
            if key not in self.defaults:
                raise unknown(f"hyper-parameter of {self.name}", key, self.defaults)
        settled = {**self.defaults, **hyper}
        if "betas" in settled:
            settled["betas"] = tuple(settled["betas"])
        for key, value in settled.items():
            for number in value if isinstance(value, tuple) else (value,):
                if number is None:
                    continue
                fits = isinstance(number, int | float) and 0 <= number < math.inf
                if not fits or (key in _BELOW_ONE and number >= 1) or (key == "alpha" and number > 1):
                    high = "below 1" if key in _BELOW_ONE else "up to 1" if key == "alpha" else "finite"
                    raise UsageError(
                        f"expected {key} of {self.name} to be at least 0 and {high}, found {number!r}",
                        f"give {self.name} another {key}",
                    )
        return settled

    def build(self, parameters: Iterable[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
        """The optimizer of ``torch.optim`` that follows this rule.

        Raises:
            UsageError: ``hyper`` does not fit.
        """
        return self.make(list(parameters), self.settle(hyper))

    def stability_threshold(self, hyper: Hyper) -> float:
        """The largest (preconditioned) sharpness at which the rule still converges on a quadratic.

        Args:
            hyper: hyper-parameters at this step; ``lr`` as the schedule has it then.

        Returns:
            The threshold, infinite where lr is 0.

        Raises:
            UsageError: ``hyper`` does not fit.
        """
        settled = self.settle(hyper)
        return self.limit(settled) if settled["lr"] > 0 else math.inf

    def shift(self, hyper: Hyper) -> float:
        """What an L2 penalty adds to the diagonal of H before preconditioning.

        It is 0 for rules without a preconditioner, whose threshold is lowered by the penalty instead.
        """
        return self.added(self.settle(hyper))

    def preconditioner(
        self, state: State, hyper: Hyper, shapes: Sequence[Sequence[int]] | None = None
    ) -> Tensor | None:
        """The diagonal p of the preconditioner P that the last update used, flat over all parameters.

        Args:
            state: the part "state" of the optimizer's ``state_dict``: parameter index -> its tensors.
            hyper: hyper-parameters.
            shapes: of the trainable parameters, in order, to check the state against.

        Returns:
            p (P,) > 0, or None for rules without one and before the first update.

        Raises:
            CheckpointError: the state belongs to other parameters.
            UsageError: ``hyper`` does not fit.
        """
        if self.weigh is None or not state:
            return None
        settled = self.settle(hyper)
        order = sorted(state, key=int) if all(str(key).isdecimal() for key in state) else list(state)
        found = [self.weigh(state[key], settled) for key in order]
        parts = [part for part in found if part is not None]
        if len(parts) < len(found):
            return None
        if shapes is not None and [tuple(part.shape) for part in parts] != [tuple(shape) for shape in shapes]:
            raise CheckpointError(
                f"expected second moments for {len(shapes)} trainable parameters, found {len(parts)} "
                f"in the optimizer state, or in other shapes",
                "check that optimizer state and weights come from the same checkpoint",
            )
        return torch.cat([part.detach().reshape(-1) for part in parts])
