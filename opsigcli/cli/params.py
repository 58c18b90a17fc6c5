"""The options that several commands share, with one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Checkpoints = Annotated[Path, typer.Argument(metavar="CKPTS", help="Folder of checkpoints.")]
Store = Annotated[
    Path, typer.Option("--store", metavar="FILE", envvar="OPSIG_STORE", help="The run's case file (HDF5).")
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="SPEC",
        help="Model: mlp?hidden=200,200, cnn, torchvision:resnet18, py:pkg.mod:factory, file:net.py:factory. "
        "Default: as the manifest or the store says.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SPEC",
        help="Data: planted, folder:DIR, npz:FILE, text:FILE, torchvision:CIFAR10?root=DIR, "
        "py:pkg.mod:factory; options as size=32, mean=…, or transform=weights:ResNet18_Weights.DEFAULT. "
        "Default: as the manifest or the store says.",
    ),
]
Loss = Annotated[
    str | None, typer.Option("--loss", metavar="NAME", help="Loss: ce, mse, bce, lm, py:pkg.mod:fn.")
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="NAME", help="Which part of a checkpoint holds the weights, when several could."
    ),
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", metavar="model|ema", help="The trained weights, or their moving average."),
]
Order = Annotated[
    str,
    typer.Option(
        "--order", metavar="auto|name|mtime", help="Order by steps found, or by names or times instead."
    ),
]
Partial = Annotated[
    bool, typer.Option("--partial", help="Load what fits, where weights fit the model in part.")
]
UnsafePickle = Annotated[
    bool,
    typer.Option(
        "--unsafe-pickle",
        help="Run the code in checkpoints that cannot be read otherwise. Only for files you made.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; compute and write nothing.")]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")]
BatchSize = Annotated[
    int, typer.Option("--batch-size", metavar="N", min=1, help="Examples per forward pass; bounds memory.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of everything random.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start anew instead of going on with what is there.")]
TrustManifest = Annotated[
    bool, typer.Option("--trust-manifest", help="Run py: and file: code that a manifest or store names.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more on the way.")]
