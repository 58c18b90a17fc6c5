"""A matrix of a store: losses or loss deltas, read when they are looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opsigcli.errors import StoreError, UsageError
from opsigcli.store.lazy_arrays import StoredMatrix
from opsigcli.store.reader import Store, open_store

if TYPE_CHECKING:
    import pandas


class Matrix:
    """(T, N) float32 in nats: a row per checkpoint, or per change from one to the next; a column per example.

    It is indexed as an array is, and each look reads what is asked for: ``m[-1]``, ``m[:, 3]``, ``np.asarray(m)``.

    Args:
        store: an open store.
        name: losses or loss_deltas.

    Attributes:
        steps: (T,) of the rows; of a change, the step before it.
        ids: (N,) of the columns.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._path: Path = store.path
        self._name = name
        self._made = _made(store)
        self._stored = StoredMatrix(store.path, store.file[name])
        self.steps: NDArray[np.int64] = store.trace.steps[: len(self._stored)]
        self.ids: NDArray[np.int64] = store.trace.example_ids

    @property
    def shape(self) -> tuple[int, int]:
        """(T, N)."""
        return len(self.steps), len(self.ids)

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""
        return self._stored.dtype

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: Any) -> Any:
        return self._read(index)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def __repr__(self) -> str:
        return f"<{self._name} of {self._path}: {len(self.steps)} x {len(self.ids)} float32>"

    def at(self, step: int) -> NDArray[np.float32]:
        """The row of a step, (N,).

        Raises:
            UsageError: there is none.
            StoreError: the store was traced anew since it was opened.
        """
        rows = np.flatnonzero(self.steps == step)
        if not len(rows):
            raise UsageError(
                f"expected one of the {len(self.steps)} steps of {self._path}, found {step!r}",
                "steps has those that there are",
            )
        found: NDArray[np.float32] = self._read(int(rows[0]))
        return found

    def of(self, ids: Any) -> NDArray[np.float32]:
        """The columns of examples, (T, n) in the order of ``ids``.

        Raises:
            UsageError: the trace has no such example.
            StoreError: the store was traced anew since it was opened.
        """
        wanted = np.atleast_1d(np.asarray(ids, dtype=np.int64))
        order = np.argsort(self.ids, kind="stable")
        places = order[np.minimum(np.searchsorted(self.ids, wanted, sorter=order), len(self.ids) - 1)]
        lost = wanted[self.ids[places] != wanted]
        if len(lost):
            raise UsageError(
                f"expected ids of the {len(self.ids)} examples of {self._path}, found {lost[0]}",
                "ids has them",
            )
        found: NDArray[np.float32] = self._read((slice(None), places))
        return found

    def to_pandas(self) -> pandas.DataFrame:
        """All of it, a row per step and a column per example id. Pandas has to be installed."""
        import pandas

        return pandas.DataFrame(np.asarray(self), index=self.steps, columns=self.ids)

    def _read(self, index: Any) -> Any:
        """What is in the file, unless it is of another trace than the steps and ids here.

        Raises:
            StoreError: the store was traced anew.
        """
        with open_store(self._path) as store:
            if _made(store) != self._made:
                raise StoreError(
                    f"{self._path} was traced anew since it was opened", "open it again: opsig.open(...)"
                )
        return self._stored[index]


def _made(store: Store) -> tuple[Any, ...]:
    """What a trace is known by: its checkpoints, and the data."""
    file = store.file
    return (
        file["steps"][()].tobytes(),
        file["losses"].shape,
        file["run_signature"].asstr()[()],
        store.sha256,
        store.run.fingerprint,
    )
