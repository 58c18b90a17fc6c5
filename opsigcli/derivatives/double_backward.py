"""Gradients that can be differentiated once more, and models that have none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from opsigcli.derivatives.fast_conv_bn import cheap_derivatives
from opsigcli.errors import CurvatureError
from opsigcli.objective.base import Objective

QUICK = "opsig sharpness --quick needs no second derivatives"
TWICE = f"replace fused or custom layers by plain ones, for example plain attention; {QUICK}"


def twice_differentiable_gradient(
    objective: Objective,
    variables: Sequence[Tensor],
    inputs: Tensor,
    targets: Tensor,
    n: float,
    within: TorchFunctionMode | None = None,
) -> list[Tensor | None]:
    """``∇ Σ_i w_i ℓ_i / n`` over a batch, one tensor per variable, with the graph that leads back to it.

    None where a variable does not matter. The forward pass runs in the context ``within``.
    """
    with cheap_derivatives(), objective.statistics(), within or nullcontext():
        loss = objective.loss_fn(objective.outputs(inputs), targets).sum() / n
    if not loss.requires_grad:
        return [None] * len(variables)
    return list(torch.autograd.grad(loss, list(variables), create_graph=True, allow_unused=True))


def derivative_along(
    gradient: Sequence[Tensor | None],
    v: Sequence[Tensor],
    variables: Sequence[Tensor],
    *,
    again: bool = False,
) -> Sequence[Tensor | None]:
    """``∂(g·v)/∂θ`` for a gradient g with its graph, which stays for use ``again``.

    Parts of g that do not depend on θ add nothing.
    """
    pairs = [(g, part) for g, part in zip(gradient, v, strict=True) if g is not None and g.requires_grad]
    if not pairs:
        return [None] * len(variables)
    outputs, vectors = zip(*pairs, strict=True)
    return torch.autograd.grad(outputs, list(variables), vectors, retain_graph=again, allow_unused=True)


@contextmanager
def second_derivatives(model: nn.Module) -> Iterator[None]:
    """Kernels that can be differentiated twice, and their absence as an error for people.

    Fused attention has no second derivative; the plain formula has. The same holds for cuDNN's recurrent nets and
    for transformer layers fused as a whole.

    Raises:
        CurvatureError: torch could not differentiate twice within this context, or ran out of memory.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    plain = torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()
    try:
        with sdpa_kernel(SDPBackend.MATH), plain:
            yield
    except torch.OutOfMemoryError as error:
        raise CurvatureError(
            f"not enough memory for a Hessian-vector product: {_first_line(error)}",
            "lower --batch-size or take --examples",
        ) from error
    except RuntimeError as error:
        raise CurvatureError(
            f"the model could not be differentiated twice: {_first_line(error)}",
            TWICE,
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def refuse_once_differentiable(gradient: list[Tensor | None]) -> None:
    """Look for functions marked as differentiable once.

    Autograd ends their graph in a node that raises when it is reached; but nothing leads on from there, so a
    derivative for given parameters never reaches it and leaves the function out without a word.

    Raises:
        CurvatureError: there is one.
    """
    pending = [g.grad_fn for g in gradient if g is not None and g.grad_fn is not None]
    seen = set(pending)
    while pending:
        node = pending.pop()
        if node.name().endswith("Error"):
            raise CurvatureError(
                "the model could not be differentiated twice: a custom function in it is marked as "
                "differentiable once",
                TWICE,
            )
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                pending.append(following)


@contextmanager
def count_saved(parameters: list[nn.Parameter]) -> Iterator[Callable[[], int]]:
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
