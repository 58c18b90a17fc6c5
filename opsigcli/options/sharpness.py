"""The options of ``opsig sharpness``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from opsigcli.options.shared import (
    STORE,
    BatchNorm,
    BatchSize,
    Betas,
    Data,
    Device,
    DryRun,
    Eps,
    Fresh,
    Lr,
    LrGroups,
    Model,
    Momentum,
    Optimizer,
    Seed,
    Store,
    TrustManifest,
    UnsafePickle,
    WeightDecay,
)
from opsigcli.parameters import Option


@dataclass(frozen=True)
class SharpnessOptions:
    """``opsig sharpness``: top Hessian eigenvalues and the stability ratio."""

    top: Annotated[int, Option("Eigenvalues to compute.", "N", min=1)] = 1
    quick: Annotated[
        bool,
        Option(
            "Instead of eigenvalues, the critical sharpness along the run's update: fewer than ten forward passes."
        ),
    ] = False
    every: Annotated[int, Option("Measure every N-th checkpoint of the trace.", "N", min=1)] = 1
    tolerance: Annotated[float, Option("Relative error to reach.", "X", min=1e-6, max=0.1)] = 1e-3
    max_matvecs: Annotated[int, Option("Hessian-vector products per checkpoint, at most.", "N", min=1)] = 200
    precision: Annotated[
        str,
        Option(
            "float32; or float64, for checkpoints whose products it cannot resolve.",
            "NAME",
            values=("float32", "float64"),
        ),
    ] = "float32"
    optimizer: Optimizer = None
    lr: Lr = None
    momentum: Momentum = None
    weight_decay: WeightDecay = None
    betas: Betas = None
    eps: Eps = None
    lr_groups: LrGroups = None
    minibatch: Annotated[int | None, Option("Examples in a batch of the run.", "N", min=1)] = None
    all_parameters: Annotated[
        bool, Option("Measure over all weights, also those that do not train; of these there is no ratio.")
    ] = False
    batch_norm: BatchNorm = None
    steps: Annotated[str | None, Option("Only checkpoints from step A to step B.", "A:B")] = None
    budget: Annotated[
        str | None, Option("Stop after 90s, 10m, 2h or 500hvp, with what there is by then.", "B")
    ] = None
    examples: Annotated[
        int | None, Option("Measure on a random subset of N examples, and its spread.", "N", min=1)
    ] = None
    layers: Annotated[bool, Option("Largest eigenvalue of each layer's block, and of each kind's.")] = False
    per_example: Annotated[bool, Option("Each example's curvature along the top eigenvector.")] = False
    groups: Annotated[bool, Option("Each mined group's share of the sharpness.")] = False
    secant: Annotated[
        bool,
        Option("Mean curvature along the step d to the next checkpoint: (g' - g) d / d d, g the gradient."),
    ] = False
    spectrum: Annotated[
        bool,
        Option(
            "Spectral density, outliers, trace, Gauss-Newton part: at most 381 products at each checkpoint, and "
            "--max-matvecs more."
        ),
    ] = False
    no_step_check: Annotated[
        bool, Option("Do not hold the step to the next checkpoint against the rule whose threshold is given.")
    ] = False
    store: Store = STORE
    model: Model = None
    data: Data = None
    seed: Seed = 0
    batch_size: BatchSize = 256
    device: Device = "auto"
    fresh: Fresh = False
    trust_manifest: TrustManifest = False
    unsafe_pickle: UnsafePickle = False
    dry_run: DryRun = False
