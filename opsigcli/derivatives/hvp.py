"""Exact Hessian-vector products of the mean loss."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opsigcli.derivatives.data_parallel import DataParallel
from opsigcli.derivatives.double_backward import (
    count_saved,
    derivative_along,
    refuse_once_differentiable,
    second_derivatives,
    twice_differentiable_gradient,
)
from opsigcli.derivatives.input_subspace import InputSubspace
from opsigcli.derivatives.micro_batch import fit_micro_batch
from opsigcli.errors import CurvatureError
from opsigcli.objective.base import Objective

# Bytes of gradient graphs kept between products. With what a batch has in flight (see ``micro_batch``) and what the
# allocator leaves unused between their pieces (up to a third of them) that is 2 GiB.
GRAPH_BUDGET = 7 << 27


def hessian_operator(
    objective: Objective,
    *,
    positions: NDArray[np.int64] | None = None,
    graph_budget: int = GRAPH_BUDGET,
    parallel: DataParallel | None = None,
    subspace: InputSubspace | None = None,
) -> HessianOperator:
    """The Hessian of the mean loss, as a map from vectors to vectors.

    ``v -> H v``, ``H = Σ_i w_i ∇²ℓ_i / Σ_i w_i``. Vectors are flat (P,), over ``objective.parameters`` in their order:
    frozen parameters are left out, shared ones counted once.

    Args:
        objective: with the weights loaded; the operator holds until they change.
        positions: the N examples; None is all.
        graph_budget: bytes of gradient graphs that may be kept from one product to the next, which halves the
            cost of a product; batches beyond it are differentiated anew each time.
        parallel: the processes that share the examples; products are summed over all of them.
        subspace: of the inputs of the first layer, whose weights are then seen in its coordinates: vectors are shorter,
            and the same but for eigenvalues 0. For one process, without preconditioner and shift.

    Returns:
        The operator, a callable with ``size``, the number of parameters P or of coordinates.

    Raises:
        CurvatureError: nothing is trainable.

    Reference:
        Pearlmutter 1994, Neural Computation 6(1), section 2.
    """
    return HessianOperator(objective, positions, graph_budget, parallel or DataParallel(), subspace)


class HessianOperator:
    """A callable ``v -> H v`` (see ``hessian_operator``); it frees its graphs when it goes."""

    def __init__(
        self,
        objective: Objective,
        positions: NDArray[np.int64] | None,
        graph_budget: int,
        parallel: DataParallel,
        subspace: InputSubspace | None,
    ) -> None:
        self.objective = objective
        self.parameters = objective.parameters
        self._subspace = subspace
        # What vectors are over: the parameters, or for one of them its coordinates.
        self._variables: list[Tensor] = [
            subspace.coordinates() if subspace is not None and p is subspace.weight else p
            for p in self.parameters
        ]
        self.size = sum(p.numel() for p in self._variables)
        self.shift: float | Tensor = 0.0  # of the diagonal; (P,) where it differs by parameter
        self.graph_budget = graph_budget
        self.kept_bytes = 0
        everything = objective.counted if positions is None else positions
        self.mass = objective.mass(everything)
        self._parallel = parallel
        self._positions = parallel.shard(everything)
        self._kept: list[list[Tensor | None]] = []  # gradients of the first batches, with their graphs
        self._kept_examples: list[int] = []  # in each of them
        self._full = False
        self._checked = False  # one gradient's graph has been looked through
        self._fitted = False  # batches are of a size that fits memory
        self.note = ""  # about that memory
        if self.size == 0:
            raise CurvatureError(
                "expected trainable parameters, found none: the Hessian is empty",
                "check that the model's parameters have requires_grad",
            )
        self._chosen: Sequence[int] = range(len(self.parameters))  # parameters of the block
        self._scale: Tensor | None = None
        self._versions = [p._version for p in self.parameters]
        objective.settle()

    def preconditioned(self, preconditioner: Tensor, shift: float | Tensor) -> HessianOperator:
        """``v -> P^-1/2 (H + W) P^-1/2 v`` with ``P = diag(p)`` and ``W = diag(shift)``, on the graphs kept here.

        It is symmetric and has the eigenvalues of ``P⁻¹ (H + W)``.

        Args:
            preconditioner: p (P,) > 0.
            shift: added to the diagonal of H: the coefficient of an L2 penalty, one or (P,).

        Raises:
            CurvatureError: the preconditioner has another shape, or is not positive.
        """
        other = copy.copy(self)
        other.shift = shift
        other._scale = self._inverse_root(preconditioner)
        return other

    def block(self, chosen: Sequence[int]) -> HessianOperator:
        """The diagonal block of H of some of the parameters, on the graphs kept here.

        A product with a block walks only the part of a kept graph that leads to its parameters.

        Args:
            chosen: places in ``objective.parameters``.
        """
        other = copy.copy(self)
        other._chosen = chosen
        other.size = sum(self._variables[i].numel() for i in chosen)
        return other

    def __call__(self, vector: Tensor) -> Tensor:
        """``H v`` for a flat v (P,), in v's type and on its device.

        Raises:
            CurvatureError: the model has no second derivatives, memory runs out, or the weights changed.
        """
        scaled = vector if self._scale is None else vector * self._scale.to(vector)
        parts = [
            part.to(p).view_as(p)
            for part, p in zip(torch.split(scaled, self._sizes()), self._own(), strict=True)
        ]
        total = torch.zeros_like(scaled)
        with self._ready():
            for gradient, again in self._gradients():
                own = [gradient[i] for i in self._chosen]
                self._add(total, derivative_along(own, parts, self._own(), again=again))
        self._parallel.all_reduce(total)
        if isinstance(self.shift, Tensor):
            total.addcmul_(scaled, self.shift.to(total))
        elif self.shift:
            total.add_(scaled, alpha=self.shift)
        return total if self._scale is None else total.mul_(self._scale.to(total))

    def expand(self, vectors: Tensor) -> Tensor:
        """Vectors (k, size) over the parameters of this operator, out of the coordinates of a subspace."""
        if self._subspace is None:
            return vectors
        pieces = list(torch.split(vectors, self._sizes(), dim=1))
        for i, place in enumerate(self._chosen):
            if self.parameters[place] is self._subspace.weight:
                wide = self._subspace.expand(pieces[i].view(-1, *self._variables[place].shape))
                pieces[i] = wide.reshape(len(vectors), -1)
        return torch.cat(pieces, dim=1)

    def _own(self) -> list[Tensor]:
        """The variables of this block."""
        return [self._variables[i] for i in self._chosen]

    def _sizes(self) -> list[int]:
        return [p.numel() for p in self._own()]

    def _add(self, total: Tensor, parts: Sequence[Tensor | None]) -> None:
        for piece, part in zip(torch.split(total, self._sizes()), parts, strict=True):
            if part is not None:
                piece.add_(part.reshape(-1))

    def _gradients(self) -> Iterator[tuple[list[Tensor | None], bool]]:
        """The gradient of each batch's share of the mean loss, and whether its graph is kept."""
        if not self._fitted:
            self.note = fit_micro_batch(self.objective, self.parameters)
            self._fitted = True
        yield from ((gradient, True) for gradient in self._kept)
        at = sum(self._kept_examples)
        if at >= len(self._positions):
            return
        for inputs, targets in self.objective.batches(self._positions[at:]):
            if self._full:
                yield self._gradient(inputs, targets, at), False
            else:
                with count_saved(self.parameters) as count:
                    gradient = self._gradient(inputs, targets, at)
                held = count() + sum(g.nbytes for g in gradient if g is not None)
                self._full = self.kept_bytes + held > self.graph_budget
                if not self._full:
                    self.kept_bytes += held
                    self._kept.append(gradient)
                    self._kept_examples.append(len(inputs))
                yield gradient, not self._full
            at += len(inputs)

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """For derivatives of the batches.

        Raises:
            CurvatureError: the weights changed, or there are no second derivatives.
        """
        if self._versions != [p._version for p in self.parameters]:
            raise CurvatureError(
                "expected the weights this operator was made with, found others",
                "make a new operator after loading weights",
            )
        with second_derivatives(self.objective.model), torch.enable_grad():
            yield

    def _gradient(self, inputs: Tensor, targets: Tensor, at: int) -> list[Tensor | None]:
        shifted = None
        for parameter, variable in zip(self.parameters, self._variables, strict=True):
            if self._subspace is not None and parameter is self._subspace.weight:
                shifted = self._subspace.shifted(variable, at)
        gradient = twice_differentiable_gradient(
            self.objective, self._variables, inputs, targets, self.mass, shifted
        )
        if not self._checked:
            refuse_once_differentiable(gradient)
            self._checked = True
        return gradient

    def _inverse_root(self, preconditioner: Tensor) -> Tensor:
        if preconditioner.shape != (self.size,):
            raise CurvatureError(
                f"expected a preconditioner of shape ({self.size},), one number per trainable parameter, "
                f"found {tuple(preconditioner.shape)}",
                "check that the optimizer state and the weights come from the same checkpoint",
            )
        positive = torch.isfinite(preconditioner) & (preconditioner > 0)
        if not bool(positive.all()):
            bad = int((~positive).nonzero()[0])
            raise CurvatureError(
                f"expected a positive preconditioner, found {float(preconditioner[bad])} at parameter {bad}",
                "check the second moments in the optimizer state",
            )
        return preconditioner.detach().to(self.objective.device).rsqrt()
