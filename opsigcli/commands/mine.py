"""``opsig mine``: top loss deltas, opposing groups and pairs, and the attribution of loss spikes."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from opsigcli.commands.planted_recovery import tell_known_pairs
from opsigcli.errors import Interrupted, UsageError
from opsigcli.exporting.groups import export_groups, require_format
from opsigcli.gradients.eigen_steps import eigen_steps
from opsigcli.gradients.given import given_trace
from opsigcli.gradients.mined_before import KEY, mined_before, mining_key
from opsigcli.gradients.pair_curvature import PairCurvature
from opsigcli.gradients.pair_growth import PairGrowth
from opsigcli.gradients.sketch_store import Sketches
from opsigcli.gradients.swings import PairSwings
from opsigcli.gradients.thumbnails import pictures_of
from opsigcli.gradients.unseen import UnseenData
from opsigcli.mining import METHODS
from opsigcli.mining.causes.attribute import with_causes
from opsigcli.mining.evidence import DEFINITIONS
from opsigcli.mining.inputs import Candidates, Settings, Trace, require_two
from opsigcli.mining.methods import NEEDS_GRADIENTS, NEEDS_PARTS, NEEDS_SWINGS
from opsigcli.mining.mine import mine as find_pairs
from opsigcli.mining.window import first_window
from opsigcli.mining_records import (
    TRACED,
    Mining,
    proposals,
)
from opsigcli.options import MineOptions
from opsigcli.outcome import Outcome
from opsigcli.parameters import require, require_use
from opsigcli.printable import count
from opsigcli.progress import Progress
from opsigcli.records import Case, LossTrace
from opsigcli.reporting.removal import lines, sentences
from opsigcli.reporting.summary import defined
from opsigcli.reporting.training import trace_warnings
from opsigcli.runs.provenance import provenance
from opsigcli.store.lock import locked
from opsigcli.store.reader import Store, open_store
from opsigcli.store.writer import add_causal, show_mining, write_gradients, write_mining

if TYPE_CHECKING:
    from opsigcli.records import Ints
    from opsigcli.result_records import Causal

    KnownPairs = tuple[tuple[Ints, Ints], ...]

# What says how gradients are taken and compared: of no use to methods that look at losses alone.
OF_GRADIENTS = ("similarity", "gradient_checkpoints", "sketch_dimensions", "screening_space")


def mine(options: MineOptions, progress: Progress) -> Outcome:
    """Mine the trace of a store, and keep what was found there.

    Per-example gradients are computed once, kept in the store as random projections, and used again when the
    command is repeated on the same trace.

    Raises:
        UsageError: no such method, window, similarity or export format, or an option has no part in the method.
        StoreError: there is no readable store.
        MiningError: the trace is too short.
        OpsigError: model, data or checkpoints cannot be opened.
        Interrupted: a signal arrived; the gradients computed so far are kept.
    """
    _refuse_unknown(options)
    stopped: KeyboardInterrupt | None = None
    with locked(options.store):
        with open_store(options.store) as store:
            trace, run = store.trace, store.run
            require_two(len(trace.steps))  # before gradients are computed
            case = Case(run, trace, virtual=store.virtual)
            warnings = [*trace_warnings(store.training_log, store.look)]
            known_pairs = store.known_pairs
            given = given_trace(store)
            settings = _settings(options, given)
            sketches = Sketches(options, store, given.survey, settings.window, progress)
            if options.causal and sketches.rows:  # what cannot be trained on is refused before the work
                from opsigcli.gradients.fork import fork, optimizer_of_run
                from opsigcli.stability.contradiction import contradiction

                fork(sketches.opened, sketches.rows[0])
                at = [sketches.rows[0]]
                if why := contradiction(sketches.opened, optimizer_of_run(sketches.opened), at, options.seed):
                    warnings.append(f"--causal trains by a rule that the weights contradict: {why}")
            key = mining_key(options, store, sketches)
            found = before = mined_before(store, key)
            if options.dry_run:
                from opsigcli.gradients.plan import plan_mining

                return plan_mining(options, sketches, int(given.survey.examples.sum()), before is not None)
            if before is None:
                candidates = _candidates(options, store, trace, sketches)
                try:
                    found = find_pairs(given, candidates, settings, known_pairs, progress, sketches.pieces)
                except KeyboardInterrupt as signal:
                    stopped = signal
            else:
                progress.log(f"{options.store} was mined in this way; nothing is computed again")
                # No cause is ever stored: it is read from the losses, now as when the pairs were found.
                attributed = with_causes(replace(case, mining=before), store.seen)
                found = replace(before, spikes=attributed.spikes)
            warnings += sketches.run.notes if sketches.run else []
            if before is None and found is not None:
                device, version = sketches.made_by
                made = provenance("mine", options, None, seed=options.seed)
                made = replace(made, device=device, torch_version=version)
                made.options[KEY] = key
                made.options[TRACED] = len(trace.steps)
                made.options["batch_norm"] = options.batch_norm or run.batch_norm or None
                known = "" if candidates.unseen is None else candidates.unseen.note
                gone = tuple(note for note in (sketches.note, known) if note)
                found = replace(found, provenance=made, notes=(*gone, *found.notes))
                pictures = pictures_of(store, found, trace, sketches.source)
        if sketches.new:
            gradients = sketches.arrays(candidates.gradients)
            write_gradients(options.store, sketches.key, gradients, sketches.made_by)
        if stopped is not None or found is None:
            assert stopped is not None
            raise Interrupted(stopped, "interrupted: gradients and what was computed of pairs are kept")
        if before is None:
            write_mining(options.store, found, pictures)
        else:
            show_mining(options.store, found)
        causal = None
        if options.causal and sketches.rows:
            from opsigcli.gradients.ablation import compare_causes

            causal = compare_causes(
                found, sketches.opened, trace, options.seed, progress, options.test_data, sketches.pieces
            )
            if found.counted:  # also that there is no sentence, so that a report does not ask for one
                add_causal(options.store, causal)
        sketches.units.clear()
    case = replace(case, mining=found, spikes=found.spikes)
    return _outcome(options, case, found, known_pairs, causal, tuple(warnings))


def _refuse_unknown(options: MineOptions) -> None:
    METHODS.load(options.method)
    require(options, "window", "similarity")
    if options.export is not None:
        require_format(options.export)
    if options.method not in NEEDS_PARTS:
        require_use(options, ("eigenvectors",), "--method eigen", "add --method eigen")
    if options.method not in NEEDS_GRADIENTS and not options.causal:
        require_use(options, OF_GRADIENTS, "gradients that are compared", "use --method full")
    by_gradients = options.method in NEEDS_GRADIENTS and options.similarity == "adjusted"
    if options.test_data and not (by_gradients or options.causal):
        raise UsageError(
            "expected --test-data with --causal, or with pairs that are sought by adjusted gradients, found --method "
            f"{options.method} --similarity {options.similarity}",
            "leave out --test-data, or use --method full",
        )


def _settings(options: MineOptions, trace: Trace) -> Settings:
    window = first_window(trace.survey.amplitude) if options.window == "first" else None
    return Settings(
        options.method,
        options.top,
        options.seed,
        options.similarity,
        window,
        options.surrogates,
        options.false_discovery_rate,
    )


def _candidates(options: MineOptions, store: Store, trace: LossTrace, sketches: Sketches) -> Candidates:
    """The candidates with what the method may look at; gradients are computed here, where they are not kept."""
    if options.method not in NEEDS_GRADIENTS:
        return Candidates(sketches.candidates)
    unseen = UnseenData(sketches, options.test_data) if options.test_data and sketches.rows else None
    gradients = sketches.take()
    return Candidates(
        sketches.candidates,
        gradients,
        sketches.weights,
        sketches.features if gradients else {},
        swings=PairSwings(sketches) if options.method in NEEDS_SWINGS else None,
        curvature=PairCurvature(sketches, store.sharpness, trace),
        growth=PairGrowth(sketches),
        unseen=unseen,
        outside=sketches.outside if gradients else None,
        eigen=eigen_steps(sketches) if options.method in NEEDS_PARTS and gradients else (),
    )


def _outcome(
    options: MineOptions,
    case: Case,
    found: Mining,
    known_pairs: KnownPairs,
    causal: Causal | None,
    warnings: tuple[str, ...],
) -> Outcome:
    messages = list(tell_known_pairs(known_pairs, case))
    if options.export is not None:
        rows = export_groups(options.export, found, case.trace, case.run.classes)
        unsure, pairs = len(proposals(found.pairs)), len(found.pairs)
        more = f": {unsure} of {pairs} pairs are no findings" if unsure else ""
        messages.append(f"wrote {count(rows, 'row')} to {options.export}{more}")
    return Outcome(
        schema="opsig/mine",
        inputs={"store": str(options.store), "options": found.provenance.options if found.provenance else {}},
        result={
            "pairs": defined(found.pairs, DEFINITIONS),
            "top": found.top,
            "spikes": found.spikes,
            "recovery": found.recovery,
            "unit": case.run.axis.one,
            "method": found.method,
            "gradient_steps": found.gradient_steps,
            "candidates": found.candidates,
            "notes": found.notes,
            "explained": found.explained,
            "eigen": found.eigen,
            "causal": causal and {**asdict(causal), "sentences": sentences(causal, case.run.loss_unit)},
            "virtual": case.virtual,
        },
        messages=(*messages, *(lines(causal, case.run.loss_unit) if causal else ())),
        warnings=warnings,
        view=case,
    )
