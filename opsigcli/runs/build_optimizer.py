"""The optimizer of a checkpoint, built again: every group by its own rule, with its state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opsigcli.errors import UsageError
from opsigcli.runs.tuning import Tuning

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from opsigcli.objective.base import Objective


class SeveralOptimizers:
    """Optimizers over disjoint parameters that step together.

    Args:
        optimizers: one or more.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.optimizers = optimizers
        self.state: dict[Tensor, dict[str, Any]] = {
            parameter: optimizer.state[parameter]
            for optimizer in optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Of all optimizers."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        """One update of every parameter."""
        for optimizer in self.optimizers:
            optimizer.step()


def build_optimizer(tuning: Tuning, objective: Objective) -> SeveralOptimizers:
    """The optimizers of all parts of a tuning, without state.

    Raises:
        UsageError: a rule that looks at all gradients together has a part of the parameters alone.
    """
    if len(tuning.parts) > 1 and (name := next((part.name for part in tuning.parts if part.rule.whole), "")):
        raise UsageError(
            f"{name} looks at the gradients of all parameters together, and here are {len(tuning.parts)} groups",
            "leave out --lr-groups",
        )
    own = dict(zip(objective.parameter_names, objective.parameters, strict=True))
    parts = [(part, [own[name] for name in part.parameters if name in own]) for part in tuning.parts]
    return SeveralOptimizers(
        [part.rule.build(parameters, part.hyper) for part, parameters in parts if parameters]
    )


def state_of(tuning: Tuning, objective: Objective) -> dict[str, Tensor]:
    """The state as ``Trainer.state`` has it, of the parameters that the objective trains."""
    keeping = {name for part in tuning.parts if part.rule.keeps_state for name in part.parameters}
    return {
        f"{name}/{key}": tensor
        for name in objective.parameter_names
        if name in keeping
        for key, value in tuning.state.get(name, {}).items()
        if (tensor := _number(value)) is not None
    }


def _number(value: Any) -> torch.Tensor | None:
    """A piece of state as the optimizer is to hold it; None for what it makes anew itself."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    return torch.tensor(float(value)) if isinstance(value, int | float) else None
