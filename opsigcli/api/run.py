"""A store opened by a Python program: what is known of one run, read when it is looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opsigcli.api.found import Found
from opsigcli.api.matrix import Matrix
from opsigcli.mining.causes.attribute import with_causes
from opsigcli.mining_records import Pair, Spike
from opsigcli.options import STORE, STORE_VARIABLE
from opsigcli.printable import count
from opsigcli.sharpness_records import CriticalSharpness, Phase, SharpnessPoint
from opsigcli.store.reader import open_store

if TYPE_CHECKING:
    import pandas

    from opsigcli.records import Case, Provenance
    from opsigcli.records import Run as Specs


def open(path: str | PathLike[str] | None = None, *, result: str | Sequence[str] = ()) -> Run:
    """Open a store for reading, as every command does: its seal, its links and its layout are looked at first.

    >>> run = open("opsig.h5")
    >>> run.steps
    array([0, 2, 4])
    >>> run.losses.shape, run.deltas.shape
    ((3, 200), (2, 200))
    >>> bool((run.deltas[0] == run.losses[1] - run.losses[0]).all())
    True

    Args:
        path: the file; None is opsig.h5, or what OPSIG_STORE names.
        result: names of results to show in place of the latest ones, as ``opsig report --result`` takes them.

    Raises:
        StoreError: there is no store, or not a sound one.
        UsageError: the store has no result of such a name.
    """
    place = os.environ.get(STORE_VARIABLE) or STORE if path is None else path
    return Run(Path(place), (result,) if isinstance(result, str) else tuple(result))


class Run:
    """What a store holds of a run. Nothing can be changed by it; results that commands add meanwhile are seen.

    Args:
        path: of the store.
        results: names of results that are shown in place of the latest ones.
    """

    def __init__(self, path: Path, results: tuple[str, ...] = ()) -> None:
        self.path = path
        self._results = tuple(name for name in results if name)
        self._known: tuple[object, Case] | None = None
        self._attributed: tuple[object, Case] | None = None
        self._case()

    def _case(self) -> Case:
        """All of it but what only the losses tell, as the store is now."""
        with open_store(self.path) as store:
            now = _identity(self.path)
            if self._known is None or self._known[0] != now:
                self._known = now, store.case_with(self._results)
            return self._known[1]

    def case(self) -> Case:
        """All of it as one record, spikes attributed to what is known now: the losses are read once for that."""
        case = self._case()
        with open_store(self.path) as store:
            now = _identity(self.path)
            if self._attributed is None or self._attributed[0] != now:
                self._attributed = now, with_causes(case, store.seen)
            return self._attributed[1]

    @property
    def specs(self) -> Specs:
        """Model, data, loss and optimizer of the run, and where its checkpoints are."""
        return self._case().run

    @property
    def steps(self) -> NDArray[np.int64]:
        """(T,) number of each checkpoint; ``unit`` says what it counts."""
        return self._case().trace.steps

    @property
    def unit(self) -> str:
        """What steps count: step, epoch, number or position."""
        return self.specs.axis.one

    @property
    def ids(self) -> NDArray[np.int64]:
        """(N,) permanent number of each example in its source."""
        return self._case().trace.example_ids

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class index of each example."""
        return self._case().trace.labels

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; () where they have none."""
        return self.specs.classes

    @property
    def names(self) -> Sequence[str]:
        """(N,) relative path of each example; empty where examples have none."""
        found: Any = self._case().trace.names
        return found  # type: ignore[no-any-return]

    @property
    def files(self) -> tuple[str, ...]:
        """(T,) checkpoint file of each row."""
        return self._case().trace.files

    @property
    def lrs(self) -> NDArray[np.float64]:
        """(T,) learning rate at each checkpoint; NaN = unknown, or its optimizers have several."""
        with open_store(self.path) as store:
            return store.lrs

    @property
    def losses(self) -> Matrix:
        """(T, N) each example's loss at each checkpoint, nats; NaN = not measured, or not finite."""
        with open_store(self.path) as store:
            return Matrix(store, "losses")

    @property
    def deltas(self) -> Matrix:
        """(T−1, N) ``losses[t+1] − losses[t]``, nats; positive = got worse."""
        with open_store(self.path) as store:
            return Matrix(store, "loss_deltas")

    @property
    def mean_losses(self) -> NDArray[np.floating[Any]]:
        """(T,) the mean loss at each checkpoint, nats."""
        return self._case().trace.mean_losses

    @property
    def pairs(self) -> Found[Pair]:
        """The mined pairs, all that were proposed; () where nothing was mined."""
        mining = self._case().mining
        return Found(mining.pairs if mining else ())

    @property
    def findings(self) -> Found[Pair]:
        """Of the pairs, those that stand apart beyond chance."""
        return Found([pair for pair in self.pairs if pair.finding])

    @property
    def spikes(self) -> Found[Spike]:
        """The spikes of the mean loss, with who held each."""
        return Found(self.case().spikes)

    @property
    def sharpness(self) -> Found[SharpnessPoint]:
        """What ``opsig sharpness`` measured, by step."""
        return Found(self._case().sharpness)

    @property
    def critical_sharpness(self) -> Found[CriticalSharpness]:
        """What ``opsig sharpness --quick`` measured, by step."""
        return Found(self._case().critical)

    @property
    def phases(self) -> Found[Phase]:
        """What the sharpness did along the run."""
        return Found(self._case().phases)

    @property
    def results(self) -> tuple[str, ...]:
        """Names of all results that the store keeps; ``open(path, result=NAME)`` shows another one."""
        return tuple(result.name for result in self._case().results)

    @property
    def provenance(self) -> dict[str, Provenance]:
        """Command -> how its part was made."""
        return self._case().provenance

    def to_pandas(
        self, what: str, *, steps: str | None = None, examples: str | Sequence[int] | None = None
    ) -> pandas.DataFrame:
        """A table as ``opsig export`` writes it. Needs pandas.

        Args:
            what: losses, deltas, sharpness, pairs or examples.
            steps: A:B:C, checkpoints from step A to step B, every C-th.
            examples: their ids, or a file of ids.

        Raises:
            UsageError: there is no such table, or nothing of what is chosen.
            StoreError: the store lacks it.
        """
        import pandas

        from opsigcli.exporting import TABLES
        from opsigcli.exporting.chosen import chosen_positions, chosen_rows
        from opsigcli.exporting.matrices import Chosen

        table_of = TABLES.load(what)
        chosen = examples if examples is None or isinstance(examples, str) else ",".join(map(str, examples))
        with open_store(self.path) as store:
            rows = chosen_rows(store.trace.steps, steps)
            table = table_of(Chosen(store, rows, chosen_positions(store.trace, chosen, self.path)))
            columns = {column.name: column.read(0, table.rows) for column in table.columns}
            if table.grid is not None:
                columns |= dict(zip(table.grid.names, table.grid.read(0, table.rows), strict=True))
        return pandas.DataFrame(columns)

    def __repr__(self) -> str:
        trace = self._case().trace
        examples = count(len(trace.example_ids), "example")
        return f"<opsig run {self.path}: {count(len(trace.steps), 'checkpoint')}, {examples}>"

    def _repr_html_(self) -> str:
        from opsigcli.reporting.inline import inline_html

        return inline_html(self._case())


def _identity(path: Path) -> tuple[int, ...]:
    of = path.stat()
    return of.st_ino, of.st_size, of.st_mtime_ns
