"""Reporting: records in, something a person reads out. It knows neither torch, the store nor the data.

``summary`` says what a case holds, in numbers and sentences; ``terminal`` and ``html`` show it.
"""

from __future__ import annotations

from opsigcli.registry import Entry, Registry

# By the schema of a command's outcome; each takes the outcome's view and returns Rich renderables.
RENDERERS = Registry(
    "renderer",
    {
        "opsig/inspect": Entry(
            "opsigcli.reporting.checkpoints:render_inspect", "a folder of checkpoints, in the terminal"
        ),
        "opsig/store": Entry(
            "opsigcli.reporting.terminal:render_store", "which run a store is of, in the terminal"
        ),
        "opsig/plan": Entry("opsigcli.reporting.checkpoints:render_plan", "what --dry-run says"),
        "opsig/trace": Entry("opsigcli.reporting.terminal:render_trace", "loss trace, in the terminal"),
        "opsig/mine": Entry(
            "opsigcli.reporting.terminal:render_mine", "pairs and top examples, in the terminal"
        ),
        "opsig/quick-sharpness": Entry(
            "opsigcli.reporting.critical:render_critical", "critical sharpness, in the terminal"
        ),
        "opsig/sharpness": Entry(
            "opsigcli.reporting.terminal:render_curvature", "sharpness, in the terminal"
        ),
        "opsig/comparison": Entry(
            "opsigcli.reporting.comparison:render_comparison", "several runs side by side, in the terminal"
        ),
        "opsig/report": Entry("opsigcli.reporting.screen:render", "the whole case, in the terminal"),
    },
)
