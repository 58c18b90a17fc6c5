"""A first linear layer seen only where its inputs reach: in the span of fewer examples than input numbers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from opsigcli.objective.base import Objective

MOST = 4096  # examples: L takes n² numbers
WORTH = 10  # examples per output of the layer up to which L pays for itself within one solve
ROWS = 128  # of one product with L, of which the part above the diagonal is left out
RIDGE = 1e-12  # of the mean of ‖x_i‖², added to the Gram matrix, so that equal examples do no harm


class InputSubspace:
    """The inputs X (n, d) of a first linear layer, n < d, as ``X = L Qᵀ``: L (n, n) triangular, Q (d, n) orthonormal.

    The layer's gradient is ``D̄ᵀX = (D̄ᵀL) Qᵀ``: nothing in the Hessian leaves the rows ``C Qᵀ``. In the coordinates
    C (outputs, n) inner products stay what they are, ``X Vᵀ = L Cᵀ``, and a product with L costs n / 2d of one with
    X. Eigenvalues other than 0 are the same. Memory: L in float64 and in the objective's type, at most 200 MB.

    Args:
        objective: its model; the weights do not matter and may change.
        weight: of the layer.
        positions: (n,) the examples, in the order of the batches.
    """

    def __init__(self, objective: Objective, weight: nn.Parameter, positions: NDArray[np.int64]) -> None:
        self.objective, self.weight, self.positions = objective, weight, positions
        rows = self._inputs().double()
        gram = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
        for start in range(0, len(rows), ROWS):
            some = slice(start, start + ROWS)
            gram[some, : some.stop] = rows[some] @ rows[: some.stop].T
        gram.diagonal().add_(RIDGE * gram.diagonal().mean())
        self._wide = torch.linalg.cholesky(gram)
        self._lower = self._wide.to(objective.dtype)

    def coordinates(self) -> Tensor:
        """C = 0 (outputs, n), to differentiate for."""
        shape = (len(self.weight), len(self.positions))
        return torch.zeros(
            shape, device=self.objective.device, dtype=self.objective.dtype, requires_grad=True
        )

    def shifted(self, coordinates: Tensor, start: int) -> TorchFunctionMode:
        """Within this context the layer's weights are ``W + C Qᵀ`` for the derivatives; values do not change.

        Args:
            coordinates: C.
            start: place of the batch's first example in ``positions``.
        """
        return _Shifted(self.weight, coordinates, self._lower, start)

    def expand(self, coordinates: Tensor) -> Tensor:
        """``C Qᵀ`` (…, outputs, d) for C (…, outputs, n)."""
        flat = coordinates.reshape(-1, coordinates.shape[-1])
        solved = torch.linalg.solve_triangular(self._wide, flat.double(), upper=False, left=False)
        found: Tensor = solved.to(flat) @ self._inputs()
        return found.view(*coordinates.shape[:-1], -1)

    def _inputs(self) -> Tensor:
        """X (n, d)."""
        found: Tensor = self.objective.batch(self.positions)[0]
        return found.reshape(len(found), -1)


def find_input_subspace(objective: Objective, positions: NDArray[np.int64]) -> InputSubspace | None:
    """The span of the inputs, where the model begins with a linear layer on them and it pays; else None.

    The layer must read the very numbers of the examples, and nothing else may use its weights.
    """
    if not len(positions) or objective.device.type == "mps":  # which has no float64
        return None
    inputs = objective.batch(positions[:2])[0]
    recorder = _Recorder(inputs)
    with torch.no_grad(), recorder:
        objective.model(inputs)
    weight = recorder.weight
    if not isinstance(weight, nn.Parameter) or not weight.requires_grad or recorder.uses(weight) != 1:
        return None
    n = len(positions)
    if not 1 < n <= min(weight.shape[1] - 1, MOST, WORTH * weight.shape[0]):
        return None
    return InputSubspace(objective, weight, positions)


class _Recorder(TorchFunctionMode):
    """Finds the first linear layer on the inputs, and counts what uses a tensor."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self.inputs, self.values = inputs, inputs.clone()
        self.weight: Tensor | None = None
        self.seen: list[int] = []

    def uses(self, tensor: Tensor) -> int:
        return self.seen.count(id(tensor))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = (*args, *(kwargs or {}).values())
        for value in given:
            self.seen += [id(v) for v in (value if isinstance(value, tuple | list) else (value,))]
        if func is F.linear and self.weight is None and len(given) >= 2 and self._same(given[0]):
            self.weight = given[1]
        return func(*args, **(kwargs or {}))

    def _same(self, tensor: Tensor) -> bool:
        """The tensor is the inputs' own memory, rows by example, and was not written to."""
        if tensor.ndim != 2 or tensor.numel() != self.inputs.numel() or len(tensor) != len(self.inputs):
            return False
        alias = tensor.data_ptr() == self.inputs.data_ptr()
        plain = tensor.is_contiguous() and self.inputs.is_contiguous()
        return alias and plain and torch.equal(tensor.reshape(-1), self.values.reshape(-1))


class _Shifted(TorchFunctionMode):
    def __init__(self, weight: Tensor, coordinates: Tensor, lower: Tensor, start: int) -> None:
        super().__init__()
        self.weight, self.coordinates, self.lower, self.start = weight, coordinates, lower, start

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        if func is F.linear and len(args) >= 2 and args[1] is self.weight:
            bias = args[2] if len(args) > 2 else given.get("bias")
            rows = Rows(self.lower, self.start, self.start + len(args[0]))
            values = F.linear(args[0], self.weight.detach(), bias)
            return _Moved.apply(values, self.coordinates, rows)
        return func(*args, **given)


class Rows(NamedTuple):
    """Some rows of L."""

    lower: Tensor
    start: int
    stop: int

    def blocks(self) -> list[tuple[slice, Tensor]]:
        """Places in the batch with their rows of L, cut after the diagonal."""
        edges = pairwise([*range(self.start, self.stop, ROWS), self.stop])
        return [(slice(a - self.start, b - self.start), self.lower[a:b, :b]) for a, b in edges]


class _Moved(torch.autograd.Function):
    """``z + L Cᵀ`` at C = 0."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, coordinates: Tensor, rows: Rows) -> Tensor:
        ctx.rows = rows
        ctx.columns = coordinates.shape[1]
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        to_values, to_coordinates, _ = ctx.needs_input_grad
        (gradient,) = gradients
        moved = _ToCoordinates.apply(gradient, ctx.rows, ctx.columns) if to_coordinates else None
        return (gradient if to_values else None), moved, None


class _FromCoordinates(torch.autograd.Function):
    """``L Cᵀ``."""

    @staticmethod
    def forward(ctx: Any, coordinates: Tensor, rows: Rows) -> Tensor:
        ctx.rows = rows
        ctx.columns = coordinates.shape[1]
        found = coordinates.new_empty(rows.stop - rows.start, len(coordinates))
        for some, lower in rows.blocks():
            torch.mm(lower, coordinates[:, : lower.shape[1]].T, out=found[some])
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _ToCoordinates.apply(gradients[0], ctx.rows, ctx.columns), None


class _ToCoordinates(torch.autograd.Function):
    """``D̄ᵀ L``."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, rows: Rows, columns: int) -> Tensor:
        ctx.rows = rows
        found = gradient.new_zeros(gradient.shape[1], columns)
        for some, lower in rows.blocks():
            found[:, : lower.shape[1]].addmm_(gradient[some].T, lower)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _FromCoordinates.apply(gradients[0], ctx.rows), None, None
