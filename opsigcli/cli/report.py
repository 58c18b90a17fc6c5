"""``opsig report``: the whole case, as the command line sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opsigcli.cli import params
from opsigcli.cli.console import Terminal
from opsigcli.cli.perform import perform
from opsigcli.options import REPORT
from opsigcli.options import ReportOptions as Defaults

SUMMARY = "Show the whole case, in the terminal or as HTML."
EXAMPLES = """\b
Examples:
  opsig report
  opsig report --html
  opsig report --html --output case.html --store case.h5"""


def report(
    html: Annotated[bool, typer.Option("--html", help="Write one self-contained HTML file.")] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where the HTML goes.")
    ] = REPORT,
    thumbnails: Annotated[
        int, typer.Option(metavar="N", min=0, max=24, help="Pictures per group.")
    ] = Defaults.thumbnails,
    store: params.Store = Defaults.store,
    as_json: params.Json = False,
    quiet: params.Quiet = False,
    verbose: params.Verbose = False,
) -> None:
    """Show the whole case: in the terminal, or as one HTML file that needs no network.

    Reads the store alone: neither the model, the data nor the checkpoints.
    """
    chosen = Defaults(store=store, html=output if html else None, thumbnails=thumbnails)
    terminal = Terminal(as_json=as_json, quiet=quiet, verbose=verbose)
    perform("report", terminal, chosen)
