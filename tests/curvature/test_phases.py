"""What is said about a run, on runs whose story is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from opsigcli.curvature.phases import phases
from opsigcli.sharpness_records import SharpnessPoint


def points(ratios, threshold=10.0, every=10, **more):
    return [
        SharpnessPoint(
            step=every * i,
            eigenvalues=(ratio * 10.0,),
            residuals=(1e-4,),
            converged=True,
            matvecs=5,
            threshold=threshold,
            ratio=None if threshold is None else ratio,
            **more,
        )
        for i, ratio in enumerate(ratios)
    ]


def told(ratios, losses=None, **options):
    steps = np.arange(0, 10 * len(ratios), 10)
    means = np.linspace(2, 1, len(ratios)) if losses is None else np.array(losses, dtype=float)
    return [(p.name, p.first_step, p.last_step) for p in phases(points(ratios, **options), steps, means)]


def test_sharpening_then_the_edge():
    found = told([0.2, 0.3, 0.45, 0.7, 1.05, 1.1, 0.95, 1.2, 1.0])
    assert found == [("progressive sharpening", 0, 40), ("at the edge", 40, 80)]


def test_sharpening_begins_at_the_lowest_point():
    assert told([0.5, 0.3, 0.2, 0.3, 0.5, 0.8])[0] == ("progressive sharpening", 20, 50)


def test_a_flat_or_falling_run_has_no_name():
    assert told([0.5, 0.5, 0.51, 0.5, 0.5]) == []
    assert told([0.8, 0.6, 0.5, 0.3, 0.2]) == []


def test_a_jagged_rise_is_not_progressive():
    assert told([0.2, 0.6, 0.3, 0.7, 0.25, 0.8]) == []


def test_far_above_the_threshold_is_past_the_edge():
    found = told([0.95, 1.1, 2.5, 3.0, 3.5])
    assert ("past the edge", 20, 40) in found
    assert ("at the edge", 0, 10) in found


def test_a_single_point_between_two_others_counts_as_theirs():
    assert told([1.0, 1.0, 0.8, 1.1, 1.0]) == [("at the edge", 0, 40)]


def test_a_catapult_rises_and_lands_flatter():
    found = told([1.5, 1.6, 1.2, 0.6, 0.5], losses=[1.0, 1.4, 1.2, 0.8, 0.7])
    assert ("catapult", 0, 30) in found


def test_no_catapult_without_a_rise_or_without_a_landing():
    assert "catapult" not in {name for name, *_ in told([1.5, 1.6, 1.2, 0.6], losses=[1.0, 0.9, 0.8, 0.7])}
    assert "catapult" not in {name for name, *_ in told([1.5, 1.6, 1.7, 1.6], losses=[1.0, 1.4, 1.2, 0.7])}
    assert "catapult" not in {name for name, *_ in told([1.5, 1.6, 1.2, 0.6], losses=[1.0, 1.4, 1.2, 1.3])}


def test_without_a_threshold_only_sharpening_is_told():
    assert told([0.2, 0.5, 1.0, 2.0], threshold=None) == [("progressive sharpening", 0, 30)]


def test_points_that_did_not_converge_do_not_count():
    some = points([0.2, 0.3, 0.4, 1.0])
    loose = [SharpnessPoint(**{**vars(p), "converged": p.step != 30}) for p in some]
    names = [p.name for p in phases(loose, np.arange(0, 40, 10), np.ones(4))]
    assert names == ["progressive sharpening"]


def test_an_edge_seen_with_statistics_held_fixed_is_told_as_such():
    for name, said in (("running", True), ("stored", True), ("batch", False)):
        some = points([0.5, 0.7, 1.1, 1.0, 1.1], batch_norm=name)
        found = phases(some, np.arange(50), np.ones(50))
        (edge,) = [phase for phase in found if phase.name == "at the edge"]
        assert ("held fixed" in edge.evidence) == said


def test_no_phase_is_from_sharpness_to_preconditioned_sharpness():
    steps, losses = np.arange(0, 80, 10), np.linspace(2, 1, 8)
    flat = points([0.2] * 8)
    adam = [replace(p, preconditioned=50.0 + i) for i, p in enumerate(flat[3:])]
    assert phases([*flat[:3], *adam], steps, losses) == ()
    losses = np.array([1, 1, 1, 3, 1, 0.5, 0.5, 0.5])
    over = [replace(p, ratio=1.5, preconditioned=90.0) for p in flat[:4]]
    assert [p.name for p in phases([*over, *flat[4:]], steps, losses)] == ["at the edge"]


def test_a_point_between_whose_ratio_is_contradicted_has_no_part_in_the_numbers():
    seen = points([1.0, 1.1, 1.3, 1.2, 1.1])
    seen[2] = replace(seen[2], ratio=None)
    (edge,) = phases(seen, np.arange(0, 50, 10), np.ones(5))
    assert (edge.name, edge.first_step, edge.last_step) == ("at the edge", seen[0].step, seen[-1].step)
    assert edge.evidence == "4 points, stability ratio 1.00 to 1.20, median 1.10"


def test_no_points_no_phases():
    assert phases([], np.arange(3), np.ones(3)) == ()
