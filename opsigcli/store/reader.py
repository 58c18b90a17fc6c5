"""Reads stores back into records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opsigcli.errors import UsageError
from opsigcli.look_records import Look
from opsigcli.mean_loss import mean_loss
from opsigcli.probe_records import ProbeTrace
from opsigcli.records import Case, ExampleCurvature, LossTrace, Run, TraceSummary
from opsigcli.result_records import VIRTUAL, Causal
from opsigcli.store.lazy_arrays import StoredMatrix, StoredTexts
from opsigcli.store.looked import DIGESTS
from opsigcli.store.names import MINE, QUICK, SHARPNESS, name_of
from opsigcli.store.opening import attribute, open_checked
from opsigcli.store.paths import MADE_IN, placed_run
from opsigcli.store.probes import read_probes
from opsigcli.store.results import Results
from opsigcli.store.schema import RESULTS
from opsigcli.token_ids import naming_of
from opsigcli.training_records import AgainstLog, RecordedFact


class Store(Results):
    """An open store, read only: the run, its trace, and the results that are shown first. Use ``open_store``."""

    @property
    def run(self) -> Run:
        """The run the store belongs to."""
        return placed_run(self._record(Run, "run"), self.path, str(attribute(self.file, MADE_IN) or ""))

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
        return TraceSummary(
            steps, self.file["example_ids"][()], found, self.virtual, self.run.axis, self.run.loss_unit
        ), infinite

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
            unit=run.loss_unit,
            digests=file[DIGESTS][()] if DIGESTS in self.names else None,
            naming=naming_of(run.transform, bool(run.classes), not labels.any()),
        )

    @property
    def causal(self) -> tuple[Causal, ...]:
        """What ``opsig mine --causal`` found, of the groups that are mined now and of others."""
        return self._records(Causal, "causal")

    @property
    def probes(self) -> tuple[ProbeTrace, ...]:
        """Inputs that were watched along the run, and what the model answered."""
        return read_probes(self.file, self.names)

    @property
    def training_log(self) -> AgainstLog | None:
        """The mean loss beside the one that the run logged, or None."""
        return self._record(AgainstLog, "training_log") if "training_log" in self.names else None

    @property
    def recorded_facts(self) -> tuple[RecordedFact, ...]:
        """What training did and the trace does not, as far as it is recorded."""
        return self._records(RecordedFact, "recorded_facts")

    @property
    def failed(self) -> dict[str, str] | None:
        """Checkpoint file to why the latest trace could not have it; None where no trace that ended said so."""
        if "failed" not in self.names:
            return None
        found: dict[str, str] = self._record(dict[str, str], "failed")
        return found

    @property
    def look(self) -> Look | None:
        """The first and the last checkpoint beside a guess, or None."""
        return self._record(Look, "look") if "look" in self.names else None

    @property
    def seen(self) -> tuple[dict[str, NDArray[Any]], str] | None:
        """Feature to (N,) of what can be seen in the examples, and why nothing can; None where nobody looked."""
        if "seen" not in self.file or attribute(self.file["seen"], "fingerprint") != self.run.fingerprint:
            return None
        return self._arrays("seen"), str(attribute(self.file["seen"], "unseen") or "")

    @property
    def case(self) -> Case:
        """All of it, with the results of the root."""
        return self.case_with(())

    def case_with(self, wanted: Sequence[str]) -> Case:
        """All of it, with the results of some names in place of those of the root.

        Raises:
            UsageError: there is no result of such a name.
        """
        places = self.places()
        chosen = dict.fromkeys(RESULTS, self) | {
            command: place for name in wanted for command, place in self._named(name, places)
        }
        made = {c: place.provenance[c] for c, place in chosen.items() if c in place.provenance}
        mined, measured = chosen[MINE], chosen[SHARPNESS]
        mining = mined.mining
        digest = "" if mining is None else mining.digest
        points = [
            replace(p, groups=tuple(group for group in p.groups if group.mining in ("", digest)))
            for p in measured.sharpness
        ]
        return Case(
            self.run,
            self.trace,
            mining,
            tuple(points),
            measured.phases,
            mined.thumbnails or self.thumbnails,
            self.provenance | made,
            chosen[VIRTUAL].virtual,
            chosen[QUICK].critical,
            self.training_log,
            self.recorded_facts,
            store=self.path,
            look=self.look,
            failed=self.failed,
            causal=self.causal,
            curvature=self._sharpest(measured),
            probes=self.probes,
            lrs=self.lrs,
            results=tuple(
                place.result(command, name, shown=place.at == chosen[command].at)
                for command, named in places.items()
                for name, place in named.items()
            ),
        )

    def _sharpest(self, measured: Results) -> ExampleCurvature | None:
        """Curvature of each example where the sharpness is largest, of the checkpoints at which it was measured."""
        curvature, ids = measured.example_curvature(), measured.subset
        sharpness = {p.step: p.eigenvalues[0] for p in measured.sharpness if p.converged and p.eigenvalues}
        step = max(
            (step for step in curvature if step in sharpness), key=lambda step: sharpness[step], default=None
        )
        if step is None:
            return None
        return ExampleCurvature(step, self.file["example_ids"][()] if ids is None else ids, curvature[step])

    def places(self) -> dict[str, dict[str, Results]]:
        """The results of every command by name, those of the root first."""
        found: dict[str, dict[str, Results]] = {command: {} for command in RESULTS}
        for place in (self, *self.kept()):
            for command, made in place.provenance.items():
                if command in RESULTS:
                    found[command][name_of(command, made, self.run.batch_norm)] = place
        return found

    def _named(self, name: str, places: Mapping[str, Mapping[str, Results]]) -> list[tuple[str, Results]]:
        found = [(command, named[name]) for command, named in places.items() if name in named]
        if not found:
            known = ", ".join(repr(known) for named in places.values() for known in named) or "nothing"
            raise UsageError(
                f"expected --result to name a result of {self.path}, found {name!r}; it has {known}",
                "name one of them as it is written",
            )
        return found

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

    def _ints(self, name: str) -> NDArray[np.int64]:
        return np.asarray(self.file[name][()], dtype=np.int64)

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
