"""``lm``: cross-entropy of the next token."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from opsigcli.objective.losses.base import Loss, mean_of_labelled
from opsigcli.records import IGNORED


def next_token(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of a sequence in nats, mean over its labelled tokens; (B,), NaN without any.

    Args:
        outputs: logits (B, L, V); position j predicts targets[:, j].
        targets: (B, L) tokens, already shifted; ``IGNORED`` where there is none to predict.
    """
    return mean_of_labelled(token_losses(outputs, targets), targets)


def token_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """``next_token`` before the mean: (B, L) nats, 0 where there is none to predict."""
    losses = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORED)
    return losses.view(targets.shape)


LOSS = Loss(next_token, classes=lambda outputs: outputs.shape[-1], of_tokens=token_losses)
