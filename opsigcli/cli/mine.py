"""``opsig mine``: top loss deltas, groups and pairs, as the command line sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opsigcli.cli import params
from opsigcli.cli.console import Terminal
from opsigcli.cli.perform import perform
from opsigcli.options import MineOptions as Defaults

SUMMARY = "Find opposing groups and the largest loss changes."
EXAMPLES = """\b
Examples:
  opsig mine --top 20
  opsig mine --export outliers.csv
  opsig mine --window first
      the first oscillation by itself; later ones mix several pairs
  opsig mine --causal
  opsig mine --json | jq '.result.pairs[] | {opposition, verdict}'"""


def mine(
    top: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Examples on each side of a step: the most risen and the most fallen losses.",
        ),
    ] = Defaults.top,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="full, simple, top (the 20 most risen against the 20 most fallen losses at five steps), or losses "
            "(loss series alone; needs no model, finds less).",
        ),
    ] = Defaults.method,
    similarity: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Compare gradients adjusted for output residuals (adjusted), as they are (raw), or without the mean "
            "of their class (centred).",
        ),
    ] = Defaults.similarity,
    window: Annotated[
        str, typer.Option(metavar="NAME", help="Mine the whole run (run) or its first oscillation (first).")
    ] = Defaults.window,
    surrogates: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Rotated surrogates for p-values that account for the search."),
    ] = Defaults.surrogates,
    causal: Annotated[
        bool,
        typer.Option(
            "--causal",
            help="Train again from the first oscillation without the groups, and without equal-sized control sets.",
        ),
    ] = False,
    test_data: Annotated[
        str | None,
        typer.Option("--test-data", metavar="SPEC", help="Data for the test accuracy that --causal reports."),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the groups' example ids to FILE: .csv (also for cleanlab and pandas), .jsonl, .npz, .json "
            "(FiftyOne), .pt (indices for torch.utils.data.Subset).",
        ),
    ] = None,
    candidates: Annotated[
        int, typer.Option(metavar="N", min=10, help="Examples whose gradients are compared, at most.")
    ] = Defaults.candidates,
    gradient_checkpoints: Annotated[
        int, typer.Option(metavar="N", min=1, help="Checkpoints at which gradients are compared.")
    ] = Defaults.gradient_checkpoints,
    sketch_dimensions: Annotated[
        int, typer.Option(metavar="N", min=16, help="Dimensions gradients are projected to at random.")
    ] = Defaults.sketch_dimensions,
    store: params.Store = Defaults.store,
    model: params.Model = None,
    data: params.Data = None,
    seed: params.Seed = Defaults.seed,
    batch_size: params.BatchSize = Defaults.batch_size,
    device: params.Device = Defaults.device,
    trust_manifest: params.TrustManifest = False,
    unsafe_pickle: params.UnsafePickle = False,
    as_json: params.Json = False,
    quiet: params.Quiet = False,
    verbose: params.Verbose = False,
) -> None:
    """Find the largest loss changes and the pairs of groups with opposing signals.

    Lists the examples whose loss rose and fell most at each step; compares examples' gradients, adjusted for what
    their labels alone explain; and reports pairs of groups that pull the weights in opposite directions, each score
    beside its null. Loss spikes are attributed to the groups.
    """
    chosen = Defaults(
        store=store,
        top=top,
        method=method,
        similarity=similarity,
        window=window,
        surrogates=surrogates,
        causal=causal,
        test_data=test_data,
        export=export,
        candidates=candidates,
        gradient_checkpoints=gradient_checkpoints,
        sketch_dimensions=sketch_dimensions,
        seed=seed,
        batch_size=batch_size,
        device=device,
        model=model,
        data=data,
        trust_manifest=trust_manifest,
        unsafe_pickle=unsafe_pickle,
    )
    terminal = Terminal(as_json=as_json, quiet=quiet, verbose=verbose)
    perform("mine", terminal, chosen)
