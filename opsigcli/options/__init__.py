"""One frozen dataclass per command. Every option is declared here, once, with its default and its help.

The order of the fields is the order of the help. See ``parameters`` for what an ``Option`` can say; what several
commands take is in ``shared``.
"""

from __future__ import annotations

from opsigcli.options.mining import MineOptions
from opsigcli.options.reporting import ExportOptions, ReportOptions, SchemaOptions, TerminalOptions
from opsigcli.options.shared import (
    EXAMPLE_WEIGHTS,
    MANIFEST,
    PRECISIONS,
    PRESETS,
    REPORT,
    STATES,
    STORE,
    STORE_VARIABLE,
)
from opsigcli.options.sharpness import SharpnessOptions
from opsigcli.options.tracing import InspectOptions, TraceOptions
from opsigcli.options.training import InitOptions, TrainOptions

__all__ = [
    "COMMANDS",
    "EXAMPLE_WEIGHTS",
    "MANIFEST",
    "PRECISIONS",
    "PRESETS",
    "REPORT",
    "STATES",
    "STORE",
    "STORE_VARIABLE",
    "ExportOptions",
    "InitOptions",
    "InspectOptions",
    "MineOptions",
    "ReportOptions",
    "SchemaOptions",
    "SharpnessOptions",
    "TerminalOptions",
    "TraceOptions",
    "TrainOptions",
]

# In the order in which they are run.
COMMANDS: dict[str, type] = {
    "train": TrainOptions,
    "inspect": InspectOptions,
    "init": InitOptions,
    "trace": TraceOptions,
    "mine": MineOptions,
    "sharpness": SharpnessOptions,
    "report": ReportOptions,
    "schema": SchemaOptions,
    "export": ExportOptions,
}
