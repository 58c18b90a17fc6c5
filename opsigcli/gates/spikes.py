"""Numbers of loss spikes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.gates.losses import gaps
from opsigcli.gates.measured import Measured, missing
from opsigcli.printable import count as counted
from opsigcli.spike_records import FEWEST_CHANGES

if TYPE_CHECKING:
    from opsigcli.records import Case


def _unseen(case: Case) -> str:
    """Why spikes cannot be seen in a trace; "" where they can."""
    if len(case.trace.steps) <= FEWEST_CHANGES:
        return f"traced: {counted(len(case.trace.steps), 'checkpoint')}; what stands out needs {FEWEST_CHANGES + 1}"
    return gaps(case)


def count(case: Case) -> Measured:
    """Spikes."""
    if why := _unseen(case):
        return missing(why)
    return Measured(float(len(case.spikes)))


def rise_max(case: Case) -> Measured:
    """The rise of the largest one."""
    if why := _unseen(case):
        return missing(why)
    top = max(case.spikes, key=lambda spike: spike.rise, default=None)
    if top is None:
        return Measured(0.0, "there is no spike")
    return Measured(top.rise, f"from {case.run.axis.between(top.step, top.next_step)}")


def divergences(case: Case) -> Measured:
    """Spikes that the run did not come back from."""
    if why := _unseen(case):
        return missing(why)
    ended = [spike for spike in case.spikes if spike.kind == "divergence"]
    at = ", ".join(case.run.axis.at(spike.step) for spike in ended[:3])
    return Measured(float(len(ended)), f"from {at}" if at else "")
