"""The store's format as data: every path in the file, its shape and what it means.

Plain HDF5 (not ``libver="latest"``, not SWMR: a killed writer leaves those unopenable). A store is never changed
in place: every write makes a new file beside it and puts that in place with ``os.replace``. Behind the end of the HDF5
file stands its seal (see ``seal``), which HDF5 passes over.

A symbol in a shape has one value in the whole file where it is T (checkpoints) or N (examples), and one value in its
group otherwise; ``*`` is any length, and ``...`` any further axes. In a path ``#`` is a number and ``*`` any name.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

from opsigcli.look_records import Look
from opsigcli.mining_records import (
    Mining,
)
from opsigcli.probe_records import Probe
from opsigcli.records import Provenance, Run
from opsigcli.result_records import Causal
from opsigcli.sharpness_records import CriticalSharpness, Phase, SharpnessPoint
from opsigcli.training_records import AgainstLog, RecordedFact

FORMAT = "opsig"
FORMAT_VERSION = 1


class Part(NamedTuple):
    """One dataset of the format."""

    shape: str
    kind: str  # int, float, float32, uint8, bool, text, or JSON
    meaning: str
    always: bool = False  # whether a store, or the group it is in, always has it
    record: Any = None  # what the JSON is of


LAYOUT: dict[str, Part] = {
    "run": Part("", "JSON", "model, data, loss, optimizer, transform", always=True, record=Run),
    "run_signature": Part(
        "", "text", "shows that this user wrote `run`; without it, code named there is not run", always=True
    ),
    "steps": Part(
        "(T)", "int", "number of each checkpoint, increasing; what it counts is `unit` of `run`", always=True
    ),
    "files": Part("(T)", "text", "checkpoint file of each row, relative to run.checkpoints", always=True),
    "sha256": Part("(T)", "text", "of each checkpoint file", always=True),
    "lrs": Part(
        "(T)", "float", "learning rate at each checkpoint; NaN = unknown, or optimizers differ", always=True
    ),
    "example_ids": Part("(N)", "int", "permanent number of each example in its source", always=True),
    "example_names": Part("(N)", "text", "relative path of each example; absent where examples have none"),
    "labels": Part("(N)", "int", "class index of each example", always=True),
    "example_digests": Part(
        "(N)",
        "int",
        "64 bits of a digest of each input and target, by which other stores know the example again",
    ),
    "losses": Part(
        "(T, N)", "float32", "each example's own, nats; NaN = not measured, or not finite", always=True
    ),
    "complete": Part("(T)", "bool", "the row was measured", always=True),
    "loss_deltas": Part("(T-1, N)", "float32", "losses[t+1] - losses[t]; positive = got worse", always=True),
    "measured": Part(
        "(N)", "bool", "False = the label says to ignore the example; absent when all are measured"
    ),
    "weights": Part(
        "(N)",
        "float",
        "w of each example in the mean loss, sum of w * losses / sum of w, of mean 1; absent when all count alike",
    ),
    "virtual_deltas": Part(
        "(T, N)", "float32", "loss change of one virtual optimizer step from each checkpoint; NaN = not taken"
    ),
    "virtual/mean": Part("(T)", "float", "mean loss delta of the virtual step", always=True),
    "virtual/interference": Part("(T)", "float", "D = 1 - |sum|/sum|.| of its deltas", always=True),
    "virtual/fraction_up": Part("(T)", "float", "share of examples whose loss rises", always=True),
    "virtual/taken": Part("(T)", "bool", "the step was taken; absent in older stores, where all were"),
    "virtual/up_ids": Part("(T, k)", "int", "largest deltas first, -1 where there are fewer", always=True),
    "virtual/up_deltas": Part("(T, k)", "float", "nats", always=True),
    "virtual/down_ids": Part("(T, k)", "int", "most negative first", always=True),
    "virtual/down_deltas": Part("(T, k)", "float", "nats", always=True),
    "known_pairs/#/first": Part("(*)", "int", "example ids of a planted pair's first group", always=True),
    "known_pairs/#/second": Part("(*)", "int", "and of its second", always=True),
    "gradients/sketches": Part(
        "(K, M, k)", "float", "random projections of gradients at K checkpoints, M candidates", always=True
    ),
    "gradients/norms": Part("(K, M)", "float", "of the gradients", always=True),
    "gradients/residuals": Part(
        "(K, M, C)", "float", "derivatives of the losses by the outputs", always=True
    ),
    "gradients/positions": Part("(M)", "int", "columns of the candidates", always=True),
    "gradients/rows": Part("(K)", "int", "of the checkpoints that were compared", always=True),
    "gradients/weights": Part("(M)", "float", "examples that a candidate stands for; absent when all were"),
    "gradients/feature-*": Part("(M, ...)", "number", "what can be seen in the candidates"),
    "gradients/swings-*": Part("(K, *)", "float", "loss swings along a pair's direction"),
    "gradients/curvature-*": Part("(*)", "float", "of a pair's direction, and of random ones"),
    "gradients/growth-*": Part(
        "(*)", "float", "of a swing along a pair's direction by step, as its curvature says"
    ),
    "gradients/eigen-*": Part(
        "(*, *, *)",
        "float",
        "of each step, along each eigenvector and at last outside of them: rows of both checkpoints, eigenvalue, share "
        "of the step, converged, products, and after these 6 the part of each example's loss delta, nats",
    ),
    "gradients/joined-*": Part("(*, 3)", "int", "pair, side and column of who joined from outside"),
    "mining": Part("", "JSON", "what was mined, without the top deltas", record=Mining),
    "top/steps": Part("(R, 2)", "int", "the checkpoints before and after each delta", always=True),
    "top/up_ids": Part("(R, k)", "int", "largest deltas first, -1 where there are fewer", always=True),
    "top/up_deltas": Part("(R, k)", "float", "nats", always=True),
    "top/down_ids": Part("(R, k)", "int", "most negative first", always=True),
    "top/down_deltas": Part("(R, k)", "float", "nats", always=True),
    "groups/*": Part("(*)", "int", "ids of each mined group: pair-01-first, pair-01-second …"),
    "sharpness": Part("", "JSON", "points, by step", record=tuple[SharpnessPoint, ...]),
    "critical_sharpness": Part("", "JSON", "of sharpness --quick", record=tuple[CriticalSharpness, ...]),
    "phases": Part("", "JSON", "what the sharpness did along the run", record=tuple[Phase, ...]),
    "sharpness_examples": Part(
        "(*)", "int", "ids of the examples sharpness was measured on; absent when all were"
    ),
    "seen/*": Part(
        "(N)", "number", "what can be seen in the examples; NaN, or -1 of a category = not looked at"
    ),
    "example_curvature/steps": Part("(K)", "int", "where it was measured", always=True),
    "example_curvature/values": Part(
        "(K, n)", "float", "v1.H_i.v1 of each example along the top eigenvector", always=True
    ),
    "thumbnails/ids": Part("(n)", "int", "of the examples a report shows", always=True),
    "thumbnails/images": Part("(n, H, W, 3)", "uint8", "their pictures", always=True),
    "thumbnails/means": Part(
        "(*, h, w, 3)",
        "uint8",
        "of each pair the mean of the first group, of the second, and their difference",
    ),
    "causal": Part(
        "", "JSON", "what training does without mined groups, whichever", record=tuple[Causal, ...]
    ),
    "training_log": Part(
        "", "JSON", "the mean loss beside the one the run logged; absent without a log", record=AgainstLog
    ),
    "recorded_facts": Part(
        "", "JSON", "what training did and the trace does not", record=tuple[RecordedFact, ...]
    ),
    "look": Part(
        "",
        "JSON",
        "the first and the last checkpoint traced beside a guess; absent in older stores",
        record=Look,
    ),
    "failed": Part(
        "",
        "JSON",
        "checkpoint file -> why the latest trace could not have it; absent in older stores",
        record=dict[str, str],
    ),
    "probes/#/probe": Part("", "JSON", "an input that is watched along the run", always=True, record=Probe),
    "probes/#/input": Part("(...)", "number", "as the model is given it", always=True),
    "probes/#/classes": Part("(c)", "int", "numbers of the classes that are kept", always=True),
    "probes/#/probabilities": Part(
        "(T, c)", "float32", "of these classes at each checkpoint; NaN = not measured", always=True
    ),
    "probes/#/picture": Part("(H, W, 3)", "uint8", "the input as a person would look at it"),
    "provenance/trace": Part("", "JSON", "how the trace was made", always=True, record=Provenance),
    "provenance/*": Part("", "JSON", "how what another command found was made", record=Provenance),
}

# Attributes: of the root, and of groups. All are text but for the version.
ATTRIBUTES: dict[str, dict[str, str]] = {
    "": {
        "format": f"{FORMAT!r}: that the file is a store",
        "format_version": f"a whole number, {FORMAT_VERSION}: what is documented here",
        "opsig_version": "the version of opsig that made the trace",
        "made_in": "the folder that the store was made in; paths of `run` that begin with $STORE are from there, or "
        "from the folder that the store lies in where they are not there; absent in older stores",
    },
    "gradients": {
        "key": "what the sketches are of: run, checkpoints and options, as one digest",
        "device": "where they were computed",
        "torch_version": "with which PyTorch",
    },
    "seen": {
        "unseen": "why nothing can be seen in the examples, in words; empty where something can",
        "fingerprint": "of the data that was looked at, as in `run`",
    },
}

# A command's latest result, or of sharpness the one of most checkpoints, is in the root. Those that it found under
# other options are kept beside it, each in a group of its own.
KEPT = "kept"
RESULTS: dict[str, tuple[str, ...]] = {
    "mine": ("mining", "top", "groups", "thumbnails", "provenance/mine"),
    "sharpness": ("sharpness", "phases", "sharpness_examples", "example_curvature", "provenance/sharpness"),
    "sharpness --quick": ("critical_sharpness", "provenance/sharpness --quick"),
    "trace --virtual-step": ("virtual_deltas", "virtual", "provenance/trace --virtual-step"),
}
_OF_RESULTS = {name.partition("/")[0] for parts in RESULTS.values() for name in parts}
LAYOUT |= {
    f"{KEPT}/#/{path}": part._replace(meaning=f"{part.meaning}; of a result that is kept")
    for path, part in LAYOUT.items()
    if path.partition("/")[0] in _OF_RESULTS and path != "provenance/trace"
}

# Chunks such that one example over time and one checkpoint over examples both stay cheap.
CHUNK = (16, 16384)


def chunk(rows: int, columns: int) -> tuple[int, int]:
    """The chunk shape of a (rows, columns) matrix."""
    return (min(CHUNK[0], max(rows, 1)), min(CHUNK[1], max(columns, 1)))


@cache
def pattern(path: str) -> re.Pattern[str]:
    """What a path of the layout stands for."""
    return re.compile(re.escape(path).replace(r"\#", r"\d{1,6}").replace(r"\*", "[^/]+"))


def part_at(path: str) -> Part | None:
    """The part of the layout that a path in a file is; None where it is none of them."""
    if path in LAYOUT:
        return LAYOUT[path]
    return next((part for known, part in LAYOUT.items() if pattern(known).fullmatch(path)), None)
