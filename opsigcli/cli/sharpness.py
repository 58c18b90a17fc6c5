"""``opsig sharpness``: sharpness and the stability ratio, as the command line sees it."""

from __future__ import annotations

import os
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
  opsig sharpness --top 5 --every 10 --steps 100:400
  opsig sharpness --layers --groups --secant --every 50
  opsig sharpness --budget 10m
  opsig sharpness --optimizer momentum --lr 0.01 --momentum 0.9
  opsig sharpness --json | jq '.result.points[] | [.step, .ratio]'"""


def sharpness(
    top: Annotated[int, typer.Option(metavar="N", min=1, help="Eigenvalues to compute.")] = Defaults.top,
    every: Annotated[
        int, typer.Option(metavar="N", min=1, help="Measure every N-th checkpoint of the trace.")
    ] = Defaults.every,
    tolerance: Annotated[
        float, typer.Option(metavar="X", min=1e-6, max=0.1, help="Relative error to reach.")
    ] = Defaults.tolerance,
    max_matvecs: Annotated[
        int, typer.Option(metavar="N", min=1, help="Hessian-vector products per checkpoint, at most.")
    ] = Defaults.max_matvecs,
    precision: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="float32; or float64, for checkpoints whose products it cannot resolve."
        ),
    ] = Defaults.precision,
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
    weight_decay: Annotated[
        float | None, typer.Option(metavar="X", min=0.0, help="Its weight decay, likewise.")
    ] = None,
    minibatch: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Examples in a batch of the run, likewise.")
    ] = None,
    batch_norm: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Statistics of BatchNorm: running, or batch: of all examples together, as in a full-batch step.",
        ),
    ] = Defaults.batch_norm,
    steps: Annotated[
        str | None, typer.Option(metavar="A:B", help="Only checkpoints from step A to step B.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="B", help="Stop after 90s, 10m, 2h or 500hvp, with what there is by then."),
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Measure on a random subset of N examples, and its spread."),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Largest eigenvalue of each layer's block, and of each kind's.")
    ] = False,
    per_example: Annotated[
        bool, typer.Option("--per-example", help="Each example's curvature along the top eigenvector.")
    ] = False,
    groups: Annotated[
        bool, typer.Option("--groups", help="Each mined group's share of the sharpness.")
    ] = False,
    secant: Annotated[
        bool, typer.Option("--secant", help="Curvature along the step to the next checkpoint.")
    ] = False,
    spectrum: Annotated[
        bool, typer.Option("--spectrum", help="Spectral density, outliers, trace, Gauss-Newton part.")
    ] = False,
    store: params.Store = Defaults.store,
    model: params.Model = None,
    data: params.Data = None,
    seed: params.Seed = Defaults.seed,
    batch_size: params.BatchSize = Defaults.batch_size,
    device: params.Device = Defaults.device,
    fresh: params.Fresh = False,
    trust_manifest: params.TrustManifest = False,
    unsafe_pickle: params.UnsafePickle = False,
    dry_run: params.DryRun = False,
    as_json: params.Json = False,
    quiet: params.Quiet = False,
    verbose: params.Verbose = False,
) -> None:
    """Measure sharpness at the checkpoints, against the optimizer's stability threshold.

    Sharpness is the largest eigenvalue of the Hessian of the mean loss, by Lanczos on exact Hessian-vector products
    over all examples. It is right to the tolerance, but for a chance of about 1 % that a nearly equal, larger
    eigenvalue was passed over; a value that did not converge is marked so. For Adam and its kin the ratio uses the
    preconditioned Hessian, when the checkpoint holds the optimizer's second moments. For runs with minibatches the
    mean curvature along their gradients (batch sharpness) is measured as well. BatchNorm uses its running statistics,
    or those of all examples together, which a step of full-batch descent saw.
    """
    chosen = Defaults(
        optimizer=optimizer,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        minibatch=minibatch,
        batch_norm=batch_norm,
        steps=steps,
        budget=budget,
        examples=examples,
        layers=layers,
        per_example=per_example,
        groups=groups,
        secant=secant,
        spectrum=spectrum,
        store=store,
        top=top,
        every=every,
        tolerance=tolerance,
        max_matvecs=max_matvecs,
        precision=precision,
        seed=seed,
        batch_size=batch_size,
        device=device,
        model=model,
        data=data,
        trust_manifest=trust_manifest,
        unsafe_pickle=unsafe_pickle,
        dry_run=dry_run,
        fresh=fresh,
    )
    # Under torchrun every process does the same, and the first one speaks.
    first = os.environ.get("RANK", "0") == "0"
    terminal = Terminal(as_json=as_json and first, quiet=quiet or not first, verbose=verbose and first)
    perform("sharpness", terminal, chosen)
