"""Weights to disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from opsigcli.checkpoints import atomic

if TYPE_CHECKING:
    import torch


def save_weights(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, object]) -> None:
    """Write weights as safetensors, whole or not at all.

    Args:
        path: the file; its folder exists.
        tensors: name -> tensor on any device. Tensors that share memory are written once per name.
        metadata: what the file says about itself, such as ``step``, ``epoch``, ``lr``; written as text, None left out.

    Raises:
        CheckpointError: the file cannot be written, for example because the disk is full.
    """
    from safetensors.torch import save

    # safetensors refuses shared memory, and contiguous() alone would keep two names on one storage.
    seen: set[int] = set()
    separate: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        dense = tensor.detach().cpu().contiguous()
        storage = dense.untyped_storage().data_ptr()
        separate[name] = dense.clone() if storage in seen else dense
        seen.add(storage)
    text = {key: str(value) for key, value in metadata.items() if value is not None}
    atomic.write(path, _sorted(save(separate, metadata=text)))


def _sorted(raw: bytes) -> bytes:
    """A safetensors file with its metadata in order: the library's order differs from process to process, and
    equal weights should be equal files."""
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return raw[:8] + text.ljust(length) + raw[8 + length :] if len(text) <= length else raw


def state_path(weights: Path) -> Path:
    """Where ``opsig train`` keeps the optimizer's state that goes with a file of weights."""
    return weights.with_name(weights.stem + ".optimizer.safetensors")
