"""Which unseen examples stand with either side of a pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from opsigcli.mining.similarity import Gradients, gradient_similarity, similarity_to
from opsigcli.mining.unseen import sides_in
from opsigcli.mining.verdict import judge
from opsigcli.mining_records import Evidence

M, OTHERS, K = 200, 90, 64
A, B = np.arange(12), np.arange(12, 22)


@dataclass(frozen=True)
class Other:
    labels: np.ndarray
    gradients: list[Gradients]
    high_passed: np.ndarray


def drawn(n: int, sides: tuple[np.ndarray, np.ndarray], outputs: int, seed: int) -> list[Gradients]:
    """Gradients along one axis on either side of which some examples lie, at two checkpoints."""
    rng, axes = np.random.default_rng(seed), np.random.default_rng(9).standard_normal((2, K))
    found = []
    for at, axis in enumerate(axes):
        sketch = rng.standard_normal((n, K))
        sketch[sides[0]] += 2 * axis
        sketch[sides[1]] -= 2 * axis
        found.append(
            Gradients(at, sketch, np.linalg.norm(sketch, axis=1), rng.standard_normal((n, outputs)) + 1)
        )
    return found


@pytest.mark.parametrize("outputs", [3, 15, 30])  # a fit of the usual gradient, both, and the usual cosine
def test_unseen_examples_join_the_side_whose_gradients_they_have(outputs: int) -> None:
    compared, members = drawn(M, (A, B), outputs, 0), (np.arange(40, 47), np.arange(70, 76))
    similarity = gradient_similarity(compared, np.zeros(M, dtype=np.int64))
    other = Other(np.zeros(OTHERS, dtype=np.int64), drawn(OTHERS, members, outputs, 1), np.zeros((0, OTHERS)))
    found = sides_in(other, compared, similarity, (A, B))
    np.testing.assert_array_equal(found[0], members[0])
    np.testing.assert_array_equal(found[1], members[1])
    nobody = np.zeros(0, dtype=np.int64)
    strangers = Other(other.labels, drawn(OTHERS, (nobody, nobody), outputs, 2), other.high_passed)
    assert sum(map(len, sides_in(strangers, compared, similarity, (A, B)))) <= 2


@pytest.mark.parametrize("outputs", [3, 30, 90])
def test_similarity_to_others_is_that_among_candidates(outputs: int) -> None:
    (at, *_), some = drawn(900, (A, B), outputs, 3), np.random.default_rng([0, 0]).permutation(900)[:700]
    whole = gradient_similarity([at], np.zeros(900, dtype=np.int64))
    left = np.setdiff1d(np.arange(900), some)  # who had no part in the fit is like an unseen example
    near = similarity_to(at, A).similarity(at.only(left))
    expected = whole[np.ix_(A, left)]
    same = A[:, None] == left[None, :]
    np.testing.assert_allclose(near[~same], expected[~same], atol=2e-6)


@pytest.mark.parametrize(
    ("phase", "agreed", "p", "said"),
    [
        (-0.9, 0.95, 0.01, "closer to it than random ones"),
        (-0.9, 0.95, 0.3, "and so do random ones"),
        (-0.29, 0.95, 0.01, "are not seen to swing"),
        (-0.9, 0.3, 0.01, "are not seen to swing"),
        (None, None, None, "too few examples"),
    ],
)
def test_what_became_of_a_pair_in_unseen_data_is_said(
    phase: float | None, agreed: float, p: float, said: str
) -> None:
    evidence = {
        "opposition": Evidence(0.5, 0.0),
        "gradient_cosine": Evidence(-0.5, 0.0),
        "separation": Evidence(3.0, 0.2),
        "cohesion": Evidence(0.4, 0.0),
        "unseen_members": Evidence(0.05, 0.04),
    }
    if phase is not None:
        evidence |= {
            "unseen_anti_phase": Evidence(phase, -0.1, p),
            "unseen_agreement": Evidence(agreed, 0.1, p),
        }
    (reason,) = (reason for reason in judge(evidence, 25)[1] if "never mined" in reason)
    assert "swing as it does, " not in reason  # the mined pair was not seen to swing
    assert "5.0% stand with its sides (members 4.0%)" in reason
    assert said in reason


@pytest.mark.parametrize(
    ("turn", "said"), [(-0.9, "and swing as it does"), (0.6, "and part and meet as it does")]
)
def test_unseen_examples_swing_only_where_the_pair_does(turn: float, said: str) -> None:
    evidence = {
        "opposition": Evidence(0.5, 0.0),
        "gradient_cosine": Evidence(-0.5, 0.0),
        "separation": Evidence(3.0, 0.2),
        "cohesion": Evidence(0.4, 0.0),
        "anti_phase": Evidence(-0.9, 0.0),
        "alternation": Evidence(turn, 0.0),
        "unseen_members": Evidence(0.05, 0.04),
        "unseen_anti_phase": Evidence(-0.9, -0.1, 0.01),
        "unseen_agreement": Evidence(0.95, 0.1, 0.01),
    }
    (reason,) = (reason for reason in judge(evidence, 25)[1] if "never mined" in reason)
    assert said in reason
