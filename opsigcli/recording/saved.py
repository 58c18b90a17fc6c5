"""One checkpoint as a recorder saves it: weights, the optimizer's state and groups, step, learning rate."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints import atomic
from opsigcli.checkpoints.manifest import Row

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Saved:
    """A checkpoint in memory, on the processor."""

    step: int
    lr: float
    content: dict[str, Any]

    @property
    def file(self) -> str:
        """Its name."""
        return f"step-{self.step:08d}.pt"


def copied(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> Saved:
    """What is to be kept of a step, copied, so that training may go on.

    The state of the optimizer is by the names of the parameters: opsig need not guess whose it is.
    """
    saved = optimizer.state_dict()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    own = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    name_of = dict(zip(numbers, own, strict=True))
    groups = []
    for group in saved["param_groups"]:
        facts = {key: _plain(value) for key, value in group.items() if key != "param_names"}
        groups.append({**facts, "params": [name_of[number] for number in group["params"]]})
    state = {name_of[number]: _plain(entry) for number, entry in saved["state"].items() if number in name_of}
    lr = float(optimizer.param_groups[0]["lr"])
    content = {
        "model": _plain(dict(model.state_dict())),
        "optimizer": {"param_groups": groups, "state": state},
        "step": step,
        "lr": lr,
    }
    return Saved(step, lr, content)


def write(folder: Path, saved: Saved) -> Row:
    """Write a checkpoint, whole or not at all.

    Raises:
        CheckpointError: it cannot be written.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(saved.content, buffer)
    data = buffer.getvalue()
    atomic.write(folder / saved.file, data)
    return Row(saved.file, saved.step, lr=saved.lr, sha256=hashlib.sha256(data).hexdigest())


def _plain(value: Any) -> Any:
    """Tensors copied to the processor, in whatever holds them."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True).contiguous()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value] if isinstance(value, list) else tuple(map(_plain, value))
    return value
