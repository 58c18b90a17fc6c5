"""A checkpoint format of a dozen lines, as somebody might add one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.checkpoints.base import CheckpointFormat, Header, TensorFacts
from opsigcli.checkpoints.choose import choose

if TYPE_CHECKING:
    import torch


class ToyFile(CheckpointFormat):
    """One .toy file: an npz of weights."""

    name = "toy"
    suffixes = (".toy",)

    def recognises(self, path: Path) -> bool:
        return path.suffix == ".toy"

    def describe(self, path: Path) -> Header:
        with np.load(path) as file:
            return Header({"": {name: TensorFacts(str(a.dtype), a.shape) for name, a in file.items()}})

    def read(self, path: Path, key: str | None = None, weights: str = "") -> dict[str, torch.Tensor]:
        import torch

        _, names = choose(path, self.describe(path).candidates, key)
        with np.load(path) as file:
            return {plain: torch.from_numpy(file[name]) for plain, name in names.items()}
