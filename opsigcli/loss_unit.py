"""What losses are measured in: nats where they are negative log likelihoods, and nothing that has a name elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

LOG_LIKELIHOODS = (
    "ce",
    "nll",
    "lm",
    "bce",
    "bce_prob",
)  # of LOSSES; focal's and gce's are no likelihoods any more


@dataclass(frozen=True)
class LossUnit:
    """The unit of a loss, as words beside its values."""

    log_likelihood: bool = True

    @property
    def name(self) -> str:
        """nats; "" where it has none, as of squared errors."""
        return "nats" if self.log_likelihood else ""

    @property
    def after(self) -> str:
        """Behind a value: ``0.31 nats``."""
        return f" {self.name}" if self.name else ""

    @property
    def heading(self) -> str:
        """Behind what the values are: ``mean loss, nats``."""
        return f", {self.name}" if self.name else ""

    @property
    def within(self) -> str:
        """The same in a sentence: ``mean loss in nats``."""
        return f" in {self.name}" if self.name else ""


NATS = LossUnit()


def unit_of(loss: str) -> LossUnit:
    """The unit of the loss of a spec: ``ce?label_smoothing=0.1``. One that is not known here has none."""
    return LossUnit(loss.partition("?")[0].strip() in LOG_LIKELIHOODS)
