"""The numbers that gates can be about: one table of names, units, definitions and how each is taken from a case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.gate_records import MetricValue
from opsigcli.gates import losses, pairs, sharpness, spikes
from opsigcli.gates.measured import Metric
from opsigcli.loss_unit import NATS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsigcli.records import Case

WHERE_NATS = "nats are of log likelihoods (ce, nll, lm, bce); of other losses it is the loss's own unit."
NAMELESS = "loss"  # in place of nats, where the loss is no log likelihood
# A name's last word says which of several values it is: last is that of the run's last checkpoint, and nothing else.
METRICS: dict[str, Metric] = {
    "sharpness.ratio.max": Metric(
        "\u00d7 threshold",
        "Largest stability ratio of all checkpoints that were measured; each of them must have converged, and none "
        "may have a threshold that the weights contradict.",
        sharpness.ratio_max,
    ),
    "sharpness.ratio.last": Metric(
        "\u00d7 threshold", "Stability ratio at the last checkpoint, likewise.", sharpness.ratio_last
    ),
    "sharpness.max": Metric(
        "nats/weight\u00b2",
        "Largest sharpness (largest algebraic Hessian eigenvalue) of all checkpoints that were measured; each must "
        "have converged.",
        sharpness.sharpness_max,
    ),
    "sharpness.last": Metric(
        "nats/weight\u00b2", "Sharpness at the last checkpoint, converged.", sharpness.sharpness_last
    ),
    "sharpness.batch_ratio.max": Metric(
        "\u00d7 threshold",
        "Largest ratio of batch sharpness to the threshold (--minibatch) of all checkpoints that were measured.",
        sharpness.batch_ratio_max,
    ),
    "sharpness.checkpoints": Metric(
        "checkpoints", "Checkpoints at which sharpness was measured.", sharpness.checkpoints
    ),
    "sharpness.unconverged": Metric(
        "checkpoints", "Those of them at which it did not converge.", sharpness.unconverged
    ),
    "sharpness.contradicted": Metric(
        "checkpoints", "Those of them whose threshold the weights contradict.", sharpness.contradicted
    ),
    "critical.ratio.max": Metric(
        "\u00d7 threshold",
        "Largest ratio \u03b7/\u03b7c of sharpness --quick of all checkpoints that were measured.",
        sharpness.critical_max,
    ),
    "critical.ratio.last": Metric(
        "\u00d7 threshold",
        "\u03b7/\u03b7c of sharpness --quick at the last checkpoint.",
        sharpness.critical_last,
    ),
    "findings.count": Metric(
        "pairs",
        "Pairs of opposing groups that are findings; not measured where proposed pairs were not tested against chance.",
        pairs.count,
    ),
    "findings.energy.max": Metric(
        "of 1",
        "Largest share that a finding has of the energy of high-passed loss deltas (share_of_loss_change); 0 without "
        "findings.",
        pairs.energy_max,
    ),
    "findings.examples": Metric("of 1", "Share of the examples that are in a finding.", pairs.examples),
    "opposition.max": Metric(
        "of 1",
        "Largest opposition of a finding (man opsig-evidence); 0 without findings.",
        pairs.opposition_max,
    ),
    "pairs.count": Metric("pairs", "Pairs that were proposed, findings or not.", pairs.proposed),
    "spikes.count": Metric("spikes", "Spikes of the mean loss.", spikes.count),
    "spikes.rise.max": Metric(
        "nats", "Rise of the largest spike from bottom to top; 0 without spikes.", spikes.rise_max
    ),
    "spikes.divergences": Metric(
        "spikes", "Spikes from which the mean loss did not come back until the end.", spikes.divergences
    ),
    "loss.first": Metric("nats", "Mean loss at the first checkpoint.", losses.first),
    "loss.last": Metric(
        "nats", "Mean loss at the last checkpoint; every example must have a finite loss there.", losses.last
    ),
    "loss.min": Metric("nats", "Smallest mean loss of all checkpoints.", losses.smallest),
    "loss.max": Metric("nats", "Largest mean loss of all checkpoints.", losses.largest),
    "loss.rise.max": Metric(
        "nats",
        "Largest rise of the mean loss from one checkpoint to the next, a spike or not; 0 where it never rises.",
        losses.rise_max,
    ),
    "accuracy.last": Metric(
        "of 1",
        "Share of right answers at the last checkpoint, of the examples that a trace looks at: of all, where they "
        "are few.",
        losses.right,
    ),
    "log.gap.max": Metric(
        "nats", "Largest distance of the traced mean loss from the one that the run logged.", losses.log_gap
    ),
    "interference.max": Metric(
        "of 1",
        "Largest interference D = 1 - |sum|/sum|.| of the loss deltas of virtual steps (trace --virtual-step).",
        losses.interference,
    ),
    "trace.failed": Metric("checkpoints", "Checkpoints that could not be traced.", losses.failed),
    "trace.not_finite": Metric(
        "checkpoints", "Checkpoints at which some loss is not finite.", losses.not_finite
    ),
    "trace.checkpoints": Metric("checkpoints", "Checkpoints that were traced.", losses.checkpoints),
    "trace.examples": Metric("examples", "Examples that were traced.", losses.examples),
}


def measure(case: Case) -> dict[str, MetricValue]:
    """Every metric of a case, in the unit of its loss."""
    of_loss = case.run.loss_unit.name or NAMELESS
    found = (
        (name, metric.unit.replace(NATS.name, of_loss), metric.of(case)) for name, metric in METRICS.items()
    )
    return {name: MetricValue(one.value, unit, one.words) for name, unit, one in found}


def values_of(metrics: Mapping[str, MetricValue]) -> dict[str, float | None]:
    """Their numbers alone."""
    return {name: metric.value for name, metric in metrics.items()}


def listing() -> str:
    """The table as text, two lines for each metric."""
    lines = [f"{name} [{metric.unit}]\n    {metric.definition}" for name, metric in METRICS.items()]
    return "\n".join([*lines, WHERE_NATS])
