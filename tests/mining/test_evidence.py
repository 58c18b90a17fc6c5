"""Evidence against loops, its nulls, and the verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.mining.evidence import DEFINITIONS, DRAWS, Material, gather_evidence
from opsigcli.mining.features import DEFINITIONS as FEATURES
from opsigcli.mining.oscillation import oscillation
from opsigcli.mining.similarity import Gradients
from opsigcli.mining.trace_stats import first_step
from opsigcli.mining.verdict import CHANCE, CLASS_LEVEL, CONTINUOUS, OUTLIERS, judge
from opsigcli.records import Evidence

A, B = np.arange(8), np.arange(8, 14)
M, N, T = 80, 100, 60


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
    losses[::2, :M] += swing * np.maximum(side, 0)
    losses[1::2, :M] += swing * np.maximum(-side, 0)
    labels = np.arange(M) % 3
    return Material.of(similarity, gradients, labels, oscillation(losses, np.arange(M)), np.arange(M))


def gathered(of: Material, sides: tuple[np.ndarray, np.ndarray] = (A, B)) -> dict[str, Evidence]:
    return gather_evidence(of, sides, np.concatenate([A, B]), np.random.default_rng(0))


def test_every_kind_of_evidence_is_defined_and_has_a_null_and_a_p_value() -> None:
    found = gathered(material())
    further = {"clarity", "swing_held", "curvature", *FEATURES}
    assert set(found) == set(DEFINITIONS) - further  # those need surrogates, a model, or images or tokens
    for evidence in found.values():
        assert evidence.null is not None
        assert evidence.p_value is not None
        assert 1 / (DRAWS + 1) <= evidence.p_value <= 1


def test_values_equal_plain_loops() -> None:
    of = material()
    found = gathered(of)
    opposition = -np.mean([of.similarity[i, j] for i in A for j in B])
    assert found["opposition"].value == pytest.approx(opposition, abs=1e-5)
    cosines = []
    for at in of.gradients:
        a, b = at.sketch[A].mean(axis=0), at.sketch[B].mean(axis=0)
        cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert found["gradient_cosine"].value == pytest.approx(np.mean(cosines), abs=1e-5)
    share = sum(of.energy[i] for i in (*A, *B))
    assert found["share_of_loss_change"].value == pytest.approx(share, abs=1e-5)
    assert found["share_ratio"].value == pytest.approx(share / (14 / N), abs=1e-4)
    held = [t for t in range(first_step(T - 1), T - 1) if t not in (19, 20, 39, 40)]
    assert of.held_out().tolist() == held
    correlation = np.corrcoef(of.fast[held][:, A].mean(axis=1), of.fast[held][:, B].mean(axis=1))[0, 1]
    assert found["anti_phase"].value == pytest.approx(correlation, abs=1e-4)
    to_a, to_b = of.similarity[:, A], of.similarity[:, B]
    own = [to_a[i].sum() / (len(A) - 1) - to_b[i].mean() for i in A]
    own += [to_b[i].sum() / (len(B) - 1) - to_a[i].mean() for i in B]
    rest = [abs(to_a[i].mean() - to_b[i].mean()) for i in range(14, M)]
    expected = np.quantile(own, 0.1) / np.quantile(rest, 0.98)
    assert found["separation"].value == pytest.approx(expected, rel=1e-4)


def test_a_real_pair_stands_out_and_a_random_one_does_not() -> None:
    of = material()
    real = gathered(of)
    assert all(evidence.p_value == 1 / (DRAWS + 1) for evidence in real.values())
    assert real["gradient_ratio"].value > 1.5
    assert real["anti_phase"].value < -0.9
    assert judge(real)[0] == OUTLIERS
    verdicts = []
    for seed in range(20):
        rows = np.random.default_rng(seed).permutation(np.arange(14, M))
        random = gathered(of, (rows[:8], rows[8:14]))
        verdicts.append(judge(random)[0])
    assert verdicts == [CHANCE] * 20


def test_p_values_of_random_pairs_are_uniform_enough() -> None:
    of = material()
    small = 0
    for seed in range(60):
        rows = np.random.default_rng(seed).permutation(np.arange(14, M))
        p = gathered(of, (rows[:8], rows[8:14]))["opposition"].p_value
        assert p is not None
        small += p <= 0.1
    assert 1 <= small <= 14  # 6 expected


def test_a_quiet_trace_leaves_out_what_it_cannot_tell() -> None:
    of = material()
    still = Material(of.similarity, of.gradients, of.labels, np.zeros(M), np.zeros_like(of.fast), N)
    found = gathered(still)
    assert not {"anti_phase", "share_ratio", "share_of_loss_change"} & set(found)
    verdict, reasons = judge(found)
    assert verdict == OUTLIERS
    assert any("too few" in reason for reason in reasons)


def test_the_same_seed_gives_the_same_evidence() -> None:
    assert gathered(material()) == gathered(material())


def pieces(opposition: Evidence, cosine: Evidence, separation: float) -> dict[str, Evidence]:
    return {
        "opposition": opposition,
        "gradient_cosine": cosine,
        "separation": Evidence(separation, 0.5, 0.005),
        "share_ratio": Evidence(3.0, 1.0, 0.005),
        "anti_phase": Evidence(-0.9, 0.1, 0.005),
    }


@pytest.mark.parametrize(
    ("opposition", "cosine", "separation", "verdict"),
    [
        (Evidence(0.5, 0.0, 0.005), Evidence(-0.9, 0.1, 0.005), 4.0, OUTLIERS),
        (Evidence(0.5, 0.0, 0.005), Evidence(-0.9, 0.1, 0.005), 1.0, CONTINUOUS),
        (Evidence(0.5, 0.0, 0.005), Evidence(-0.9, -0.88, 0.3), 4.0, CLASS_LEVEL),
        (Evidence(0.5, 0.0, 0.2), Evidence(-0.9, 0.1, 0.005), 4.0, CHANCE),
        (Evidence(0.5, 0.45, 0.01), Evidence(-0.9, 0.1, 0.005), 4.0, CHANCE),
    ],
)
def test_verdicts_follow_the_evidence_and_always_say_why(
    opposition: Evidence, cosine: Evidence, separation: float, verdict: str
) -> None:
    found, reasons = judge(pieces(opposition, cosine, separation))
    assert found == verdict
    assert len(reasons) == 5
    assert any(f"{separation:.2f}" in reason for reason in reasons)
