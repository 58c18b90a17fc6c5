"""``opsig train``: a reference run, as the command line sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opsigcli.cli import params
from opsigcli.cli.console import Terminal
from opsigcli.cli.perform import perform
from opsigcli.options import TrainOptions as Defaults

SUMMARY = "Train a reference run: checkpoints and a manifest."
EXAMPLES = """\b
Examples:
  opsig train runs/demo
      the embedded planted data, full-batch gradient descent
  opsig train runs/cifar --model 'mlp?hidden=200,200' --lr 0.08 \\
      --data 'folder:cifar10/train?limit=2000&standardize=channel'
  opsig train runs/adam --optimizer adam --lr 0.003 --batch-size 100
  opsig train runs/demo --steps 600
      goes on from the last checkpoint"""


def train(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where checkpoints and manifest go.")],
    model: Annotated[
        str,
        typer.Option(metavar="SPEC", help="Model: mlp?hidden=64,64&activation=tanh, cnn, torchvision:NAME …"),
    ] = Defaults.model,
    data: Annotated[
        str, typer.Option(metavar="SPEC", help="Data: planted, folder:DIR, npz:FILE, torchvision:CIFAR10 …")
    ] = Defaults.data,
    loss: Annotated[
        str, typer.Option(metavar="NAME", help="ce, mse, bce, lm or py:pkg.mod:fn.")
    ] = Defaults.loss,
    optimizer: Annotated[
        str,
        typer.Option(metavar="NAME", help="gd, sgd, momentum, nesterov, dampened, adam, adamw or rmsprop."),
    ] = Defaults.optimizer,
    lr: Annotated[float, typer.Option(metavar="X", min=0.0, help="Learning rate.")] = Defaults.lr,
    momentum: Annotated[
        float, typer.Option(metavar="X", min=0.0, max=1.0, help="Momentum, for the optimizers that have one.")
    ] = Defaults.momentum,
    batch_size: Annotated[
        str, typer.Option(metavar="full|N", help="Examples per optimizer update.")
    ] = "full",
    steps: Annotated[
        int, typer.Option(metavar="N", min=1, help="Optimizer updates in all.")
    ] = Defaults.steps,
    save_every: Annotated[
        int, typer.Option(metavar="N", min=1, help="Updates between checkpoints.")
    ] = Defaults.save_every,
    exclude: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Leave out the examples whose ids FILE holds (opsig mine --export)."
        ),
    ] = None,
    downweight: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Let the examples whose ids FILE holds count less."),
    ] = None,
    weight: Annotated[
        float, typer.Option(metavar="X", min=0.0, max=1.0, help="How much examples of --downweight count.")
    ] = Defaults.weight,
    seed: params.Seed = Defaults.seed,
    device: params.Device = Defaults.device,
    fresh: params.Fresh = False,
    as_json: params.Json = False,
    quiet: params.Quiet = False,
    verbose: params.Verbose = False,
) -> None:
    """Train a reference run: checkpoints and a manifest that the other commands read.

    Run again, it goes on from the last checkpoint to the same bits as an undisturbed run. Without options it is
    full-batch gradient descent on the embedded planted data, in which the opposing pairs are known. Full-batch
    checkpoints hold the BatchNorm statistics of the batch at their own weights, not a running mean over steps.
    """
    chosen = Defaults(
        directory=directory,
        model=model,
        data=data,
        loss=loss,
        optimizer=optimizer,
        lr=lr,
        momentum=momentum,
        batch_size=_batch_size(batch_size),
        steps=steps,
        save_every=save_every,
        exclude=exclude,
        downweight=downweight,
        weight=weight,
        seed=seed,
        device=device,
        fresh=fresh,
    )
    terminal = Terminal(as_json=as_json, quiet=quiet, verbose=verbose)
    perform("train", terminal, chosen)


def _batch_size(text: str) -> int | None:
    if text == "full":
        return None
    if not text.isdigit() or int(text) < 1:
        raise typer.BadParameter(f"expected 'full' or a number of at least 1, found {text!r}")
    return int(text)
