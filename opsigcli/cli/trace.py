"""``opsig trace``: the loss trace, as the command line sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opsigcli.cli import params
from opsigcli.cli.console import Terminal
from opsigcli.cli.perform import perform
from opsigcli.options import TraceOptions as Defaults

SUMMARY = "Compute every example's loss at every checkpoint."
EXAMPLES = """\b
Examples:
  opsig trace runs/demo
      checkpoints made by opsig train: the manifest says the rest
  opsig trace ckpts/ --model torchvision:resnet18?num_classes=10 \\
      --data 'folder:images/train?size=32&mean=0.5&std=0.25'
  opsig trace ckpts/ --model py:mynet:build --data npz:train.npz"""


def trace(
    checkpoints: Annotated[Path, typer.Argument(metavar="CKPTS", help="Folder of checkpoints.")],
    model: params.Model = None,
    data: params.Data = None,
    loss: params.Loss = None,
    key: params.Key = None,
    weights: params.Weights = None,
    order: params.Order = Defaults.order,
    partial: params.Partial = False,
    unsafe_pickle: params.UnsafePickle = False,
    dry_run: params.DryRun = False,
    store: params.Store = Defaults.store,
    batch_size: params.BatchSize = Defaults.batch_size,
    device: params.Device = Defaults.device,
    fresh: params.Fresh = False,
    trust_manifest: params.TrustManifest = False,
    as_json: params.Json = False,
    quiet: params.Quiet = False,
    verbose: params.Verbose = False,
) -> None:
    """Compute every example's loss, and its change, at every checkpoint.

    Reads the checkpoints of most frameworks, running no code from them (see opsig inspect), evaluates each example
    in a fixed order, unshuffled and unaugmented, and writes the loss trace to the store. Run again, it computes only
    what is new.
    """
    chosen = Defaults(
        checkpoints=checkpoints,
        store=store,
        model=model,
        data=data,
        loss=loss,
        key=key,
        weights=weights,
        order=order,
        partial=partial,
        unsafe_pickle=unsafe_pickle,
        dry_run=dry_run,
        batch_size=batch_size,
        device=device,
        fresh=fresh,
        trust_manifest=trust_manifest,
    )
    terminal = Terminal(as_json=as_json, quiet=quiet, verbose=verbose)
    perform("trace", terminal, chosen)
