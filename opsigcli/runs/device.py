"""The device that a command computes on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from opsigcli.errors import UsageError

if TYPE_CHECKING:
    import torch


def pick_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is the first CUDA GPU, else Apple's GPU, else the CPU.

    Raises:
        UsageError: the name is unknown, or this machine has no such device.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        text = str(error).splitlines()[0]
        raise UsageError(
            f"expected a device torch can use here, found {name!r}: {text}",
            "try --device auto or --device cpu",
        ) from error
    return device


def own_device(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The same name, but one GPU for each process of a machine where there are several of both."""
    import torch

    rank = environment.get("LOCAL_RANK", environment.get("SLURM_LOCALID", ""))
    if name == "auto" and rank.isdigit() and torch.cuda.device_count() > 1:
        return f"cuda:{int(rank) % torch.cuda.device_count()}"
    return name
