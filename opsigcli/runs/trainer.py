"""One optimizer update after another, such that stopping and resuming changes no bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from opsigcli.objective.base import Objective
from opsigcli.objective.batch_norm import batch_norms, unstored
from opsigcli.runs.gradients import clipped, further_up

if TYPE_CHECKING:
    from opsigcli.optimizers.schedules import Factor
    from opsigcli.records import Floats
    from opsigcli.runs.batch_changes import BatchChanges, Drawn
    from opsigcli.runs.build_optimizer import SeveralOptimizers

    Positions = np.ndarray[Any, np.dtype[np.int64]]


class Trainer:
    """Trains the objective's model.

    Everything random depends on the seed and the step alone: the order of examples in an epoch, what changes in a
    batch, and whatever the model draws. So the state is the weights, the optimizer's state and the step.

    Args:
        objective: model, data and loss.
        optimizer: over ``objective.parameters``.
        batch_size: examples per update; None is the full batch.
        seed: of everything random.
        weights: (N,) how much each example's loss counts; the mean is over their sum. None: all alike.
        random: whether the model draws at random in an update, as dropout does in training; else BatchNorm alone is in
            the mode of training.
        clip: the largest norm of a gradient, to which longer ones are scaled; None: all stay as they are.
        changes: of the examples of each batch; None: none.
        factor: of the optimizer's learning rates, by the updates made; None: they stay as they are.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: torch.optim.Optimizer | SeveralOptimizers,
        batch_size: int | None,
        seed: int,
        weights: Floats | None = None,
        *,
        random: bool = True,
        clip: float | None = None,
        changes: BatchChanges | None = None,
        factor: Factor | None = None,
    ) -> None:
        self._random = random
        self._weights = weights
        self._clip, self._changes, self._factor = clip, changes, factor
        self.objective = objective
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.seed = seed
        self.step = 0
        self._lrs = [group["lr"] for group in optimizer.param_groups] if factor else []
        norms = batch_norms(objective.model)
        # Batch statistics need the whole batch at once; every other model may pass it in pieces.
        self._micro_batches = not norms
        bare = {objective.model.get_submodule(name) for name in unstored(objective.model)}
        self._norms = [norm for norm in norms if norm not in bare]

    def update(self, losses: list[Tensor] | None = None) -> float:
        """Make one optimizer update and return the mean loss of its batch, before the update.

        Args:
            losses: gets those of the batch's examples, before the update, where each counts as it is.
        """
        self._begin()
        loss, gradient = self._loss_and_gradient(losses)
        self._give(gradient)
        with further_up(self.optimizer) as moved:
            if moved:
                _, gradient = self._loss_and_gradient()
        self.objective.model.eval()
        self._give(clipped(gradient, self._clip))
        if self._factor is not None:
            for group, lr in zip(self.optimizer.param_groups, self._lrs, strict=True):
                group["lr"] = lr * self._factor(self.step)
        self.optimizer.step()
        self.step += 1
        return loss

    def gradient(self, losses: list[Tensor] | None = None) -> list[Tensor]:
        """The gradient that the next update begins with; the weights stay as they are, and BatchNorm's statistics."""
        kept = {name: buffer.clone() for name, buffer in self.objective.model.named_buffers()}
        self._begin()
        _, gradient = self._loss_and_gradient(losses)
        self.objective.model.eval()
        for name, buffer in self.objective.model.named_buffers():
            buffer.copy_(kept[name])
        return gradient

    def _begin(self) -> None:
        """Bring what is random to where this step has it, and the model into the mode of training."""
        torch.manual_seed(hash((self.seed, self.step)) % (1 << 63))
        self.objective.model.train(self._random)
        if not self._random:
            for norm in batch_norms(self.objective.model):
                norm.train()

    def _give(self, gradient: list[Tensor]) -> None:
        for parameter, grad in zip(self.objective.parameters, gradient, strict=True):
            parameter.grad = grad

    def _loss_and_gradient(self, losses: list[Tensor] | None = None) -> tuple[float, list[Tensor]]:
        """The mean loss of this step's batch, with its examples weighed and changed, and its gradient."""
        positions = self._positions()
        if self._weights is None and self._changes is None:
            return self.objective.mean_loss_and_gradient(
                positions, micro_batches=self._micro_batches, losses=losses
            )
        return self._changed(self.objective.counted if positions is None else positions, losses)

    def _changed(self, order: Positions, losses: list[Tensor] | None) -> tuple[float, list[Tensor]]:
        """``Σ w_i ℓ_i / Σ w_i`` over the batch at ``order``, of examples changed as is drawn for this step."""
        objective, changes = self.objective, self._changes
        size = objective.batch_size if self._micro_batches else len(order)
        counts = np.ones(len(objective.source), dtype=np.float32) if self._weights is None else self._weights
        # The loss function multiplies by weights of the source's own.
        own = 1.0 if objective.weights is None else objective.weights[order]
        drawn = None if changes is None else changes.draw(len(order), self.seed, self.step)
        whole, total = float((counts[order] * own).sum()), 0.0
        gradient = [torch.zeros_like(p) for p in objective.parameters]
        for start in range(0, len(order), size):
            places = np.arange(start, min(start + size, len(order)))
            inputs, terms = self._mixture(order, places, drawn)
            outputs = objective.outputs(inputs)
            if losses is not None and changes is None:
                losses.append(objective.example_loss(outputs.detach(), terms[0][1]))
            summed = sum(
                share * (objective.loss_fn(outputs, targets) * self._counts(counts[of])).sum()
                for share, targets, of in terms
            )
            assert isinstance(summed, Tensor)
            parts = torch.autograd.grad(summed, objective.parameters, allow_unused=True)
            for sum_, part in zip(gradient, parts, strict=True):
                if part is not None:
                    sum_.add_(part)
            total += float(summed.detach())
        whole = whole or 1.0  # a batch of examples that do not count at all changes nothing
        return total / whole, [g / whole for g in gradient]

    def _mixture(
        self, order: Positions, places: Positions, drawn: Drawn | None
    ) -> tuple[Tensor, list[tuple[float, Tensor, Positions]]]:
        """Inputs at places of a batch as training has them; share, targets and positions of each part of their loss."""
        inputs, targets = self.objective.batch(order[places])
        if self._changes is None or drawn is None:
            return inputs, [(1.0, targets, order[places])]
        inputs = self._changes.changed(inputs, drawn, places)
        if drawn.share == 1:
            return inputs, [(1.0, targets, order[places])]
        partners = drawn.partners[places]
        others, their = self.objective.batch(order[partners])
        others = self._changes.changed(others, drawn, partners)
        mixed = drawn.share * inputs + (1 - drawn.share) * others
        return mixed, [(drawn.share, targets, order[places]), (1 - drawn.share, their, order[partners])]

    def _counts(self, counts: Floats) -> Tensor:
        return torch.as_tensor(counts).to(self.objective.device, self.objective.dtype)

    def _positions(self) -> Positions | None:
        """The batch of this step: a piece of a permutation of all examples that changes with the epoch."""
        n = self.objective.n
        if self.batch_size is None or self.batch_size >= n:
            return None
        per_epoch = -(-n // self.batch_size)
        epoch, place = divmod(self.step, per_epoch)
        order = self.objective.counted[np.random.default_rng([self.seed, epoch]).permutation(n)]
        return order[place * self.batch_size : (place + 1) * self.batch_size]

    def weights(self) -> dict[str, Tensor]:
        """The model's state dict, on the CPU.

        In full-batch training the statistics of BatchNorm are those of the batch at these weights.
        """
        self.settle_statistics()
        return {name: t.detach().cpu().clone() for name, t in self.objective.model.state_dict().items()}

    @torch.no_grad()
    def settle_statistics(self) -> None:
        """In full-batch training, give every BatchNorm the mean and variance of the batch at the weights as they are.

        A running mean over updates lags behind weights that swing from one update to the next: evaluated with it,
        a checkpoint is another function than the one that is trained, and its losses swing for other examples.
        """
        if not self._norms or not (self.batch_size is None or self.batch_size >= self.objective.n):
            return
        before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in self._norms]
        for norm in self._norms:
            norm.train()
            norm.momentum, norm.num_batches_tracked = 1.0, None
        self.objective.model(self.objective.batch(self.objective.counted)[0])
        for norm, momentum, count in before:
            norm.eval()
            norm.momentum, norm.num_batches_tracked = momentum, count

    def is_settled(self) -> bool:
        """Whether BatchNorm has the statistics that ``settle_statistics`` would give it; they stay as they are."""
        kept = [{name: b.clone() for name, b in norm.named_buffers()} for norm in self._norms]
        self.settle_statistics()
        same = True
        for norm, buffers in zip(self._norms, kept, strict=True):
            now = norm.state_dict()
            same &= all(torch.allclose(b, now[name], rtol=1e-3, atol=1e-6) for name, b in buffers.items())
            norm.load_state_dict(norm.state_dict() | buffers)
        return same

    def state(self) -> dict[str, Tensor]:
        """The optimizer's state as ``<parameter name>/<state name>``; {} for one that has none."""
        found: dict[str, Tensor] = {}
        for name, parameter in zip(self.objective.parameter_names, self.objective.parameters, strict=True):
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    found[f"{name}/{key}"] = value.detach().cpu().clone()
        return found

    def restore_state(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Go back to the optimizer's ``state`` at ``step``, with the weights that are loaded."""
        self.step = step
        parameters = dict(zip(self.objective.parameter_names, self.objective.parameters, strict=True))
        for place, value in state.items():
            name, _, key = place.rpartition("/")
            parameter = parameters[name]
            kind = parameter.dtype if value.is_floating_point() else value.dtype
            kept = value.clone() if key == "step" else value.to(parameter.device, kind, copy=True)
            self.optimizer.state[parameter][key] = kept
