"""Models that come compiled: their own modules are used, as compiled code cannot be differentiated twice."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

COMPILED_NOTE = "the model comes from torch.compile; its own module is used, uncompiled"
_MARK = "_opsig_was_compiled"


def uncompiled(model: nn.Module) -> nn.Module:
    """The module inside what ``torch.compile`` returned, without what ``module.compile()`` put into it or its parts.

    Functions that were compiled by themselves run as they were written, from here on in this process.
    """
    found: Any = model
    changed = False
    while isinstance(inner := found.__dict__.get("_modules", {}).get("_orig_mod"), nn.Module):
        found, changed = inner, True
    for module in list(found.modules()):
        for name, child in list(module.named_children()):
            inside: Any = child
            while isinstance(inner := inside._modules.get("_orig_mod"), nn.Module):
                inside, changed = inner, True
            if inside is not child:
                setattr(module, name, inside)
    for module in found.modules():
        if getattr(module, "_compiled_call_impl", None) is not None:
            module._compiled_call_impl, changed = None, True
    if changed:
        setattr(found, _MARK, True)
    if "torch._dynamo" in sys.modules:
        torch.compiler.set_stance("force_eager")
    result: nn.Module = found
    return result


def was_compiled(model: nn.Module) -> bool:
    """Whether ``uncompiled`` had something to take away."""
    return getattr(model, _MARK, False) is True
