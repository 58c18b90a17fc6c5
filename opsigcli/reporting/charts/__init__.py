"""The charts of a report. A new one is a file here and a line in a table: what is in the tables is drawn.

``CHARTS`` draw a ``Sheet``, the case on one axis of steps, as figures: those of the whole run stand above one another
in the order of the table, with small multiples in a grid, those of a pair in the pair's section. ``BARS`` draw where
the sharpness is. All give nothing where the case lacks what they need.
"""

from __future__ import annotations

from opsigcli.registry import Entry, Registry

# Each takes a ``Sheet`` and returns figures.
CHARTS = Registry(
    "chart",
    {
        "loss": Entry(
            "opsigcli.reporting.charts.loss:loss_chart", "the mean loss, with its spikes; needs a trace"
        ),
        "groups": Entry(
            "opsigcli.reporting.charts.groups:group_charts", "mean losses of each pair's groups; needs pairs"
        ),
        "sharpness": Entry(
            "opsigcli.reporting.charts.sharpness:sharpness_charts",
            "sharpness, preconditioned sharpness and ratio against the stability threshold; needs sharpness",
        ),
        "layers": Entry(
            "opsigcli.reporting.charts.layers:layer_maps",
            "layers by step, parts of the top eigenvector; needs layers at two checkpoints",
        ),
        "critical": Entry(
            "opsigcli.reporting.charts.critical:critical_charts",
            "critical sharpness against its threshold, as a ratio; needs sharpness --quick",
        ),
        "probes": Entry(
            "opsigcli.reporting.charts.probes:probe_charts",
            "class probabilities of inputs that were watched, beside the pair that moves them; needs probes",
        ),
        "close-up": Entry(
            "opsigcli.reporting.charts.groups:close_ups",
            "the groups around a pair's strongest change, in its section; needs pairs and four checkpoints",
        ),
        "deltas": Entry(
            "opsigcli.reporting.charts.deltas:delta_charts",
            "histogram of the loss deltas at that change, in the pair's section; needs pairs",
        ),
        "spectrum": Entry(
            "opsigcli.reporting.charts.spectrum:spectrum_charts",
            "spectral density where it is largest; needs sharpness --spectrum",
        ),
    },
)
# Each takes the point with the largest sharpness and returns a table of bars, or None.
BARS = Registry(
    "table of bars",
    {
        "layers": Entry(
            "opsigcli.reporting.charts.bars:layer_bars", "parts of the top eigenvector; needs layers"
        ),
        "kinds": Entry(
            "opsigcli.reporting.charts.bars:kind_bars", "the same by kind of layer; needs several kinds"
        ),
        "groups": Entry(
            "opsigcli.reporting.charts.bars:group_bars", "parts of the sharpness; needs groups at the point"
        ),
    },
)
