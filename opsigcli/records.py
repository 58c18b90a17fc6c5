"""The nouns that cross rooms. Shapes and units stand on the fields; T checkpoints, N examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from opsigcli.errors import ReportError
from opsigcli.mean_loss import MeanLoss, mean_loss

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Ints = NDArray[np.int64]
    Bytes = NDArray[np.uint8]

Side = Literal["first", "second", "rest"]
SIDES: tuple[Side, Side] = ("first", "second")  # of a pair
IGNORED = -100  # a label that says not to measure the example, or the token; PyTorch's ignore_index


class TokenSequences(Protocol):
    """The sequences in which examples that are single tokens lie: one forward pass serves all tokens of a sequence."""

    def __len__(self) -> int: ...

    def locate(self, positions: Ints) -> tuple[Ints, Ints, Ints]:
        """The sequences (S,) that hold the examples at ``positions``; of each its place among them and column (B,)."""

    def read(self, rows: Ints) -> tuple[Ints, Ints]:
        """Inputs and targets of whole sequences, (S, L) each."""


@runtime_checkable
class ExampleSource(Protocol):
    """A dataset as the other rooms see it: fixed order, no shuffling, no augmentation.

    A *position* is a row of this source (0 … N−1); an *id* is the example's permanent number in the source,
    which does not change when a subset is taken. A class that inherits from this one has the defaults given here,
    which are those of examples with one class label each.
    """

    spec: str  # the spec that opens this source again
    ids: Ints  # (N,) permanent numbers
    labels: Ints  # (N,) class indices, by which groups are told apart; 0 where examples have no class
    input_shape: tuple[int, ...]  # shape of one input, (C, H, W) for images
    fingerprint: str  # sha256 over what the examples are
    transform: dict[str, Any]  # what was done to the inputs, with its resolved constants
    classes: tuple[str, ...] = ()  # class names; () when unknown
    names: tuple[str, ...] = ()  # (N,) relative paths; () where examples have none
    weights: Floats | None = None  # (N,) of each example in the mean loss; None = all alike
    normalisation: tuple[Floats, Floats] | None = (
        None  # mean and deviation: read is (pixels / 255 − mean) / deviation
    )
    sequences: TokenSequences | None = None  # where each example is a token of a sequence that others share
    known_pairs: tuple[tuple[Ints, Ints], ...] = ()  # ids of planted opposing groups; () for real data

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, positions: Ints) -> Floats | Ints:
        """The inputs at ``positions``: (B, *input_shape) float32, or int64 where they are tokens."""

    def read_targets(self, positions: Ints) -> Floats | Ints:
        """What the loss compares the outputs at ``positions`` with: labels (B,) or tokens (B, L) int64, or numbers
        (B, …) float32."""
        return self.labels[positions]

    def pixels(self, positions: Ints) -> Bytes | None:
        """The inputs as bytes, where ``normalisation`` makes of them what ``read`` gives."""
        return None

    def image(self, position: int) -> Bytes | None:
        """The example as a person would look at it: (H, W, 3) uint8, or None when it is no image."""
        return None

    @property
    def outputs(self) -> int:
        """How many outputs a model needs: classes, tokens of the vocabulary, or entries of a target."""
        return max(len(self.classes), int(self.labels.max()) + 1 if len(self) else 0)

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(N,) False where nothing is to be measured: every label of the example is ``IGNORED``."""
        found: NDArray[np.bool_] = self.labels != IGNORED
        return found


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
    weights: str = ""  # model or ema, where a checkpoint holds both
    partial: bool = False  # the weights fit the model in part; the rest is as the model's initialisation
    fit: str = ""  # how the names in the checkpoints were brought to the model's, where they differ
    optimizer: str = ""  # gd, sgd, momentum, adam …; "" when unknown
    hyper: dict[str, Any] = field(default_factory=dict)  # lr, momentum, betas …
    batch_size: int | None = None  # None is full batch or unknown
    precision: str = "float32"  # of the forward passes that gave the losses
    input_shape: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    fingerprint: str = ""  # of the dataset
    transform: dict[str, Any] = field(default_factory=dict)
    unit: str = ""  # what steps count: step, epoch, number or position; "" when not known


class StoredNames(Protocol):
    """Names that stay in a file until somebody looks."""

    def __len__(self) -> int: ...

    def __getitem__(self, positions: Ints) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class LossTrace:
    """Per-example losses along a series of checkpoints.

    Losses and names may stay in a file, where every look costs more than what is looked at: ask for many at once.
    """

    steps: Ints  # (T,) optimizer updates made
    example_ids: Ints  # (N,)
    labels: Ints  # (N,)
    losses: Floats  # (T, N) float32, nats; row t = checkpoint t; NaN = not measured, or not finite
    complete: NDArray[np.bool_]  # (T,) the row was measured
    files: tuple[str, ...] = ()  # (T,) checkpoint file of each row
    names: tuple[str, ...] | StoredNames = ()  # (N,) relative paths of the examples
    measured: NDArray[np.bool_] | None = None  # (N,) False = its label says to ignore it; None = all count
    weights: Floats | None = None  # (N,) of each example in the mean loss, of mean 1; None = all alike

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
    down_deltas: Floats


@dataclass(frozen=True)
class TraceSummary:
    """A loss trace without its losses."""

    steps: Ints  # (T,)
    example_ids: Ints  # (N,)
    mean_loss: MeanLoss
    virtual: VirtualSteps | None = None

    @property
    def mean_losses(self) -> Floats:
        """The mean loss at every checkpoint, (T,) float64, nats; NaN = none."""
        return self.mean_loss.values


@dataclass(frozen=True)
class Evidence:
    """One number for a pair, with the reference level it has to be held against."""

    value: float
    null: float | None = None  # the same number for the null named in the definition
    p_value: float | None = None
    definition: str = ""  # the key of opsigcli.mining.evidence.DEFINITIONS that says what it is
    feature: str = ""  # what it is about, where it could be several: brightness, or a token
    side: str = ""  # first or second, where it is about one group of the pair


@dataclass(frozen=True)
class Group:
    """Example ids that move together."""

    ids: Ints  # (n,)
    labels: dict[str, int] = field(default_factory=dict)  # class name -> members, most first
    nearest: int | None = None  # id of the member whose gradient is nearest to the group's centroid


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

    @property
    def groups(self) -> dict[Side, Group]:
        """Both groups by side."""
        return dict(zip(SIDES, (self.first, self.second), strict=True))


@dataclass(frozen=True, order=True)
class GroupKey:
    """Which group of examples: one side of a pair, or the rest of the examples."""

    pair: int  # from 1; 0 for the rest
    side: Side

    def __str__(self) -> str:
        return f"pair {self.pair} {self.side}" if self.pair else self.side


REST = GroupKey(0, "rest")  # the examples in no pair


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
    """A sudden rise of the mean loss, and its attribution to groups."""

    step: int  # the checkpoint before the rise
    next_step: int  # the checkpoint at its top
    rise: float  # nats
    share_of_rise: dict[GroupKey, float]  # part of all positive deltas, REST last; adds up to 1
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
    explained: dict[str, float] = field(
        default_factory=dict
    )  # adjusted R² of high-passed loss deltas, by what
    provenance: Provenance | None = None

    @property
    def groups(self) -> dict[GroupKey, Group]:
        """The groups of all pairs, in order."""
        return {
            GroupKey(number, side): group
            for number, pair in enumerate(self.pairs, start=1)
            for side, group in pair.groups.items()
        }


@dataclass(frozen=True)
class LayerCurvature:
    """What one layer, or all layers of one kind, have to do with the curvature at a checkpoint."""

    name: str  # the module's path in the model; the kind for all layers of a kind
    kind: str  # embedding, attention, convolution, mlp, norm or other
    parameters: int
    shares: tuple[float, ...]  # of each top eigenvector: ‖v within the layer‖²; adds up to 1 over layers
    eigenvalue: float | None = None  # largest algebraic one of the layer's diagonal block of the Hessian
    residual: float | None = None  # ‖Hv − λv‖ / |λ| in that block
    converged: bool = False


@dataclass(frozen=True)
class GroupCurvature:
    """What a mined group has to do with the curvature at a checkpoint."""

    name: GroupKey
    fraction: float  # of the examples
    share: (
        Evidence  # Σ of v₁ᵀH_i v₁ over its examples ÷ the sum over all; null: mean of 199 class-matched draws
    )
    alignment: Evidence  # ‖Vᵀg‖² / ‖g‖², g its mean gradient, V the top eigenvectors; null: likewise, of 5
    cosine: float  # of g and v₁; the sign of v₁ is arbitrary, but the same for all groups


@dataclass(frozen=True)
class HessianSpectrum:
    """The whole spectrum of the Hessian at a checkpoint, estimated."""

    grid: tuple[float, ...]  # (G,) eigenvalues at which the density is given
    density: tuple[float, ...]  # (G,) per unit of eigenvalue, smoothed with ``width``
    errors: tuple[float, ...]  # (G,) standard error over random starts
    width: float  # standard deviation of the smoothing Gaussian
    probes: int  # random starts
    degree: int  # matvecs per start
    bulk: float  # upper edge of the bulk: its mean + 5 standard deviations
    outliers: int  # eigenvalues above the bulk: median over starts
    outliers_range: tuple[int, int]  # over starts
    hessian_trace: float
    trace_error: float  # standard error
    gauss_newton: float  # v₁ᵀ G v₁ of the Gauss–Newton part, H = G + R
    remainder: float  # v₁ᵀ R v₁
    gauss_newton_top: float  # largest eigenvalue of G
    matvecs: int  # products spent on all this


@dataclass(frozen=True)
class StepCheck:
    """Whether the step to the next checkpoint is the one that the rule makes whose threshold is given."""

    verdict: str  # confirmed, contradicted, or cannot be told
    reason: str = ""  # what was tested and found, the likely causes first
    relative_error: float | None = None  # ‖Δ − Δ̂‖ / ‖Δ‖, Δ the step made, Δ̂ the rule's on all examples
    cosine: float | None = None  # of Δ and Δ̂
    bound: float | None = None  # of the relative error of a confirmed step


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
    preconditioned: float | None = (
        None  # λmax(P⁻¹H) for optimizers with a preconditioner, or λmax(D^½ … D^½) in units
    )
    reason: str = ""  # why not converged, or why there is no threshold
    file: str = ""
    lr: float | None = None
    partial: bool = False  # the budget ended here; measured again by the next command
    batch_norm: str | None = None  # statistics used: running or batch; None without BatchNorm
    examples: int | None = None  # in the subset; None when all were used
    subsets: tuple[float, ...] = ()  # λ₁ on other subsets of that size, where it was measured
    batch_sharpness: float | None = None  # mean of gᵀHg / ‖g‖² over random minibatches
    batch_error: float | None = None  # its standard error
    batch_ratio: float | None = None  # batch sharpness ÷ threshold
    batches: int = 0
    secant: float | None = None  # (g' − g)·d / ‖d‖² to the next checkpoint, d = θ' − θ
    secant_step: int | None = None  # that checkpoint
    layers: tuple[LayerCurvature, ...] = ()
    kinds: tuple[LayerCurvature, ...] = ()  # the same for all layers of a kind together
    concentration: float | None = None  # share of λ₁ held by the 5 % of examples with the largest v₁ᵀH_i v₁
    groups: tuple[GroupCurvature, ...] = ()
    spectrum: HessianSpectrum | None = None
    optimizer: str = ""  # the rules that the threshold is of
    units: str = ""  # of threshold and ``preconditioned``, where parameter groups differ
    parameters: int | None = None  # weights that the Hessian is over: those that train
    untrained: int = 0  # weights left out, which the model lets train and the run did not
    notes: tuple[str, ...] = ()  # where options contradict the checkpoint
    step_check: StepCheck | None = None  # None where it was not made


@dataclass(frozen=True)
class CriticalSharpness:
    """Curvature along the run's own update at one checkpoint, from values of the loss alone; not an eigenvalue."""

    step: int
    critical_sharpness: float | None  # 2/η_c; None where η_c was not found or no learning rate is known
    critical_lr: float | None  # η_c, the smallest learning rate at which the update raises the loss
    threshold: float | None  # 2/η along the run's update; along the gradient, that of the optimizer
    ratio: float | None  # critical sharpness ÷ threshold: η/η_c along the run's update; 1 is the edge
    error: float | None  # relative, of all three: half the last bracket, and the loss's rounding
    direction: str  # next checkpoint, optimizer step, or gradient
    forward_passes: int  # over all examples
    gradients: int  # likewise
    reason: str = ""  # why something was not found
    file: str = ""
    lr: float | None = None
    batch_norm: str | None = None  # statistics used: running or batch; None without BatchNorm
    examples: int | None = None  # in the subset; None when all were used


@dataclass(frozen=True)
class Phase:
    """A stretch of the run, by its sharpness."""

    name: str  # progressive sharpening, at the edge, past the edge, catapult
    first_step: int  # where it begins
    last_step: int
    evidence: str  # in words, with numbers


@dataclass(frozen=True)
class Thumbnails:
    """Pictures of the examples a report shows, so that it needs neither data nor torch."""

    ids: Ints  # (n,)
    images: tuple[Bytes, ...]  # (H, W, 3) each
    means: tuple[Bytes, ...] = ()  # of every pair: first group, second, first minus second about grey


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
