"""How many parameters a set of weights has, told from its header: without buffers, shared ones once."""

from __future__ import annotations

from collections.abc import Mapping

from opsigcli.checkpoints.base import TensorFacts

# What layers keep beside their parameters, by the end of its name. Parameters are real or complex numbers, so whole
# numbers (counts, masks, positions) are buffers whatever their name.
_BUFFERS = (
    *("running_mean", "running_var", "num_batches_tracked", "n_averaged"),
    *("inv_freq", "masked_bias", "cos_cached", "sin_cached", "relative_position_index", "position_ids"),
)


def parameter_count(tensors: Mapping[str, TensorFacts]) -> int:
    """Elements of the tensors that are parameters; a tensor that the file has under two names counts once."""
    seen: set[object] = set()
    total = 0
    for name, tensor in tensors.items():
        storage = getattr(tensor, "storage", None)
        place = None if storage is None else (storage.key, getattr(tensor, "offset", 0), tensor.shape)
        if _is_parameter(name, tensor) and (place is None or place not in seen):
            total += tensor.count
            seen.add(place)
    return total


def _is_parameter(name: str, tensor: TensorFacts) -> bool:
    mask = name.endswith(".attn.bias") and tensor.shape[:2] == (1, 1)  # the causal mask of GPT-2
    real = tensor.dtype.startswith(("float", "bfloat", "complex"))
    return real and not mask and not name.endswith(_BUFFERS)
