"""Results of a command, read from a store: those in its root, or others that are kept in a group of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from opsigcli.errors import StoreError
from opsigcli.mining_records import (
    Mining,
)
from opsigcli.records import Provenance, Thumbnails, VirtualSteps
from opsigcli.result_records import VIRTUAL, Result
from opsigcli.sharpness_records import CriticalSharpness, Phase, SharpnessPoint, marked
from opsigcli.store.decode import decode_text
from opsigcli.store.names import MINE, SHARPNESS, name_of
from opsigcli.store.schema import KEPT, part_at
from opsigcli.store.top_deltas import top_deltas

R = TypeVar("R")


class Results:
    """What commands found, one result of each command.

    Args:
        path: of the store.
        file: open, and looked at.
        names: paths of its datasets.
        at: the group they are in, with a slash; "" for the root.
    """

    def __init__(self, path: Path, file: h5py.File, names: frozenset[str], at: str = "") -> None:
        self.path, self.file, self.names, self.at = path, file, names, at

    @property
    def mining(self) -> Mining | None:
        """What ``opsig mine`` found, or None."""
        if not self._has("mining"):
            return None
        found = self._record(Mining, "mining")
        return replace(found, top=top_deltas(self._arrays("top")), provenance=self.provenance.get("mine"))

    @property
    def sharpness(self) -> tuple[SharpnessPoint, ...]:
        """The sharpness points, by step, marked by what all of them say of the threshold."""
        return marked(self._records(SharpnessPoint, "sharpness"))

    @property
    def critical(self) -> tuple[CriticalSharpness, ...]:
        """Critical sharpness along the run's updates, by step."""
        return self._records(CriticalSharpness, "critical_sharpness")

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What the sharpness did along the run."""
        return self._records(Phase, "phases")

    @property
    def subset(self) -> NDArray[np.int64] | None:
        """(n,) ids of the examples that sharpness was measured on, or None for all."""
        name = f"{self.at}sharpness_examples"
        return self.file[name][()] if name in self.names else None

    def example_curvature(self) -> dict[int, NDArray[np.float32]]:
        """Step -> v₁ᵀH_i v₁ of each example (or of those of the subset), where it was measured."""
        group = self._arrays("example_curvature")
        return dict(zip(group["steps"].tolist(), group["values"], strict=True)) if group else {}

    @property
    def thumbnails(self) -> Thumbnails | None:
        """Pictures of the examples a report shows, or None.

        Raises:
            StoreError: they cannot be unpacked.
        """
        group = self._arrays("thumbnails")
        return (
            Thumbnails(group["ids"], tuple(group["images"]), tuple(group.get("means", ()))) if group else None
        )

    @property
    def virtual(self) -> VirtualSteps | None:
        """What virtual steps from each checkpoint did, or None where none were taken."""
        if not self._within("virtual"):
            return None
        name = name_of(VIRTUAL, self.provenance[VIRTUAL])
        return VirtualSteps(self.file["steps"][()], **self._arrays("virtual"), name=name)

    @property
    def provenance(self) -> dict[str, Provenance]:
        """Command -> how its part was made."""
        made = {
            name.removeprefix("provenance/"): self._record(Provenance, name)
            for name in self._within("provenance")
        }
        if not self.at and self._within("virtual"):  # older versions did not name them
            made.setdefault(VIRTUAL, made["trace"])
        return made

    def result(self, command: str, name: str, *, shown: bool) -> Result:
        """What that command found, to be shown or listed under its name."""
        made = self.provenance[command]
        if command == MINE:
            return Result(name, command, shown, made, self.mining, thumbnails=self.thumbnails)
        if command == SHARPNESS:
            return Result(name, command, shown, made, sharpness=self.sharpness, phases=self.phases)
        if command == VIRTUAL:
            return Result(name, command, shown, made, virtual=self.virtual)
        return Result(name, command, shown, made, critical=self.critical)

    def kept(self) -> list[Results]:
        """The results that are kept beside those of the root."""
        numbers = {
            int(name.split("/")[1]) for name in self.names if name.startswith(f"{KEPT}/") and part_at(name)
        }
        return [Results(self.path, self.file, self.names, f"{KEPT}/{number}/") for number in sorted(numbers)]

    def _has(self, name: str) -> bool:
        return f"{self.at}{name}" in self.names

    def _within(self, group: str) -> list[str]:
        """The datasets of a group that are known here, in order."""
        start = f"{self.at}{group}/"
        found = [name for name in sorted(self.names) if name.startswith(start) and part_at(name)]
        return [name.removeprefix(self.at) for name in found]

    def _arrays(self, group: str) -> dict[str, NDArray[Any]]:
        """The datasets of a group, by their names in it; none where there is no such group.

        Raises:
            StoreError: one cannot be unpacked.
        """
        found = {}
        for name in self._within(group):
            try:
                found[name.removeprefix(f"{group}/")] = self.file[f"{self.at}{name}"][()]
            except OSError as error:
                raise StoreError(
                    f"the store {self.path} is damaged: {name} cannot be unpacked",
                    "put a copy of it in its place, or make it again with: opsig trace --fresh",
                ) from error
        return found

    def _record(self, kind: type[R], name: str) -> R:
        return decode_text(kind, self._text(name), name)

    def _records(self, kind: type[R], name: str) -> tuple[R, ...]:
        return decode_text(tuple[kind, ...], self._text(name), name) if self._has(name) else ()  # type: ignore[valid-type]

    def _text(self, name: str) -> str:
        return str(self.file[f"{self.at}{name}"].asstr()[()])
