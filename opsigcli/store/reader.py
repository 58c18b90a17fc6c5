"""Reads stores back into records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from opsigcli.errors import StoreError
from opsigcli.look_records import Look
from opsigcli.mean_loss import mean_loss
from opsigcli.records import (
    Case,
    LossTrace,
    Mining,
    Provenance,
    Run,
    Thumbnails,
    TraceSummary,
    VirtualSteps,
)
from opsigcli.sharpness_records import CriticalSharpness, Phase, SharpnessPoint
from opsigcli.store.decode import decode_text
from opsigcli.store.lazy_arrays import StoredMatrix, StoredTexts
from opsigcli.store.opening import attribute, open_checked
from opsigcli.store.schema import part_at
from opsigcli.store.top_deltas import top_deltas
from opsigcli.token_ids import naming_of
from opsigcli.training_records import AgainstLog, RecordedFact

R = TypeVar("R")


class Store:
    """An open store, read only. Use ``open_store``.

    Args:
        path: of the file.
        file: open, and looked at.
        names: paths of its datasets.
    """

    def __init__(self, path: Path, file: h5py.File, names: frozenset[str]) -> None:
        self.path = path
        self.file = file
        self.names = names

    @property
    def run(self) -> Run:
        """The run the store belongs to."""
        return self._record(Run, "run")

    @property
    def signature(self) -> str:
        """Signature over ``run`` (see trust)."""
        return self._text("run_signature")

    @property
    def files(self) -> tuple[str, ...]:
        """(T,) checkpoint file of each row, within ``run.checkpoints``."""
        return self._texts("files")

    @property
    def sha256(self) -> tuple[str, ...]:
        """(T,) of each checkpoint file."""
        return self._texts("sha256")

    @property
    def lrs(self) -> NDArray[np.float64]:
        """(T,) learning rate at each checkpoint; NaN = unknown."""
        return np.asarray(self.file["lrs"][()], dtype=np.float64)

    @property
    def known_pairs(self) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]:
        """Ids of planted pairs, () for real data."""
        pairs = sorted({int(name.split("/")[1]) for name in self._within("known_pairs")})
        return tuple(
            (self._ints(f"known_pairs/{pair}/first"), self._ints(f"known_pairs/{pair}/second"))
            for pair in pairs
        )

    @property
    def losses(self) -> h5py.Dataset:
        """(T, N) nats, to be read in blocks while the store is open."""
        return self.file["losses"]

    @property
    def loss_deltas(self) -> h5py.Dataset:
        """(T−1, N) nats, likewise."""
        return self.file["loss_deltas"]

    def losses_at(self, row: int) -> NDArray[np.float32]:
        """Losses of all examples at checkpoint ``row``, (N,)."""
        found: NDArray[np.float32] = self.file["losses"][row]
        return found

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(N,) False where an example's label says to ignore it."""
        if "measured" not in self.names:
            return np.ones(len(self.file["example_ids"]), dtype=bool)
        return np.asarray(self.file["measured"][()], dtype=bool)

    @property
    def weights(self) -> NDArray[np.float64] | None:
        """(N,) of each example in the mean loss, of mean 1; None where all count alike."""
        return np.asarray(self.file["weights"][()], dtype=np.float64) if "weights" in self.names else None

    @property
    def summary(self) -> tuple[TraceSummary, list[int]]:
        """The mean loss, and the steps at which some loss is not finite, read one checkpoint at a time."""
        steps, found = self.file["steps"][()], mean_loss(self.losses, self.measured, self.weights)
        infinite = steps[found.finite < max(found.total, 1)].tolist()
        return TraceSummary(steps, self.file["example_ids"][()], found, self.virtual, self.run.axis), infinite

    @property
    def virtual(self) -> VirtualSteps | None:
        """What virtual steps from each checkpoint did, or None where none were taken."""
        if not self._within("virtual"):
            return None
        return VirtualSteps(self.file["steps"][()], **self._arrays("virtual"))

    @property
    def trace(self) -> LossTrace:
        """The loss trace. Losses and names stay in the file; what is looked at is read, also after it was closed."""
        file = self.file
        losses: Any = StoredMatrix(self.path, file["losses"])
        names = StoredTexts(self.path, file["example_names"]) if "example_names" in self.names else ()
        labels, run = file["labels"][()], self.run
        return LossTrace(
            steps=file["steps"][()],
            example_ids=file["example_ids"][()],
            labels=labels,
            losses=losses,
            complete=file["complete"][()],
            files=self.files,
            names=names,
            measured=self.measured if "measured" in self.names else None,
            weights=self.weights,
            axis=run.axis,
            naming=naming_of(run.transform, bool(run.classes), not labels.any()),
        )

    @property
    def mining(self) -> Mining | None:
        """What ``opsig mine`` found, or None."""
        if "mining" not in self.names:
            return None
        found = self._record(Mining, "mining")
        return replace(found, top=top_deltas(self._arrays("top")), provenance=self.provenance.get("mine"))

    @property
    def sharpness(self) -> tuple[SharpnessPoint, ...]:
        """The sharpness points, by step."""
        return self._records(SharpnessPoint, "sharpness")

    @property
    def critical(self) -> tuple[CriticalSharpness, ...]:
        """Critical sharpness along the run's updates, by step."""
        return self._records(CriticalSharpness, "critical_sharpness")

    @property
    def training_log(self) -> AgainstLog | None:
        """The mean loss beside the one that the run logged, or None."""
        return self._record(AgainstLog, "training_log") if "training_log" in self.names else None

    @property
    def recorded_facts(self) -> tuple[RecordedFact, ...]:
        """What training did and the trace does not, as far as it is recorded."""
        return self._records(RecordedFact, "recorded_facts")

    @property
    def look(self) -> Look | None:
        """The first and the last checkpoint beside a guess, or None."""
        return self._record(Look, "look") if "look" in self.names else None

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What the sharpness did along the run."""
        return self._records(Phase, "phases")

    @property
    def subset(self) -> NDArray[np.int64] | None:
        """(n,) ids of the examples that sharpness was measured on, or None for all."""
        return self.file["sharpness_examples"][()] if "sharpness_examples" in self.names else None

    def example_curvature(self) -> dict[int, NDArray[np.float32]]:
        """Step -> v₁ᵀH_i v₁ of each example (or of those of the subset), where it was measured."""
        if not self._within("example_curvature"):
            return {}
        group = self._arrays("example_curvature")
        return dict(zip(group["steps"].tolist(), group["values"], strict=True))

    @property
    def seen(self) -> tuple[dict[str, NDArray[Any]], str] | None:
        """Feature to (N,) of what can be seen in the examples, and why nothing can; None where nobody looked."""
        if "seen" not in self.file or attribute(self.file["seen"], "fingerprint") != self.run.fingerprint:
            return None
        return self._arrays("seen"), str(attribute(self.file["seen"], "unseen") or "")

    @property
    def thumbnails(self) -> Thumbnails | None:
        """Pictures of the examples a report shows, or None.

        Raises:
            StoreError: they cannot be unpacked.
        """
        if not self._within("thumbnails"):
            return None
        group = self._arrays("thumbnails")
        return Thumbnails(group["ids"], tuple(group["images"]), tuple(group.get("means", ())))

    @property
    def provenance(self) -> dict[str, Provenance]:
        """Command -> how its part was made."""
        return {
            name.removeprefix("provenance/"): self._record(Provenance, name)
            for name in self._within("provenance")
        }

    @property
    def case(self) -> Case:
        """All of it."""
        return Case(
            self.run,
            self.trace,
            self.mining,
            self.sharpness,
            self.phases,
            self.thumbnails,
            self.provenance,
            self.virtual,
            self.critical,
            self.training_log,
            self.recorded_facts,
            store=self.path,
            look=self.look,
        )

    def gradients(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The kept gradient sketches, if they are those that ``key`` names."""
        if not self._within("gradients") or attribute(self.file["gradients"], "key") != key:
            return None
        return self._arrays("gradients")

    @property
    def gradients_made_by(self) -> tuple[str, str]:
        """On which device, and by which version of torch, kept gradients were computed; "" where it is not known."""
        device, version = (attribute(self.file["gradients"], name) for name in ("device", "torch_version"))
        return str(device or ""), str(version or "")

    def _within(self, group: str) -> list[str]:
        """The datasets of a group that are known here, in order."""
        return [name for name in sorted(self.names) if name.startswith(f"{group}/") and part_at(name)]

    def _arrays(self, group: str) -> dict[str, NDArray[Any]]:
        """The datasets of a group, by their names in it.

        Raises:
            StoreError: one cannot be unpacked.
        """
        found = {}
        for name in self._within(group):
            try:
                found[name.removeprefix(f"{group}/")] = self.file[name][()]
            except OSError as error:
                raise StoreError(
                    f"the store {self.path} is damaged: {name} cannot be unpacked",
                    "put a copy of it in its place, or make it again with: opsig trace --fresh",
                ) from error
        return found

    def _ints(self, name: str) -> NDArray[np.int64]:
        return np.asarray(self.file[name][()], dtype=np.int64)

    def _record(self, kind: type[R], name: str) -> R:
        return decode_text(kind, self._text(name), name)

    def _records(self, kind: type[R], name: str) -> tuple[R, ...]:
        return decode_text(tuple[kind, ...], self._text(name), name) if name in self.names else ()  # type: ignore[valid-type]

    def _text(self, name: str) -> str:
        return str(self.file[name].asstr()[()])

    def _texts(self, name: str) -> tuple[str, ...]:
        return tuple(str(text) for text in self.file[name].asstr()[()])


@contextmanager
def open_store(path: Path) -> Iterator[Store]:
    """Open a store for reading.

    Raises:
        StoreError: there is none, it is not a store, it is damaged, it reaches outside of itself, or it was written
            by a newer opsig.
    """
    file, names = open_checked(path)
    with file:
        yield Store(path, file, names)
