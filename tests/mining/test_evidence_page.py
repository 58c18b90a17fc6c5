"""Values agree with those of the page closely; nulls, of other random draws, as means of such draws do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from own_evidence import (
    DRAWS,
    STARTS,
    Case,
    along,
    clarity,
    cohesion,
    contrast,
    cosines,
    features,
    found_again,
    matched,
    opposition,
    replication,
    rotated,
    searched,
    separation,
    similarity,
    size,
)


@pytest.mark.slow
def test_the_page_on_evidence_is_enough_to_compute_every_number_of_a_finding_again(finished: Path) -> None:
    case = Case(finished)
    which = next(n for n, pair in enumerate(case.mining["pairs"]) if pair["finding"])
    record, pair = case.mining["pairs"][which], case.pairs[which]
    told = {**record["evidence"], "opposition": record["opposition"]}
    checked = set()

    def check(
        name: str, value: float, null: float | None = None, value_off: float = 2e-4, off: float = 1e-3
    ) -> None:
        shown = next(n for n in told if n.split(" by ")[0] == name)
        assert_allclose(told[shown]["value"], value, atol=value_off, rtol=value_off, err_msg=name)
        if null is not None:
            assert_allclose(told[shown]["null"], null, atol=off, err_msg=f"null of {name}")
        checked.add(shown)

    s = case.similarity()
    random = list(case.draws(pair))
    usual_size = np.mean([size(case, p) for p in random])
    for name, measure in matched(case, s).items():
        value, null = measure(pair), np.array([measure(p) for p in random])
        if name == "gradient_ratio":  # in units of its null
            value, null = value / usual_size, null / usual_size
        error = 5 * null.std() * np.sqrt(2 / DRAWS)
        check(name, value, null.mean(), 0.1 if name == "gradient_ratio" else 2e-4, error)
        shown = told[next(n for n in told if n.split(" by ")[0] == name)]
        if shown["p_value"] is not None:
            p = (1 + (null >= value).sum()) / (1 + DRAWS)
            assert abs(shown["p_value"] - p) <= 5 * np.sqrt(2 * p * (1 - p) / DRAWS) + 1 / DRAWS, name
    of_random = np.array([cosines(case, p) for p in random])
    lasting = (np.vstack([cosines(case, pair), of_random]) < np.quantile(of_random, 0.05, axis=0)).mean(
        axis=1
    )
    check("persistence", lasting[0], lasting[1:].mean(), 1 / 8, 0.02)
    replicated = np.array([replication(case, p) for p in random[:19]])
    # Nearly all are 0, by chance all 19 here or there.
    error = 5 * max(replicated.std(), 0.05) * np.sqrt(2 / 19)
    check("replication", replication(case, pair), replicated.mean(), 2e-4, error)
    lean, labels = contrast(s, pair), case.labels
    means = np.array([lean[labels == label].mean() for label in labels])
    classes = len(np.unique(labels))
    check("contrast_by_class", means.var() / lean.var(), (classes - 1) / (len(labels) - 1))
    for name, value in found_again(case, pair).items():
        check(name, value, value_off=0.15)
    by_chance = []
    for seed in range(4):
        other = rotated(s, labels, np.random.default_rng(seed))
        by_chance.append(max((clarity(other, p) for p in searched(other, STARTS)), default=0.0))
    check("clarity", clarity(s, pair), float(np.mean(by_chance)), 2e-4, 0.05)
    assert max(by_chance) < clarity(s, pair)
    assert told["clarity"]["p_value"] == 1 / 40  # less clear, all of them
    for name, (value, null) in along(case, pair).items():
        check(name, value, null, 2e-3, {"curvature": 0.06}.get(name, 2e-3))  # of three draws, in units of λ₁
    assert checked == set(told)


@pytest.mark.slow
def test_kept_gradients_are_those_of_the_model_but_for_the_stated_error_of_sketches(finished: Path) -> None:
    case = Case(finished)
    pair = case.pairs[0]
    exact, kept = [], (5,)
    for at, row in zip(kept, case.compared[list(kept)], strict=True):
        weights = case.weights(row)
        gradients = np.array([case.gradient(weights, np.array([i])) for i in range(len(case.labels))])
        assert_allclose(case.losses[row], case.losses_at(weights), atol=1e-5)
        assert_allclose(case.norms[at], np.linalg.norm(gradients, axis=1), rtol=1e-4, atol=1e-6)
        assert_allclose(case.residuals[at], case.forward(weights)[1], atol=1e-5)
        exact.append(features(gradients, case.residuals[at]))
    s, by_sketches = similarity(exact), case.similarity(np.array(kept))
    assert_allclose(opposition(by_sketches, pair), opposition(s, pair), rtol=0.15)
    assert_allclose(cohesion(by_sketches, pair), cohesion(s, pair), rtol=0.15)
    assert_allclose(separation(by_sketches, pair), separation(s, pair), rtol=0.25)
