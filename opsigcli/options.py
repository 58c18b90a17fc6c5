"""One frozen dataclass per command. Every default is written here, once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STORE = Path("opsig.h5")
REPORT = Path("opsig-report.html")
MANIFEST = "opsig-run.toml"


@dataclass(frozen=True)
class TrainOptions:
    """``opsig train``: a reference run."""

    directory: Path
    model: str = "mlp"
    data: str = "planted"
    loss: str = "ce"
    optimizer: str = "gd"
    lr: float = 0.3
    momentum: float = 0.9  # used by optimizers that have one
    batch_size: int | None = None  # None is the full batch
    steps: int = 300
    save_every: int = 1
    exclude: Path | None = None  # file of example ids to leave out
    downweight: Path | None = None  # file of example ids whose losses count less
    weight: float = 0.1  # how much
    seed: int = 0
    device: str = "auto"
    fresh: bool = False


@dataclass(frozen=True)
class TraceOptions:
    """``opsig trace``: per-example losses at every checkpoint. None means: as the manifest says."""

    checkpoints: Path
    store: Path = STORE
    model: str | None = None
    data: str | None = None
    loss: str | None = None
    key: str | None = None
    weights: str | None = None  # model or ema
    order: str = "auto"  # auto, name or mtime
    partial: bool = False  # weights may fit the model in part
    unsafe_pickle: bool = False
    dry_run: bool = False
    batch_size: int | None = None  # None: as suits the machine's caches
    examples: int | None = None  # a subset of so many; None is all
    tokens: bool = False  # every token of a text is an example
    precision: str = "float32"
    virtual_step: bool = False
    virtual_batches: int | None = None  # batches in a virtual step; None is the full batch
    optimizer: str | None = None  # of virtual steps; None: as the manifest says, so for lr and momentum
    lr: float | None = None
    momentum: float | None = None
    shard: str | None = None  # i/n: the i-th of n workers, from 1
    watch: bool = False
    idle: float = 3600.0  # seconds without a new checkpoint after which watching ends
    device: str = "auto"
    fresh: bool = False
    trust_manifest: bool = False


@dataclass(frozen=True)
class InspectOptions:
    """``opsig inspect``: what is in a folder of checkpoints, or in a store."""

    checkpoints: Path
    key: str | None = None
    weights: str | None = None
    order: str = "auto"


@dataclass(frozen=True)
class InitOptions:
    """``opsig init``: a manifest for checkpoints that something else made."""

    checkpoints: Path
    model: str | None = None
    data: str | None = None
    loss: str = "ce"
    key: str | None = None
    weights: str | None = None
    order: str = "auto"
    partial: bool = False
    fresh: bool = False  # replace a manifest that is there


@dataclass(frozen=True)
class MineOptions:
    """``opsig mine``: top loss deltas, opposing groups and pairs, spikes attributed."""

    store: Path = STORE
    top: int = 20
    method: str = "full"
    similarity: str = "adjusted"
    window: str = "run"  # or "first": the first oscillation by itself
    surrogates: int = 19  # rotations for p-values after selection
    causal: bool = False
    test_data: str | None = None  # spec; for the accuracy that --causal reports
    export: Path | None = None
    candidates: int = 2000  # examples whose gradients are compared
    gradient_checkpoints: int = 8
    sketch_dimensions: int = 512
    seed: int = 0
    batch_size: int = 256
    device: str = "auto"
    model: str | None = None
    data: str | None = None
    unsafe_pickle: bool = False
    trust_manifest: bool = False


@dataclass(frozen=True)
class SharpnessOptions:
    """``opsig sharpness``: top Hessian eigenvalues and the stability ratio."""

    store: Path = STORE
    top: int = 1
    every: int = 1
    tolerance: float = 1e-3  # relative error aimed at
    max_matvecs: int = 200
    precision: str = "float32"  # or float64
    seed: int = 0
    batch_size: int = 256
    device: str = "auto"
    model: str | None = None
    data: str | None = None
    optimizer: str | None = None  # None: as the manifest or the checkpoints say; so for lr and momentum
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    minibatch: int | None = None  # the run's batch size; None: as the manifest says
    batch_norm: str = "running"  # statistics; or "batch", of all examples together
    steps: str | None = None  # "a:b": only checkpoints from step a to step b
    budget: str | None = None  # "90s", "10m", "2h" or "500hvp" for the whole command
    examples: int | None = None  # a random subset of this many examples; None is all of them
    layers: bool = False  # eigenvalues of each layer's block
    per_example: bool = False  # each example's curvature along the top eigenvector
    groups: bool = False  # each mined group's part; needs mining results
    secant: bool = False  # curvature along the step to the next checkpoint
    spectrum: bool = False  # density, outliers, trace, Gauss–Newton part
    unsafe_pickle: bool = False
    dry_run: bool = False
    trust_manifest: bool = False
    fresh: bool = False


@dataclass(frozen=True)
class ReportOptions:
    """``opsig report``: the whole case."""

    store: Path = STORE
    html: Path | None = None
    thumbnails: int = 12  # pictures per group
