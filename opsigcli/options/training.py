"""The options of a run: ``opsig train``, and ``opsig init`` for one that something else trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from opsigcli.options.shared import (
    DATASETS,
    LOSS,
    LOSSES,
    MODELS,
    OPTIMIZERS,
    PRESETS,
    SCHEDULES,
    STATES,
    STORE,
    STORE_VARIABLE,
    Betas,
    Checkpoints,
    Data,
    Device,
    DryRun,
    Eps,
    Fresh,
    Key,
    Lr,
    Model,
    Momentum,
    Order,
    Partial,
    Seed,
    StepsPerEpoch,
    TrustManifest,
    WeightDecay,
    Weights,
)
from opsigcli.parameters import Argument, Option


@dataclass(frozen=True)
class TrainOptions:
    """``opsig train``: a reference run."""

    directory: Annotated[Path, Argument("Where checkpoints and manifest go.", "DIR")]
    preset: Annotated[
        str | None,
        Option(
            "Set several options at once; those that are given besides win. "
            + "; ".join(
                f"{name}: {', '.join(f'{option} {value}' for option, value in sets.items())}"
                for name, sets in PRESETS.items()
            )
            + ".",
            "NAME",
            values=tuple(PRESETS),
        ),
    ] = None
    model: Annotated[
        str, Option("Model: mlp?hidden=64,64&activation=tanh, cnn, torchvision:NAME …", "SPEC", values=MODELS)
    ] = "mlp"
    data: Annotated[
        str,
        Option("Data: planted, folder:DIR, npz:FILE, torchvision:CIFAR10 …", "SPEC", values=DATASETS),
    ] = "planted"
    loss: Annotated[
        str, Option("{values} or py:pkg.mod:fn; options as ce?label_smoothing=0.1.", "SPEC", values=LOSSES)
    ] = "ce"
    optimizer: Annotated[
        str, Option("{choice}; options as sam?rho=0.1 or adam?betas=0.9,0.99.", "SPEC", values=OPTIMIZERS)
    ] = "gd"
    lr: Annotated[float, Option("Learning rate.", "X", min=0.0)] = 0.3
    schedule: Annotated[
        str,
        Option(
            "What becomes of the learning rate over the run: {choice}; options as cosine?end=0.1&warmup=20, "
            "step?at=60,80&factor=0.1, warmup?steps=20, onecycle?peak=0.3. The length is --steps, or cosine?steps=N.",
            "SPEC",
            values=SCHEDULES,
        ),
    ] = "constant"
    momentum: Annotated[
        float | None,
        Option(
            "Momentum, of the optimizers that have one. Default: the rule's, 0.9 for those named after it; 0 for sgd, "
            "sgdw, sam and rmsprop.",
            "X",
            min=0.0,
            max=1.0,
        ),
    ] = None
    weight_decay: Annotated[
        float | None,
        Option("Weight decay, of the optimizers that have one. Default: the rule's.", "X", min=0.0),
    ] = None
    clip: Annotated[
        float | None,
        Option("Scale gradients that are longer down to this norm. Default: none.", "X", min=1e-9),
    ] = None
    augment: Annotated[
        str | None,
        Option(
            "Change examples in training alone: flip, crop=PIXELS, mixup=ALPHA, with commas between them; a trace "
            "takes them as they are, and says so. Default: none.",
            "LIST",
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Option("Examples per optimizer update.", "full|N", min=1, values=("full",), none="full"),
    ] = None
    steps: Annotated[int, Option("Optimizer updates in all.", "N", min=1)] = 300
    save_every: Annotated[int, Option("Updates between checkpoints.", "N", min=1)] = 1
    save_steps: Annotated[
        str | None,
        Option(
            "Save checkpoints at these steps instead, from A to B every C-th: 0:100:10,100:200:1. The first and the "
            "last step are saved in any case.",
            "A:B:C,…",
        ),
    ] = None
    save_optimizer: Annotated[
        str,
        Option(
            "Keep the optimizer's state (of Adam twice the size of the weights) beside {choice} checkpoint. To go on "
            "the last one is enough; a fork, and preconditioned sharpness, need that of their own checkpoint.",
            "WHICH",
            values=STATES,
        ),
    ] = "every"
    record_losses: Annotated[
        bool,
        Option(
            "Keep the loss of every example at each checkpoint, as the gradient's own pass has it, and write the store "
            "that opsig trace would, without its passes. For updates on all examples as they are."
        ),
    ] = False
    store: Annotated[
        Path, Option("The case file that --record-losses writes (HDF5).", "FILE", envvar=STORE_VARIABLE)
    ] = STORE
    exclude: Annotated[
        Path | None, Option("Leave out the examples whose ids FILE holds (opsig mine --export).", "FILE")
    ] = None
    downweight: Annotated[
        Path | None, Option("Let the examples whose ids FILE holds count less.", "FILE")
    ] = None
    weight: Annotated[float, Option("How much examples of --downweight count.", "X", min=0.0, max=1.0)] = 0.1
    from_: Annotated[
        Path | None,
        Option(
            "Go on from this checkpoint of another run of opsig train, in a folder of its own: model, data, "
            "optimizer and its state, batches and steps are that run's, and only options that are given differ.",
            "CKPT",
        ),
    ] = None
    perturb: Annotated[
        str | None,
        Option(
            "With --from: before the first update, move the weights by this length (Euclidean, over all parameters) in "
            "a direction drawn at random; step: by as much as that update would; gradient: by the norm of the "
            "gradient. step?seed=1 draws another direction. The checkpoint it starts with is not moved.",
            "LENGTH|step|gradient",
        ),
    ] = None
    reset_state: Annotated[
        bool, Option("With --from: leave the optimizer's state (momentum, moments) behind; it begins anew.")
    ] = False
    seed: Seed = 0
    device: Device = "auto"
    trust_manifest: TrustManifest = False
    dry_run: DryRun = False
    fresh: Fresh = False
    given: frozenset[str] = field(
        default=frozenset(), compare=False, repr=False
    )  # names of those that were chosen


@dataclass(frozen=True)
class InitOptions:
    """``opsig init``: a manifest for checkpoints that something else made."""

    checkpoints: Checkpoints
    model: Model = None
    data: Data = None
    loss: Annotated[str, LOSS] = "ce"
    key: Key = None
    weights: Weights = None
    order: Order = "auto"
    steps_per_epoch: StepsPerEpoch = None
    optimizer: Annotated[
        str | None,
        Option(
            "The run's optimizer, also as PyTorch spells it. Default: as the checkpoints show; so for the next ones.",
            "NAME",
            values=OPTIMIZERS,
        ),
    ] = None
    lr: Lr = None
    momentum: Momentum = None
    weight_decay: WeightDecay = None
    betas: Betas = None
    eps: Eps = None
    batch_size: Annotated[
        int | None, Option("Examples in a batch of the run. Default: not known, or all.", "N", min=1)
    ] = None
    partial: Partial = False
    fresh: Annotated[bool, Option("Replace a manifest that is there.", consent=True)] = False
