"""What a case holds, in numbers and words. The terminal and the HTML report both take it from here."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.mining_records import WINDOW
from opsigcli.options import COMMANDS
from opsigcli.printable import count
from opsigcli.reporting.copies import copies_in
from opsigcli.reporting.format import NOTHING, group_mark, number
from opsigcli.reporting.sharpness_lines import curvature_lines, of_subset, step_check_lines
from opsigcli.sentences import percent, say
from opsigcli.sharpness_records import contradicted

if TYPE_CHECKING:
    from opsigcli.mining_records import (
        Evidence,
        Group,
        Mining,
        Pair,
    )
    from opsigcli.records import (
        Case,
        Floats,
        LossTrace,
        Provenance,
        Run,
    )
    from opsigcli.sharpness_records import SharpnessPoint

UNLIKE = "\u2020"  # after a ratio to a threshold that the weights contradict


def group_curves(trace: LossTrace, groups: Sequence[Group], rows: slice = slice(None)) -> list[Floats]:
    """Mean loss of each group at some checkpoints, (T,) float64 nats; no number where a member has none.

    The losses are read in one look, a checkpoint at a time where all checkpoints are asked for.
    """
    places = [trace.positions(group.ids) for group in groups]
    filled = [i for i, members in enumerate(places) if len(members)]
    curves = np.full((len(trace.steps[rows]), len(groups)), np.nan)
    if filled:
        sizes = np.array([len(places[i]) for i in filled])
        members = np.concatenate(places)
        whole = rows == slice(None)
        found = (row[members] for row in trace.losses) if whole else iter(trace.losses[rows, members])
        for t, values in enumerate(found):
            sums = np.add.reduceat(values, np.cumsum(sizes) - sizes, dtype=np.float64)
            curves[t, filled] = sums / sizes
    return list(curves.T)


def delta_row(trace: LossTrace, step: int) -> int | None:
    """The row whose checkpoint is ``step``, if a checkpoint follows it."""
    rows = np.flatnonzero(trace.steps[:-1] == step)
    return int(rows[0]) if len(rows) else None


def sharpness_values(points: Sequence[SharpnessPoint]) -> list[float]:
    """What is held against the threshold at every point: sharpness, or preconditioned sharpness where that is.

    Where some points are preconditioned, one that is neither that nor held against a threshold has no number: among
    others in their units, sharpness beside no threshold would be taken for what it is not.
    """
    if any(point.preconditioned is not None for point in points):
        return [_held(point) for point in points]
    return [point.eigenvalues[0] if point.eigenvalues else math.nan for point in points]


def _held(point: SharpnessPoint) -> float:
    if point.preconditioned is not None:
        return point.preconditioned
    return point.eigenvalues[0] if _plainly_held(point) else math.nan


def _plainly_held(point: SharpnessPoint) -> bool:
    """Its ratio is that of sharpness as it is, as by gradient descent."""
    return point.preconditioned is None and point.ratio is not None and bool(point.eigenvalues)


def sharpness_name(points: Sequence[SharpnessPoint]) -> str:
    """What ``sharpness_values`` are, within a sentence."""
    kinds = {point.units.rpartition("): ")[2] for point in points if point.preconditioned is not None}
    if not kinds:
        return "sharpness"
    if len(kinds) > 1 or any(_plainly_held(point) for point in points):  # as where Adam gives way to SGD
        return "sharpness as each threshold takes it"
    if any(point.estimated for point in points):
        return "preconditioned sharpness (second moments estimated)"
    formula = kinds.pop().partition(" with ")[0]
    return f"sharpness {formula}" if formula else "preconditioned sharpness"


def sharpness_title(points: Sequence[SharpnessPoint]) -> str:
    """The same as a heading, with what its letters mean and its threshold where those are not the usual ones."""
    estimated = any(point.estimated for point in points)
    units = {
        "" if estimated else p.units.rpartition("): ")[2] for p in points if p.preconditioned is not None
    }
    one = len(units) == 1 and any(units) and not any(_plainly_held(point) for point in points)
    name = f"sharpness {units.pop()}" if one else sharpness_name(points)
    return name[:1].upper() + name[1:]


def held_against(point: SharpnessPoint) -> float:
    """The threshold that the point is held against; NaN without a ratio, as it may be one of another quantity."""
    return math.nan if point.threshold is None or point.ratio is None else point.threshold


def ratio_of(point: SharpnessPoint, unlike: Collection[int]) -> str:
    """The point's ratio, marked where the weights contradict the threshold at its step."""
    return number(point.ratio) + (UNLIKE if point.ratio is not None and point.step in unlike else "")


def unlike_lines(points: Sequence[SharpnessPoint]) -> list[str]:
    """What the mark of ``ratio_of`` says, where some point has it."""
    unlike = contradicted(points)
    marks = any(point.step in unlike and point.ratio is not None for point in points)
    return (
        [f"{UNLIKE} the weights contradict the threshold: this is no ratio to the run's own"] if marks else []
    )


def residual(point: SharpnessPoint) -> float | None:
    """The residual of the top eigenvalue."""
    return point.residuals[0] if point.residuals else None


def facts(case: Case) -> list[tuple[str, str]]:
    """What was run and looked at, as (name, value) lines."""
    run, trace = case.run, case.trace
    hyper = ", ".join(f"{name} {value}" for name, value in case.settings.items())
    lines = [
        ("model", run.model),
        ("data", run.data),
        ("loss", run.loss),
        ("mean", str(made.options.get("mean", "")) if (made := case.provenance.get("trace")) else ""),
        ("optimizer", run.optimizer or "not known"),
        ("settings", hyper),
        (
            "batch",
            count(run.batch_size, "example") if run.batch_size else "full" if run.optimizer == "gd" else "",
        ),
        ("seed", "" if run.seed is None else f"{run.seed}"),
        ("checkpoints", f"{run.checkpoints}"),
        (
            "series",
            f"{count(len(trace.steps), 'checkpoint')}, {trace.axis.span(int(trace.steps[0]), int(trace.steps[-1]))}",
        ),
        (
            "examples",
            f"{len(trace.example_ids):,}"
            + _told_apart(run)
            + (f"; a subset, {run.transform['examples']}" if "examples" in run.transform else ""),
        ),
    ]
    return [(name, value) for name, value in lines if value]


def origins(case: Case) -> list[tuple[str, Provenance]]:
    """The commands behind a case, in the order in which they are run."""
    order = list(COMMANDS)

    def place(name: str) -> int:
        verb = name.partition(" ")[0]
        return order.index(verb) if verb in order else len(order)

    return sorted(case.provenance.items(), key=lambda item: place(item[0]))


def pair_members(pair: Pair) -> int:
    """Examples in both groups."""
    return len(pair.first.ids) + len(pair.second.ids)


def member_marks(mining: Mining) -> dict[int, str]:
    """Example id to the mark of the group that it is in."""
    return {int(example): group_mark(key) for key, group in mining.groups.items() for example in group.ids}


def evidence_of(pair: Pair) -> dict[str, Evidence]:
    """All evidence for a pair by name, opposition first."""
    return {"opposition": pair.opposition, **pair.evidence}


def definition_of(name: str, entry: Evidence, definitions: Mapping[str, str]) -> str:
    """What the evidence of that name means, or ""."""
    words = {"FEATURE": entry.feature or "what can be seen", "SIDE": entry.side or "either"}
    text = definitions.get(entry.definition or name, "")
    return re.sub("FEATURE|SIDE", lambda found: words[found[0]], text)


def defined(pairs: Sequence[Pair], definitions: Mapping[str, str]) -> tuple[Pair, ...]:
    """Pairs whose evidence says in words what it is, for those who do not have the table of definitions."""

    def told(name: str, entry: Evidence) -> Evidence:
        return replace(entry, definition=definition_of(name, entry, definitions))

    return tuple(
        replace(
            pair,
            opposition=told("opposition", pair.opposition),
            evidence={name: told(name, entry) for name, entry in pair.evidence.items()},
        )
        for pair in pairs
    )


def looked_at(mining: Mining, trace: LossTrace) -> str:
    """Which examples were candidates, and at which checkpoints gradients were compared."""
    steps = mining.gradient_steps
    return (
        f"{count(mining.candidates, 'candidate example')} of {len(trace.example_ids):,}, gradients compared at "
        f"{count(len(steps), 'checkpoint')} ({trace.axis.named(len(steps))} "
        f"{', '.join(f'{step:,}' for step in steps) or NOTHING})"
    )


def mining_notes(mining: Mining) -> list[str]:
    """Limits and advice, and how the pairs compare with the ones that were planted, as sentences."""
    notes = [_sentence(note) for note in mining.notes]
    if mining.recovery:
        known, hits = (f"{mining.recovery.get(name, 0):.0f}" for name in ("known", "found"))
        f1, precision = (number(mining.recovery.get(name)) for name in ("f1", "precision"))
        notes.append(
            f"The data came with {known} known pairs: {hits} of them found, membership F1 {f1}, precision {precision}."
        )
    return notes


def notes(case: Case) -> list[str]:
    """What a reader has to know about the limits of a case, as sentences."""
    lines = mining_notes(case.mining) if case.mining else []
    by_class = case.mining.explained.get("class", math.nan) if case.mining else math.nan
    if case.mining and case.mining.pairs:
        lines += [say("pairs: where", looked=looked_at(case.mining, case.trace)), *copies_in(case)]
    deltas = len(case.trace.steps) - 1
    if math.isfinite(by_class) and deltas > 1:
        # Of fewer nothing is taken out, and classes explain the trend.
        name = "pairs: by class" if deltas >= WINDOW else "pairs: by class, few"
        lines.append(say(name, kind=case.trace.naming.kind, share=percent(by_class), deltas=deltas))
    unmeasured = int((~case.trace.complete).sum())
    if unmeasured:
        lines.append(
            f"{unmeasured} of {len(case.trace.steps)} checkpoints were not measured on all examples."
        )
    lines += [
        _sentence(f"checkpoint {file} could not be traced and is left out: {why}")
        for file, why in (case.failed or {}).items()
    ]
    lines += [
        _sentence(line) for line in [*step_check_lines(case.sharpness, case.run.axis), *curvature_lines(case)]
    ]
    reasons = {text for p in case.sharpness for text in (p.reason, *p.notes) if text}
    critical = {point.reason for point in case.critical if point.reason}
    return [
        *lines,
        *(_sentence(say("sharpness: note", reason=reason)) for reason in sorted(reasons)),
        *map(_sentence, of_subset(case)),
        *(_sentence(say("critical: note", reason=reason)) for reason in sorted(critical)),
    ]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def _told_apart(run: Run) -> str:
    """How many classes, or tokens of a vocabulary, the examples are of."""
    if not run.classes:
        return ""
    per = run.transform.get("per")
    if per == "token":
        return f" tokens of a vocabulary of {len(run.classes):,}"
    return (
        f" sequences, a vocabulary of {len(run.classes):,}"
        if per
        else f" in {count(len(run.classes), 'class', 'classes')}"
    )
