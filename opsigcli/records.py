"""The nouns that cross rooms. Shapes and units stand on the fields; T checkpoints, N examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from opsigcli.axis import STEPS, Axis
from opsigcli.errors import ReportError
from opsigcli.loss_unit import NATS, LossUnit, unit_of
from opsigcli.mean_loss import MeanLoss, mean_loss
from opsigcli.options import STORE
from opsigcli.token_ids import LABELLED, Naming

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from opsigcli.look_records import Look
    from opsigcli.mining_records import Mining, Spike
    from opsigcli.probe_records import ProbeTrace
    from opsigcli.result_records import Causal, Result
    from opsigcli.sharpness_records import CriticalSharpness, Phase, SharpnessPoint
    from opsigcli.training_records import AgainstLog, RecordedFact

    Floats = NDArray[np.floating[Any]]
    Ints = NDArray[np.int64]
    Bytes = NDArray[np.uint8]
    Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Provenance:
    """How a result came to be."""

    command: str  # its name
    options: dict[str, Any]  # every option by its name
    opsig_version: str  # that made it
    torch_version: str = ""  # likewise; "" where nothing was computed
    device: str = ""  # cpu, cuda …
    dtype: str = "float32"  # that it was computed in
    seed: int = 0  # of everything random


@dataclass(frozen=True)
class Run:
    """The run that the checkpoints belong to: everything needed to compute on it again."""

    checkpoints: str  # folder
    model: str  # spec
    data: str  # spec
    loss: str  # name in LOSSES
    key: str | None = None  # which part of a checkpoint holds the weights
    weights: str = ""  # model or ema, where a checkpoint holds both
    partial: bool = False  # the weights fit the model in part; the rest is as the model's initialisation
    fit: str = ""  # how the names in the checkpoints were brought to the model's, where they differ
    optimizer: str = ""  # gd, sgd, momentum, adam …; "" when unknown
    hyper: dict[str, Any] = field(default_factory=dict)  # lr, momentum, betas …
    batch_size: int | None = None  # None is full batch or unknown
    precision: str = "float32"  # of the forward passes that gave the losses
    batch_norm: str = ""  # its statistics: stored, re-estimate or batch; "" without BatchNorm, or stored
    input_shape: tuple[int, ...] = ()  # of one example
    classes: tuple[str, ...] = ()  # their names, by label
    fingerprint: str = ""  # of the dataset
    transform: dict[str, Any] = field(default_factory=dict)  # what is done to inputs
    unit: str = ""  # what steps count: step, epoch, number or position; "" when not known
    config: str = ""  # content of the config.json of a model hf:DIR; "" for other models, and in older stores
    forked: str = (
        ""  # of which checkpoint the run is a fork, and what differs, in words; "" of one that is none
    )
    seed: int | None = None  # of everything random in training; None where it is not known
    base: str = ""  # sha256 of the base model's weights, which adapters change

    @property
    def axis(self) -> Axis:
        """What its steps count."""
        return Axis(self.unit)

    @property
    def loss_unit(self) -> LossUnit:
        """What its losses are measured in."""
        return unit_of(self.loss)


class StoredNames(Protocol):
    """Names that stay in a file until somebody looks."""

    def __len__(self) -> int: ...

    def __getitem__(self, positions: Ints) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class LossTrace:
    """Per-example losses along a series of checkpoints.

    Losses and names may stay in a file, where every look costs more than what is looked at: ask for many at once.
    """

    steps: Ints  # (T,) what ``axis`` says, increasing: optimizer updates made, epochs …
    example_ids: Ints  # (N,)
    labels: Ints  # (N,)
    losses: Floats  # (T, N) float32, nats; row t = checkpoint t; NaN = not measured, or not finite
    complete: NDArray[np.bool_]  # (T,) the row was measured
    files: tuple[str, ...] = ()  # (T,) checkpoint file of each row
    names: tuple[str, ...] | StoredNames = ()  # (N,) relative paths of the examples
    measured: NDArray[np.bool_] | None = None  # (N,) False = its label says to ignore it; None = all count
    weights: Floats | None = None  # (N,) of each example in the mean loss, of mean 1; None = all alike
    axis: Axis = STEPS  # what the steps count
    unit: LossUnit = NATS  # of the losses
    naming: Naming = LABELLED
    digests: Ints | None = None  # (N,) of inputs and targets; None in stores of older versions

    @cached_property
    def mean_loss(self) -> MeanLoss:
        """The mean loss at every checkpoint, and which examples it is over; the losses are read once for it."""
        return mean_loss(self.losses, self.measured, self.weights)

    @property
    def mean_losses(self) -> Floats:
        """The mean loss at every checkpoint, (T,) float64, nats; NaN = none."""
        return self.mean_loss.values

    def around(self, row: int, positions: Ints) -> Floats:
        """Losses of some examples before and after loss delta ``row``, (2, n)."""
        return self.losses[row : row + 2, positions]

    def names_at(self, positions: Ints) -> tuple[str, ...]:
        """Names of the examples in some columns, (n,); "" where examples have none."""
        if isinstance(self.names, tuple):
            return tuple(self.names[i] if self.names else "" for i in positions.tolist())
        return self.names[positions]

    def positions(self, ids: Ints) -> Ints:
        """Columns that hold the examples ``ids``, (n,).

        Raises:
            ReportError: the trace has no such example.
        """
        import numpy as np

        wanted, known = np.asarray(ids, dtype=np.int64), self.example_ids
        order = np.argsort(known, kind="stable")
        places = order[np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)]
        lost = wanted[known[places] != wanted]
        if len(lost):
            raise ReportError(
                f"expected every example of a group in the loss trace; example {lost[0]} is not one of its "
                f"{len(known)}",
                "mine this store again: opsig mine",
            )
        return places


@dataclass(frozen=True)
class VirtualSteps:
    """One optimizer step taken from each checkpoint, and what it did to the losses."""

    steps: Ints  # (T,)
    mean: Floats  # (T,) mean loss delta, nats
    interference: Floats  # (T,) D = 1 - |Σ Δℓ| / Σ|Δℓ|, in [0, 1]
    fraction_up: Floats  # (T,) share of examples whose loss rises
    up_ids: Ints  # (T, k) largest positive deltas first; -1 where there are fewer
    up_deltas: Floats  # (T, k) nats
    down_ids: Ints  # (T, k) most negative first
    down_deltas: Floats  # (T, k) nats
    taken: Bools | None = None  # (T,) False = no step was taken from this checkpoint; None = from all
    name: str = ""  # of the result: the command with the choices its numbers depend on, as of another rule

    @property
    def rows(self) -> list[int]:
        """The checkpoints that a step was taken from, as rows."""
        every = range(len(self.steps))
        return [t for t in every if self.taken is None or self.taken[t]]


@dataclass(frozen=True)
class TraceSummary:
    """A loss trace without its losses."""

    steps: Ints  # (T,)
    example_ids: Ints  # (N,)
    mean_loss: MeanLoss
    virtual: VirtualSteps | None = None
    axis: Axis = STEPS
    unit: LossUnit = NATS  # of the losses

    @property
    def mean_losses(self) -> Floats:
        """The mean loss at every checkpoint, (T,) float64, nats; NaN = none."""
        return self.mean_loss.values


@dataclass(frozen=True)
class Thumbnails:
    """Pictures of the examples a report shows, so that it needs neither data nor torch."""

    ids: Ints  # (n,)
    images: tuple[Bytes, ...]  # (H, W, 3) each
    means: tuple[Bytes, ...] = ()  # of every pair: first group, second, first minus second about grey


@dataclass(frozen=True)
class ExampleCurvature:
    """Curvature of each example along the top eigenvector at one checkpoint."""

    step: int
    ids: Ints  # (n,)
    values: Floats  # (n,) v₁ᵀH_i v₁


@dataclass(frozen=True)
class Case:
    """All that one store holds about one run."""

    run: Run
    trace: LossTrace
    mining: Mining | None = None
    sharpness: tuple[SharpnessPoint, ...] = ()
    phases: tuple[Phase, ...] = ()
    thumbnails: Thumbnails | None = None
    provenance: dict[str, Provenance] = field(default_factory=dict)  # command -> how it was made
    virtual: VirtualSteps | None = None
    critical: tuple[CriticalSharpness, ...] = ()
    training_log: AgainstLog | None = None
    recorded_facts: tuple[RecordedFact, ...] = ()
    spikes: tuple[Spike, ...] = ()  # of this trace, attributed to what is known now
    largest_rise: Spike | None = None  # where there is no spike, likewise
    store: Path = STORE  # where it is kept
    look: Look | None = None  # the ends of the run beside a guess
    failed: dict[str, str] | None = (
        None  # checkpoint -> why the latest trace could not have it; None = not known
    )
    causal: tuple[Causal, ...] = ()  # of the groups of ``mining``, and of others
    curvature: ExampleCurvature | None = (
        None  # where the sharpness is largest, of the checkpoints that have it
    )
    probes: tuple[ProbeTrace, ...] = ()  # inputs that were watched along the run
    results: tuple[Result, ...] = ()  # all that are kept: those above, and those that are not shown
    lrs: Floats | None = (
        None  # (T,) learning rate that each checkpoint records, NaN = unknown; None = not looked up
    )

    @property
    def settings(self) -> dict[str, str]:
        """The optimizer's settings in words: those of the last checkpoint, and how far the learning rate went."""
        import numpy as np

        found = {name: str(value) for name, value in self.run.hyper.items()}
        known = () if self.lrs is None else self.lrs[np.isfinite(self.lrs)]
        if "lr" in found and len(known) and min(known) != max(known):
            found["lr"] += f" at the end, {min(known):.4g} to {max(known):.4g} along the run"
        return found
