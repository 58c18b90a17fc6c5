"""Where a rule takes its gradients, which is where the Hessian has to be measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from opsigcli.runs.tuning import Tuning

if TYPE_CHECKING:
    from torch import nn


@torch.no_grad()
def to_gradients(tuning: Tuning, model: nn.Module) -> Tuning:
    """The tuning, with the model's weights moved to where its rules take their gradients.

    Args:
        tuning: of the checkpoint that is loaded; a note says where weights were moved.
        model: with the weights of the checkpoint.

    Returns:
        The tuning; without parts, and with the reason, where the state that tells the place is missing.
    """
    own = dict(model.named_parameters())
    moved: dict[str, None] = {}
    for part in tuning.parts:
        if part.rule.gradient_at is None:
            continue
        if tuning.unusable:
            return Tuning(reason=f"no threshold: {tuning.unusable}", unusable=tuning.unusable)
        for name in part.parameters:
            place = part.rule.gradient_at(own[name], tuning.state.get(name, {}), part.hyper)
            if place is not own[name]:
                own[name].copy_(place)
                moved[part.name] = None
    notes = tuple(
        f"{name}: the Hessian is measured at the weights where gradients are taken, which the checkpoint's state "
        "tells; the checkpoint holds their average, whose losses are traced"
        for name in moved
    )
    return replace(tuning, notes=tuning.notes + notes)
