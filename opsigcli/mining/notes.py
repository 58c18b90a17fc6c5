"""What a reader has to know about the limits of a trace, and what to do about them, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.mining.evidence.material import HELD_OUT
from opsigcli.mining.trace_stats import FEWEST
from opsigcli.mining_records import WINDOW
from opsigcli.sentences import percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsigcli.mining.evidence import Material
    from opsigcli.mining.inputs import Trace
    from opsigcli.mining_records import Pair
    from opsigcli.records import Floats, Ints

LOSSES_ALONE = (
    "pairs were sought in the losses alone: groups that rise together at the same steps are merged, quiet members "
    "missed, and whole classes taken for groups; with the model at hand use --method full"
)
GOOD_PART, MOST = 0.4, 0.5  # adjusted R² of high-passed loss deltas on the class, from which it is said so
ALONE = "class and "  # what class and one feature explain
FEATURES = 3  # named
FILLED = 0.5  # of random groups, from which members of pairs in them are told
SHORT = 10  # checkpoints below which an oscillation is hardly seen


def notes_on_trace(trace: Trace) -> list[str]:
    """What is missing in the trace, and whether it is too short or too sparse.

    Returns:
        Sentences.
    """
    rows, examples = trace.survey.rows, trace.survey.examples
    notes = []
    if not rows.all():
        notes.append(f"{int((~rows).sum())} of {len(rows)} checkpoints hold no finite loss and were left out")
    if rows.any() and not examples.all():
        notes.append(
            f"{int((~examples).sum())} of {len(examples)} examples have a loss that is not finite at some "
            "checkpoint and were left out of the search for pairs"
        )
    if len(rows) < SHORT:
        notes.append(
            f"{len(rows)} checkpoints are few: oscillations and spikes are hardly seen; "
            "save and trace more checkpoints, best every step of a short window (opsig train DIR --save-every 1), "
            "or let a step be made from each checkpoint: opsig trace CKPTS --virtual-step"
        )
    if apart := trace.axis.apart(trace.steps.tolist()):
        notes.append(
            f"{apart}: opposing groups swap every step, so that loss changes over "
            "several steps understate them, over an even number most (shares and anti-phase are lower bounds; "
            "memberships come from gradients and hold); to see the swing save every step of a short window, or run: "
            "opsig trace CKPTS --virtual-step"
        )
    if rows.any() and not _changes(trace.losses):
        notes.append("no loss changes between checkpoints: are these checkpoints all the same?")
    return notes


def notes_on_gradients(material: Material, dropped: int, joined: int | None = None) -> list[str]:
    """What limits the search for pairs.

    Args:
        material: what pairs were sought in.
        dropped: candidates without a finite loss or gradient.
        joined: examples that were no candidates and joined the groups found; None where nobody was asked to.

    Returns:
        Sentences.
    """
    notes = []
    compared = len(material.labels)
    if dropped:
        notes.append(f"{dropped} candidates have a loss or gradient that is not finite and were left out")
    if compared + dropped < material.examples:
        notes.append(
            f"gradients of {compared} of {material.examples} examples were compared: "
            + (
                "groups among the others cannot be found"
                if joined is None
                else f"{joined} of the others joined the groups found; groups of others alone cannot be found"
            )
        )
    if material.candidates.weights is not None and len(material.by_chance):
        notes.append(
            f"these {compared} were chosen for how much they are opposed: the surrogates behind p have tails as long, "
            "and clarity says how far a pair stands apart with hardly any other example between"
        )
    if len(material.held_out()) < HELD_OUT:
        notes.append(
            f"fewer than {HELD_OUT} loss deltas lie apart from the checkpoints compared: "
            "anti-phase on held-out steps is not measured"
        )
    return notes


def notes_on_classes(
    shares: Mapping[str, float], opposed: tuple[tuple[str, ...], ...], apart: bool, kind: str, deltas: int
) -> list[str]:
    """Whether the oscillation is one of whole classes; of fewer than 5 loss deltas, which show none, what was measured.

    Args:
        shares: of the high-passed loss deltas, explained by what is known of the examples (``features.explained``).
        opposed: the classes on either side of the main swing; () where there are none.
        apart: the first oscillation was not mined by itself, and could be.
        kind: what the classes are, as ``Naming.kind`` has it.
        deltas: how many loss deltas these shares are of.

    Returns:
        Sentences.
    """
    by_class = shares.get("class")
    if by_class is None or by_class < GOOD_PART:
        return []
    of = f"the {deltas} loss deltas" if deltas < WINDOW else "the high-passed loss deltas"
    words = f"the {kind} alone explains {percent(by_class)} of {of} (adjusted R²)"
    if "class and features" in shares:
        single = {
            name.removeprefix(ALONE): share
            for name, share in shares.items()
            if name.startswith(ALONE) and name != f"{ALONE}features"
        }
        best = sorted(single, key=lambda name: -single[name])[:FEATURES]
        each = ", ".join(f"{name} {percent(single[name])}" for name in best)
        both = percent(shares["class and features"])
        words += f", class and image features {both} (class and one of them: {each})"
    if deltas < WINDOW:
        return [f"{words}: so few do not tell an oscillation from the fall of the loss"]
    if not opposed:
        return [f"{words}; no {kind} is seen to swing against another"]
    part = "most" if by_class > MOST else "a good part"
    words += f": {part} of this run's oscillation is of whole {'classes' if kind == 'class' else f'{kind}s'}"
    words += f", {' and '.join(opposed[0])} against {' and '.join(opposed[1])}"
    return [words + ("; mine its beginning with --window first" if apart else "")]


def notes_on_nulls(labels: Ints, pairs: Sequence[tuple[Ints, Ints]]) -> list[str]:
    """The pairs whose random groups are mostly members of pairs, so that they hardly stand out from them.

    Args:
        labels: (M,) of the candidates.
        pairs: rows of the two sides of each pair.
    """
    if not pairs:
        return []
    every = np.unique(np.concatenate([side for sides in pairs for side in sides]))
    others = np.setdiff1d(np.arange(len(labels)), every)
    kinds, left = np.unique(labels[others], return_counts=True)
    free = dict(zip(kinds.tolist(), left.tolist(), strict=True))
    filled = []
    for sides in pairs:
        own, needed = np.unique(labels[np.concatenate(sides)], return_counts=True)
        drawn = sum(
            min(n, free.get(label, 0)) for label, n in zip(own.tolist(), needed.tolist(), strict=True)
        )
        filled.append(1 - drawn / int(needed.sum()))
    told = [f"pair {number} ({percent(part)})" for number, part in enumerate(filled, 1) if part > FILLED]
    if not told:
        return []
    return [
        f"random groups of the same labels are mostly members of pairs, as too few other candidates have these labels: "
        f"{', '.join(told)}; such nulls lean towards the pairs themselves, and a pair that does not stand out "
        "from them may be one"
    ]


def notes_on_unseen(pairs: Sequence[Pair]) -> list[str]:
    """Which pairs were not sought in the data that were never mined, and why.

    Args:
        pairs: as they are numbered.
    """
    without = [str(number) for number, pair in enumerate(pairs, 1) if "unseen_members" not in pair.evidence]
    if not without:
        return []
    which = f"pair {without[0]}" if len(without) == 1 else f"pairs {', '.join(without)}"
    return [
        f"--test-data was not asked about {which}, as it is about pairs that stand apart and may be findings: who "
        "leans to either end of an axis does so in any data, which says nothing of a pair"
    ]


def notes_on_shares(energy: Floats, pairs: Sequence[tuple[Ints, Ints]], deltas: int) -> list[str]:
    """What the pairs hold of the high-passed loss deltas together, beside what as many examples can hold at most.

    Args:
        energy: (N,) of high-passed loss deltas, nats².
        pairs: positions of the two sides of each pair.
        deltas: of the trace; of one nothing is said, and of few no running mean is taken out.
    """
    if deltas < FEWEST:
        return []
    of = "loss deltas" if deltas < WINDOW else "high-passed loss deltas"
    whole = float(energy.sum())
    if not pairs or not whole > 0:
        return []
    members = np.unique(np.concatenate([side for sides in pairs for side in sides]))
    most = percent(float(np.sort(energy)[::-1][: len(members)].sum() / whole))
    held, part = percent(float(energy[members].sum() / whole)), percent(len(members) / len(energy))
    return [
        f"the pairs hold {held} of the energy of {of} with {part} of the examples; no examples of that number hold "
        f"more than {most}"
    ]


def _changes(losses: Any) -> bool:
    start = np.asarray(losses[0])
    return any(
        not np.array_equal(start, np.asarray(losses[t]), equal_nan=True) for t in range(1, len(losses))
    )
