"""Exact Hessian-vector products of the mean loss."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel

from opsigcli.errors import CurvatureError
from opsigcli.objective.base import Objective
from opsigcli.objective.cheap import cheap_derivatives
from opsigcli.objective.share import Share

GRAPH_BUDGET = 2 << 30  # bytes of gradient graphs kept between products


def hessian_operator(
    objective: Objective,
    *,
    positions: NDArray[np.int64] | None = None,
    preconditioner: Tensor | None = None,
    shift: float = 0.0,
    graph_budget: int = GRAPH_BUDGET,
    share: Share | None = None,
) -> HessianOperator:
    """The Hessian of the mean loss, as a map from vectors to vectors.

    ``v -> H v``, ``H = (1/N) Σ_i ∇²ℓ_i``, or ``v -> P^-1/2 (H + shift·I) P^-1/2 v`` with a preconditioner
    ``P = diag(p)``, which has the eigenvalues of ``P⁻¹ (H + shift·I)`` and is symmetric. Vectors are flat (P,),
    over ``objective.parameters`` in their order: frozen parameters are left out, shared ones counted once.

    Args:
        objective: with the weights loaded; the operator holds until they change.
        positions: the N examples; None is all.
        preconditioner: p (P,) > 0.
        shift: added to the diagonal of H: the coefficient of an L2 penalty.
        graph_budget: bytes of gradient graphs that may be kept from one product to the next, which halves the
            cost of a product; batches beyond it are differentiated anew each time.
        share: the examples this process sums over; the products are added up over all processes.

    Returns:
        The operator, a callable with ``size``, the number of parameters P.

    Raises:
        CurvatureError: nothing is trainable, or the preconditioner does not fit.

    Reference:
        Pearlmutter 1994, Neural Computation 6(1), section 2.
    """
    operator = HessianOperator(objective, positions, graph_budget, share or Share())
    return (
        operator if preconditioner is None and not shift else operator.preconditioned(preconditioner, shift)
    )


class HessianOperator:
    """A callable ``v -> H v`` (see ``hessian_operator``); it frees its graphs when it goes."""

    def __init__(
        self,
        objective: Objective,
        positions: NDArray[np.int64] | None,
        graph_budget: int,
        share: Share,
    ) -> None:
        self.objective = objective
        self.parameters = objective.parameters
        self.size = sum(p.numel() for p in self.parameters)
        self.shift = 0.0
        self.graph_budget = graph_budget
        self.kept_bytes = 0
        everything = objective.counted if positions is None else positions
        self.n = len(everything)
        self._share = share
        self._positions = share.positions(everything)
        self._kept: list[list[Tensor | None]] = []  # gradients of the first batches, with their graphs
        self._full = False
        self._checked = False  # one gradient's graph has been looked through
        if self.size == 0:
            raise CurvatureError(
                "expected trainable parameters, found none: the Hessian is empty",
                "check that the model's parameters have requires_grad",
            )
        self._chosen: Sequence[int] = range(len(self.parameters))  # parameters of the block
        self._scale: Tensor | None = None
        self._versions = [p._version for p in self.parameters]
        objective.model.eval()

    def preconditioned(self, preconditioner: Tensor | None, shift: float) -> HessianOperator:
        """``P^-1/2 (H + shift·I) P^-1/2`` with ``P = diag(preconditioner)``, on the graphs kept here."""
        other = copy.copy(self)
        other.shift = shift
        other._scale = None if preconditioner is None else self._inverse_root(preconditioner)
        return other

    def block(self, chosen: Sequence[int]) -> HessianOperator:
        """The diagonal block of H of some of the parameters, on the graphs kept here.

        A product with a block walks only the part of a kept graph that leads to its parameters.

        Args:
            chosen: places in ``objective.parameters``.
        """
        other = copy.copy(self)
        other._chosen = chosen
        other.size = sum(self.parameters[i].numel() for i in chosen)
        return other

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
        chosen = [self.parameters[i] for i in self._chosen]
        sizes = [p.numel() for p in chosen]
        parts = [part.to(p).view_as(p) for part, p in zip(torch.split(scaled, sizes), chosen, strict=True)]
        total = torch.zeros_like(scaled)
        with second_derivatives(self.objective.model), torch.enable_grad():
            for gradient, again in self._gradients():
                products = self._products(gradient, chosen, parts, again)
                for piece, product in zip(torch.split(total, sizes), products, strict=True):
                    if product is not None:
                        piece.add_(product.reshape(-1))
        self._share.add(total)
        if self.shift:
            total.add_(scaled, alpha=self.shift)
        return total if self._scale is None else total.mul_(self._scale.to(total))

    def _products(
        self, gradient: list[Tensor | None], chosen: list[nn.Parameter], parts: list[Tensor], again: bool
    ) -> Sequence[Tensor | None]:
        """``∂(g·v)/∂θ`` of one batch; a gradient that does not depend on the weights adds nothing."""
        own = [gradient[i] for i in self._chosen]
        pairs = [(g, v) for g, v in zip(own, parts, strict=True) if g is not None and g.requires_grad]
        if not pairs:
            return [None] * len(chosen)
        outputs, vectors = zip(*pairs, strict=True)
        return torch.autograd.grad(outputs, chosen, vectors, retain_graph=again, allow_unused=True)

    def _gradients(self) -> Iterator[tuple[list[Tensor | None], bool]]:
        """The gradient of each batch's share of the mean loss, and whether its graph is kept."""
        yield from ((gradient, True) for gradient in self._kept)
        done = len(self._kept) * self.objective.batch_size
        if done >= len(self._positions):
            return
        for inputs, targets in self.objective.batches(self._positions[done:]):
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
        gradient = twice_differentiable_gradient(self.objective, self.parameters, inputs, targets, self.n)
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


def twice_differentiable_gradient(
    objective: Objective, parameters: list[nn.Parameter], inputs: Tensor, targets: Tensor, n: int
) -> list[Tensor | None]:
    """``∇_θ Σ_i ℓ_i / n`` over a batch, one tensor per parameter, with the graph that leads back to θ.

    None where a parameter does not matter.
    """
    with cheap_derivatives():
        loss = objective.loss_fn(objective.model(inputs), targets).sum() / n
    if not loss.requires_grad:
        return [None] * len(parameters)
    return list(torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True))


@contextmanager
def second_derivatives(model: nn.Module) -> Iterator[None]:
    """Kernels that can be differentiated twice, and their absence as an error for people.

    Fused attention has no second derivative; the plain formula has. The same holds for cuDNN's recurrent nets and
    for transformer layers fused as a whole.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    plain = torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()
    try:
        with sdpa_kernel(SDPBackend.MATH), plain, warnings.catch_warnings():
            # Forward mode loads a part of torch that uses a deprecated part of torch.
            warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
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
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


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
