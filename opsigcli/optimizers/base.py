"""What every optimizer in the table can tell about itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from opsigcli.errors import CheckpointError, UsageError
from opsigcli.optimizers.layout import Layout
from opsigcli.registry import unknown

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Hyper = Mapping[str, Any]
State = Mapping[Any, Mapping[str, Any]]
StateKeys = Collection[str] | None  # what the state of every parameter has; None before the first update

NO_RATE = float("nan")  # in place of a default: a learning rate has to be given
LARGEST = 3.4028234663852886e38  # of float32, in which steps are taken


class Batch(Enum):
    """The examples that one update of a rule is made from."""

    FULL = "all of them"
    MINI = "a minibatch"
    EITHER = "all of them or a minibatch"


@runtime_checkable
class Ascending(Protocol):
    """An optimizer that takes its gradient elsewhere than at the weights as they are."""

    def ascent(self) -> list[tuple[Tensor, Tensor]]:
        """Each parameter, and how far it goes first, by the gradient where it is."""


def norm_of(tensors: Iterable[Tensor]) -> float:
    """``√Σ‖t‖²``, summed in float64."""
    return math.sqrt(sum(float(t.detach().double().square().sum()) for t in tensors))


def plain_value(value: Any) -> Any:
    """A hyper-parameter with tensors (a capturable lr) as numbers and lists as tuples."""
    if hasattr(value, "tolist"):
        value = value.item() if math.prod(value.shape) == 1 else value.tolist()
    return tuple(plain_value(item) for item in value) if isinstance(value, list | tuple) else value


def no_shift(hyper: Hyper) -> float:
    """Nothing to add to the Hessian."""
    return 0.0


def l2_penalty(hyper: Hyper) -> float:
    """The coefficient w of an L2 penalty, which adds w·I to the Hessian."""
    return float(hyper["weight_decay"])


def coupled_l2_penalty(hyper: Hyper) -> float:
    """The same for a rule whose decay may be decoupled, which adds nothing."""
    apart = hyper.get("decoupled_weight_decay", hyper.get("decoupled_decay"))
    return 0.0 if apart else l2_penalty(hyper)


def _as_many(name: str, key: str, values: Any, count: int) -> tuple[Any, ...]:
    """Several values of one hyper-parameter, such as betas.

    Raises:
        UsageError: they are not as many.
    """
    if not isinstance(values, list | tuple) or len(values) != count:
        raise UsageError(
            f"expected {count} numbers for {key} of {name}, found {values!r}", f"give {key} again"
        )
    return tuple(values)


@dataclass(frozen=True)
class Optimizer:
    """An update rule with its stability threshold.

    On a quadratic with Hessian H the rule converges while λmax(H), or λmax(P⁻¹(H + shift·I)) for a rule that
    preconditions with P, stays below ``stability_threshold``.

    Attributes:
        name: in the table.
        defaults: the hyper-parameters it takes, with their values; ``lr`` has none, ``NO_RATE``.
        make: the optimizer of parameters and settled hyper-parameters; None where no step of it can be taken.
        limit: the threshold at settled hyper-parameters, lr > 0; None where none is known.
        recognise: of a parameter group and the keys of the state: None where another rule made them, else what was
            assumed to tell it from others, or "". None for a rule that no state tells from another one in the table.
        layout: the keys of groups and state, outside of which ``recognise`` is not asked; None where it asks itself.
        refusal: why there is no ``limit``, and what can be measured.
        weigh: the state of one parameter and the hyper-parameters -> its part of P; None for rules without P.
        second_moment: the key of the state of which a weight's 0 means that it had no gradient; "" without one.
        weigh_tensors: weights and gradient, one tensor per parameter, and the hyper-parameters -> P's factor for each
            tensor, for rules whose P is not in the state.
        read: of a parameter group: its hyper-parameters by the names of ``defaults``, where the group has others.
        gradient_at: weights and state of one parameter, and the hyper-parameters -> the weights at which the rule takes
            its gradient; None for rules that take it at the weights of the checkpoint.
        magnify: sharpness, norm of the gradient and hyper-parameters -> the factor by which the rule takes curvature
            for larger than it is, which divides the threshold.
        added: the shift, of the hyper-parameters.
        keeps_state: an update needs more than weights and gradient.
        batch: the examples that an update is made from.
        whole: an update depends on the gradients of all parameters together, so one group has to hold them all.
        below_one: hyper-parameters that have to be smaller than 1.
        up_to_one: hyper-parameters that have to be 1 or smaller.
    """

    name: str
    defaults: Mapping[str, Any]
    make: Callable[[list[Tensor], Hyper], torch.optim.Optimizer] | None
    limit: Callable[[Hyper], float] | None
    recognise: Callable[[Hyper, StateKeys], str | None] | None
    layout: Layout | None = None
    refusal: str = ""
    weigh: Callable[[Mapping[str, Any], Hyper], Tensor | None] | None = None
    second_moment: str = ""
    weigh_tensors: Callable[[Sequence[Tensor], Sequence[Tensor], Hyper], list[float]] | None = None
    read: Callable[[Hyper], Hyper] | None = None
    gradient_at: Callable[[Tensor, Mapping[str, Any], Hyper], Tensor] | None = None
    magnify: Callable[[float, float, Hyper], float] | None = None
    added: Callable[[Hyper], float] = no_shift
    keeps_state: bool = True
    batch: Batch = Batch.EITHER
    whole: bool = False
    below_one: tuple[str, ...] = ("momentum", "dampening", "betas")
    up_to_one: tuple[str, ...] = ()

    @property
    def preconditions(self) -> bool:
        """The threshold holds for the preconditioned Hessian."""
        return self.weigh is not None or self.weigh_tensors is not None

    @property
    def needs_gradient(self) -> bool:
        """Threshold or preconditioner depend on the gradient at the checkpoint."""
        return self.weigh_tensors is not None or self.magnify is not None

    @property
    def reads_state(self) -> bool:
        """Preconditioner or place of the gradient depend on the state."""
        return self.preconditions or self.gradient_at is not None

    def of_group(self, group: Hyper) -> dict[str, Any]:
        """The hyper-parameters that a parameter group has, without those that are None."""
        own = self.read(group) if self.read else group
        found = {key: plain_value(own[key]) for key in self.defaults if own.get(key) is not None}
        numbers = {key for key, value in found.items() if value is True or value is False} - {
            key for key, default in self.defaults.items() if isinstance(default, bool)
        }
        return found | {key: float(found[key]) for key in numbers}  # weight_decay=False

    def claim(self, group: Hyper, state_keys: StateKeys) -> str | None:
        """None where another rule wrote this group and state, else what was assumed to tell, or ""."""
        if self.recognise is None or (self.layout is not None and not self.layout.fits(group, state_keys)):
            return None
        return self.recognise(group, state_keys)

    def settle(self, hyper: Hyper) -> dict[str, Any]:
        """``hyper`` with defaults filled in.

        Raises:
            UsageError: a name is not known, or a value is out of range.
        """
        for key in hyper:
            if key not in self.defaults:
                raise unknown(f"hyper-parameter of {self.name}", key, self.defaults)
        settled = {**self.defaults, **hyper}
        for key, default in self.defaults.items():
            if isinstance(default, tuple):
                settled[key] = _as_many(self.name, key, settled[key], len(default))
        for key, value in settled.items():
            for number in value if isinstance(self.defaults[key], tuple) else (value,):
                if number is None:
                    continue
                fits = isinstance(number, int | float) and 0 <= number <= LARGEST
                below, up_to = key in self.below_one, key in self.up_to_one
                if not fits or (below and number >= 1) or (up_to and number > 1):
                    high = "below 1" if below else "up to 1" if up_to else "finite"
                    raise UsageError(
                        f"expected {key} of {self.name} to be at least 0 and {high}, found {number!r}",
                        f"give {self.name} another {key}",
                    )
        return settled

    def build(self, parameters: Iterable[Tensor], hyper: Hyper) -> torch.optim.Optimizer:
        """The optimizer that follows this rule, with the state that ``torch.optim`` or timm would keep.

        Raises:
            UsageError: ``hyper`` does not fit, or no step of this rule can be taken.
        """
        if self.make is None:
            raise UsageError(
                f"opsig takes no steps of {self.name}", "choose an optimizer that 'opsig train --help' lists"
            )
        return self.make(list(parameters), self.settle(hyper))

    def stability_threshold(self, hyper: Hyper) -> float:
        """The largest (preconditioned) sharpness at which the rule still converges on a quadratic.

        Args:
            hyper: hyper-parameters at this step; ``lr`` as the schedule has it then.

        Returns:
            The threshold, infinite where lr is 0.

        Raises:
            UsageError: ``hyper`` does not fit, or no threshold of this rule is known.
        """
        settled = self.settle(hyper)
        if self.limit is None:
            raise UsageError(f"{self.name} has no threshold: {self.refusal}", "leave out the stability ratio")
        return self.limit(settled) if settled["lr"] > 0 else math.inf

    def magnified(self, sharpness: float, gradient: Sequence[Tensor], hyper: Hyper) -> float:
        """The factor that divides the threshold where the rule steps along another gradient than that at the weights.

        Args:
            sharpness: λmax(H).
            gradient: of the mean loss, one tensor per parameter.
            hyper: hyper-parameters.

        Raises:
            UsageError: ``hyper`` does not fit.
        """
        if self.magnify is None:
            return 1.0
        return self.magnify(sharpness, norm_of(gradient), self.settle(hyper))

    def tensor_preconditioner(
        self, weights: Sequence[Tensor], gradient: Sequence[Tensor], hyper: Hyper
    ) -> Tensor | None:
        """p of the next update, flat, for a rule whose P is one factor per tensor; None for others.

        Args:
            weights: one tensor per parameter.
            gradient: of the mean loss, likewise.
            hyper: hyper-parameters.

        Raises:
            UsageError: ``hyper`` does not fit.
        """
        if self.weigh_tensors is None:
            return None
        import torch

        factors = self.weigh_tensors(weights, gradient, self.settle(hyper))
        return torch.cat(
            [p.new_full((p.numel(),), factor) for p, factor in zip(weights, factors, strict=True)]
        ).detach()

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
        import torch

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
