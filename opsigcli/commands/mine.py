"""``opsig mine``: top loss deltas, opposing groups and pairs, and who holds the loss spikes."""

from __future__ import annotations

from dataclasses import replace

from opsigcli.commands.export import export_groups, require_format
from opsigcli.commands.planted_recovery import tell_known_pairs
from opsigcli.gradients.ablation import causal_words, compare_causes
from opsigcli.gradients.pair_curvature import with_curvature
from opsigcli.gradients.sketch_store import Sketches
from opsigcli.gradients.thumbnails import same_groups, take_pictures, wanted_ids
from opsigcli.mining import METHODS
from opsigcli.mining.methods import NEEDS_GRADIENTS
from opsigcli.mining.mine import mine as find_pairs
from opsigcli.mining.mine import require_two
from opsigcli.mining.trace_stats import survey
from opsigcli.mining.window import first_window
from opsigcli.options import MineOptions
from opsigcli.outcome import Outcome
from opsigcli.parameters import require
from opsigcli.progress import Progress
from opsigcli.records import Case, ExampleSource, LossTrace, Mining, Thumbnails
from opsigcli.runs.provenance import provenance
from opsigcli.store.reader import Store, open_store
from opsigcli.store.writer import locked, write_gradients, write_mining


def mine(options: MineOptions, progress: Progress) -> Outcome:
    """Mine the trace of a store, and keep what was found there.

    Per-example gradients are computed once, kept in the store as random projections, and used again when the
    command is repeated on the same trace.

    Raises:
        StoreError: there is no readable store.
        MiningError: the trace is too short.
        OpsigError: model, data or checkpoints cannot be opened.
        Interrupted: a signal arrived; the gradients computed so far are kept.
    """
    METHODS.load(options.method)
    require(options, "window", "similarity")
    if options.export is not None:
        require_format(options.export)
    with locked(options.store):
        with open_store(options.store) as store:
            trace, run, known_pairs = store.trace, store.run, store.known_pairs
            require_two(len(trace.steps))  # before gradients are computed
            virtual = store.virtual
            seen = survey(store.losses)
            window = first_window(seen.amplitude) if options.window == "first" else None
            sketches = Sketches(options, store, seen, window, progress)
            gradients = sketches.take() if options.method in NEEDS_GRADIENTS else []
            found = find_pairs(
                store.losses,
                trace.labels,
                trace.example_ids,
                trace.steps,
                run.classes,
                gradients=gradients,
                candidates=sketches.candidates,
                method=options.method,
                top=options.top,
                seed=options.seed,
                known_pairs=known_pairs,
                similarity=options.similarity,
                window=window,
                probe=sketches.swings if options.method == "full" else None,
                features=sketches.features if gradients else None,
                surrogates=options.surrogates,
                weights=sketches.weights,
                seen=seen,
                outside=sketches.outside if gradients else None,
                deltas=store.loss_deltas,
            )
            before = len(sketches.kept)
            pairs = with_curvature(
                found.pairs,
                sketches.run,
                sketches.rows,
                store.sharpness,
                trace,
                options.seed,
                sketches.kept,
            )
            sketches.new |= len(sketches.kept) > before
            found = replace(found, pairs=pairs)
            causal = None
            if options.causal and sketches.rows:
                causal = compare_causes(
                    found, sketches.opened, sketches.rows[0], trace, options.seed, progress, options.test_data
                )
            objective = sketches.run.objective if sketches.run else None
            found = replace(found, provenance=provenance("mine", options, objective, seed=options.seed))
            pictures = _pictures(store, found, trace, sketches.source)
        if sketches.new:
            write_gradients(options.store, sketches.key, sketches.arrays(gradients))
            sketches.units.clear()
        write_mining(options.store, found, pictures)
    case = Case(run, trace, found, virtual=virtual)
    messages = list(tell_known_pairs(known_pairs, case))
    if options.export is not None:
        count = export_groups(options.export, found, trace, run.classes)
        messages.append(f"wrote {count} rows to {options.export}")
    return Outcome(
        schema="opsig/mine",
        inputs={"store": str(options.store), "options": found.provenance.options if found.provenance else {}},
        result={
            "pairs": found.pairs,
            "top": found.top,
            "spikes": found.spikes,
            "recovery": found.recovery,
            "method": found.method,
            "gradient_steps": found.gradient_steps,
            "candidates": found.candidates,
            "notes": found.notes,
            "explained": found.explained,
            "causal": causal,
            "virtual": virtual,
        },
        messages=(*messages, *(causal_words(causal) if causal else ())),
        view=case,
    )


def _pictures(
    store: Store, found: Mining, trace: LossTrace, source: ExampleSource | None
) -> Thumbnails | None:
    """Pictures for the report; those the store has are used again."""
    ids = wanted_ids(found, trace)
    kept = store.thumbnails
    if kept is not None and set(ids) <= set(map(int, kept.ids)) and same_groups(store.mining, found):
        return kept
    if source is None:
        from opsigcli.datasets import open_source

        source = open_source(store.run.data)
    return take_pictures(source, ids, found)
