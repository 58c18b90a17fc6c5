"""``opsig trace``: the loss trace, as the command line sees it."""

from __future__ import annotations

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
  opsig trace ckpts/ --model py:mynet:build --data npz:train.npz
  torchrun --nproc-per-node 4 -m opsigcli trace ckpts/
      four processes share the work; the result is the same to the bit"""


def trace(
    checkpoints: params.Checkpoints,
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
    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Examples per forward pass. Default: as suits the processor's caches."
        ),
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            help="Trace N examples: spread over the classes, or whole sequences over the text.",
        ),
    ] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Every token of a text is an example, not every sequence.")
    ] = False,
    precision: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="float32, or bf16 or tf32: refused, with numbers, where its error would drown the loss deltas.",
        ),
    ] = Defaults.precision,
    virtual_step: Annotated[
        bool,
        typer.Option(
            "--virtual-step",
            help="Also take one optimizer step from each checkpoint and store what it does to every loss.",
        ),
    ] = False,
    virtual_batches: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Batches in a virtual step. Default: all examples."),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of virtual steps. Default: as the manifest says; so for the next two."
        ),
    ] = None,
    lr: Annotated[float | None, typer.Option(metavar="X", min=0.0, help="Learning rate.")] = None,
    momentum: Annotated[float | None, typer.Option(metavar="X", min=0.0, max=1.0, help="Momentum.")] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Do the I-th of N parts; the last part to finish writes the store. torchrun and srun need no "
            "such option.",
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Follow a run that is still going: trace checkpoints as they come."),
    ] = False,
    idle: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0.0, help="Watching ends when nothing new has come for so long."),
    ] = Defaults.idle,
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
        examples=examples,
        tokens=tokens,
        precision=precision,
        virtual_step=virtual_step or virtual_batches is not None,
        virtual_batches=virtual_batches,
        optimizer=optimizer,
        lr=lr,
        momentum=momentum,
        shard=shard,
        watch=watch,
        idle=idle,
        device=device,
        fresh=fresh,
        trust_manifest=trust_manifest,
    )
    terminal = Terminal(as_json=as_json, quiet=quiet, verbose=verbose)
    perform("trace", terminal, chosen)
