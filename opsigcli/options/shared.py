"""Options that several commands take: their types, and their help. None means: as the manifest or the store says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from opsigcli.parameters import Argument, Option

STORE = Path("opsig.h5")
REPORT = Path("opsig-report.html")
MANIFEST = "opsig-run.toml"
EXAMPLE_WEIGHTS = "opsig-examples.json"  # beside the manifest: ids that count less
STATES = ("every", "last")  # checkpoints whose optimizer state opsig train keeps
PRECISIONS = ("float32", "bf16", "tf32")  # of a trace
STORE_VARIABLE = "OPSIG_STORE"  # of the environment, that names another one

MODELS, DATASETS = "opsigcli.models:MODELS", "opsigcli.datasets:SOURCES"
LOSSES, OPTIMIZERS = "opsigcli.objective.losses:LOSSES", "opsigcli.optimizers:OPTIMIZERS"
SCHEDULES = "opsigcli.optimizers.schedules:SCHEDULES"
PRESETS: dict[str, dict[str, str | float]] = {  # options of opsig train that are set together
    "two-layer-linear": {"model": "two-layer-linear", "data": "two-layer-linear", "loss": "mse", "lr": 0.001},
    "one-axis": {"model": "one-axis", "data": "one-axis", "lr": 1.25, "steps": 60},
    "paper-mlp": {"model": "mlp?hidden=200,200&activation=tanh", "lr": 0.08, "steps": 440},
    "paper-resnet": {"model": "resnet?width=8&norm=batch", "lr": 0.05, "steps": 250},
    "paper-vit": {"model": "vit?patch=8&width=48&blocks=2", "lr": 0.05, "steps": 300},
}
LOSS = Option(
    "Loss: {values}, py:pkg.mod:fn; options as ce?label_smoothing=0.1&weight=0.2,1,5 (man opsig-losses).",
    "SPEC",
    values=LOSSES,
)

BATCH_NORM = ("stored", "re-estimate", "batch")  # statistics of BatchNorm
BatchNorm = Annotated[
    str | None,
    Option(
        "Statistics of BatchNorm: stored in the checkpoint (right for layers frozen in training); re-estimate: of the "
        "data at the weights of each checkpoint, held fixed in derivatives; batch: the same losses and gradients of "
        "examples, and the sharpness goes through them, as the steps of training did: held fixed, it can be 10 times "
        "as large. Default: as the store's trace; for a new one batch, or stored where they never change. Layers that "
        "store none (track_running_stats=False) take batch or re-estimate.",
        "NAME",
        values=BATCH_NORM,
    ),
]

Checkpoints = Annotated[
    Path, Argument("Folder of checkpoints, or hub:ORG/NAME: what the Hugging Face cache has of it.", "CKPTS")
]
Store = Annotated[Path, Option("The run's case file (HDF5).", "FILE", envvar=STORE_VARIABLE)]
Model = Annotated[
    str | None,
    Option(
        "Model: mlp?hidden=200,200, cnn, torchvision:resnet18, py:pkg.mod:factory, file:net.py:factory. "
        "Default: as the manifest or the store says.",
        "SPEC",
        values=MODELS,
    ),
]
Data = Annotated[
    str | None,
    Option(
        "Data: planted, folder:DIR, npz:FILE, text:FILE, bin:FILE, torchvision:CIFAR10?root=DIR, "
        "py:pkg.mod:factory; options as size=32, mean=…, channels=bgr, or transform=weights:ResNet18_Weights.DEFAULT; "
        "weights=FILE.npy of the examples in the mean loss. "
        "Default: as the manifest or the store says.",
        "SPEC",
        values=DATASETS,
    ),
]
Loss = Annotated[str | None, LOSS]
Optimizer = Annotated[
    str | None,
    Option(
        "The run's optimizer. Default: as each checkpoint, else the manifest, says; so for the next ones.",
        "NAME",
        values=OPTIMIZERS,
    ),
]
Lr = Annotated[float | None, Option("Its learning rate.", "X", min=0.0)]
Momentum = Annotated[float | None, Option("Its momentum.", "X", min=0.0, max=1.0)]
WeightDecay = Annotated[float | None, Option("Its weight decay.", "X", min=0.0)]
Betas = Annotated[str | None, Option("Its β₁ and β₂ (Adam).", "B1,B2")]
Eps = Annotated[float | None, Option("Its ε, of the preconditioner.", "X", min=0.0)]
LrGroups = Annotated[
    str | None,
    Option(
        "Learning rates of its parameter groups: 0.1,0.01 in their order, or body=0.1,head=0.01 by names of "
        "parameters.",
        "X,…",
    ),
]
Key = Annotated[
    str | None, Option("Which part of a checkpoint holds the weights, when several could.", "NAME")
]
Weights = Annotated[
    str | None,
    Option(
        "The trained weights, or their moving average.",
        "model|ema",
        values="opsigcli.checkpoints.base:WEIGHTS",
    ),
]
Order = Annotated[
    str,
    Option(
        "Order by steps found, or by names or times instead.",
        "auto|name|mtime",
        values="opsigcli.checkpoints.order:ORDERS",
    ),
]
StepsPerEpoch = Annotated[
    int | None,
    Option(
        "Optimizer steps in an epoch: checkpoints that count epochs are put at epoch times N.", "N", min=1
    ),
]
Partial = Annotated[bool, Option("Load what fits, where weights fit the model in part.")]
UnsafePickle = Annotated[
    bool, Option("Run the code in checkpoints that cannot be read otherwise. Only for files you made.")
]
DryRun = Annotated[
    bool, Option("Say what would be done, and how long by the time of a real batch; write nothing.")
]
Device = Annotated[
    str, Option("auto, cpu, cuda, cuda:1 or mps.", "NAME", values=("auto", "cpu", "cuda", "mps"))
]
BatchSize = Annotated[int, Option("Examples per forward pass; bounds memory.", "N", min=1)]
Seed = Annotated[int, Option("Seed of everything random.", "N", min=0)]
Fresh = Annotated[bool, Option("Start anew instead of going on with what is there.", consent=True)]
TrustManifest = Annotated[
    bool, Option("Run py: and file: code that a manifest or store names.", consent=True)
]
