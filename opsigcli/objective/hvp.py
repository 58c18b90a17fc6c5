"""Exact Hessian-vector products of the mean loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel

from opsigcli.errors import CurvatureError
from opsigcli.objective.base import Objective

GRAPH_BUDGET = 2 << 30  # bytes of gradient graphs kept between products


def hessian_operator(
    objective: Objective,
    *,
    preconditioner: Tensor | None = None,
    shift: float = 0.0,
    graph_budget: int = GRAPH_BUDGET,
) -> HessianOperator:
    """The Hessian of the mean loss over all examples, as a map from vectors to vectors.

    ``v -> H v``, ``H = (1/N) Σ_i ∇²ℓ_i``, or ``v -> P^-1/2 (H + shift·I) P^-1/2 v`` with a preconditioner
    ``P = diag(p)``, which has the eigenvalues of ``P⁻¹ (H + shift·I)`` and is symmetric. Vectors are flat (P,),
    over ``objective.parameters`` in their order: frozen parameters are left out, shared ones counted once.

    Args:
        objective: with the weights loaded; the operator holds until they change.
        preconditioner: p (P,) > 0.
        shift: added to the diagonal of H: the coefficient of an L2 penalty.
        graph_budget: bytes of gradient graphs that may be kept from one product to the next, which halves the
            cost of a product; batches beyond it are differentiated anew each time.

    Returns:
        The operator, a callable with ``size``, the number of parameters P.

    Raises:
        CurvatureError: nothing is trainable, or the preconditioner does not fit.

    Reference:
        Pearlmutter 1994, Neural Computation 6(1), section 2.
    """
    return HessianOperator(objective, preconditioner, shift, graph_budget)


class HessianOperator:
    """A callable ``v -> H v`` (see ``hessian_operator``); it frees its graphs when it goes."""

    def __init__(
        self, objective: Objective, preconditioner: Tensor | None, shift: float, graph_budget: int
    ) -> None:
        self.objective = objective
        self.parameters = objective.parameters
        self.size = sum(p.numel() for p in self.parameters)
        self.shift = shift
        self.graph_budget = graph_budget
        self.kept_bytes = 0
        self._kept: list[list[Tensor | None]] = []  # gradients of the first batches, with their graphs
        self._full = False
        self._checked = False  # one gradient's graph has been looked through
        if self.size == 0:
            raise CurvatureError(
                "expected trainable parameters, found none: the Hessian is empty",
                "check that the model's parameters have requires_grad",
            )
        self._scale = None if preconditioner is None else self._inverse_root(preconditioner)
        self._versions = [p._version for p in self.parameters]
        objective.model.eval()

    def __call__(self, vector: Tensor) -> Tensor:
        """``H v`` for a flat v (P,), in v's type and on its device.

        Raises:
            CurvatureError: the model has no second derivatives, memory runs out, or the weights changed.
        """
        if self._versions != [p._version for p in self.parameters]:
            raise CurvatureError(
                "expected the weights this operator was made with, found others",
                "make a new operator after loading weights",
            )
        scaled = vector if self._scale is None else vector * self._scale.to(vector)
        parts = [
            part.to(p).view_as(p)
            for part, p in zip(
                torch.split(scaled, [p.numel() for p in self.parameters]), self.parameters, strict=True
            )
        ]
        total = torch.zeros_like(scaled)
        with _second_derivatives(self.objective.model), torch.enable_grad():
            for gradient, again in self._gradients():
                self._add_product(total, gradient, parts, again)
        if self.shift:
            total.add_(scaled, alpha=self.shift)
        return total if self._scale is None else total.mul_(self._scale.to(total))

    def _add_product(
        self, total: Tensor, gradient: list[Tensor | None], parts: list[Tensor], again: bool
    ) -> None:
        """Add ``∂(g·v)/∂θ`` of one batch; a gradient that does not depend on the weights adds nothing."""
        chosen = [(g, v) for g, v in zip(gradient, parts, strict=True) if g is not None and g.requires_grad]
        if not chosen:
            return
        products = torch.autograd.grad(
            [g for g, _ in chosen],
            self.parameters,
            [v for _, v in chosen],
            retain_graph=again,
            allow_unused=True,
        )
        pieces = torch.split(total, [p.numel() for p in self.parameters])
        for piece, product in zip(pieces, products, strict=True):
            if product is not None:
                piece.add_(product.reshape(-1))

    def _gradients(self) -> Iterator[tuple[list[Tensor | None], bool]]:
        """The gradient of each batch's share of the mean loss, and whether its graph is kept."""
        yield from ((gradient, True) for gradient in self._kept)
        done = len(self._kept) * self.objective.batch_size
        if done >= self.objective.n:
            return
        for inputs, targets in self.objective.batches(np.arange(done, self.objective.n)):
            if self._full:
                yield self._gradient(inputs, targets), False
                continue
            with _count_saved(self.parameters) as count:
                gradient = self._gradient(inputs, targets)
            self._full = self.kept_bytes + count() > self.graph_budget
            if not self._full:
                self.kept_bytes += count()
                self._kept.append(gradient)
            yield gradient, not self._full

    def _gradient(self, inputs: Tensor, targets: Tensor) -> list[Tensor | None]:
        loss = self.objective.loss_fn(self.objective.model(inputs), targets).sum() / self.objective.n
        if not loss.requires_grad:
            return [None] * len(self.parameters)
        parts = torch.autograd.grad(loss, self.parameters, create_graph=True, allow_unused=True)
        gradient: list[Tensor | None] = list(parts)
        if not self._checked:
            _refuse_once_differentiable(gradient)
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


@contextmanager
def _second_derivatives(model: nn.Module) -> Iterator[None]:
    """Kernels that can be differentiated twice, and their absence as an error for people.

    Fused attention has no second derivative; the plain formula has. The same holds for cuDNN's recurrent nets.
    """
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    plain = torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()
    try:
        with sdpa_kernel(SDPBackend.MATH), plain:
            yield
    except torch.OutOfMemoryError as error:
        raise CurvatureError(
            f"not enough memory for a Hessian-vector product: {_first_line(error)}", "lower --batch-size"
        ) from error
    except RuntimeError as error:
        raise CurvatureError(
            f"the model could not be differentiated twice: {_first_line(error)}",
            "replace fused or custom layers by plain ones, for example plain attention",
        ) from error


def _refuse_once_differentiable(gradient: list[Tensor | None]) -> None:
    """Look for functions marked as differentiable once.

    Autograd ends their graph in a node that raises when it is reached; but nothing leads on from there, so a
    derivative for given parameters never reaches it and leaves the function out without a word.
    """
    pending = [g.grad_fn for g in gradient if g is not None and g.grad_fn is not None]
    seen = set(pending)
    while pending:
        node = pending.pop()
        if node.name().endswith("Error"):
            raise CurvatureError(
                "the model could not be differentiated twice: a custom function in it is marked as "
                "differentiable once",
                "replace fused or custom layers by plain ones, for example plain attention",
            )
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                pending.append(following)


@contextmanager
def _count_saved(parameters: list[nn.Parameter]) -> Iterator[Callable[[], int]]:
    """Count the bytes that autograd keeps, each storage once, the parameters' own left out."""
    sizes: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in parameters}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield lambda: sum(sizes.values())


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
