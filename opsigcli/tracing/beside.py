"""What stands beside the losses of a trace: what the run recorded of its training, and a look at its ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.axis import STEPS, Axis
from opsigcli.checkpoints.example_weights import read_example_weights
from opsigcli.checkpoints.fact_kinds import KINDS
from opsigcli.checkpoints.recorded_facts import Traced, batch_norm_fact, merged, recorded_facts
from opsigcli.checkpoints.training_log import find_log
from opsigcli.errors import ObjectiveError, OpsigError
from opsigcli.models.training_only import (
    batch_norms,
    drawn_at_random,
    in_training,
    spectral_norms,
)
from opsigcli.options import EXAMPLE_WEIGHTS
from opsigcli.runs.look import look_at
from opsigcli.tracing.against_log import against_log
from opsigcli.tracing.batch_norm_gap import Gap, gap_words
from opsigcli.training_records import AgainstLog, RecordedFact
from opsigcli.usercode import guarded

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from opsigcli.checkpoints.series import Series
    from opsigcli.look_records import Look
    from opsigcli.objective.base import Objective
    from opsigcli.records import Run, TraceSummary
    from opsigcli.runs.load_weights import Loader
    from opsigcli.tracing.rows import Row

UNKNOWN_NORM = (
    "the trace uses the statistics stored in the checkpoint: the model has none of torch's BatchNorm"
)
EFFECT_OF_NORM = (
    "each pass in training moved the singular vectors that weights are divided by; the trace has those that the "
    "checkpoint stores"
)
EFFECT_OF_OTHERS = (
    "in training the model puts out more than in the trace, as with auxiliary classifiers: the loss trained had more "
    "terms, no step can be made again, and sharpness and threshold are those of the traced loss alone"
)
EFFECT_OF_MODE = (
    "in training the same inputs give other outputs, in no random way, as with statistics of batches in a module of "
    "one's own: the trace is of another function, and so is sharpness beside the threshold"
)
PROBED = 8  # examples that pass the model in training mode


def facts_of(
    series: Series, run: Run, objective: Objective, gaps: Sequence[Gap] = ()
) -> tuple[RecordedFact, ...]:
    """What makes the trace another function than the one trained: what files record, and what the model does."""
    traced = Traced(run.loss, run.weights, run.precision)
    of_model = facts_of_model(objective, run.batch_norm, gaps, run.axis)
    built = {fact.name for fact in of_model}
    files = [
        fact if fact.name != "BatchNorm" else replace(fact, effect=UNKNOWN_NORM)
        for fact in recorded_facts(series, traced)
        if fact.name != "BatchNorm" or fact.name not in built
    ]
    return tuple(merged([*files, *of_model, *facts_of_examples(series.folder, len(objective.source))]))


def facts_of_examples(folder: Path, examples: int) -> list[RecordedFact]:
    """Which examples ``opsig train`` left out, or let count less."""
    less = read_example_weights(folder)[1].values()
    found = (
        ("examples left out", sum(w == 0 for w in less), "the run did not train on them"),
        ("examples that count less", sum(w > 0 for w in less), "the run trained on a weighted mean"),
    )
    return [
        RecordedFact(
            name, f"{number:,} of {examples:,}", EXAMPLE_WEIGHTS, f"{why}; the trace measures all alike"
        )
        for name, number, why in found
        if number
    ]


def facts_of_model(
    objective: Objective, mode: str = "", gaps: Sequence[Gap] = (), axis: Axis = STEPS
) -> list[RecordedFact]:
    """What the model draws at random in training, and the statistics that it takes of batches there."""
    effects = {kind.name: kind.effect for kind in KINDS}
    model: nn.Module = objective.model
    drawn, normed = drawn_at_random(model), spectral_norms(model)
    probe = objective.read(np.arange(min(PROBED, len(objective.source))))
    trained = in_training(model, probe)
    if not drawn and not normed and trained.draws:
        drawn = {"dropout": "some, in no module that says so"}
    found = [RecordedFact(name, value, "the model", effects[name]) for name, value in drawn.items()]
    if normed:
        value = f"{', '.join(list(normed)[:3])}{' …' if len(normed) > 3 else ''}"
        found.append(RecordedFact("spectral norm", value, "the model", EFFECT_OF_NORM))
    if trained.instead:
        found.append(RecordedFact("auxiliary outputs", trained.instead, "the model", EFFECT_OF_OTHERS))
    elif not drawn and not normed and trained.otherwise:
        found.append(RecordedFact("training mode", "other outputs", "the model", EFFECT_OF_MODE))
    if layers := batch_norms(model):
        found.append(batch_norm_fact(layers, "the model", mode, gap_words(gaps, axis)))
    return found


def log_beside(series: Series, summary: TraceSummary) -> AgainstLog | None:
    """The traced mean losses against those that the run logged; None without a log, and with nothing like one."""
    log, not_read = find_log(series.folder, series.steps, series.unit)
    return against_log(summary.steps, summary.mean_losses, log, not_read)


def look_at_ends(
    objective: Objective, loader: Loader, series: Series, rows: list[Row], known: Look | None
) -> Look | None:
    """How the first and the last checkpoint do beside a guess; as it is known, where those are the same.

    None where they cannot be read any more, as in a folder that keeps its newest files alone, which is noted.
    """
    places = [row.place for row in rows if row.place is not None]
    if not places:
        return known
    ends = tuple(dict.fromkeys((places[0], places[-1])))
    if known is not None and list(known.checkpoints) == [series.checkpoints[place].file for place in ends]:
        return known
    try:
        with guarded(ObjectiveError, "comparing the ends of the run with a guess"):
            return look_at(objective, loader, series, ends)
    except OpsigError as error:  # the losses are traced: nothing of them is lost for this
        objective.notes.append(f"the ends of the run are not compared with a guess: {error.message}")
        return None


def beside_lowest(look: Look | None, summary: TraceSummary, axis: Axis) -> Look | None:
    """The look with the smallest mean loss of the trace: a run that failed is told by it from data of another."""
    means = np.asarray(summary.mean_losses, dtype=np.float64)
    if look is None or not np.isfinite(means).any():
        return look
    row = int(np.nanargmin(means))
    return replace(look, lowest=float(means[row]), lowest_at=axis.at(int(summary.steps[row])))
