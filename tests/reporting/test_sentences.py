"""Every sentence of a verdict is said where it is true, and not in a case beside it where it would be false."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from comparison.test_elsewhere import run as swinging
from reporting.test_first_screen import told
from reporting.test_nothing_is_overclaimed import with_pairs, with_ratios
from reporting.test_removal import LOSS, comparison
from reporting_case import make_case, show, with_losses

from opsigcli.comparison.compare import compare
from opsigcli.comparison_records import Comparison
from opsigcli.look_records import Look, Score
from opsigcli.mining.causes.attribute import with_causes
from opsigcli.mining_records import TRACED, Evidence, GroupKey
from opsigcli.probe_records import Probe, ProbeTrace
from opsigcli.records import Case, Provenance
from opsigcli.reporting import removal
from opsigcli.reporting.comparison import over_words, shared_lines
from opsigcli.reporting.comparison import title as title_of_runs
from opsigcli.reporting.first_screen import held_together, spike_lines, stability
from opsigcli.reporting.headline import headline
from opsigcli.reporting.html import render_html
from opsigcli.reporting.markdown import render_markdown
from opsigcli.reporting.probes import told as told_of_probe
from opsigcli.reporting.summary import notes
from opsigcli.reporting.terminal import render_report
from opsigcli.result_records import MINED, RANDOM, Causal
from opsigcli.sentences import SENTENCES
from opsigcli.sharpness_records import (
    NO_STEP,
    OTHER_GRADIENT,
    CriticalSharpness,
    GroupCurvature,
    LayerCurvature,
    Phase,
    StepCheck,
)
from opsigcli.training_records import SHARPNESS_AWARE, RecordedFact

Thing = Case | Causal | Comparison
NAN = float("nan")
UNLOOKED = "what can be seen in the examples is not in the store: opsig trace looks at it"
FEW = ["spikes: together", "spikes: none stands out", "edge: not known", "pairs: like chance"]


def verdict(case: Case) -> list[str]:
    """What stands first in a report of the case, a line each."""
    said = headline(case)
    causes = [text for line in spike_lines(case) for text in (line.span, line.words)]
    return [said.title, *said.found, *said.missing, *causes, held_together(case), stability(case)]


def lines_of(thing: Thing) -> list[str]:
    """All that is said of a case, of going on without its groups, or of several runs."""
    if isinstance(thing, Causal):
        return list(removal.sentences(thing))
    if isinstance(thing, Comparison):
        said = [found.said for found in thing.elsewhere]
        return [title_of_runs(thing), over_words(thing), *shared_lines(thing), *said, *thing.notes]
    probes = [line for traced in thing.probes for line in told_of_probe(thing, traced)]
    return [*verdict(thing), *notes(thing), *probes]


def mined(case: Case, **more: Any) -> Case:
    assert case.mining is not None
    return replace(case, mining=replace(case.mining, **more))


def mined_at(checkpoints: int) -> Case:
    """Mined when so many checkpoints were traced."""
    return mined(make_case(), provenance=Provenance("mine", {TRACED: checkpoints}, ""))


def pairs_with(case: Case, *parts: dict[str, Any]) -> Case:
    """The case with other traits, findings or groups of its first pairs."""
    assert case.mining is not None
    pairs = [replace(pair, **of) for pair, of in zip(case.mining.pairs, parts, strict=False)]
    return mined(case, pairs=(*pairs, *case.mining.pairs[len(pairs) :]))


def points(case: Case, **more: Any) -> Case:
    return replace(case, sharpness=tuple(replace(point, **more) for point in case.sharpness))


def calm(**more: Any) -> Case:
    return replace(make_case(pairs=0, **more), spikes=())


FALLING = np.linspace(2, 1, 41)


def repeated(times: int) -> Case:
    """A case of which so many of the first members of its first pair are one example."""
    case = make_case()
    assert case.mining is not None
    digests = np.arange(len(case.trace.example_ids))
    positions = case.trace.positions(case.mining.pairs[0].first.ids)
    digests[positions[: max(times * len(positions) // 4, 1)]] = -1
    return replace(case, trace=replace(case.trace, digests=digests))


def falling(ratio: float, losses: Any = FALLING) -> Case:
    """A calm run whose mean loss falls, with that ratio at three checkpoints in a row."""
    case = with_ratios(calm(), {0: ratio, 10: ratio, 20: ratio})
    return with_losses(
        case, np.repeat(losses[:, None], len(case.trace.example_ids), axis=1).astype(np.float32)
    )


def rising(checkpoints: int = 41, by: float = 1.0) -> Case:
    """A loud run in which no rise stands out, of which one is the largest."""
    case = replace(make_case(checkpoints=checkpoints, examples=240), spikes=(), mining=None)
    swing = by * (-1.0) ** np.arange(checkpoints)[:, None]
    return with_causes(with_losses(case, (3 + swing + np.zeros((1, 240))).astype(np.float32)), None)


def moved(
    by: dict[int, float], *, seen: Any = None, follows: float = 0.0, classes: Any = ("cat", "dog", "frog")
) -> Case:
    """A spike in which each class of 240 examples rises by so much, by noise, and by what is seen in them."""
    case = make_case(examples=240, pairs=0, classes=classes)
    losses = np.repeat(2 * np.exp(-np.arange(41) / 30)[:, None], 240, axis=1)
    each = np.array([by[label] for label in case.trace.labels])
    losses[21] += each + np.random.default_rng(0).normal(0, 0.1, 240)
    if seen is not None:
        losses[21] += follows * seen
    looked = None if seen is None else ({"brightness": seen}, "")
    return with_causes(with_losses(case, losses.astype(np.float32)), looked)


def one_alone() -> Case:
    """A spike in which all rise a little and one example by a hundred times as much as all others together."""
    case = moved({0: 0.1, 1: 0.1, 2: 0.1})
    losses = np.array(case.trace.losses)
    losses[21, 7] += 3000
    return with_causes(with_losses(case, losses), None)


def held_by_a_group() -> Case:
    case = make_case(examples=240)
    return with_causes(case, None)


def measured(verdicts: dict[int, str], ratios: dict[int, float] | None = None) -> Case:
    """Ratios at some steps, where the weights say so of the threshold."""
    case = with_ratios(make_case(), ratios or dict.fromkeys(verdicts, 0.5))
    return replace(
        case,
        sharpness=tuple(
            replace(p, step_check=StepCheck(verdicts[p.step], "as said", relative_error=0.01))
            if p.step in verdicts
            else p
            for p in case.sharpness
        ),
    )


def layered(*shares: float) -> Case:
    layers = tuple(LayerCurvature(f"l{i}", "mlp", 8, (s,), 2.0, 0.0, True) for i, s in enumerate(shares))
    return points(make_case(), layers=layers)


def grouped(share: float, null: float | None = 0.1) -> Case:
    found = Evidence(share, null, 0.1, "share")
    return points(make_case(), groups=(GroupCurvature(GroupKey(1, "first"), 0.5, found, found, NAN),))


def probed(rows: Sequence[int] = (), *, mining: bool = True) -> Case:
    """A probe whose answer swings, not measured at some checkpoints."""
    case = make_case()
    answers = np.stack([p := 0.5 + 0.4 * (-1.0) ** np.arange(41), 1 - p], axis=1).astype(np.float32)
    answers[list(rows)] = NAN
    probe = Probe("colour:skyblue", "the colour skyblue", "0" * 32)
    traced = ProbeTrace(probe, np.zeros((1, 3, 2, 2), np.float32), np.arange(2), answers, None)
    return replace(case, probes=(traced,), mining=case.mining if mining else None)


def runs(first: Case | None = None, second: Case | None = None) -> Comparison:
    return compare([first or swinging(0), second or swinging(1)])


def of_other_run(case: Case, **more: Any) -> Case:
    return replace(case, run=replace(case.run, **more))


def foreign(case: Case, ids: int) -> Case:
    """The case where so many ids stand for other examples."""
    digests = np.arange(len(case.trace.example_ids))
    digests[:ids] += 1000
    return replace(case, trace=replace(case.trace, digests=digests))


CRITICAL = CriticalSharpness(1, 2.0, 1.0, 4.0, 0.5, 0.01, "next checkpoint", 6, 0)
low, high = {0: 0.5}, {0: 1.5, 20: 1.2}
some, mixed = {0: 0.5, 20: 0.8}, {0: 0.5, 20: 1.2}
unclear = Evidence(1.0, 0.9, 0.35)
even = partial(moved, {0: 1.0, 1: 1.0, 2: 1.0})
hardly = partial(
    moved, {0: 1.1, 1: 1.0, 2: 1.0}
)  # beyond chance, and no more than 2 % of the rise above its size
cats = partial(moved, {0: 2.0, 1: 0.0, 2: 0.0})
noise = np.random.default_rng(1).normal(size=240).astype(np.float32)
CHANCE = partial(with_pairs, clarity=unclear)
UNTESTED = partial(with_pairs, clarity=None)

# Of each sentence a case in which it is said, and one near it in which it must not be.
SAID: dict[str, tuple[Callable[[], Thing], Callable[[], Thing]]] = {
    "pairs: not looked for": (lambda: replace(calm(), mining=None, sharpness=()), calm),
    "pairs: to mine": (lambda: replace(calm(), mining=None), calm),
    "pairs: none": (
        calm, lambda: mined(calm(), explained={"class": 0.9}, opposing_classes=(("cat",), ("dog",)))),
    "pairs: none, where": (calm, make_case),
    "pairs: classes": (
        lambda: mined(calm(), explained={"class": 0.6}, opposing_classes=(("cat",), ("dog",))),
        lambda: mined(calm(), explained={"class": 0.6})),  # of which none was seen to swing against another
    "pairs: classes, how much": (
        lambda: mined(calm(), explained={"class": 0.6}, opposing_classes=(("cat",), ("dog",))),
        lambda: mined(calm(), explained={"class": 0.3}, opposing_classes=(("cat",), ("dog",)))),
    "pairs: of another trace": (lambda: mined_at(39), lambda: mined_at(len(make_case().trace.steps))),
    "pairs: where": (make_case, calm),
    "pairs: copies": (lambda: repeated(3), lambda: repeated(1)),
    "pairs: by class": (lambda: mined(calm(), explained={"class": 0.4}), calm),
    "pairs: by class, few": (
        lambda: mined(calm(checkpoints=5), explained={"class": 0.9}),
        lambda: mined(calm(checkpoints=2), explained={"class": 0.9})),
    "pairs: found": (make_case, lambda: CHANCE(make_case())),
    "pairs: not counted": (
        lambda: pairs_with(make_case(), {"finding": False}), lambda: pairs_with(make_case(), {"finding": True})),
    "pairs: like chance": (lambda: CHANCE(make_case()), lambda: UNTESTED(make_case())),
    "pairs: untested": (lambda: UNTESTED(make_case()), lambda: CHANCE(make_case())),
    "pairs: verdicts": (make_case, lambda: CHANCE(make_case())),
    "pairs: unstable": (
        lambda: pairs_with(make_case(), {"traits": ("structural", "unstable")}),
        lambda: pairs_with(make_case(), {"traits": ("structural",)}),
    ),
    "pairs: proposals": (lambda: CHANCE(make_case()), make_case),
    "pairs: of the data": (make_case, calm),
    "pairs: one swings": (lambda: pairs_with(make_case(), {"traits": ("active",)}), make_case),
    "pairs: several swing": (
        lambda: pairs_with(make_case(pairs=2), *2 * ({"traits": ("active",)},)),
        lambda: pairs_with(make_case(pairs=2), {"traits": ("active",)})),
    "pairs: one swings, proposed": (
        lambda: pairs_with(make_case(), {"traits": ("active",), "finding": False}),
        lambda: pairs_with(make_case(), {"traits": ("active",), "finding": True})),
    "pairs: several swing, proposed": (
        lambda: pairs_with(make_case(pairs=2), *2 * ({"traits": ("active",), "finding": False},)),
        lambda: pairs_with(
            make_case(pairs=2), {"traits": ("active",), "finding": True}, {"traits": ("active",), "finding": False})),
    "edge: to measure": (lambda: replace(make_case(), sharpness=()), make_case),
    "edge: not converged": (make_case, lambda: with_ratios(make_case(), some)),
    "edge: fixed statistics": (
        lambda: points(make_case(), batch_norm="running"), lambda: points(make_case(), batch_norm="batch")),
    "edge: no threshold": (
        lambda: points(make_case(), ratio=None, threshold=None), lambda: points(make_case(), ratio=None)),
    "edge: no step": (
        lambda: points(make_case(), ratio=None, threshold=None, reason=NO_STEP, converged=True),
        lambda: points(make_case(), ratio=None, threshold=None, reason="no threshold: lars", converged=True)),
    "edge: no step at some": (lambda: idle(2), lambda: idle(0)),
    "edge: no ratio": (
        lambda: points(make_case(), ratio=None), lambda: points(make_case(), ratio=None, threshold=None)),
    "edge: at most": (lambda: points(make_case(), ratio=None), make_case),
    "edge: largest": (make_case, lambda: points(make_case(), ratio=None)),
    "edge: largest, contradicted": (lambda: measured({0: "contradicted"}), lambda: measured({0: "cannot be told"})),
    "edge: would have grown": (lambda: falling(2.5), lambda: falling(1.8)),
    "edge: not told": (
        lambda: measured({0: "cannot be told"}), lambda: measured({0: "cannot be told", 20: "confirmed"})),
    "edge: not checked": (
        lambda: points(make_case(), step_check=StepCheck("cannot be told", "no")),
        lambda: points(make_case(), step_check=StepCheck("cannot be told", "no", reach=0.5))),
    "edge: unseen": (
        lambda: points(make_case(), step_check=StepCheck("cannot be told", "no", reach=0.5)),
        lambda: points(make_case(), step_check=StepCheck("cannot be told", "no", reach=0.5), optimizer="sam")),
    "edge: sharpness-aware": (
        lambda: aware(points(make_case(), step_check=StepCheck("cannot be told", "no", reach=0.5), optimizer="sgd")),
        lambda: aware(measured({0: "confirmed"}))),
    "edge: other gradient": (
        lambda: points(make_case(), step_check=StepCheck("confirmed", f"x; {OTHER_GRADIENT}", 0.0)),
        lambda: points(make_case(), step_check=StepCheck("confirmed", "the step is the rule's", 0.0))),
    "edge: not covered": (lambda: with_ratios(make_case(), low), lambda: with_ratios(make_case(), some)),
    "edge: contradicted": (
        lambda: measured({0: "contradicted", 20: "cannot be told"}),
        lambda: measured({0: "contradicted", 20: "confirmed"})),
    "edge: not known": (
        lambda: measured({0: "confirmed", 20: "contradicted"}), lambda: with_ratios(make_case(), some)),
    "edge: below": (lambda: with_ratios(make_case(), some), lambda: measured({0: "confirmed", 20: "contradicted"})),
    "edge: above": (lambda: with_ratios(make_case(), high), lambda: with_ratios(make_case(), {0: 1.5, 20: 0.4})),
    "edge: above at some": (
        lambda: with_ratios(make_case(), {0: 1.5, 20: 0.4}), lambda: with_ratios(make_case(), mixed)),
    "edge: reached": (
        lambda: with_ratios(make_case(), mixed), lambda: measured({0: "confirmed", 20: "contradicted"}, mixed)),
    "edge: not confirmed": (lambda: measured({0: "contradicted"}), lambda: measured({0: "cannot be told"})),
    "edge: minibatches": (
        lambda: of_other_run(with_ratios(make_case(), some), batch_size=8),
        lambda: of_other_run(with_ratios(make_case(), mixed), batch_size=8)),
    "ratio: nowhere": (lambda: replace(make_case(), sharpness=()), lambda: points(make_case(), ratio=None)),
    "ratio: none": (lambda: points(make_case(), ratio=None), make_case),
    "ratio: measured": (make_case, lambda: points(make_case(), ratio=None)),
    "ratio: largest": (make_case, lambda: points(make_case(), converged=False)),
    "ratio: not converged": (make_case, lambda: with_ratios(make_case(), some)),
    "ratio: contradicted": (lambda: measured({0: "contradicted", 20: "confirmed"}), make_case),
    "ratio: not covered": (lambda: with_ratios(make_case(), low), lambda: with_ratios(make_case(), some)),
    "ratio: every spike": (
        lambda: with_ratios(make_case(), some), lambda: points(with_ratios(make_case(), some), converged=False)),
    "look: doubt": (lambda: doubted(0.1, lowest=1.38), lambda: doubted(0.1, lowest=0.2)),
    "look: lost": (lambda: doubted(0.1, lowest=0.2), lambda: doubted(0.1, lowest=1.38)),
    "spikes: some": (make_case, calm),
    "spikes: none": (calm, lambda: calm(checkpoints=4)),
    "spikes: none stands out": (rising, lambda: rising(checkpoints=4)),
    "spikes: too few": (lambda: calm(checkpoints=4), lambda: calm(checkpoints=8)),
    "spikes: apart": (lambda: calm(every=10), calm),
    "spikes: largest": (make_case, rising),
    "spikes: held": (make_case, lambda: replace(make_case(), mining=None)),
    "spikes: together": (cats, hardly),
    "spikes: by whom": (cats, even),
    "spikes: ratio there": (
        lambda: with_ratios(told(), some),
        lambda: points(with_ratios(told(), some), step_check=StepCheck("contradicted"))),
    "spikes: rate there": (lambda: at_rates(0.1, 0.6), lambda: at_rates(0.1, 0.12)),
    "spikes: no spike": (rising, lambda: rising(checkpoints=4)),
    "spikes: largest rise": (lambda: rising(checkpoints=4), rising),
    "cause: classes": (cats, hardly),
    "cause: few": (one_alone, even),
    "cause: falling": (lambda: moved({0: 3.0, 1: -1.0, 2: 0.0}), lambda: moved({0: 3.0, 1: 1.0, 2: 1.0})),
    "cause: feature": (lambda: cats(seen=noise, follows=0.5), lambda: cats(seen=noise)),
    "cause: group": (held_by_a_group, even),
    "cause: no class": (even, cats),
    "cause: no classes": (lambda: moved({0: 1.0}, classes=("cat",)), even),
    "cause: no feature": (lambda: cats(seen=noise), lambda: cats(seen=noise, follows=0.5)),
    "sharpness: phase": (lambda: replace(make_case(), phases=(Phase("at the edge", 0, 9, "x"),)), make_case),
    "sharpness: layer": (lambda: layered(0.3, 0.7), lambda: layered(1.0)),
    "sharpness: group": (lambda: grouped(0.8), lambda: grouped(0.4)),
    "sharpness: subset": (lambda: points(make_case(), examples=8), make_case),
    "sharpness: spread": (
        lambda: points(make_case(), examples=8, subsets=(3.0,)), lambda: points(make_case(), examples=8)),
    "sharpness: trained part": (lambda: points(make_case(), parameters=10, untrained=3), make_case),
    "sharpness: estimated": (lambda: points(make_case(), estimated="from batches"), make_case),
    "sharpness: note": (make_case, lambda: with_ratios(make_case(), some)),
    "critical: subset": (
        lambda: replace(make_case(), critical=(replace(CRITICAL, examples=8),)),
        lambda: replace(make_case(), critical=(CRITICAL,))),
    "critical: note": (
        lambda: replace(make_case(), critical=(replace(CRITICAL, reason="no lr"),)),
        lambda: replace(make_case(), critical=(CRITICAL,))),
    "check: not made": (
        lambda: points(make_case(), step_check=StepCheck("cannot be told", "no")), lambda: measured({0: "confirmed"})),
    "check: contradicted": (lambda: measured({0: "contradicted"}), lambda: measured({0: "cannot be told"})),
    "check: confirmed": (lambda: measured({0: "confirmed"}), lambda: measured({0: "cannot be told"})),
    "check: cannot be told": (lambda: measured({0: "cannot be told"}), lambda: measured({0: "confirmed"})),
    "mean: over what": (lambda: gone(5, slice(0, 2)), make_case),
    "trace: failed": (
        lambda: replace(make_case(), failed={"step_5.pt": "broken"}), lambda: replace(make_case(), failed={})),
    "mean: gone": (lambda: gone(40, slice(0, 20)), lambda: gone(5, slice(0, 20))),
    "mean: unmoved": (lambda: still(30, 31), make_case),
    "mean: gaps": (lambda: gone(5, slice(0, 20)), lambda: gone(5, slice(0, 2))),
    "causal: no sentence": (lambda: replace(comparison({MINED: 0.7}), effects=()), lambda: comparison({MINED: 0.7})),
    "causal: lower": (lambda: both(0.7), lambda: without({MINED: 1.3, RANDOM: 2.0})),
    "causal: higher": (lambda: without({MINED: 1.3, RANDOM: 2.0}), lambda: without({MINED: 1.0, RANDOM: 2.0})),
    "causal: not told": (lambda: without({MINED: 1.0, RANDOM: 2.0}), lambda: both(0.7)),
    "causal: more than": (lambda: both(0.7), lambda: both(0.7, random=0.4, loss=0.4)),
    "causal: less than": (lambda: both(0.7, random=0.4), lambda: both(0.7)),
    "causal: like": (lambda: both(0.7, random=0.7), lambda: both(0.7)),
    "causal: no cause": (lambda: both(0.7, random=0.5), lambda: both(0.7)),
    "causal: cause": (lambda: both(0.7), lambda: both(0.7, random=0.5)),
    "causal: beyond all": (lambda: both(0.7), lambda: both(0.7, loss=0.5)),
    "causal: beyond some": (lambda: both(0.7, loss=0.5), lambda: both(0.7)),
    "probe: swings": (probed, lambda: probed(range(41))),
    "probe: measured": (lambda: probed([3]), probed),
    "probe: moved by": (probed, lambda: probed(mining=False)),
    "runs: side by side": (runs, make_case),
    "runs: all examples": (runs, lambda: runs(foreign(swinging(0), 0), foreign(swinging(1), 3))),
    "runs: shared examples": (lambda: runs(foreign(swinging(0), 0), foreign(swinging(1), 3)), runs),
    "runs: own examples": (lambda: runs(foreign(swinging(0), 0), foreign(swinging(1), 120)), runs),
    "runs: the same": (runs, lambda: runs(foreign(swinging(0), 0), foreign(swinging(1), 120))),
    "runs: changed": (lambda: runs(foreign(swinging(0), 0), foreign(swinging(1), 3)), runs),
    "runs: refused": (lambda: runs(foreign(swinging(0), 0), foreign(swinging(1), 120)), runs),
    "runs: too few": (lambda: runs(swinging(0), short(swinging(1))), runs),
    "runs: as random": (lambda: runs(swinging(0), swinging(1, swing=0.0)), runs),
    "runs: against": (runs, lambda: runs(swinging(0, swing=0.0), swinging(1, swing=0.0))),
    "runs: in phase": (lambda: runs(swinging(0), swinging(1, phase=0.3)), runs),
    "runs: different steps": (lambda: runs(None, of_other_run(swinging(1), unit="epoch")), runs),
    "runs: different losses": (lambda: runs(None, of_other_run(swinging(1), loss="mse")), runs),
    "runs: no ratio": (lambda: runs(None, replace(swinging(1), sharpness=())), runs),
    "runs: not mined": (lambda: runs(None, replace(swinging(1), mining=None)), runs),
    "runs: contradicted": (lambda: runs(None, points(swinging(1), step_check=StepCheck("contradicted"))), runs),
    "runs: different sharpness": (lambda: runs(None, points(swinging(1), preconditioned=9.0)), runs),
}  # fmt: skip


def at_rates(before: float, after: float) -> Case:
    """The case of a spike at whose bottom the one rate is recorded, and from its top on the other."""
    case = told()
    lrs = np.where(case.trace.steps <= case.spikes[0].step, before, after)
    return replace(case, spikes=case.spikes[:1], lrs=lrs)


def idle(amount: int) -> Case:
    """The case with ratios at some steps, and so many points more from which no step is made."""
    case = with_ratios(make_case(), {0: 0.5, 10: 0.5, 20: 0.5})
    points = list(case.sharpness)
    for at in range(amount):
        points[at] = replace(points[at], ratio=None, threshold=None, reason=NO_STEP)
    return replace(case, sharpness=tuple(points))


def still(*rows: int) -> Case:
    """The case where the weights of some checkpoints are those of the ones before."""
    case = make_case()
    losses = np.array(case.trace.losses)
    for row in rows:
        losses[row] = losses[row - 1]
    return with_losses(case, losses)


def doubted(right: float, lowest: float) -> Case:
    """The case whose last checkpoint answers so many of four classes rightly, and whose mean loss was so low before."""
    guess, last = Score(1.386, 0.25), Score(1.5 - right, right)
    look = Look(40, 40, dict.fromkeys("abcd", 10), 4, guess, guess, {"step_40.pt": last}, ())
    look = replace(look, lowest=lowest, lowest_at="step 12")
    return replace(make_case(), look=look)


def aware(case: Case) -> Case:
    """The case where a file of settings names sharpness-aware minimisation."""
    return replace(
        case, recorded_facts=(RecordedFact(SHARPNESS_AWARE, "sam", "config.json: optimizer", "x"),)
    )


def gone(row: int, examples: slice) -> Case:
    """The case where some examples have no loss at a checkpoint."""
    case = make_case()
    losses = case.trace.losses.copy()
    losses[row, examples] = NAN
    return with_losses(case, losses)


def without(left: dict[str, float]) -> Causal:
    """A comparison of which the sharpness alone is looked at."""
    made = comparison(left)
    return replace(made, effects=tuple(e for e in made.effects if e.outcome == "sharpness"))


def both(share: float, *, random: float = 1.0, loss: float = 0.9) -> Causal:
    return without({MINED: share, RANDOM: random, LOSS: loss})


def short(case: Case) -> Case:
    """The first four checkpoints of a run."""
    trace = case.trace
    kept = replace(trace, steps=trace.steps[:4], losses=trace.losses[:4], complete=trace.complete[:4])
    return replace(case, trace=kept, spikes=(), sharpness=case.sharpness[:1])


@pytest.fixture(scope="module")
def marked() -> Iterator[Callable[[Callable[[], Thing]], set[str]]]:
    """Which sentences are said of a case; while every sentence begins with its name."""
    with pytest.MonkeyPatch.context() as patch:
        for name, text in list(SENTENCES.items()):
            patch.setitem(SENTENCES, name, f"\u27e6{name}\u27e7{text}")
        yield cache(lambda make: names_in(" ".join(lines_of(make()))))


def names_in(text: str) -> set[str]:
    return set(re.findall("\u27e6(.*?)\u27e7", text))


def test_every_sentence_has_both_cases() -> None:
    assert set(SAID) == set(SENTENCES)


@pytest.mark.parametrize("name", SENTENCES)
def test_a_sentence_is_said_where_it_is_true_and_nowhere_else(
    name: str, marked: Callable[[Callable[[], Thing]], set[str]]
) -> None:
    true, false = (marked(make) for make in SAID[name])
    assert name in true
    assert name not in false


@pytest.mark.parametrize("name", FEW)
def test_a_verdict_says_nothing_but_sentences_of_the_table(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in list(SENTENCES):
        monkeypatch.setitem(SENTENCES, key, f"\u27e6{key}\u27e7")
    for make in SAID[name]:
        thing = make()
        assert isinstance(thing, Case)
        rest = " ".join(re.sub("\u27e6.*?\u27e7|step 20 to 21", "", line) for line in verdict(thing))
        rest = rest.replace(UNLOOKED, "")
        assert not re.sub(r"\band\b|[\s.,;]", "", rest), rest


@pytest.mark.parametrize("name", FEW[:2])
@pytest.mark.usefixtures("marked")
def test_terminal_page_and_markdown_say_the_same_sentences(name: str) -> None:
    for make in SAID[name]:
        case = make()
        assert isinstance(case, Case)
        said = names_in(" ".join(verdict(case)))
        for shown in (
            show(render_report(case), 1000),
            render_html(case, {}),
            render_markdown(case, {}, (), None),
        ):
            assert said <= names_in(shown)


def test_a_ratio_far_beyond_the_threshold_is_no_sign_where_the_loss_rises_or_steps_confirm_it(
    marked: Callable[[Callable[[], Thing]], set[str]],
) -> None:
    losses, name = FALLING.copy(), "edge: would have grown"
    losses[15] += 1
    assert name in marked(lambda: falling(2.5))
    assert name not in marked(lambda: falling(2.5, losses))
    confirmed = StepCheck("confirmed", relative_error=0.0)
    assert name not in marked(lambda: points(falling(2.5), step_check=confirmed))
