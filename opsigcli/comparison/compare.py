"""Compares the cases of several runs."""

from __future__ import annotations

import itertools
import math
from pathlib import PurePath
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.command_line import command
from opsigcli.comparison.elsewhere import Field, pair_elsewhere
from opsigcli.comparison.gains import gains
from opsigcli.comparison.matching import shared_examples
from opsigcli.comparison_records import BOTH, ComparedRun, Comparison, PairElsewhere, SharedExamples
from opsigcli.errors import UsageError
from opsigcli.mean_loss import mean_loss
from opsigcli.mining.causes.attribute import with_causes
from opsigcli.printable import without_folders
from opsigcli.sentences import say
from opsigcli.sharpness_records import contradicted
from opsigcli.store.reader import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opsigcli.records import Case, Floats, Ints

MOST = 8  # runs: as many as curves can be told apart
PROPOSED = 3  # pairs of a run without findings that are followed into the others


def compare_stores(paths: Sequence[Path]) -> Comparison:
    """The runs of several stores side by side.

    Raises:
        UsageError: they are too many, or one is named twice.
        StoreError: one is no readable store.
    """
    if len(paths) > MOST:
        raise UsageError(
            f"expected at most {MOST} stores, found {len(paths)}", "compare them a few at a time"
        )
    places = [path.resolve() for path in paths]
    if again := next((path for path in paths if places.count(path.resolve()) > 1), None):
        raise UsageError(f"expected every store once, found {again} twice", "name each run's own store")
    cases = []
    for path in paths:
        with open_store(path) as store:
            cases.append(with_causes(store.case, store.seen))
    return compare(cases)


def compare(cases: Sequence[Case]) -> Comparison:
    """Several cases side by side; they are called A, B … in their order."""
    letters = ascii_uppercase[: len(cases)]
    shared: list[SharedExamples] = []
    ids_of: dict[tuple[str, str], Ints] = {}
    by_all = np.asarray(cases[0].trace.example_ids)
    for (i, a), (j, b) in itertools.combinations(enumerate(letters), 2):
        found, ids = shared_examples(cases[i], cases[j], (a, b))
        shared.append(found)
        ids_of[a, b] = ids_of[b, a] = ids
        if not i:
            by_all = np.intersect1d(by_all, ids)
    settings = [_settings(case) for case in cases]
    names = list(dict.fromkeys(name for each in settings for name in each))
    runs = tuple(
        _run(case, letter, each, by_all) for case, letter, each in zip(cases, letters, settings, strict=True)
    )
    return Comparison(
        runs,
        tuple(name for name in names if len({each.get(name, "") for each in settings}) > 1),
        tuple(shared),
        len(by_all),
        tuple(_elsewhere(cases, letters, ids_of)),
        gains(cases, letters, by_all),
        tuple(_notes(runs, cases)),
    )


def _elsewhere(
    cases: Sequence[Case], letters: str, ids_of: dict[tuple[str, str], Ints]
) -> list[PairElsewhere]:
    """Every pair that stands for a run, in every other run that has examples of it."""
    fields = [Field(case, letter) for case, letter in zip(cases, letters, strict=True)]
    found = []
    for home, other in itertools.permutations(fields, 2):
        mining, ids = home.case.mining, ids_of[home.letter, other.letter]
        if mining is None or not len(ids):
            continue
        pairs = list(enumerate(mining.pairs, start=1))
        chosen = [(number, pair) for number, pair in pairs if pair.finding] or pairs[:PROPOSED]
        found += [pair_elsewhere(number, pair, home, other, ids) for number, pair in chosen]
    return found


def _run(case: Case, letter: str, settings: dict[str, str], by_all: Ints) -> ComparedRun:
    trace, mining, unlike = case.trace, case.mining, contradicted(case.sharpness)
    points = [
        (p.step, p.ratio)
        for p in case.sharpness
        if p.converged and p.ratio is not None and math.isfinite(p.ratio) and p.step not in unlike
    ]
    preconditioned = {p.preconditioned is not None for p in case.sharpness if p.ratio is not None}
    tested = mining is not None and any(pair.finding is not None for pair in mining.pairs)
    return ComparedRun(
        letter,
        case.store.name,
        settings,
        case.run.unit,
        trace.steps,
        len(trace.example_ids),
        trace.mean_losses,
        _shared_losses(case, by_all),
        tuple(spike.next_step for spike in case.spikes),
        tuple(spike.rise for spike in case.spikes),
        _holders(case),
        tuple(step for step, _ in points),
        tuple(float(ratio) for _, ratio in points),
        # A run in which one rule gave way to another has ratios of both, and is alike to neither.
        BOTH.join("preconditioned sharpness" if kind else "sharpness" for kind in sorted(preconditioned)),
        None if mining is None else len(mining.pairs),
        sum(bool(pair.finding) for pair in mining.pairs) if mining and tested else None,
    )


def _shared_losses(case: Case, ids: Ints) -> Floats | None:
    """(T,) the mean loss over the examples of these ids."""
    if not len(ids):
        return None
    trace = case.trace
    if len(ids) == len(trace.example_ids):
        return trace.mean_losses
    inside = np.isin(trace.example_ids, ids)
    counted = inside if trace.measured is None else inside & trace.measured
    return mean_loss(trace.losses, counted, trace.weights).values if counted.any() else None


def _holders(case: Case) -> str:
    """The classes that hold the largest spike."""
    known = [spike for spike in case.spikes if spike.cause is not None and spike.cause.named]
    largest = max(known, key=lambda spike: spike.rise, default=None)
    return " + ".join(largest.cause.named) if largest is not None and largest.cause is not None else ""


def _settings(case: Case) -> dict[str, str]:
    """What a run was made with, by name; what is not known is left out."""
    run, made = case.run, case.provenance.get("trace")
    weighted = made.options.get("mean", "") if made else ""
    found = {
        "model": without_folders(run.model),
        "data": without_folders(run.data),
        "loss": run.loss,
        "optimizer": run.optimizer,
        **case.settings,
        "seed": "" if run.seed is None else str(run.seed),
        "batch": str(run.batch_size) if run.batch_size else "full" if run.optimizer == "gd" else "",
        "BatchNorm": run.batch_norm,
        "mean": str(weighted),
        **{fact.name: fact.value for fact in case.recorded_facts},
        "fork of": run.forked,
        "folder": PurePath(run.checkpoints).name,
    }
    return {name: value for name, value in found.items() if value}


def _notes(runs: Sequence[ComparedRun], cases: Sequence[Case]) -> list[str]:
    """Why something is not compared, or not alike, as sentences."""
    notes = []
    if len({run.axis.one for run in runs}) > 1:
        units = ", ".join(f"{run.letter} {run.axis.many}" for run in runs)
        notes.append(say("runs: different steps", units=units))
    if len({case.run.loss for case in cases}) > 1:
        notes.append(say("runs: different losses"))
    for run, case in zip(runs, cases, strict=True):
        unlike = contradicted(case.sharpness)
        if not run.ratios and not unlike:
            asked = command("sharpness", store=case.store)
            notes.append(say("runs: no ratio", run=run.letter, command=asked))
        if case.mining is None:
            notes.append(say("runs: not mined", run=run.letter, command=command("mine", store=case.store)))
    if len({run.sharpness for run in runs if run.ratios}) > 1:
        notes.append(say("runs: different sharpness"))
    for run, case in zip(runs, cases, strict=True):
        if unlike := contradicted(case.sharpness):
            measured = len(case.sharpness)
            notes.append(say("runs: contradicted", run=run.letter, amount=len(unlike), measured=measured))
    return notes
