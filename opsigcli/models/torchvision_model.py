"""``torchvision:resnet18``: torchvision's classification models."""

from __future__ import annotations

from typing import Any

from torch import nn

from opsigcli.errors import ModelError, UsageError
from opsigcli.registry import did_you_mean, nearest
from opsigcli.specs import Spec
from opsigcli.usercode import guarded


def torchvision_names() -> list[str]:
    """The names of torchvision's classification models."""
    from torchvision import models

    return [str(name) for name in models.list_models(module=models)]


def build_torchvision(spec: Spec, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """``torchvision:NAME?num_classes=10&weights=…``; the query goes to the model's builder as keywords.

    ``weights`` is none by default. ``num_classes`` is the number of outputs of the data when neither it nor
    ``weights`` is given.

    Raises:
        UsageError: torchvision has no classification model of that name.
        ModelError: the builder fails.
    """
    from torchvision import models

    names = torchvision_names()
    if spec.name not in names:
        if spec.name in models.list_models(module=models.segmentation):
            raise UsageError(
                f"torchvision:{spec.name} is a model of segmentation, which puts out a dict",
                "build it in a factory of your own, --model file:net.py:make, that returns it after "
                "net.forward = lambda x, of=net.forward: of(x)['out']",
            )
        close = nearest(spec.name, names)
        raise UsageError(
            f"torchvision has no classification model {spec.name!r}",
            did_you_mean((f"torchvision:{name}" for name in close), "see torchvision.models.list_models()"),
        )
    options: dict[str, Any] = {"weights": None} | spec.options
    if options["weights"] in ("none", "None", ""):
        options["weights"] = None
    if options["weights"] is None:
        options.setdefault("num_classes", outputs)
    with guarded(ModelError, f"building {str(spec)!r}", "check the options in --model"):
        model: nn.Module = models.get_model(spec.name, **options)
    return model
