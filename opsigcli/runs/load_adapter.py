"""An adapter of a base model: put into the base's own weights, which lie in the folder that --model names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from opsigcli.checkpoints import digest
from opsigcli.checkpoints.formats import recognise
from opsigcli.errors import ModelError
from opsigcli.models.fitting_names import fitting_names
from opsigcli.models.misfit import Misfit
from opsigcli.models.weights import fit_weights
from opsigcli.state_dict import StateDict


def load_adapter(model: nn.Module, adapter: StateDict, where: str) -> str:
    """Load the base model's weights, and the adapter over them: W + (alpha / r) B A, as PEFT merges it.

    Args:
        model: built from the base model's folder (``hf:BASE``).
        adapter: what is added (``adapter.added``), and what takes the place of the base's tensors.
        where: the adapter, for messages.

    Returns:
        What was done, in words.

    Raises:
        ModelError: the model has no base weights, or the adapter is of another model.
        CheckpointError: the base's weights cannot be read.
    """
    folder = getattr(model, "folder", None)
    base = Path(folder) if isinstance(folder, str) else None
    reader = recognise(base) if base is not None else None
    if base is None or reader is None or reader.name == "adapter":
        raise ModelError(
            f"expected whole weights, found a LoRA adapter (PEFT) in {where}, and no weights of its base model"
            + (f" in {base}" if base else ""),
            "name a folder with the base's config.json and weights: --model hf:BASE; or merge each adapter: "
            'python -c "from peft import AutoPeftModel as A; '
            "A.from_pretrained('ADAPTER').merge_and_unload().save_pretrained('MERGED')\"",
        )
    notes = [f"the adapters are merged into the weights in {base}"]
    notes += [fit] if (fit := fit_weights(model, reader.read(base), where=str(base))) else []
    own: dict[str, Any] = {k: v for k, v in model.state_dict().items() if isinstance(v, Tensor)}
    fitted, said = fitting_names(model, own, adapter)
    fitted = StateDict({key: _turned(model, key, fitted) for key in fitted}, added=fitted.added)
    misfit = Misfit(
        [],
        [key for key in fitted if key not in own],
        [key for key in fitted if key in own and own[key].shape != fitted[key].shape],
    )
    if misfit:
        raise misfit.refusal(where, own, fitted)
    if tied := [key for key in fitted if _alone(key, fitted, own)]:
        raise ModelError(
            f"expected adapters of matrices that are used once, found one of {tied[0]!r} in {where}, which the model "
            "uses under a second name as well: PEFT adapts, or trains a copy of, one of the two only",
            "untie the two in the base, or give a model of your own: --model file:net.py:factory",
        )
    with torch.no_grad():
        for key, value in fitted.items():
            target, given = own[key], value.to(own[key].device, own[key].dtype)
            target.copy_(target + given if key in (fitted.added or ()) else given)
    return "; ".join([*notes, *said])


def base_digest(folder: Path) -> str:
    """The sha256 of a base model's weights; "" where the folder has none.

    Raises:
        CheckpointError: they cannot be read.
    """
    reader = recognise(folder)
    return "" if reader is None or reader.name == "adapter" else digest.sha256(folder)


def _turned(model: nn.Module, key: str, adapter: StateDict) -> Tensor:
    """What is added to a matrix, turned where transformers' Conv1D keeps its inputs first."""
    value: Tensor = adapter[key]
    if key not in (adapter.added or ()):
        return value
    try:
        module = model.get_submodule(key.rpartition(".")[0])
    except AttributeError:
        return value
    return value.T if type(module).__name__ == "Conv1D" else value


def _alone(key: str, adapter: StateDict, own: dict[str, Any]) -> bool:
    """Whether the model has other names for what the adapter changes here; one tensor may be under all of them."""
    names = {name for name, other in own.items() if other.data_ptr() == own[key].data_ptr()}
    if len(names) == 1 or key in (adapter.added or ()):
        return len(names) > 1
    return not all(name in adapter and torch.equal(adapter[name], adapter[key]) for name in names)
