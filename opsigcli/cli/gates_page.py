"""The manual page about gates, with the table of their metrics."""

from __future__ import annotations

from opsigcli.cli.topic import Topic
from opsigcli.gates.metrics import METRICS, WHERE_NATS

GATES = Topic(
    "opsig-gates",
    "conditions that a pipeline fails on: metrics, baselines, settings of a project",
    (
        (
            "DESCRIPTION",
            (
                "opsig report exits with 1 where a gate trips, and no command does for any other reason. A gate is a "
                "condition, METRIC OP BOUND, which is read and never run: --fail-on names what must not be and trips "
                "where it is true, --require names what must be and trips where it is not. OP is <, <=, >, >=, == or "
                "!=. BOUND is a number, or baseline, baseline * 1.1, baseline + 0.1, baseline - 0.1.",
                "  opsig report --fail-on 'sharpness.ratio.max > 1.2' \\\n"
                "      --require 'trace.failed == 0'\n"
                "  opsig report --baseline main.json --require 'loss.last <= baseline * 1.1'",
                "What was not measured, or is not a finite number, trips every gate on it, and is said to be that. So "
                "does a maximum over checkpoints some of which did not converge, or whose threshold the weights "
                "contradict: there, and where steps confirm it nowhere, at every checkpoint. last is the last "
                "checkpoint of the trace, and no earlier one. Gates see the results that "
                "the report shows (--result).",
            ),
        ),
        (
            "BASELINES",
            (
                "--baseline FILE is what an older opsig report --json printed, or another store. What has no number "
                "there trips as well, and so does what is another quantity there: every metric of a baseline of other "
                "data, another loss or another unit of steps, and metrics of results that were made with other "
                "options (--result). --fail-on with <, <= or == baseline is refused, as it would trip exactly where "
                "nothing is above the baseline.",
            ),
        ),
        (
            "SETTINGS OF A PROJECT",
            (
                "opsig report also reads opsig.toml, or [tool.opsig] in pyproject.toml, of the folder where it runs, "
                "or of the nearest one above it in the same git repository. Its gates join those of the command line. "
                "In opsig.toml the first line here is left out:",
                "  [tool.opsig]\n"
                "  fail-on = ['sharpness.ratio.max > 1.2']\n"
                "  require = ['trace.failed == 0', 'loss.last <= baseline * 1.05']\n"
                "  baseline = 'ci/main.json'",
                "Nothing else may stand there: such a file comes with a clone, and names neither code nor a model nor "
                "a store. Its baseline lies in its folder, also where links lead; --baseline goes before it.",
            ),
        ),
        (
            "PIPELINES",
            (
                "--junit FILE writes a test case for each gate; it is refused without gates. --markdown prints a "
                "comment for a change, which joins the file that GITHUB_STEP_SUMMARY names; with --figure FILE.svg it "
                "shows that picture beside it, as hosts take pictures out of the text. Where GITHUB_ACTIONS is "
                "true each gate that trips, and each error, is also an annotation. --json has all gates in "
                "result.gates and all metrics in result.metrics. examples/ci has an action and a job.",
            ),
        ),
        (
            "METRICS",
            (
                *(f"{name} [{metric.unit}]: {metric.definition}" for name, metric in METRICS.items()),
                WHERE_NATS,
            ),
        ),
    ),
    related=("report", "trace", "sharpness", "mine"),
)
