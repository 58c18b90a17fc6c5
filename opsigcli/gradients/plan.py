"""What ``opsig mine`` would compute, without computing it: small pieces of the real work, timed and multiplied."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.checkpoints import digest
from opsigcli.gradients.ablation import ARMS
from opsigcli.gradients.arm import STEPS
from opsigcli.gradients.eigen_steps import FORWARD, known_steps, passes_of_steps
from opsigcli.gradients.fork import FORKS
from opsigcli.gradients.swings import OTHERS, looked_at
from opsigcli.mining.methods import NEEDS_GRADIENTS, NEEDS_PARTS, NEEDS_SWINGS
from opsigcli.mining.similarity import SIMILARITIES, Gradients, gradient_similarity
from opsigcli.mining.surrogate import clearest_by_chance
from opsigcli.outcome import Outcome
from opsigcli.printable import count
from opsigcli.runs.cost import plan_lines

if TYPE_CHECKING:
    from opsigcli.gradients.sketch_store import Sketches
    from opsigcli.options import MineOptions

TIMED = 64  # examples of a timed piece: what is worked on at once
SEARCH = 4.5  # the search itself has so many times the starts of a surrogate
HALVES = 12  # of what was compared, in which pairs are looked for again
PAIRS = 3  # that are looked at along their direction, where the store has none to tell from
PRODUCTS = 60  # for an arm's two sharpnesses, of --causal
START = 3.0  # seconds until Python, torch and the run are ready, where gradients are to be taken
LEAST = 0.5  # seconds of a piece that is timed once


@dataclass(frozen=True)
class Counts:
    """How much there is to do."""

    gradients: int  # of single examples
    loads: int  # checkpoints read
    similarities: int  # checkpoints compared
    searches: float  # in similarities: surrogates, and what the search itself comes to
    directions: int  # of pairs, each at one checkpoint
    passes: float  # gradients of the mean over all examples


@dataclass(frozen=True)
class Seconds:
    """What one of each takes."""

    gradient: float = 0.0
    load: float = 0.0
    similarity: float = 0.0
    search: float = 0.0
    direction: float = 0.0
    mean_gradient: float = 0.0


def estimated(counts: Counts, each: Seconds) -> float:
    """Seconds in all."""
    return (
        counts.gradients * each.gradient
        + counts.loads * each.load
        + counts.similarities * each.similarity
        + counts.searches * each.search
        + counts.directions * each.direction
        + counts.passes * each.mean_gradient
    )


def counted(options: MineOptions, sketches: Sketches, examples: int, pairs: int) -> Counts:
    """What is to be done: nothing of what is kept in the store.

    Args:
        options: of the command.
        sketches: of the run, with what is kept.
        examples: N with losses.
        pairs: whose directions are looked at.
    """
    rows = len(sketches.rows)
    m = min(examples, options.candidates)
    if options.method not in NEEDS_GRADIENTS or not rows:
        return Counts(0, 0, 0, 0, 0, 0)
    directions = pairs * len(looked_at(rows)) if options.method in NEEDS_SWINGS else 0
    # A forward pass for a third of a gradient; at each fork λ₁ and every example's gradient and curvature.
    arms = FORKS * (ARMS * (STEPS + 2 * PRODUCTS + STEPS // 3) + PRODUCTS + 4) if options.causal else 0
    kept = bool(sketches.kept)
    eigen = (
        0.0
        if options.method not in NEEDS_PARTS or known_steps(sketches)
        else passes_of_steps(sketches, examples)
    )
    whole = (
        not kept and examples > m and sketches.last_layer is None
    )  # all are looked at by their whole gradients
    return Counts(
        gradients=0 if kept else rows * m + (len(sketches.looked_at) * examples if whole else 0),
        loads=0 if kept else rows,
        similarities=rows * (1 + HALVES),
        searches=options.surrogates + SEARCH + HALVES,
        directions=0 if kept else directions,
        passes=arms + eigen,
    )


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that ``work`` takes: the second time, as at first libraries get ready, unless one is long enough."""
    for _ in range(2):
        begin = clock()
        work()
        if (seconds := clock() - begin) > LEAST:
            break
    return seconds


def plan_mining(options: MineOptions, sketches: Sketches, examples: int, mined: bool) -> Outcome:
    """What ``opsig mine`` would compute.

    Args:
        options: of the command.
        sketches: of the run, with what is kept.
        examples: N with losses.
        mined: the store was mined in this way, and there is nothing to do but --causal.

    Raises:
        TrustError: the store names code and this user did not write it.
        OpsigError: model, data or checkpoints cannot be opened.
    """
    before = sketches.store.mining
    pairs = len(before.pairs) if before is not None else PAIRS
    counts = counted(options, sketches, examples, pairs)
    if mined:
        counts = Counts(0, 0, 0, 0, 0, counts.passes if options.causal else 0)
    m = min(examples, options.candidates)
    each = measured(counts, options, sketches, m)
    read = 0
    if counts.loads:
        run = sketches.store.run
        paths = [Path(run.checkpoints) / sketches.store.files[row] for row in sketches.rows]
        read = sum(digest.size(path) for path in paths if path.exists())
    parted = options.method in NEEDS_PARTS and not mined and not known_steps(sketches)
    written = 4 * len(sketches.rows) * m * options.sketch_dimensions if counts.gradients else 0
    written += 4 * len(sketches.rows) * (options.eigenvectors + 1) * examples if parted else 0
    result: dict[str, Any] = {
        "dry_run": True,
        "examples": examples,
        "candidates": m,
        "gradient_checkpoints": len(sketches.rows),
        "units": len(sketches.rows) if counts.gradients else 0,
        "gradients": counts.gradients,
        "arms": FORKS * ARMS if options.causal and counts.passes else 0,
        "surrogates": 0 if mined else options.surrogates,
        "bytes_to_read": read,
        "bytes_to_write": written,
        "estimated_seconds": estimated(counts, each) + (START if counts.loads else 0.0),
    }
    what = (
        f"mine {m} of {examples} examples at {count(len(sketches.rows), 'checkpoint')}, "
        f"{count(counts.gradients, 'gradient')}"
    )
    if not counts.gradients and counts.similarities:
        what += " (they are kept)"
    if options.method in NEEDS_PARTS and not mined:
        passes = FORWARD * passes_of_steps(sketches, examples) if parted else 0.0
        took = len(sketches.store.files)
        what += f", eigenvectors in up to {passes:,.0f} forward passes over all (the trace: {took:,})"
    if options.causal and counts.passes:
        what += f", then {FORKS * ARMS} arms of {STEPS} updates each (--causal)"
    return Outcome(
        schema="opsig/plan",
        inputs={"store": str(options.store)},
        result=result,
        messages=(sketches.note,) if sketches.note else (),
        view=plan_lines(result, what, options.store),
    )


def measured(counts: Counts, options: MineOptions, sketches: Sketches, m: int) -> Seconds:
    """Seconds of pieces of the work: what is not to be done is not timed."""
    from opsigcli.derivatives.directional_loss import swing

    load = gradient = direction = mean = 0.0
    if counts.gradients or counts.passes:
        row = sketches.rows[0]
        load = timed(lambda: sketches.opened.load(row))
        objective = sketches.opened.objective
        some = objective.counted[:TIMED]
        if counts.gradients:
            sketches.sketch(
                row, some[:2]
            )  # what libraries get ready at first takes longer than many gradients
            gradient = timed(lambda: sketches.sketch(row, some))
            gradient = max(gradient - load, 0.0) / len(some)  # the checkpoint is read for every piece
            several, few = objective.counted[: objective.batch_size], len(some) // 4
            loss = timed(lambda: objective.losses(several)) / len(several)
            direction = timed(lambda: swing(objective, some[:few], some[few : 2 * few], several))
            direction += load + 2 * loss * max(min(m, OTHERS) - len(several), 0)
        if counts.passes:
            several = objective.counted[: objective.batch_size]
            mean = timed(lambda: objective.mean_loss_and_gradient(several)) * objective.n / len(several)
    similarity = search = 0.0
    if counts.similarities:
        rng = np.random.default_rng(0)
        labels = sketches.store.trace.labels[np.sort(rng.permutation(len(sketches.store.trace.labels))[:m])]
        outputs = rng.standard_normal((m, max(int(labels.max(initial=0)) + 1, 2))).astype(np.float32)
        sketch = rng.standard_normal((m, options.sketch_dimensions)).astype(np.float32)
        drawn = [Gradients(0, sketch, np.ones(m, dtype=np.float32), outputs)]
        kind = options.similarity if options.similarity in SIMILARITIES else SIMILARITIES[0]
        similarity = timed(lambda: gradient_similarity(drawn, labels, kind))
        matrix = gradient_similarity(drawn, labels, kind)
        search = timed(lambda: clearest_by_chance(matrix, labels, 1, 0))
    return Seconds(gradient, load, similarity, search, direction, mean)
