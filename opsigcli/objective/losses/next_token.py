"""``lm``: cross-entropy of the next token."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from opsigcli.objective.losses.base import Configurable, Loss
from opsigcli.objective.losses.cross_entropy import OfLabels, class_weights, ignored, smoothed
from opsigcli.query import choice
from opsigcli.specs import Spec

ROOM = 4 << 20  # logits whose log-probabilities are made at a time


def next_token(spec: Spec) -> Loss:
    """Cross-entropy of a sequence in nats, mean over its labelled tokens; (B,), NaN without any.

    Outputs are logits (B, L, V), of which position j predicts targets[:, j]; targets are tokens (B, L), already
    shifted, ``IGNORED`` where there is none to predict.

    ``mean=tokens`` is the mean of trainers (``F.cross_entropy`` over all labelled tokens of a batch), in which a
    sequence counts by its labelled tokens; with ``mean=sequences`` all sequences count alike.
    """
    weight = class_weights(spec)
    smoothing = smoothed(spec, weight)

    def entries(outputs: Tensor, targets: Tensor, of_classes: Tensor | None) -> Tensor:
        tokens = max(1, ROOM // outputs.shape[-1])
        losses = [
            F.cross_entropy(logits, labels, of_classes, reduction="none", label_smoothing=smoothing)
            for logits, labels in zip(
                *(torch.split(t, tokens) for t in (outputs.flatten(0, 1), targets.flatten())), strict=True
            )
        ]
        return torch.cat(losses).view(targets.shape)

    found = OfLabels(entries, weight)
    by_tokens = choice(spec, "mean", "tokens", ("tokens", "sequences")) == "tokens"
    return Loss(
        found,
        classes=lambda outputs: outputs.shape[-1],
        of_tokens=found.each,
        counts=found.counts if by_tokens else None,
        counts_by=found.words if weight else "its labelled tokens",
        ignores=True,
        ignore_index=ignored(spec),
    )


LOSS = Configurable(next_token, ("mean", "label_smoothing", "weight", "ignore_index"))
