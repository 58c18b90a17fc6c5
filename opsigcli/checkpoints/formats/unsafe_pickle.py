"""Files opened by pickle, which runs whatever code they name: for a user's own files, asked for in each call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints.base import TensorFacts
from opsigcli.checkpoints.choose import choose
from opsigcli.checkpoints.formats import contents
from opsigcli.errors import CheckpointError

if TYPE_CHECKING:
    import torch


class Live:
    """The objects of a file.

    Args:
        path: the file.
        refusal: why it cannot be read without running its code; raised when that does not help.
    """

    def __init__(self, path: Path, refusal: CheckpointError) -> None:
        import torch

        try:
            loaded: Any = torch.load(path, map_location="cpu", weights_only=False)
        except Exception as error:  # whatever code in the file raises
            raise CheckpointError(
                f"{refusal.message}; and with --unsafe-pickle: {type(error).__name__}: {error}", refusal.hint
            ) from error
        self.path = path
        self.sets = {".".join(where): found for where, found in _sets(loaded).items()}
        if not self.sets:
            raise refusal
        self.facts: dict[str, contents.Tensors] = {
            name: {
                key: TensorFacts(str(t.dtype).removeprefix("torch."), tuple(t.shape))
                for key, t in found.items()
            }
            for name, found in self.sets.items()
        }

    def read(self, key: str | None, weights: str) -> dict[str, torch.Tensor]:
        """The one set of weights that is meant, as dense tensors."""
        chosen, names = choose(self.path, self.sets, key, weights)
        return {plain: self.sets[chosen][name] for plain, name in names.items()}


def _sets(loaded: Any) -> dict[tuple[str, ...], dict[str, torch.Tensor]]:
    top = _tensors(loaded)
    if top or not isinstance(loaded, Mapping):
        return {(): top} if top else {}
    return {
        (name,): found
        for name, entry in loaded.items()
        if isinstance(name, str) and (found := _tensors(entry))
    }


def _tensors(entry: Any) -> dict[str, torch.Tensor]:
    import torch

    if isinstance(entry, torch.nn.Module):
        entry = entry.state_dict()
    if not isinstance(entry, Mapping) or not all(isinstance(t, torch.Tensor) for t in entry.values()):
        return {}
    dense = ((str(name), t.detach()) for name, t in entry.items())
    dense = ((name, t.dequantize() if t.is_quantized else t) for name, t in dense)
    return {name: (t.to_dense() if t.layout != torch.strided else t).clone() for name, t in dense}
