"""Reads stores back into records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opsigcli.errors import StoreError
from opsigcli.mean_loss import mean_loss
from opsigcli.records import (
    Case,
    LossTrace,
    Mining,
    Provenance,
    Run,
    Thumbnails,
    TopDeltas,
    TraceSummary,
    VirtualSteps,
)
from opsigcli.sharpness_records import CriticalSharpness, Phase, SharpnessPoint
from opsigcli.store.decode import decode, decode_log, decode_pair, decode_point, decode_spike, tuples
from opsigcli.store.lazy_arrays import CACHE, StoredMatrix, StoredTexts
from opsigcli.store.looked import get_pictures, get_seen
from opsigcli.store.schema import FORMAT, FORMAT_VERSION
from opsigcli.training_records import AgainstLog, RecordedFact


class Store:
    """An open store, read only. Use ``open_store``."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self.file = file

    @property
    def run(self) -> Run:
        """The run the store belongs to."""
        run: Run = decode(Run, self._json("run"), input_shape=tuple, classes=tuple)
        return run

    @property
    def signature(self) -> str:
        """Signature over ``run`` (see trust)."""
        return str(self.file["run_signature"].asstr()[()])

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
        group = self.file.get("known_pairs", {})
        return tuple((group[name]["first"][()], group[name]["second"][()]) for name in sorted(group, key=int))

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
        if "measured" not in self.file:
            return np.ones(len(self.file["example_ids"]), dtype=bool)
        return np.asarray(self.file["measured"][()], dtype=bool)

    @property
    def weights(self) -> NDArray[np.float64] | None:
        """(N,) of each example in the mean loss, of mean 1; None where all count alike."""
        return np.asarray(self.file["weights"][()], dtype=np.float64) if "weights" in self.file else None

    @property
    def summary(self) -> tuple[TraceSummary, list[int]]:
        """The mean loss, and the steps at which some loss is not finite, read one checkpoint at a time."""
        steps, found = self.file["steps"][()], mean_loss(self.losses, self.measured, self.weights)
        infinite = steps[found.finite < max(found.total, 1)].tolist()
        return TraceSummary(steps, self.file["example_ids"][()], found, self.virtual), infinite

    @property
    def virtual(self) -> VirtualSteps | None:
        """What virtual steps from each checkpoint did, or None where none were taken."""
        group = self.file.get("virtual")
        if group is None:
            return None
        return VirtualSteps(self.file["steps"][()], **{name: group[name][()] for name in group})

    @property
    def trace(self) -> LossTrace:
        """The loss trace. Losses and names stay in the file; what is looked at is read, also after it was closed."""
        file = self.file
        losses: Any = StoredMatrix(self.path, file["losses"])
        names = StoredTexts(self.path, file["example_names"]) if "example_names" in file else ()
        return LossTrace(
            steps=file["steps"][()],
            example_ids=file["example_ids"][()],
            labels=file["labels"][()],
            losses=losses,
            complete=file["complete"][()],
            files=self.files,
            names=names,
            measured=self.measured if "measured" in file else None,
            weights=self.weights,
        )

    @property
    def mining(self) -> Mining | None:
        """What ``opsig mine`` found, or None."""
        if "mining" not in self.file:
            return None
        data = self._json("mining")
        data["pairs"] = tuple(decode_pair(pair) for pair in data["pairs"])
        data["spikes"] = tuple(decode_spike(spike) for spike in data["spikes"])
        data["top"] = tuple(self._top())
        data["provenance"] = self.provenance.get("mine")
        kept = {"gradient_steps": tuple, "notes": tuple, "opposing_classes": tuples}
        mining: Mining = decode(Mining, data, **kept)
        return mining

    @property
    def sharpness(self) -> tuple[SharpnessPoint, ...]:
        """The sharpness points, by step."""
        if "sharpness" not in self.file:
            return ()
        return tuple(decode_point(point) for point in self._json("sharpness"))

    @property
    def critical(self) -> tuple[CriticalSharpness, ...]:
        """Critical sharpness along the run's updates, by step."""
        if "critical_sharpness" not in self.file:
            return ()
        return tuple(decode(CriticalSharpness, point) for point in self._json("critical_sharpness"))

    @property
    def training_log(self) -> AgainstLog | None:
        """The mean loss beside the one that the run logged, or None."""
        return decode_log(self._json("training_log")) if "training_log" in self.file else None

    @property
    def recorded_facts(self) -> tuple[RecordedFact, ...]:
        """What training did and the trace does not, as far as it is recorded."""
        if "recorded_facts" not in self.file:
            return ()
        return tuple(decode(RecordedFact, fact) for fact in self._json("recorded_facts"))

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What the sharpness did along the run."""
        if "phases" not in self.file:
            return ()
        return tuple(decode(Phase, phase) for phase in self._json("phases"))

    @property
    def subset(self) -> NDArray[np.int64] | None:
        """(n,) ids of the examples that sharpness was measured on, or None for all."""
        return self.file["sharpness_examples"][()] if "sharpness_examples" in self.file else None

    def example_curvature(self) -> dict[int, NDArray[np.float32]]:
        """Step -> v₁ᵀH_i v₁ of each example (or of those of the subset), where it was measured."""
        if "example_curvature" not in self.file:
            return {}
        group = self.file["example_curvature"]
        return dict(zip(map(int, group["steps"][()]), group["values"][()], strict=True))

    @property
    def seen(self) -> tuple[dict[str, NDArray[Any]], str] | None:
        """Feature to (N,) of what can be seen in the examples, and why nothing can; None where nobody looked."""
        return get_seen(self.file, self.run.fingerprint)

    @property
    def thumbnails(self) -> Thumbnails | None:
        """Pictures of the examples a report shows, or None."""
        return get_pictures(self.file)

    @property
    def provenance(self) -> dict[str, Provenance]:
        """Command -> how its part was made."""
        group = self.file["provenance"]
        return {name: decode(Provenance, json.loads(group[name].asstr()[()])) for name in group}

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
            path=str(self.path),
        )

    def gradients(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The kept gradient sketches, if they are those that ``key`` names."""
        group = self.file.get("gradients")
        if group is None or group.attrs.get("key") != key:
            return None
        return {name: group[name][()] for name in group}

    def _top(self) -> Iterator[TopDeltas]:
        group = self.file.get("top")
        if group is None:
            return
        columns = {name: group[name][()] for name in group}
        for row, (step, following) in enumerate(columns["steps"]):
            up, down = columns["up_ids"][row] >= 0, columns["down_ids"][row] >= 0
            yield TopDeltas(
                int(step),
                int(following),
                columns["up_ids"][row][up],
                columns["up_deltas"][row][up],
                columns["down_ids"][row][down],
                columns["down_deltas"][row][down],
            )

    def _json(self, name: str) -> Any:
        return json.loads(self.file[name].asstr()[()])

    def _texts(self, name: str) -> tuple[str, ...]:
        return tuple(str(text) for text in self.file[name].asstr()[()])


@contextmanager
def open_store(path: Path) -> Iterator[Store]:
    """Open a store for reading.

    Raises:
        StoreError: there is none, it is not a store, it is damaged, or it was written by a newer opsig.
    """
    if not path.exists():
        raise StoreError(
            f"expected a store at {path}, found nothing there", "make one with: opsig trace CHECKPOINTS"
        )
    try:
        file = h5py.File(path, "r", rdcc_nbytes=CACHE)
    except PermissionError as error:
        raise StoreError(f"{path} cannot be read: permission denied", "check its owner and mode") from error
    except OSError as error:
        raise StoreError(
            f"expected an opsig store, found something that is no readable HDF5 file: {path}",
            "name another file with --store, or make it again with: opsig trace CHECKPOINTS",
        ) from error
    with file:
        if file.attrs.get("format") != FORMAT:
            raise StoreError(
                f"expected an opsig store, found another kind of HDF5 file: {path}",
                "name another file with --store",
            )
        version = int(file.attrs.get("format_version", 0))
        if version > FORMAT_VERSION:
            raise StoreError(
                f"{path} has store format {version} (written by opsig {file.attrs.get('opsig_version')}); "
                f"this opsig reads up to {FORMAT_VERSION}",
                "upgrade opsig",
            )
        try:
            yield Store(path, file)
        except (KeyError, json.JSONDecodeError) as error:
            raise StoreError(
                f"the store {path} is incomplete: {error}", "make it again with: opsig trace --fresh"
            ) from error
