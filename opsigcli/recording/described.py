"""The manifest of a run that is being trained, held against what is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints.manifest import Manifest
from opsigcli.datasets import open_source
from opsigcli.errors import ModelError, UsageError
from opsigcli.given import offered, spec_of
from opsigcli.models.base import build
from opsigcli.models.weights import fit_weights
from opsigcli.objective.losses.base import open_loss
from opsigcli.optimizers.recognise import Recognised, from_state_dict
from opsigcli.outcome import plain
from opsigcli.runs.run_specs import absolute_model, signed_manifest
from opsigcli.usercode import absolute_spec

if TYPE_CHECKING:
    import torch
    from torch import nn


def described(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    model: str | None,
    data: Any,
    loss: str,
    batch_size: int | None,
) -> Manifest:
    """The manifest without checkpoints.

    The model that the spec builds must take the module's weights: found out now, and not after the training.

    Raises:
        ModelError: it does not, or it is sharded over processes.
        ObjectiveError: the code of a loss cannot be loaded.
        UsageError: a spec is unknown, or the optimizer has parameters that the module has not.
        DatasetError: the data cannot be read.
    """
    if any(hasattr(p, "full_tensor") or type(p).__name__ == "FlatParameter" for p in module.parameters()):
        raise ModelError(
            "expected whole parameters, found sharded ones",
            "save a full state dict with torch.distributed.checkpoint, and describe it with opsig init",
        )
    known = {id(parameter) for parameter in module.parameters()}
    if any(id(p) not in known for group in optimizer.param_groups for p in group["params"]):
        raise UsageError(
            "expected an optimizer over parameters of the module, found others in it",
            "make it from module.parameters(), after the module was moved or wrapped",
        )
    open_loss(loss)
    named = data if isinstance(data, str) else spec_of("data", data)
    spec = spec_of("model", module) if model is None else absolute_model(model)
    with offered({named: data}):
        source = open_source(named)
    if model is not None:
        built = build(spec, input_shape=source.input_shape, outputs=source.outputs)
        fit_weights(built, module.state_dict(), where="the module that is trained")
    rule = _rule(optimizer)
    return signed_manifest(
        source,
        model=spec,
        loss=absolute_spec(loss),
        optimizer=rule.name,
        hyper={key: value for key, value in plain(rule.hyper).items() if value is not None},
        batch_size=batch_size,
    )


def unwrapped(module: Any) -> nn.Module:
    """The module itself, without what trains it on several devices or compiles it."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and type(module).__name__ in ("DistributedDataParallel", "DataParallel"):
            inner = module.module
        if inner is None:
            found: nn.Module = module
            return found
        module = inner


def _rule(optimizer: torch.optim.Optimizer) -> Recognised:
    """The update rule, by the groups that the optimizer has now; the checkpoints tell what a schedule makes of them."""
    groups = optimizer.state_dict()["param_groups"]
    return from_state_dict({"param_groups": groups, "state": {}})
