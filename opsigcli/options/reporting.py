"""The options of what speaks of a store: ``opsig report``, ``opsig export``, ``opsig schema``; and of every command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from opsigcli.options.shared import STORE, Store
from opsigcli.parameters import Argument, Option


@dataclass(frozen=True)
class ReportOptions:
    """``opsig report``: the whole case, or several runs side by side."""

    stores: Annotated[
        tuple[Path, ...],
        Argument("Stores: one is reported, several are compared. Default: that of --store.", "STORES"),
    ] = ()
    full: Annotated[bool, Option("Show everything in the terminal, not one screen of it.")] = False
    html: Annotated[
        bool,
        Option(
            "Write one self-contained HTML file, opsig-report.html; beside one that would pass 2 MB, or could not have "
            "the curves of all members, a folder, opsig-report_files."
        ),
    ] = False
    output: Annotated[
        Path | None, Option("Write the HTML to FILE; - is standard output.", "FILE", short="-o")
    ] = None
    figure: Annotated[
        Path | None,
        Option(
            "Write the figure for a paper to FILE.svg, FILE.pdf or FILE.png: mean loss with spikes, group losses, "
            "stability ratio, share of examples rising, on one axis. Needs opsig[figure].",
            "FILE",
        ),
    ] = None
    width: Annotated[
        float,
        Option("Width of the figure in inches: 3.3 for one column, 6.8 for two.", "X", min=2.0, max=20.0),
    ] = 3.3
    log: Annotated[
        str | None,
        Option(
            "Write numbers, pictures and tables for TensorBoard into a folder (tensorboard:DIR), or as a run of "
            "Weights & Biases that is not sent (wandb:offline, below wandb/ or WANDB_DIR; needs opsig[wandb]).",
            "PROGRAM:PLACE",
        ),
    ] = None
    result: Annotated[
        str | None,
        Option(
            "Show another of the results that the store keeps, by the name that the report gives it: "
            "'sharpness --precision float64', or several with ; between them.",
            "NAME",
        ),
    ] = None
    thumbnails: Annotated[int, Option("Pictures per group.", "N", min=0, max=24)] = 12
    fail_on: Annotated[
        tuple[str, ...],
        Option(
            "Exit with 1 where this is true: 'sharpness.ratio.max > 1.2'. Repeatable. What was not measured, or is not "
            "a finite number, trips every gate.",
            "CONDITION",
            values="opsigcli.gates.metrics:METRICS",
        ),
    ] = ()
    require: Annotated[
        tuple[str, ...],
        Option(
            "Exit with 1 where this is not true: 'loss.last <= baseline * 1.1'. Repeatable, likewise.",
            "CONDITION",
            values="opsigcli.gates.metrics:METRICS",
        ),
    ] = ()
    baseline: Annotated[
        Path | None,
        Option("What baseline is in conditions: an older report of --json, or another store.", "FILE"),
    ] = None
    list_metrics: Annotated[
        bool, Option("List what conditions can be about, with units and definitions.")
    ] = False
    markdown: Annotated[
        bool,
        Option(
            "Print Markdown, for a comment on a change; it joins $GITHUB_STEP_SUMMARY where that is set. With --figure "
            "it shows that file: keep both in one folder."
        ),
    ] = False
    junit: Annotated[Path | None, Option("Write the gates to FILE as JUnit XML.", "FILE")] = None
    store: Store = STORE


@dataclass(frozen=True)
class ExportOptions:
    """``opsig export``: a part of the store as a table for other programs."""

    what: Annotated[
        str,
        Argument("Table: losses, deltas, sharpness, pairs or examples.", "WHAT", "opsigcli.exporting:TABLES"),
    ]
    format: Annotated[
        str | None,
        Option("{choice}. Default: as FILE ends, else csv.", "NAME", values="opsigcli.exporting:FORMATS"),
    ] = None
    steps: Annotated[
        str | None,
        Option(
            "Only checkpoints from step A to step B, every C-th of them; of deltas those that begin there.",
            "A:B:C",
        ),
    ] = None
    examples: Annotated[
        str | None,
        Option("Only these: ids as 3,17, or a file of ids as opsig mine --export writes it.", "IDS|FILE"),
    ] = None
    output: Annotated[
        Path | None,
        Option(
            "Write to FILE; - is standard output. Default: opsig-WHAT.csv, or .FORMAT.", "FILE", short="-o"
        ),
    ] = None
    store: Store = STORE


@dataclass(frozen=True)
class SchemaOptions:
    """``opsig schema``: what ``--json`` prints, as JSON Schema."""

    name: Annotated[
        str | None,
        Argument(
            "Of a schema: report, mine, sharpness, error … Without it all are listed.",
            "NAME",
            "opsigcli.schemas:names",
        ),
    ] = None


@dataclass(frozen=True)
class TerminalOptions:
    """What every command takes: how it speaks."""

    json: Annotated[bool, Option("Print the result as one JSON object on stdout.")] = False
    quiet: Annotated[bool, Option("Print warnings and errors alone: no result, no progress.", short="-q")] = (
        False
    )
    verbose: Annotated[bool, Option("Say more on the way.", short="-v")] = False
