"""Build a model from a spec, the same for the same seed."""

from __future__ import annotations

from typing import Any

from torch import Tensor, cuda, manual_seed, nn
from torch.nn.parameter import is_lazy
from torch.random import fork_rng

from opsigcli.errors import ModelError, UsageError
from opsigcli.models import MODELS
from opsigcli.models.compiled import uncompiled
from opsigcli.models.torchvision_model import torchvision_names
from opsigcli.specs import parse


def build(
    spec_text: str, *, input_shape: tuple[int, ...], outputs: int, seed: int = 0, config: str = ""
) -> nn.Module:
    """Build the model that a spec names, with PyTorch's default initialisation under ``seed``.

    The global random state is as before afterwards.

    Args:
        spec_text: ``name?key=value`` of a built-in, or ``scheme:name?key=value``; the forms are in ``MODELS``.
        input_shape: shape of one input, (C, H, W) for images.
        outputs: number of outputs: classes, or entries of a regression target. torchvision's models take it when
            ``num_classes`` is not given; a factory of the user's takes exactly the keywords of the query.
        seed: of the initialisation.
        config: the content of the config.json of ``hf:``, where it was kept.

    Returns:
        The module, on the CPU.

    Raises:
        UsageError: the scheme, the name or an option is unknown or malformed.
        ModelError: the model cannot be built, or does not fit the inputs.
    """
    spec = parse(spec_text)
    if not spec.scheme and spec.name not in MODELS.entries and spec.name in torchvision_names():
        raise UsageError(f"unknown model {spec.name!r}", f"did you mean torchvision:{spec.name}?")
    builder = MODELS.load_for(spec)
    if outputs < 1:
        raise ModelError(f"expected at least one output, found {outputs}", "check the labels in --data")
    devices = list(range(cuda.device_count())) if cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with fork_rng(devices=devices):
        manual_seed(seed)
        model = builder(spec, input_shape, outputs, *([config] if config else []))
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"expected {spec_text!r} to give a torch.nn.Module; found {type(model).__name__}",
            "let the factory return the model itself",
        )
    if any(is_lazy(tensor) for tensor in [*model.parameters(), *model.buffers()]):
        raise ModelError(
            f"expected {spec_text!r} to give a model with all its shapes known; it has lazy layers",
            "let the factory pass one input through the model before it returns it",
        )
    model = uncompiled(model)
    model.register_forward_hook(_logits)
    return model


def _logits(_module: nn.Module, _inputs: Any, outputs: Any) -> Any:
    """The logits of an output object as Hugging Face's models return it; other outputs as they are."""
    logits = getattr(outputs, "logits", None)
    return logits if isinstance(logits, Tensor) else outputs
