"""Weights by name, with what torch's modules save of themselves beside their tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# What wrapping a module puts into the names of its tensors: torch.compile, activation checkpointing, FSDP.
WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_fpw_module")


class StateDict(dict[str, Any]):
    """Weights by name.

    Args:
        weights: name -> tensor.
        versions: name of a module -> what it says of itself, as torch keeps it under ``_metadata``; modules read
            their older tensors by it. None where a file does not say.
        added: of an adapter, the tensors that are added to those of a base model; its others take their place. None
            where the weights are whole.
    """

    def __init__(
        self,
        weights: Mapping[str, Any],
        versions: Mapping[str, Any] | None = None,
        added: frozenset[str] | None = None,
    ) -> None:
        super().__init__(weights)
        self.versions, self.added = versions, added

    def renamed(self, names: Mapping[str, str]) -> StateDict:
        """The weights under other names: new name -> name here; others are left out."""
        return StateDict(
            {new: self[old] for new, old in names.items()},
            None if self.versions is None else moved(self.versions, names),
            None if self.added is None else frozenset(n for n, old in names.items() if old in self.added),
        )


def moved(versions: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """What modules say of themselves, by their names where tensors are called ``names`` (new -> old)."""
    found: dict[str, Any] = {}
    for new, old in names.items():
        for here, there in _modules(new, old):
            if there in versions:
                found.setdefault(here, versions[there])
    return found


def _modules(new: str, old: str) -> Iterator[tuple[str, str]]:
    """The modules that a tensor is in by both of its names, the innermost first."""
    mine, its = new.split("."), old.split(".")
    while mine and its and mine[-1] == its[-1]:
        mine.pop()
        its.pop()
        yield ".".join(mine), ".".join(its)
