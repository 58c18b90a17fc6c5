"""The options of ``opsig inspect`` and ``opsig trace``: what is read, and which losses are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from opsigcli.options.shared import (
    PRECISIONS,
    STORE,
    BatchNorm,
    Betas,
    Checkpoints,
    Data,
    Device,
    Eps,
    Fresh,
    Key,
    Loss,
    Lr,
    LrGroups,
    Model,
    Momentum,
    Optimizer,
    Order,
    Partial,
    StepsPerEpoch,
    Store,
    TrustManifest,
    UnsafePickle,
    WeightDecay,
    Weights,
)
from opsigcli.parameters import Argument, Option


@dataclass(frozen=True)
class InspectOptions:
    """``opsig inspect``: what is in a folder of checkpoints, or in a store."""

    checkpoints: Annotated[
        Path, Argument("Folder of checkpoints, one checkpoint, hub:ORG/NAME, or a store.", "CKPTS")
    ]
    key: Key = None
    weights: Weights = None
    order: Order = "auto"
    steps_per_epoch: StepsPerEpoch = None


@dataclass(frozen=True)
class TraceOptions:
    """``opsig trace``: per-example losses at every checkpoint."""

    checkpoints: Checkpoints
    model: Model = None
    data: Data = None
    loss: Loss = None
    key: Key = None
    weights: Weights = None
    order: Order = "auto"
    steps_per_epoch: StepsPerEpoch = None
    partial: Partial = False
    unsafe_pickle: UnsafePickle = False
    dry_run: Annotated[
        bool,
        Option(
            "Say what would be done, and whether the first and the last checkpoint fit the data, by a few examples, "
            "and how long it takes, by real batches; write nothing."
        ),
    ] = False
    store: Store = STORE
    batch_size: Annotated[
        int | None,
        Option("Examples per forward pass. Default: as suits the processor's caches.", "N", min=1),
    ] = None
    examples: Annotated[
        int | None,
        Option(
            "Trace N examples: spread over the classes, or whole sequences over the text. The statistics of BatchNorm "
            "are then of these: from 1,024 on as good as of all.",
            "N",
            min=2,
        ),
    ] = None
    tokens: Annotated[bool, Option("Every token of a text is an example, not every sequence.")] = False
    precision: Annotated[
        str,
        Option(
            "float32, or bf16 or tf32: refused, with numbers, where its error would drown the loss deltas.",
            "NAME",
            values=PRECISIONS,
        ),
    ] = "float32"
    batch_norm: BatchNorm = None
    probe: Annotated[
        tuple[str, ...],
        Option(
            "Also watch an input along the run: colour:skyblue, image:FILE, text:WORDS or example:ID; may be given "
            "again. Its class probabilities at every checkpoint stay in the store.",
            "PROBE",
        ),
    ] = ()
    virtual_step: Annotated[
        bool,
        Option(
            "Also take one step of the run's optimizer from each checkpoint and store what it does to every loss."
        ),
    ] = False
    virtual_batches: Annotated[
        int | None, Option("Batches in a virtual step. Default: all examples.", "N", min=1)
    ] = None
    optimizer: Optimizer = None
    lr: Lr = None
    momentum: Momentum = None
    weight_decay: WeightDecay = None
    betas: Betas = None
    eps: Eps = None
    lr_groups: LrGroups = None
    shard: Annotated[
        str | None,
        Option(
            "Do the I-th of N parts; the last part to finish writes the store. torchrun and srun need no "
            "such option.",
            "I/N",
        ),
    ] = None
    watch: Annotated[bool, Option("Follow a run that is still going: trace checkpoints as they come.")] = (
        False
    )
    idle: Annotated[
        float, Option("Watching ends when nothing new has come for so long.", "SECONDS", min=0.0)
    ] = 3600.0
    device: Device = "auto"
    fresh: Fresh = False
    trust_manifest: TrustManifest = False

    def __post_init__(self) -> None:
        if self.virtual_batches is not None:  # batches of virtual steps ask for virtual steps
            object.__setattr__(self, "virtual_step", True)
