"""The nouns that cross rooms. Shapes and units stand on the fields; T checkpoints, N examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Ints = NDArray[np.int64]
    Bytes = NDArray[np.uint8]


class ExampleSource(Protocol):
    """A dataset as the other rooms see it: fixed order, no shuffling, no augmentation.

    A *position* is a row of this source (0 … N−1); an *id* is the example's permanent number in the source,
    which does not change when a subset is taken.
    """

    spec: str  # the spec that opens this source again
    ids: Ints  # (N,) permanent numbers
    labels: Ints  # (N,) class indices
    targets: NDArray[
        Any
    ]  # (N, …) what the loss compares outputs with: the labels, or float regression targets
    classes: tuple[str, ...]  # class names; () when unknown
    names: tuple[str, ...]  # (N,) relative paths; () where examples have none
    input_shape: tuple[int, ...]  # shape of one input, (C, H, W) for images
    fingerprint: str  # sha256 over what the examples are
    transform: dict[str, Any]  # what was done to the inputs, with its resolved constants
    known_pairs: tuple[tuple[Ints, Ints], ...]  # ids of planted opposing groups; () for real data

    def __len__(self) -> int: ...

    def read(self, positions: Ints) -> Floats:
        """The inputs at ``positions``: (B, *input_shape) float32."""

    def image(self, position: int) -> Bytes | None:
        """The example as a person would look at it: (H, W, 3) uint8, or None when it is no image."""


@dataclass(frozen=True)
class Provenance:
    """How a result came to be."""

    command: str
    options: dict[str, Any]
    opsig_version: str
    torch_version: str = ""
    device: str = ""
    dtype: str = "float32"
    seed: int = 0


@dataclass(frozen=True)
class Run:
    """The run that the checkpoints belong to: everything needed to compute on it again."""

    checkpoints: str  # folder
    model: str  # spec
    data: str  # spec
    loss: str  # name in LOSSES
    key: str | None = None  # which part of a checkpoint holds the weights
    optimizer: str = ""  # gd, sgd, momentum, adam …; "" when unknown
    hyper: dict[str, Any] = field(default_factory=dict)  # lr, momentum, betas …
    batch_size: int | None = None  # None is full batch or unknown
    input_shape: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    fingerprint: str = ""  # of the dataset
    transform: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LossTrace:
    """Per-example losses along a series of checkpoints."""

    steps: Ints  # (T,) optimizer updates made
    example_ids: Ints  # (N,)
    labels: Ints  # (N,)
    losses: Floats  # (T, N) float32, nats; row t = checkpoint t; NaN = not measured, or not finite
    complete: NDArray[np.bool_]  # (T,) the row was measured
    files: tuple[str, ...] = ()  # (T,) checkpoint file of each row
    names: tuple[str, ...] = ()  # (N,) relative paths of the examples

    @property
    def mean_losses(self) -> Floats:
        """Mean loss at every checkpoint, (T,) float64, nats."""
        import numpy as np

        return np.array([np.mean(row, dtype=np.float64) for row in self.losses])


@dataclass(frozen=True)
class Evidence:
    """One number for a pair, with the reference level it has to be held against."""

    value: float
    null: float | None = None  # the same number for the null named in the definition
    p_value: float | None = None


@dataclass(frozen=True)
class Group:
    """Example ids that move together."""

    ids: Ints  # (n,)
    labels: dict[str, int] = field(default_factory=dict)  # class name -> members, most first


@dataclass(frozen=True)
class Pair:
    """Two groups with opposing signals. ``first`` is the one whose loss rises at the pair's strongest step."""

    first: Group
    second: Group
    opposition: Evidence
    evidence: dict[str, Evidence]  # by name; definitions in opsigcli.mining.evidence.DEFINITIONS
    verdict: str  # in words
    reasons: tuple[str, ...] = ()
    strongest_step: int = 0  # the delta from this checkpoint to the next is the pair's largest
    traits: tuple[str, ...] = ()  # of structural, active, discrete


@dataclass(frozen=True)
class TopDeltas:
    """The examples whose loss changed most between one checkpoint and the next."""

    step: int  # the earlier checkpoint
    next_step: int
    up_ids: Ints  # (k,) largest positive deltas first
    up_deltas: Floats  # (k,) nats
    down_ids: Ints  # (k,) most negative first
    down_deltas: Floats


@dataclass(frozen=True)
class Spike:
    """A sudden rise of the mean loss, and who holds it."""

    step: int  # the checkpoint before the rise
    next_step: int  # the checkpoint at its top
    rise: float  # nats
    share_of_rise: dict[
        str, float
    ]  # "pair 1 first", …, "rest" -> share of the sum of positive deltas; adds up to 1
    kind: str = ""  # catapult, divergence, or unresolved at the end of the trace


@dataclass(frozen=True)
class Mining:
    """What was found, and what was looked at to find it."""

    method: str
    pairs: tuple[Pair, ...]
    top: tuple[TopDeltas, ...]
    spikes: tuple[Spike, ...]
    gradient_steps: tuple[int, ...]  # checkpoints whose gradients were compared
    candidates: int  # examples whose gradients were compared
    notes: tuple[str, ...] = ()  # limits and advice, in words
    recovery: dict[str, float] | None = None  # against known pairs: found, known, f1, precision
    explained: dict[str, float] = field(default_factory=dict)  # adjusted R² of fast loss changes, by what
    provenance: Provenance | None = None


@dataclass(frozen=True)
class SharpnessPoint:
    """Top of the Hessian spectrum at one checkpoint."""

    step: int
    eigenvalues: tuple[float, ...]  # largest algebraic first, of the Hessian of the mean loss
    residuals: tuple[float, ...]  # ‖Hv − λv‖ / |λ₁| for each
    converged: bool
    matvecs: int  # HVPs spent
    threshold: float | None  # of the run's optimizer at this step; None when it is not known
    ratio: float | None  # (preconditioned) sharpness ÷ threshold; 1 is the edge
    preconditioned: float | None = None  # λmax(P⁻¹H) for optimizers with a preconditioner
    reason: str = ""  # why not converged, or why there is no threshold
    file: str = ""
    lr: float | None = None


@dataclass(frozen=True)
class Thumbnails:
    """Pictures of the examples a report shows, so that it needs neither data nor torch."""

    ids: Ints  # (n,)
    images: tuple[Bytes, ...]  # (H, W, 3) each


@dataclass(frozen=True)
class Case:
    """All that one store holds about one run."""

    run: Run
    trace: LossTrace
    mining: Mining | None = None
    sharpness: tuple[SharpnessPoint, ...] = ()
    thumbnails: Thumbnails | None = None
    provenance: dict[str, Provenance] = field(default_factory=dict)  # command -> how it was made
