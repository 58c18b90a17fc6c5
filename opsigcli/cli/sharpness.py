"""``opsig sharpness``: sharpness and the stability ratio, as the command line sees it."""

from __future__ import annotations

from typing import Annotated

import typer

from opsigcli.cli import params
from opsigcli.cli.console import Terminal
from opsigcli.cli.perform import perform
from opsigcli.options import SharpnessOptions as Defaults

SUMMARY = "Measure sharpness against the stability threshold."
EXAMPLES = """\b
Examples:
  opsig sharpness
  opsig sharpness --top 5 --every 10
  opsig sharpness --optimizer momentum --lr 0.01 --momentum 0.9
  opsig sharpness --json | jq '.result.points[] | [.step, .ratio]'"""


def sharpness(
    top: Annotated[int, typer.Option(metavar="N", min=1, help="Eigenvalues to compute.")] = Defaults.top,
    every: Annotated[
        int, typer.Option(metavar="N", min=1, help="Measure every K-th checkpoint of the trace.")
    ] = Defaults.every,
    tolerance: Annotated[
        float, typer.Option(metavar="X", min=1e-6, max=0.1, help="Relative error to reach.")
    ] = Defaults.tolerance,
    max_matvecs: Annotated[
        int, typer.Option(metavar="N", min=1, help="Hessian-vector products per checkpoint, at most.")
    ] = Defaults.max_matvecs,
    optimizer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The run's optimizer. Default: as manifest or checkpoints say."),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(metavar="X", min=0.0, help="Its learning rate, likewise.")
    ] = None,
    momentum: Annotated[
        float | None, typer.Option(metavar="X", min=0.0, max=1.0, help="Its momentum, likewise.")
    ] = None,
    store: params.Store = Defaults.store,
    model: params.Model = None,
    data: params.Data = None,
    seed: params.Seed = Defaults.seed,
    batch_size: params.BatchSize = Defaults.batch_size,
    device: params.Device = Defaults.device,
    fresh: params.Fresh = False,
    trust_manifest: params.TrustManifest = False,
    as_json: params.Json = False,
    quiet: params.Quiet = False,
    verbose: params.Verbose = False,
) -> None:
    """Measure sharpness at the checkpoints, against the optimizer's stability threshold.

    Sharpness is the largest eigenvalue of the Hessian of the mean loss, by Lanczos on exact Hessian-vector products
    over all examples. A value that did not converge is marked so. For Adam and its kin the ratio uses the
    preconditioned Hessian, when the checkpoint holds the optimizer's second moments.
    """
    chosen = Defaults(
        optimizer=optimizer,
        lr=lr,
        momentum=momentum,
        store=store,
        top=top,
        every=every,
        tolerance=tolerance,
        max_matvecs=max_matvecs,
        seed=seed,
        batch_size=batch_size,
        device=device,
        model=model,
        data=data,
        trust_manifest=trust_manifest,
        fresh=fresh,
    )
    terminal = Terminal(as_json=as_json, quiet=quiet, verbose=verbose)
    perform("sharpness", terminal, chosen)
