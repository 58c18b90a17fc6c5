"""Optimizers as PyTorch and trainers spell them: which rule of the table is meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsigcli.optimizers import OPTIMIZERS

ENDINGS = ("_torch_fused", "_torch", "_fused", "_hf")  # of Hugging Face's names: adamw_torch


def meant(name: str, hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The rule that a name stands for, and the hyper-parameters that it has.

    The class of ``torch.optim`` and its name in small letters are alike, with or without its module. ``SGD`` is one
    class for four rules, which its hyper-parameters tell apart: with a momentum it is ``momentum``, ``nesterov`` or
    ``dampened``.

    Args:
        name: as a user, a manifest or a trainer writes it.
        hyper: hyper-parameters that are known; those of None are not.

    Raises:
        UsageError: there is no such rule.
    """
    known = {key: value for key, value in hyper.items() if value is not None}
    rule = name.strip().lower()
    rule = rule if rule in OPTIMIZERS else rule.rpartition(".")[2]
    if rule not in OPTIMIZERS.unlisted:  # which has an AdamW of Hugging Face's own
        rule = next((rule.removesuffix(end) for end in ENDINGS if rule.endswith(end)), rule)
    rule = rule if rule in OPTIMIZERS or rule in OPTIMIZERS.unlisted else name
    if rule == "sgd":
        if known.get("momentum"):
            rule = "momentum"
            if known.pop("nesterov", False):
                rule = "nesterov"
            elif known.get("dampening"):
                rule = "dampened"
        for key in ("momentum", "dampening", "nesterov"):
            if not known.get(key):
                known.pop(key, None)
    OPTIMIZERS.load(rule)
    return rule, known
