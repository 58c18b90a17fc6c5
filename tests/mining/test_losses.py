"""Opposing groups under other losses than softmax on classes: regression, and language models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Opsig


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_regression_pair_is_found(opsig: Opsig, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = 0.5 * rng.standard_normal((400, 16))
    y = x @ rng.standard_normal(16) / 2 + 0.1 * rng.standard_normal(400)
    groups = np.split(rng.permutation(400)[:30], 2)
    x[:, 0] *= 0.2  # a direction that only the groups use, and on which their targets disagree
    for group, sign in zip(groups, (1, -1), strict=True):
        x[group, 0] += 8
        y[group] += 1.5 * sign
    data, store = tmp_path / "d.npz", tmp_path / "o.h5"
    np.savez(data, x=x.astype(np.float32), y=y.astype(np.float32)[:, None])
    words = ("--data", f"npz:{data}", "--model", "mlp?hidden=32&activation=tanh", "--loss", "mse")
    assert opsig("train", tmp_path / "run", *words, "--lr", 0.18, "--steps", 120).code == 0
    assert opsig("trace", tmp_path / "run", "--store", store).code == 0
    # The rest of the data may give a second pair on another axis; it is no pair of outliers.
    pair, *others = opsig("mine", "--store", store, "--json").json["result"]["pairs"]
    assert pair["verdict"] in ("opposing outliers", "tails of one continuous axis")
    assert all(other["verdict"] != "opposing outliers" for other in others)
    assert {"structural", "active"} <= set(pair["traits"])
    sides = [set(pair[side]["ids"]) for side in ("first", "second")]
    if not sides[0] & set(groups[0].tolist()):
        sides.reverse()
    for side, group in zip(sides, groups, strict=True):
        shared = len(side & set(group.tolist()))
        assert 2 * shared / (len(side) + len(group)) > 0.8  # F1 of the membership


@pytest.mark.slow
def test_the_ambiguous_token_of_a_language_model_is_named(opsig: Opsig, tmp_path: Path) -> None:
    store = tmp_path / "o.h5"
    words = (
        "--data",
        "babble?sentences=100&context=16",
        "--model",
        "gpt?layers=1&width=32&heads=2",
        "--loss",
        "lm?mean=sequences",
    )
    assert opsig("train", tmp_path / "run", *words, "--lr", 1.0, "--steps", 100).code == 0
    assert opsig("trace", tmp_path / "run", "--store", store, "--tokens").code == 0
    found = opsig("mine", "--store", store, "--window", "first", "--json")
    assert found.code == 0
    assert "performance drop" not in found.err
    # After a full stop comes a new line or a sentence: both sides see the same token and predict different ones.
    pair = found.json["result"]["pairs"][0]
    evidence = pair["evidence"]
    for side in ("first", "second"):
        seen = evidence[f"{side}: token seen '.'"]
        assert seen["value"] > 0.8
        assert seen["null"] < 0.2
        assert seen["p_value"] < 1e-6
    predicted = [
        {k for k in evidence if k.startswith(f"{side}: token predicted")} for side in ("first", "second")
    ]
    assert any("\\n" in name for names in predicted for name in names)
    names = [{name.partition("'")[2] for name in names} for names in predicted]
    assert not names[0] & names[1]
    assert pair["first"]["nearest"] in pair["first"]["ids"]
