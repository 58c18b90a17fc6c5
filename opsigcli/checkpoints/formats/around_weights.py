"""What a state dict has beside its tensors: versions of modules, and entries that are none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsigcli.checkpoints.base import TensorFacts
from opsigcli.checkpoints.formats.contents import Where, is_module
from opsigcli.pickles.records import Ordered, fields


def no_tensors(root: Any, where: Where) -> list[str]:
    """Names of what lies among a set of weights and is no tensor."""
    entries = _at(root, where)
    if is_module(entries):
        return []
    mapping = fields(entries) if where else {}
    return [str(k) for k, v in mapping.items() if not isinstance(v, TensorFacts)]


def versions(root: Any, where: Where) -> dict[str, dict[str, Any]] | None:
    """Name of a module -> its version, as torch keeps them beside a state dict; None where it does not."""
    entries = _at(root, where)
    kept = fields(entries.state).get("_metadata") if isinstance(entries, Ordered) else None
    if not isinstance(kept, Mapping):
        return None
    return {
        str(name): {key: value for key, value in fields(said).items() if isinstance(value, int | None)}
        for name, said in kept.items()
    }


def _at(root: Any, where: Where) -> Any:
    for key in where:
        root = fields(root)[key]
    return root
