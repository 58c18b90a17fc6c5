"""Sparse tensors in an optimizer's state, as momentum keeps them of embeddings with sparse gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opsigcli.pickles.records import Call, Malformed, Name, fields

if TYPE_CHECKING:
    from torch import Tensor

REBUILD = "torch._utils._rebuild_sparse_tensor"
_MOST = 1 << 28  # weights of one parameter
_MOST_PARTS = 1_000_000  # of a file that are looked through


def is_sparse(leaf: Any) -> bool:
    """Whether a part of a pickle stands for a sparse tensor."""
    return isinstance(leaf, Call) and isinstance(leaf.function, Name) and leaf.function.text == REBUILD


def only_in_states(root: Any) -> bool:
    """Whether all sparse tensors of a file are in the ``state`` of optimizers, and none among weights.

    Args:
        root: the content of a file.
    """
    waiting = [root]
    seen: set[int] = set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen or not isinstance(part, dict | list | tuple | Call):
            continue
        if is_sparse(part) or len(seen) > _MOST_PARTS:
            return False
        seen.add(id(part))
        own = fields(part)
        if isinstance(own.get("param_groups"), list):
            waiting += [value for key, value in own.items() if key != "state"]
        elif isinstance(part, Call):
            waiting += [part.arguments, part.state, part.items, part.members]
        else:
            waiting += part.values() if isinstance(part, dict) else part
    return True


def dense(leaf: Call, read: Callable[[Any], Tensor]) -> Tensor:
    """The sparse tensor with all its numbers, entries of one place added up.

    Args:
        leaf: stands for it.
        read: of a stored tensor, its numbers.

    Raises:
        Malformed: its places are not within its size.
    """
    import torch

    try:
        _, (places, values, size, *_) = leaf.arguments
        shape = tuple(int(n) for n in size)
        at, own = read(places), read(values)
        rows = tuple(shape[: at.shape[0]])
        sound = (
            at.dtype == torch.int64
            and at.ndim == 2
            and len(rows) == at.shape[0] > 0
            and min(shape, default=0) >= 0
            and torch.Size(shape).numel() <= _MOST
            and tuple(own.shape) == (at.shape[1], *shape[at.shape[0] :])
            and bool(((at >= 0) & (at < torch.tensor(rows).reshape(-1, 1))).all())
        )
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise Malformed("a sparse tensor in it is broken") from error
    if not sound:
        raise Malformed("a sparse tensor in it has an impossible shape")
    return torch.zeros(shape, dtype=own.dtype).index_put_(tuple(at), own, accumulate=True)
