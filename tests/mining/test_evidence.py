"""The table of evidence: every number against a contract, and those that are written down elsewhere against loops."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

from opsigcli.mining.class_matched import class_matched
from opsigcli.mining.evidence import DEFINITIONS, EVIDENCE, Material, Proposed, gather_evidence
from opsigcli.mining.evidence.material import DRAWS, Kind, Matched
from opsigcli.mining.evidence.opposition import COHESION, SEPARATION, clarity_by_chance
from opsigcli.mining.inputs import Candidates, Settings
from opsigcli.mining.notes import notes_on_gradients
from opsigcli.mining.oscillation import oscillation
from opsigcli.mining.outliers import separation
from opsigcli.mining.proposals import clarity
from opsigcli.mining.similarity import Gradients
from opsigcli.mining.simple import closeness
from opsigcli.mining.tokens import SEEN
from opsigcli.mining.trace_stats import first_step, survey
from opsigcli.mining.verdict import CHANCE, CLASS_LEVEL, CONTINUOUS, OUTLIERS, judge
from opsigcli.mining_records import (
    Evidence,
)

A, B = np.arange(8), np.arange(8, 14)
M, N, T = 80, 100, 60
SHIFT = N - M  # rows of candidates are not their positions
LABELS = np.arange(M) % 3
Sides = tuple[np.ndarray, np.ndarray]


def proposed(sides: Sides) -> Proposed:
    return Proposed(sides, (sides[0] + SHIFT, sides[1] + SHIFT))


def material(*, swing: float = 1.0) -> Material:
    """80 candidates of 100 examples; rows 0–7 and 8–13 oppose in gradients and swing in losses."""
    rng = np.random.default_rng(0)
    side = np.zeros(M)
    side[A], side[B] = 1, -1
    axis = rng.standard_normal(40)
    gradients = []
    for c in (20, 40):
        sketch = rng.standard_normal((M, 40)) + 4 * side[:, None] * axis
        residuals = rng.standard_normal((M, 3))
        gradients.append(Gradients(c, sketch, np.linalg.norm(sketch, axis=1), residuals))
    noise = rng.standard_normal((M, M)) * 0.05
    similarity = 0.6 * np.outer(side, side) + (noise + noise.T) / 2
    np.fill_diagonal(similarity, 0)
    losses = rng.random((T, N)) * 0.1 + 2
    losses[::2, SHIFT:] += swing * np.maximum(side, 0)
    losses[1::2, SHIFT:] += swing * np.maximum(-side, 0)
    candidates = Candidates(np.arange(M) + SHIFT, gradients)
    found, energy = oscillation(losses, candidates.positions), survey(losses).energy
    energy = energy[candidates.positions] / energy.sum()
    return Material(candidates, LABELS, similarity, found.high_passed, energy, N, Settings("full"))


@dataclass(frozen=True)
class Other:
    """Examples that were not mined, here copies of those that were."""

    labels: np.ndarray
    gradients: list[Gradients]
    high_passed: np.ndarray


def everything() -> Material:
    """The same with what only some runs have: images, tokens, a model, surrogates."""
    of, rng = material(), np.random.default_rng(1)
    side = np.isin(np.arange(M), A) * 1.0 - np.isin(np.arange(M), B)
    tokens = rng.integers(0, 20, (M, 2))
    tokens[A, 0] = 99

    def swings(first: np.ndarray, second: np.ndarray, watched: np.ndarray) -> np.ndarray:
        assert watched.tolist() == (np.arange(M) + SHIFT).tolist()
        planted = np.isin(first, A + SHIFT).mean()  # a direction of other examples moves nobody in particular
        return rng.normal(0.1, 0.01, (2, M)) + planted * np.abs(side)

    def curvature(sides: Sides, members: np.ndarray) -> Evidence:
        assert set(members.tolist()) == {*(A + SHIFT).tolist(), *(B + SHIFT).tolist()}
        axis, labels = (
            np.append(np.zeros(SHIFT), side) + rng.normal(0, 0.1, N),
            np.append(np.zeros(SHIFT, int), LABELS),
        )
        random = class_matched(labels, sides, members, np.random.default_rng(0), 3)
        first, second = (np.vstack([rows, more]) for rows, more in zip(sides, random, strict=True))
        value, *nulls = axis[first].mean(axis=1) - axis[second].mean(axis=1)
        return Evidence(float(value), float(np.mean(nulls)))

    swing = np.r_[(-1.5) ** np.arange(30.0), np.zeros(T - 31)]
    deltas = np.outer(swing, side) + rng.normal(0, 1e-3, (T - 1, M))
    peak = of.high_passed.copy()
    peak[29] += 9 * side  # where they move most
    other = Other(LABELS, [_again(at, side) for at in of.candidates.gradients], peak[:, strangers(M)])
    candidates = replace(
        of.candidates,
        growth=lambda _sides, rows: np.full(len(rows), 1.4),
        unseen=other,
        features={"light": rng.random(M) + 5 * side, "size": rng.random(M) + 5 * np.abs(side), SEEN: tokens},
        swings=swings,
        curvature=curvature,
    )
    by_chance = np.random.default_rng(2).random(19) * 0.1
    return replace(
        of,
        candidates=candidates,
        similarity=(of.similarity / 3).astype(np.float32),  # as large as that of the gradients
        by_chance=by_chance,
        settings=Settings("full", surrogates=len(by_chance)),
        findable=True,
        deltas=deltas,
        high_passed=peak,
    )


def _again(at: Gradients, side: np.ndarray) -> Gradients:
    """Other examples on the same sides of the same axis."""
    rng, axis = np.random.default_rng(5), np.random.default_rng(0).standard_normal(40)
    sketch = rng.standard_normal((M, 40)) + 4 * side[:, None] * axis
    return at._replace(sketch=sketch, norms=np.linalg.norm(sketch, axis=1))


def strangers(m: int) -> np.ndarray:
    """Rows in which members stay and the others change places."""
    others = np.arange(len(A) + len(B), m)
    return np.concatenate([A, B, np.roll(others, 7)])


def gathered(of: Material, sides: Sides = (A, B)) -> dict[str, Evidence]:
    return gather_evidence(of, proposed(sides), [proposed((A, B))], 0)


def of_kind(found: dict[str, Evidence], kind: Kind) -> dict[str, Evidence]:
    return {name: entry for name, entry in found.items() if entry.definition in kind.definitions}


KINDS = pytest.mark.parametrize("kind", EVIDENCE, ids=lambda kind: next(iter(kind.definitions)))


@KINDS
def test_a_definition_names_its_null_and_how_often_it_is_drawn(kind: Kind) -> None:
    for text in kind.definitions.values():
        assert re.search(r"null: |^the same ", text)
        if "random" in text and "rotation" not in text:
            assert re.search(r"null: .*\b\d+ draws of random", text)


@KINDS
def test_a_planted_pair_has_finite_evidence_of_every_kind(kind: Kind) -> None:
    found = of_kind(gathered(everything()), kind)
    assert found
    for name, entry in found.items():
        assert np.isfinite(entry.value)
        assert entry.null is not None
        assert np.isfinite(entry.null)
        assert (
            entry.p_value is None or 0 < entry.p_value <= 0.05 or entry.side == "second"
        )  # it shares no token
        assert name == entry.definition or entry.feature in name
        assert entry.side in ("", "first", "second")
        assert name.startswith(entry.side)


@pytest.mark.slow
@KINDS
def test_a_random_pair_is_near_its_null(kind: Kind) -> None:
    of, gaps, p_values = everything(), [], []
    if "swing_held" in kind.definitions:  # which is not measured where the search finds as much by chance
        of = replace(of, by_chance=np.zeros(0))
    nobody = np.empty(0, dtype=np.int64)
    first, second = class_matched(LABELS, (A, B), nobody, np.random.default_rng(3), 12)  # as nulls are drawn
    for sides in zip(first, second, strict=True):
        for entry in of_kind(gathered(of, sides), kind).values():
            gaps.append(entry.value - (entry.null or 0.0))
            p_values += [] if entry.p_value is None else [entry.p_value]
    if not gaps:
        return  # of pairs that do not stand apart nothing is said
    assert np.mean(p_values) > 0.2 if p_values else abs(np.mean(gaps)) < 0.3 + np.std(gaps)


def test_along_a_pair_that_chance_makes_nothing_is_measured() -> None:
    of = everything()
    asked = []

    def swings(first: np.ndarray, second: np.ndarray, watched: np.ndarray) -> list[np.ndarray]:
        asked.append(len(first))
        return [np.ones(len(watched))]

    for by_chance, measured in ((np.full(39, 1e9), False), (np.zeros(39), True), (np.zeros(0), True)):
        candidates = replace(of.candidates, swings=swings)  # which have asked for nothing
        found = gathered(replace(of, candidates=candidates, by_chance=by_chance), (A, B))
        assert ("swing_held" in found) is measured
        assert len(asked) == int(measured)
        asked.clear()


@KINDS
def test_evidence_does_not_depend_on_the_order_of_the_members(kind: Kind) -> None:
    rng = np.random.default_rng(4)
    straight, shuffled = (
        of_kind(gathered(everything(), sides), kind)
        for sides in ((A, B), (rng.permutation(A), rng.permutation(B)))
    )
    assert list(straight) == list(shuffled)
    for name, entry in straight.items():
        other = shuffled[name]
        assert entry.value == pytest.approx(other.value, rel=1e-5, abs=1e-6)
        assert entry.null == pytest.approx(other.null, rel=1e-5, abs=1e-6)
        assert entry.p_value == other.p_value


def test_losses_alone_have_that_part_of_the_table_that_needs_no_gradients() -> None:
    of = everything()
    alone = gathered(replace(of, candidates=of.candidates.without_gradients(), similarity=None))
    expected = {name for kind in EVIDENCE if not kind.needs_gradients for name in kind.definitions}
    assert {entry.definition for entry in alone.values()} == expected - {"SIDE: token predicted"}
    whole = gathered(of)
    assert alone == {name: entry for name, entry in whole.items() if name in alone}


def test_evidence_is_given_in_the_order_of_the_table() -> None:
    places = {name: place for place, kind in enumerate(EVIDENCE) for name in kind.definitions}
    found = [places[entry.definition] for entry in gathered(everything()).values()]
    assert found == sorted(found)
    assert set(places) == set(DEFINITIONS)


MEASURED = {"gradient_ratio", "share_of_loss_change", "share_ratio", "amplitude"}  # and not sought


def test_only_what_the_search_does_not_look_for_has_a_class_matched_p_value() -> None:
    for name, entry in gathered(material()).items():
        assert entry.null is not None
        assert (entry.p_value is not None) == (name in MEASURED)
        assert entry.p_value is None or 1 / (DRAWS + 1) <= entry.p_value <= 1


def test_values_equal_plain_loops() -> None:
    of = material()
    found = gathered(of)
    opposition = -np.mean([of.similarity[i, j] for i in A for j in B])
    assert found["opposition"].value == pytest.approx(opposition, abs=1e-5)
    cosines = []
    for at in of.candidates.gradients:
        a, b = at.sketch[A].mean(axis=0), at.sketch[B].mean(axis=0)
        cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert found["gradient_cosine"].value == pytest.approx(np.mean(cosines), abs=1e-5)
    share = sum(of.energy[i] for i in (*A, *B))
    assert found["share_of_loss_change"].value == pytest.approx(share, abs=1e-5)
    assert found["share_ratio"].value == pytest.approx(share / (14 / N), abs=1e-4)
    held = [t for t in range(first_step(T - 1), T - 1) if t not in (19, 20, 39, 40)]
    assert of.held_out().tolist() == held
    correlation = np.corrcoef(
        of.high_passed[held][:, A].mean(axis=1), of.high_passed[held][:, B].mean(axis=1)
    )[0, 1]
    assert found["anti_phase"].value == pytest.approx(correlation, abs=1e-4)
    to_a, to_b = of.similarity[:, A], of.similarity[:, B]
    own = [to_a[i].sum() / (len(A) - 1) - to_b[i].mean() for i in A]
    own += [to_b[i].sum() / (len(B) - 1) - to_a[i].mean() for i in B]
    rest = [abs(to_a[i].mean() - to_b[i].mean()) for i in range(14, M)]
    expected = np.quantile(own, 0.1) / np.quantile(rest, 0.98)
    assert found["separation"].value == pytest.approx(expected, rel=1e-4)


def test_a_side_of_several_groups_is_measured_group_by_group_as_its_random_pairs_are() -> None:
    of = material()
    groups = [np.arange(at, M, 3)[4:10] for at in (0, 1, 2)]  # of one label each
    one, several = groups[0], np.concatenate(groups[1:])
    similarity = np.array(of.similarity)
    for group in groups:
        similarity[np.ix_(group, group)] += 0.5
    similarity[np.ix_(one, several)] -= 0.3
    similarity[np.ix_(several, one)] -= 0.3
    similarity[np.ix_(groups[1], groups[2])] -= 0.1
    similarity[np.ix_(groups[2], groups[1])] -= 0.1
    np.fill_diagonal(similarity, 0)
    pair = Matched.of(replace(of, similarity=similarity), proposed((one, several)), [], 0)
    cohesions, separations = [], []
    for first, second in zip(*pair.groups, strict=True):
        both = (first,), tuple(second[LABELS[second] == label] for label in (1, 2))
        near = [[similarity[:, g].sum(axis=1) for g in side] for side in both]
        to = [similarity[:, side].mean(axis=1) for side in (first, second)]
        within, own, rest = [], [], []
        for k, side in enumerate(both):
            for group, sums in zip(side, near[k], strict=True):
                within.append((k, [sums[i] / (len(group) - 1) for i in group]))
                own += [sums[i] / (len(group) - 1) - to[1 - k][i] for i in group]
        for i in np.setdiff1d(np.arange(M), np.concatenate([first, second])):
            most = [max(s[i] / len(g) for s, g in zip(near[k], both[k], strict=True)) for k in (0, 1)]
            rest.append(max(most[0] - to[1][i], most[1] - to[0][i]))
        cohesions.append(
            min(np.mean([v for k, some in within if k == side for v in some]) for side in (0, 1))
        )
        separations.append(np.quantile(own, 0.1) / max(np.quantile(rest, 0.98), 1e-3))
    for kind, expected in ((COHESION, cohesions), (SEPARATION, separations)):
        found = next(iter(kind.measure(pair).values()))
        assert found.value == pytest.approx(expected[0], rel=1e-4)
        assert found.null == pytest.approx(np.mean(expected[1:]), rel=1e-3)
    assert cohesions[0] > 0.4


def test_separation_counts_others_of_the_members_own_labels_by_themselves() -> None:
    of, place = material(), np.zeros(M)
    place[LABELS == 0] = np.linspace(-1, 1, (LABELS == 0).sum())  # an axis within one class
    similarity = np.array(of.similarity) * 0.01 + np.outer(place, place)
    np.fill_diagonal(similarity, 0)
    sides = np.flatnonzero(place > 0.4), np.flatnonzero(place < -0.4)
    found = Matched.of(replace(of, similarity=similarity), proposed(sides), [], 0)
    value = next(iter(SEPARATION.measure(found).values())).value
    assert value == pytest.approx(separation(similarity, sides, labels=LABELS), rel=1e-4)
    assert value < separation(similarity, sides) - 0.05
    # Of few among very many, a tenth as many others count as there are members: here two.
    rare = replace(found, material=replace(found.material, examples=2000))
    near = np.delete(
        np.abs(closeness(similarity, sides[0]) - closeness(similarity, sides[1])), np.concatenate(sides)
    )
    near = np.sort(near[np.delete(LABELS, np.concatenate(sides)) == 0])
    assert sum(map(len, sides)) in range(11, 21)
    assert next(iter(SEPARATION.measure(rare).values())).value == pytest.approx(
        value * np.quantile(near, 0.98) / near[-2], rel=1e-3
    )


def test_separation_counts_those_drawn_for_all_that_are_no_candidates() -> None:
    of = material()
    assert of.similarity is not None
    standing = np.where(np.arange(M) % 3, 1.0, 9.0)
    one, other = (
        next(iter(SEPARATION.measure(Matched.of(each, proposed((A, B)), [], 0)).values())).value
        for each in (of, replace(of, candidates=replace(of.candidates, weights=standing)))
    )
    assert one == pytest.approx(separation(of.similarity, (A, B), labels=LABELS))
    assert other == pytest.approx(separation(of.similarity, (A, B), labels=LABELS, weights=standing))
    assert other != pytest.approx(one, rel=0.01)


def test_separation_and_clarity_leave_out_members_of_pairs_that_are_told_from_it() -> None:
    of = material()
    assert of.similarity is not None
    standing = np.where(np.arange(M) % 3, 1.0, 9.0)
    of = replace(of, candidates=replace(of.candidates, weights=standing), by_chance=np.full(39, 0.1))
    far = np.abs(closeness(of.similarity, A) - closeness(of.similarity, B))
    out = np.zeros(M, dtype=bool)
    out[[row for row in np.argsort(-far) if row not in {*A, *B}][:20]] = True
    whole, less = proposed((A, B)), replace(proposed((A, B)), left_out=out)
    for measure, examples in ((SEPARATION.measure, 0), (None, np.inf)):
        value, fewer = (
            clarity_by_chance(pair) if measure is None else next(iter(measure(pair).values()))
            for pair in (Matched.of(of, each, [], 0) for each in (whole, less))
        )
        assert value is not None
        assert fewer is not None
        weights = standing if measure else None
        expected = separation(of.similarity, (A, B), None, LABELS, examples, weights, out)
        assert fewer.value == pytest.approx(expected, rel=1e-5)
        assert fewer.value > 1.02 * value.value


def test_a_note_says_what_p_and_clarity_are_where_candidates_were_chosen() -> None:
    of = replace(material(), by_chance=np.full(39, 0.1))
    chosen = replace(of, candidates=replace(of.candidates, weights=np.full(M, N / M)))
    assert any("surrogates behind p have tails as long" in note for note in notes_on_gradients(chosen, 0))
    for none in (of, replace(chosen, by_chance=np.zeros(0))):  # all were compared; nothing was searched again
        assert not any("surrogates" in note for note in notes_on_gradients(none, 0))


def test_clarity_is_how_far_a_pair_stands_apart_where_candidates_were_chosen() -> None:
    of = replace(material(), by_chance=np.full(39, 0.1), settings=Settings("full", surrogates=39))
    chosen = replace(of, candidates=replace(of.candidates, weights=np.full(M, N / M)))
    pair = proposed((A, B))
    one, other = (clarity_by_chance(Matched.of(each, pair, [], 0)) for each in (of, chosen))
    assert one is not None
    assert other is not None
    assert of.similarity is not None
    assert one.value == pytest.approx(clarity(of.similarity, pair.sides))
    assert other.value == pytest.approx(separation(of.similarity, pair.sides, labels=LABELS, examples=np.inf))
    assert one.value != pytest.approx(other.value, rel=0.1)
    # With rotations the larger p counts: of 39 one is as clear as the pair is where all are compared.
    turned = replace(chosen, rotations=np.append(np.zeros(38), one.value + 0.01))
    both = clarity_by_chance(Matched.of(turned, pair, [], 0))
    assert both is not None
    assert other.p_value == 1 / 40
    assert (both.value, both.null, both.p_value) == (other.value, other.null, 2 / 40)


def test_a_real_pair_stands_out_and_a_random_one_does_not() -> None:
    of = material()
    real = gathered(of)
    assert all(real[name].p_value == 1 / (DRAWS + 1) for name in MEASURED)
    assert real["gradient_ratio"].value > 1.5
    assert real["anti_phase"].value < -0.9
    assert judge(real, 25)[0] == OUTLIERS
    verdicts = []
    for seed in range(20):
        rows = np.random.default_rng(seed).permutation(np.arange(14, M))
        random = gathered(of, (rows[:8], rows[8:14]))
        verdicts.append(judge(random, 25)[0])
    assert verdicts == [CHANCE] * 20


def test_p_values_of_pairs_named_in_advance_are_uniform() -> None:
    of = material()
    p_values = []
    for seed in range(150):
        rows = np.random.default_rng(seed).permutation(M)  # whoever swings has their turn
        p_values.append(gathered(of, (rows[:16], rows[16:30]))["share_of_loss_change"].p_value or 0.0)
    assert abs(np.mean(np.array(p_values) <= 0.1) - 0.1) < 0.07  # three standard deviations
    assert abs(np.mean(p_values) - 0.5) < 0.07


def test_a_quiet_trace_leaves_out_what_it_cannot_tell() -> None:
    of = material()
    still = replace(of, energy=np.zeros(M), high_passed=np.zeros_like(of.high_passed))
    found = gathered(still)
    assert not {"anti_phase", "share_ratio", "share_of_loss_change"} & set(found)
    verdict, reasons = judge(found, 25)
    assert verdict == OUTLIERS
    assert any("too few" in reason for reason in reasons)


def test_the_same_seed_gives_the_same_evidence() -> None:
    assert gathered(material()) == gathered(material())


def pieces(opposition: Evidence, separation: float, by_class: float) -> dict[str, Evidence]:
    return {
        "opposition": opposition,
        "gradient_cosine": Evidence(-0.9, 0.1),
        "separation": Evidence(separation, 0.5),
        "cohesion": Evidence(0.4, 0.0),
        "contrast_by_class": Evidence(by_class, 0.01),
        "share_ratio": Evidence(3.0, 1.0, 0.005),
        "anti_phase": Evidence(-0.9, 0.1),
    }


@pytest.mark.parametrize(
    ("opposition", "separation", "by_class", "verdict"),
    [
        (Evidence(0.5, 0.0), 4.0, 0.1, OUTLIERS),
        (Evidence(0.5, 0.0), 1.0, 0.1, CONTINUOUS),
        (Evidence(0.5, 0.0), 1.0, 0.8, CLASS_LEVEL),
        (Evidence(0.05, 0.03), 4.0, 0.1, CHANCE),
        (Evidence(0.5, 0.49), 4.0, 0.1, CLASS_LEVEL),
    ],
)
def test_verdicts_follow_the_evidence_and_always_say_why(
    opposition: Evidence, separation: float, by_class: float, verdict: str
) -> None:
    found, reasons = judge(pieces(opposition, separation, by_class), 25)
    assert found == verdict
    assert len(reasons) == 5 + (separation < 2 and verdict == CLASS_LEVEL)
    assert any(f"{separation:.2f}" in reason for reason in reasons)
