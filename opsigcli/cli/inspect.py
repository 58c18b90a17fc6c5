"""``opsig inspect``: what is in a folder or a store, as the command line sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opsigcli.cli import params
from opsigcli.cli.console import Terminal
from opsigcli.cli.perform import perform
from opsigcli.options import InspectOptions as Defaults

SUMMARY = "Show what is in a folder of checkpoints."
EXAMPLES = """\b
Examples:
  opsig inspect ckpts/
  opsig inspect lightning_logs/version_0/checkpoints
  opsig inspect run/checkpoint-500
  opsig inspect opsig.h5
  opsig inspect ckpts/ --json | jq '.result.checkpoints[].step'"""


def inspect(
    checkpoints: Annotated[
        Path, typer.Argument(metavar="CKPTS", help="Folder of checkpoints, one checkpoint, or a store.")
    ],
    key: params.Key = None,
    weights: params.Weights = None,
    order: params.Order = Defaults.order,
    as_json: params.Json = False,
    quiet: params.Quiet = False,
    verbose: params.Verbose = False,
) -> None:
    """Show what is in a folder of checkpoints, without running code from it.

    For each checkpoint: its format, its step and where that was found (manifest, content, sidecar or name), learning
    rate, optimizer, type and number of the parameters, and the sets of weights to choose from. Files that are left
    out are named with the reason. Only headers are read. For a store: the run it belongs to, the checkpoints and
    examples that were traced, and whether these are a subset.
    """
    chosen = Defaults(checkpoints=checkpoints, key=key, weights=weights, order=order)
    perform("inspect", Terminal(as_json=as_json, quiet=quiet, verbose=verbose), chosen)
