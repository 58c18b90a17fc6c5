"""The nouns of sharpness that cross rooms: what was measured at a checkpoint, and where the curvature lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from opsigcli.mining_records import (
    Evidence,
    GroupKey,
)

NO_STEP = "no threshold: the learning rate is 0 there, and no step is made"

# Of a step that the optimizer's states confirm as the rule's, on whatever loss its gradients were of.
OTHER_GRADIENT = "the gradient they imply is not that of all examples"


@dataclass(frozen=True)
class LayerCurvature:
    """What one layer, or all layers of one kind, have to do with the curvature at a checkpoint."""

    name: str  # the module's path in the model; the kind for all layers of a kind
    kind: str  # embedding, attention, convolution, mlp, norm or other
    parameters: int  # weights in it
    shares: tuple[float, ...]  # of each top eigenvector: ‖v within the layer‖²; adds up to 1 over layers
    eigenvalue: float | None = None  # largest algebraic one of the layer's diagonal block of the Hessian
    residual: float | None = None  # ‖Hv − λv‖ / |λ| in that block
    converged: bool = False  # the eigenvalue did


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
    mining: str = ""  # digest of the mining that the group is of; "" in stores of older versions


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
    hessian_trace: float  # sum of all eigenvalues, estimated
    trace_error: float  # standard error
    gauss_newton: float  # v₁ᵀ G v₁ of the Gauss–Newton part, H = G + R
    remainder: float  # v₁ᵀ R v₁
    gauss_newton_top: float  # largest eigenvalue of G
    matvecs: int  # products spent on all this


CONFIRMED, CONTRADICTED, UNTOLD = "confirmed", "contradicted", "cannot be told"


@dataclass(frozen=True)
class StepCheck:
    """Whether the step to the next checkpoint is the one that the rule makes whose threshold is given."""

    verdict: str  # CONFIRMED, CONTRADICTED or UNTOLD
    reason: str = ""  # what was tested and found, the likely causes first
    relative_error: float | None = (
        None  # ‖Δ − Δ̂‖ / ‖Δ‖, Δ the step made, Δ̂ the rule's on all examples, or of the gradient in its states
    )
    cosine: float | None = None  # of Δ and Δ̂
    bound: float | None = None  # of the relative error of a confirmed step
    whole: bool = False  # the step is that of the mean loss over all examples
    reach: float | None = (
        None  # movement to the next checkpoint, or momentum, ÷ the most that the rule can make on the mean loss
    )


@dataclass(frozen=True)
class SharpnessPoint:
    """Top of the Hessian spectrum at one checkpoint."""

    step: int  # of the checkpoint
    eigenvalues: tuple[float, ...]  # largest algebraic first, of the Hessian of the mean loss
    residuals: tuple[float, ...]  # ‖Hv − λv‖ / |λ₁| for each
    converged: bool  # the residuals are within the tolerance
    matvecs: int  # HVPs spent
    threshold: float | None  # of the run's optimizer at this step; None when it is not known
    ratio: float | None  # (preconditioned) sharpness ÷ threshold; 1 is the edge
    preconditioned: float | None = (
        None  # λmax(P⁻¹H) for optimizers with a preconditioner, or λmax(D^½ … D^½) in units
    )
    reason: str = ""  # why not converged, or why there is no threshold
    file: str = ""  # of the checkpoint
    lr: float | None = None  # learning rate there
    partial: bool = False  # the budget ended here; measured again by the next command
    batch_norm: str | None = None  # statistics used, stored (running), re-estimate or batch; None without
    estimated: str = ""  # what the preconditioner was estimated from, where the checkpoint does not have it
    examples: int | None = None  # in the subset; None when all were used
    subsets: tuple[float, ...] = ()  # λ₁ on other subsets of that size, where it was measured
    batch_sharpness: float | None = None  # mean of gᵀHg / ‖g‖² over random minibatches
    batch_error: float | None = None  # its standard error
    batch_ratio: float | None = None  # batch sharpness ÷ threshold
    batches: int = 0  # that batch sharpness is the mean of
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
    notes: tuple[str, ...] = ()  # where options contradict the checkpoint; memory that one example takes
    step_check: StepCheck | None = None  # None where it was not made
    asked: tuple[str, ...] = ()  # what was looked at beside the eigenvalues, found or not
    tolerance: float | None = None  # relative error that the solver was to reach
    max_matvecs: int | None = None  # that it was given
    judged: int | None = None  # eigenvalues that ``converged`` is of; None = all
    sha256: str = ""  # of the checkpoint; "" in stores of older versions
    settings: str = (
        ""  # of the run, that it was judged by; "" where the checkpoint has an optimizer of its own
    )
    ratio_contradicted: bool = (
        False  # the weights contradict its threshold, here or, confirmed nowhere, elsewhere
    )

    @property
    def fixed_statistics(self) -> bool:
        """The derivatives took BatchNorm's statistics for constants, as no step of training did."""
        return self.batch_norm not in (None, "batch")


def contradicted(points: Sequence[SharpnessPoint]) -> frozenset[int]:
    """Steps of the points whose threshold the weights contradict, and with it every ratio to it.

    Where the weights confirm the threshold nowhere, one that they contradict somewhere is that of another rule, or of
    another loss, at the points of which they do not tell as well.
    """
    verdicts = {point.step: point.step_check.verdict for point in points if point.step_check is not None}
    unlike = frozenset(step for step, verdict in verdicts.items() if verdict == CONTRADICTED)
    if not unlike or CONFIRMED in verdicts.values():
        return unlike
    return frozenset(point.step for point in points)


def marked(points: Sequence[SharpnessPoint]) -> tuple[SharpnessPoint, ...]:
    """The points, each with whether its ratio is contradicted, which is known of all of them together."""
    unlike = contradicted(points)
    return tuple(
        replace(point, ratio_contradicted=point.step in unlike and point.ratio is not None)
        for point in points
    )


@dataclass(frozen=True)
class CriticalSharpness:
    """Curvature along the run's own update at one checkpoint, from values of the loss alone; not an eigenvalue."""

    step: int  # of the checkpoint
    critical_sharpness: float | None  # 2/η_c; None where η_c was not found or no learning rate is known
    critical_lr: float | None  # η_c, the smallest learning rate at which the update raises the loss
    threshold: float | None  # 2/η along the run's update; along the gradient, that of the optimizer
    ratio: float | None  # critical sharpness ÷ threshold: η/η_c along the run's update; 1 is the edge
    error: float | None  # relative, of all three: half the last bracket, and the loss's rounding
    direction: str  # next checkpoint, optimizer step, or gradient
    forward_passes: int  # over all examples
    gradients: int  # likewise
    reason: str = ""  # why something was not found
    file: str = ""  # of the checkpoint
    lr: float | None = None  # learning rate there
    batch_norm: str | None = None  # statistics used, stored (running), re-estimate or batch; None without
    examples: int | None = None  # in the subset; None when all were used
    sha256: str = ""  # of the checkpoint; "" in stores of older versions
    settings: str = (
        ""  # of the run, that the update was made by; "" where the checkpoint has an optimizer of its own
    )


@dataclass(frozen=True)
class Phase:
    """A stretch of the run, by its sharpness."""

    name: str  # progressive sharpening, at the edge, past the edge, catapult
    first_step: int  # where it begins
    last_step: int  # where it ends
    evidence: str  # in words, with numbers
