"""The objective of a run: its model, built for its data, on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.errors import UsageError
from opsigcli.examples import ExampleSource
from opsigcli.runs.device import pick_device

if TYPE_CHECKING:
    from torch import nn

    from opsigcli.objective.base import Objective

PROBED = 8  # examples on which a model has to give the same outputs twice


def build_module(model: str, source: ExampleSource, seed: int = 0, config: str = "") -> nn.Module:
    """The model of a run, built for its source."""
    from opsigcli.models.base import build

    return build(model, input_shape=source.input_shape, outputs=source.outputs, seed=seed, config=config)


def build_objective(
    model: str,
    source: ExampleSource,
    loss: str,
    *,
    device: str,
    batch_size: int,
    seed: int = 0,
    precision: str = "float32",
    config: str = "",
) -> Objective:
    """The objective of a run: its model built for its source, on the device.

    BatchNorms that store no statistics have those of the data, unless others are asked for. InstanceNorms have those of
    each example.

    Raises:
        UsageError: the device has no float64, and it is asked for.
    """
    import numpy as np
    import torch

    from opsigcli.models.checks import agree_twice
    from opsigcli.objective.base import Objective
    from opsigcli.objective.batch_norm import alone, make_room, unstored
    from opsigcli.objective.instance_norm import by_their_own, said
    from opsigcli.objective.planes import lay_out, read_inputs

    module = build_module(model, source, seed, config)
    own = by_their_own(module)
    alone(module)
    if len(source):
        lay_out(module, source)
        make_room(module)
        agree_twice(module, read_inputs(module, source, np.arange(min(PROBED, len(source)))))
    chosen, wide = pick_device(device), precision == "float64"
    if wide and chosen.type == "mps":
        raise UsageError("expected a device with float64, found mps", "add --device cpu")
    dtype = torch.float64 if wide else torch.float32
    objective = Objective(module, source, loss, device=chosen, batch_size=batch_size, dtype=dtype)
    if own:
        objective.notes.append(said(own))
    if unstored(module):
        objective.use_statistics("batch")
    return objective
