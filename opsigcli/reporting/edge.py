"""What may be said of the edge of stability: what measured checkpoints show, and no more where they miss a spike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.command_line import command
from opsigcli.reporting.format import count, number
from opsigcli.reporting.sentences import Part, capital, made_by
from opsigcli.reporting.summary import sharpness_name, sharpness_values

if TYPE_CHECKING:
    from opsigcli.mining_records import (
        Spike,
    )
    from opsigcli.records import Case
    from opsigcli.sharpness_records import SharpnessPoint

NAMED_SPIKES = 6  # that no ratio covers


def against_threshold(case: Case) -> list[SharpnessPoint]:
    """The points that can be held against the threshold: converged, with a ratio."""
    values = sharpness_values(case.sharpness)
    return [
        p
        for p, value in zip(case.sharpness, values, strict=True)
        if p.converged and math.isfinite(value) and p.ratio is not None and math.isfinite(p.ratio)
    ]


def uncovered(case: Case) -> list[Spike]:
    """Spikes without a stability ratio at any checkpoint from bottom to top."""
    steps = np.array([p.step for p in against_threshold(case)])
    return [s for s in case.spikes if not ((steps >= s.step) & (steps <= s.next_step)).any()]


def covering_command(case: Case) -> str:
    """The command that measures at the spikes that are not covered, or along the run where there are none."""
    rows = {int(step): row for row, step in enumerate(case.trace.steps.tolist())}
    bare = [s for s in uncovered(case) if s.step in rows and s.next_step in rows]
    every = min((rows[s.next_step] - rows[s.step] + 1 for s in bare), default=1)
    return command("sharpness", store=case.store, options=("--every", str(every)) if every > 1 else ())


def uncovered_words(case: Case) -> str:
    """Which spikes no ratio covers: ``spikes from steps 20, 31 and 2 more are not covered``; "" where all are."""
    bare = uncovered(case)
    if not bare:
        return ""
    named = ", ".join(f"{spike.step:,}" for spike in bare[:NAMED_SPIKES])
    more = f" and {len(bare) - NAMED_SPIKES} more" if len(bare) > NAMED_SPIKES else ""
    which, verb = ("the spike", "is") if len(bare) == 1 else ("spikes", "are")
    return f"{which} from {case.run.axis.named(len(bare))} {named}{more} {verb} not covered"


def measured_words(case: Case, points: list[SharpnessPoint]) -> str:
    """``11 of 41 checkpoints measured``."""
    return f"{len(points)} of {count(len(case.trace.steps), 'checkpoint')} measured"


def edge(case: Case) -> Part:
    """The verdict on sharpness and its threshold. Only converged points count."""
    if not case.sharpness:
        return [], [], [f"Sharpness was not measured: run {command('sharpness', store=case.store)}."]
    values = dict(zip(case.sharpness, sharpness_values(case.sharpness), strict=True))
    good = [p for p in case.sharpness if p.converged and math.isfinite(values[p])]
    missing = []
    if loose := sum(not p.converged for p in case.sharpness):
        missing.append(
            f"Sharpness did not converge at {loose} of {count(len(case.sharpness), 'measured checkpoint')}; "
            "those values are left out of the verdict."
        )
    if not good:
        return [], [], missing
    name = sharpness_name(good)
    if any(p.fixed_statistics for p in good):
        name = f"eval-mode {name}"
        missing.append(
            "BatchNorm's statistics were held fixed; the steps of the run saw those of their batches, whose sharpness "
            "can be several times smaller: "
            f"{command('sharpness', store=case.store, options=('--batch-norm', 'batch'))}."
        )
    against = against_threshold(case)
    if not against:
        known = any(p.threshold is not None for p in good)
        what = "There is no stability ratio" if known else "The stability threshold is not known"
        why = next((f" ({p.reason.removeprefix('no ratio: ')})" for p in good if p.reason), "")
        missing.append(f"{what}{why}, so sharpness is held against nothing.")
        peak = max(good, key=lambda p: values[p])
        title = f"{name} measured at {count(len(good), 'checkpoint')} was at most {number(values[peak])}"
        return [f"{title} ({case.run.axis.at(peak.step)})"], [], missing
    peak = max(against, key=lambda p: p.ratio or 0)
    top = (
        f"{number(peak.ratio)}\u00a0\u00d7 the stability threshold at {case.run.axis.at(peak.step)} "
        f"({number(values[peak])} against {number(peak.threshold)})"
    )
    bare = uncovered_words(case)
    if bare:
        missing.append(f"{capital(measured_words(case, against))}; {bare}: run {covering_command(case)}.")
    covered = ", every spike among them" if case.spikes and not bare else ""
    measured = f"{measured_words(case, against)}{covered}{made_by(case, 'sharpness')}"
    said = f"{capital(name)} came to at most {top}; {measured}."
    return [_title(case, name, against)], [said], missing + _doubts(case, against)


def _title(case: Case, name: str, against: list[SharpnessPoint]) -> str:
    """What the heading says. The whole run is spoken of only where every spike, or without spikes every checkpoint, is
    measured, and the weights do not contradict the threshold."""
    above = [p for p in against if (p.ratio or 0) >= 1]
    k, total = len(against), len(case.trace.steps)
    measured = f"the {k} of {count(total, 'checkpoint')} measured" if k < total else "every checkpoint"
    if k == 1 < total:
        measured = f"{case.run.axis.at(against[0].step)}, the one of {count(total, 'checkpoint')} measured"
    if len(_contradicted(against)) == k:
        return f"{name} is held against a threshold that the weights contradict"
    if not above and uncovered(case):
        return (
            f"whether {name} reached the stability threshold is not known ({measured_words(case, against)})"
        )
    if not above:
        return f"{name} was below the stability threshold at {measured}"
    if len(above) == k:
        return f"{name} was at or above the stability threshold at {measured}"
    if above[0] is against[0]:
        return f"{name} was at or above the stability threshold at {len(above)} of {k} measured checkpoints"
    return f"{name} reached the stability threshold by {case.run.axis.at(above[0].step)}"


def _contradicted(points: list[SharpnessPoint]) -> list[SharpnessPoint]:
    return [p for p in points if p.step_check is not None and p.step_check.verdict == "contradicted"]


def _doubts(case: Case, against: list[SharpnessPoint]) -> list[str]:
    """Why a ratio may say less than it seems to."""
    doubts = []
    unlike = _contradicted(against)
    if unlike:
        reason = unlike[0].step_check.reason if unlike[0].step_check else ""
        doubts.append(
            f"The stability threshold is not confirmed by the weights at {len(unlike)} of "
            f"{count(len(against), 'checkpoint')}: {reason}."
        )
    below = all((p.ratio or 0) < 1 for p in against)
    if below and case.run.batch_size and case.run.batch_size < len(case.trace.example_ids):
        doubts.append(
            f"The run used minibatches of {case.run.batch_size:,}: sharpness on all examples then lies below the "
            "stability threshold even at the edge of stability."
        )
    return doubts
