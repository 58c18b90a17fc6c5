"""Data with a feature for a line beside a complex one: what each says of the labels."""

from __future__ import annotations

import numpy as np
import pytest

from opsigcli.datasets import open_source
from opsigcli.errors import UsageError

N = 400


@pytest.mark.parametrize("kind", ["slabs", "slabs&slabs=3", "product", "digits"])
def test_the_line_errs_on_those_called_against_and_the_complex_feature_on_none(kind: str) -> None:
    source = open_source(f"simplicity?n={N}&complex={kind}&agree=0.8&seed=3")
    inputs, label = source.read(np.arange(N)), 2 * source.labels - 1
    against = np.array([name.startswith("against ") for name in source.names])
    assert against.sum() == N - round(0.8 * N)
    assert np.bincount(source.labels).tolist() == [N // 2, N // 2]
    line = np.sign(inputs[:, 0, 8:].mean(axis=(1, 2)) if kind == "digits" else inputs[:, 0])
    assert (line == np.where(against, -label, label)).mean() > (0.99 if kind == "digits" else 0.9999)
    if kind.startswith("slabs"):
        slabs = int(kind[-1]) if kind[-1].isdigit() else 5
        slab = (inputs[:, 1] + 1) / 2 * slabs
        assert set(np.floor(slab)) == set(range(slabs))
        np.testing.assert_array_equal(np.where(np.floor(slab) % 2 == 0, 1, -1), label)
        assert (np.abs(slab % 1 - 0.5) < 0.251).all()  # with a gap between slabs
        best = max(
            max((sign * (inputs[:, 1] > t) == (label > 0)).mean() for t in inputs[:, 1]) for sign in (1, -1)
        )
        assert best < 0.85  # no line tells it
    elif kind == "product":
        np.testing.assert_array_equal(inputs[:, 1] * inputs[:, 2], label)
    else:
        digits = open_source("digits?mean=0&std=1")
        kept = digits.read(np.arange(len(digits)))[:, 0]
        found = {tuple(np.unique(kept[digits.labels == own], axis=0)[0].shape) for own in (3, 8)}
        assert found == {(8, 8)}
        scaled = inputs[:, 0, :8] * kept.std() + kept.mean()
        for picture, own in zip(scaled[:20], np.where(source.labels == 1, 8, 3), strict=False):
            assert np.abs(kept[digits.labels == own] - picture).max(axis=(1, 2)).min() < 1e-3


@pytest.mark.parametrize(
    "options", ["slabs=4", "agree=1.2", "complex=digits&noise=3", "complex=product&slabs=3", "n=0"]
)
def test_options_that_say_nothing_or_too_much_are_refused(options: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_source(f"simplicity?{options}")
    assert caught.value.hint
