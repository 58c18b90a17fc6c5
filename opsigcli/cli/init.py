"""``opsig init``: a manifest for existing checkpoints, as the command line sees it."""

from __future__ import annotations

from typing import Annotated

import typer

from opsigcli.cli import params
from opsigcli.cli.console import Terminal
from opsigcli.cli.perform import perform
from opsigcli.options import InitOptions as Defaults

SUMMARY = "Write down which model and data checkpoints belong to."
EXAMPLES = """\b
Examples:
  opsig init ckpts/
      names the models whose tensors fit, when no --model is given
  opsig init ckpts/ --model torchvision:resnet18 --data folder:images/train
  opsig init run/ --model hf:run/checkpoint-500 --data npz:train.npz"""


def init(
    checkpoints: params.Checkpoints,
    model: params.Model = None,
    data: params.Data = None,
    loss: params.Loss = None,
    key: params.Key = None,
    weights: params.Weights = None,
    order: params.Order = Defaults.order,
    partial: params.Partial = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace a manifest that is there.")] = False,
    as_json: params.Json = False,
    quiet: params.Quiet = False,
    verbose: params.Verbose = False,
) -> None:
    """Write the manifest opsig-run.toml into a folder of checkpoints, so that opsig trace needs no options.

    Checks first that the weights of the first and the last checkpoint fit the model, and that a batch of the data
    has a finite loss at both.
    """
    chosen = Defaults(
        checkpoints=checkpoints,
        model=model,
        data=data,
        loss=loss or Defaults.loss,
        key=key,
        weights=weights,
        order=order,
        partial=partial,
        fresh=fresh,
    )
    perform("init", Terminal(as_json=as_json, quiet=quiet, verbose=verbose), chosen)
