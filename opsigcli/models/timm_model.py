"""``timm:resnet18``: the models of timm, where it is installed."""

from __future__ import annotations

from typing import Any

from torch import nn

from opsigcli.errors import ModelError, UsageError
from opsigcli.models.extras import need
from opsigcli.registry import did_you_mean, nearest
from opsigcli.specs import Spec
from opsigcli.usercode import guarded

# Options that make timm load weights: those are files it would open its own way, or downloads.
_LOADING = ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def build_timm(spec: Spec, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """``timm:NAME?num_classes=10&drop_rate=0.1``; the query goes to ``timm.create_model`` as keywords.

    ``num_classes`` is the number of outputs of the data when it is not given; ``in_chans`` is the images' number of
    channels.

    Raises:
        UsageError: timm has no model of that name, or an option would load weights.
        ModelError: timm is not installed, or it fails.
    """
    timm = need("timm", "timm", str(spec))
    names = timm.list_models()
    if spec.name not in names:
        close = nearest(spec.name, names)
        raise UsageError(
            f"timm has no model {spec.name!r}",
            did_you_mean((f"timm:{name}" for name in close), "see timm.list_models()"),
        )
    for key in spec.options:
        if key in _LOADING:
            raise UsageError(
                f"in {str(spec)!r}: {key}= loads weights, which come from the checkpoints here",
                f"leave {key}= out",
            )
    options: dict[str, Any] = {"num_classes": outputs} | spec.options
    if len(input_shape) == 3 and input_shape[0] != 3:
        options.setdefault("in_chans", input_shape[0])
    with guarded(ModelError, f"building {str(spec)!r}", "check the options in --model"):
        model: nn.Module = timm.create_model(spec.name, pretrained=False, **options)
    return model
