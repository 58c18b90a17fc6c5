"""The weights of checkpoints into a model, the same way for every command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from opsigcli.models.compiled import COMPILED_NOTE, was_compiled
from opsigcli.models.weights import fit_weights
from opsigcli.objective.module_caches import clear_caches
from opsigcli.runs.load_adapter import load_adapter
from opsigcli.state_dict import StateDict

if TYPE_CHECKING:
    from torch import Tensor, nn


class Loader:
    """Puts weights into a model, and remembers how they were made to fit.

    Args:
        model: as it was built.
        partial: what does not fit stays as it was built, whatever was loaded before.
    """

    def __init__(self, model: nn.Module, partial: bool) -> None:
        self.model = model
        self.initial = {key: value.clone() for key, value in model.state_dict().items()} if partial else None
        self.fits: list[str] = [COMPILED_NOTE] if was_compiled(model) else []

    def load(self, weights: Mapping[str, Tensor], where: str) -> None:
        """Load one checkpoint's weights.

        Raises:
            ModelError: they do not fit, or are an adapter without a base model.
            CheckpointError: the base model of an adapter cannot be read.
        """
        clear_caches(self.model)
        if isinstance(weights, StateDict) and weights.added is not None:
            self._say(load_adapter(self.model, weights, where))
            return
        if self.initial is not None:
            self.model.load_state_dict(self.initial)
        self._say(fit_weights(self.model, weights, where=where, partial=self.initial is not None))

    def _say(self, fit: str) -> None:
        if fit and fit not in self.fits:
            self.fits.append(fit)
