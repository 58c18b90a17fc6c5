"""How often the search finds as clear a pair by chance: how many surrogates that takes, and what p-value they give."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from scipy.fft import dct, idct

from opsigcli.mining import surrogate
from opsigcli.mining.side_by_side import AT_ONCE, side_by_side
from opsigcli.mining.surrogate import IDLE, MOST, clearest_by_chance, in_waves, p_after_selection, rotated

NOTHING = np.zeros((4, 4), dtype=np.float32), np.zeros(4, dtype=np.int64)


def made(monkeypatch: pytest.MonkeyPatch, clear: list[float], **asked: object) -> list[float]:
    """The surrogates made where the i-th is as clear as ``clear[i]``, and all after these not at all."""

    def clearest(_make: object, drawn: list[int], _chosen: bool) -> np.ndarray:
        return np.array(clear[drawn[1]] if drawn[1] < len(clear) else 0.0)

    monkeypatch.setattr(surrogate, "_clearest", clearest)
    return clearest_by_chance(*NOTHING, 39, 0, **asked).tolist()  # type: ignore[arg-type]


def test_more_surrogates_are_made_only_where_a_finding_hangs_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    none = [0.1] * MOST
    # One of one: 1/40 passes a tenth. One of six: 1/(1 + n) has to be a sixtieth, two of six a thirtieth.
    assert len(made(monkeypatch, none, apart=[0.5], rate=0.1)) == 39
    assert len(made(monkeypatch, none, apart=[0.5, *[0.05] * 5], rate=0.1)) == 59
    assert len(made(monkeypatch, none, apart=[0.5, 0.4, *[0.05] * 10], rate=0.1)) == 59
    # No number of surrogates is enough for a rate of a thousandth, nor for a pair no clearer than one of them.
    assert len(made(monkeypatch, none, apart=[0.5], rate=0.001)) == 39
    assert len(made(monkeypatch, [0.7], apart=[0.5, *[0.05] * 5], rate=0.1)) == 39
    assert len(made(monkeypatch, [*none[:45], 0.7], apart=[0.5, *[0.05] * 5], rate=0.1)) == 46
    assert len(made(monkeypatch, none, apart=[], rate=0.1)) == IDLE


def test_a_p_value_is_small_as_seldom_as_it_says_wherever_one_stops() -> None:
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(4000):
        clear, *chance = rng.random(120)
        stop = 39
        while stop < 119 and max(chance[:stop]) < clear:  # the most that luck can be waited for
            stop += 1
        p_values.append(p_after_selection(clear, np.array(chance[:stop]), 39))
    for level in (1 / 120, 1 / 100, 1 / 60, 1 / 40, 0.05, 0.1, 0.5):
        assert np.mean(np.array(p_values) <= level + 1e-12) <= level + 3 * np.sqrt(level / 4000)


def test_p_values_are_counted_shares() -> None:
    chance = np.array([0.1, 0.3, 0.2, 0.6, 0.9])
    assert p_after_selection(0.25, chance, 3) == 2 / 4  # of the first three and the run
    assert p_after_selection(0.5, chance, 3) == 1 / 4  # three are less clear, the next one is not
    assert p_after_selection(0.7, chance, 3) == 1 / 5
    assert p_after_selection(1.0, chance, 3) == 1 / 6
    assert p_after_selection(1.0, chance[:2], 3) == 1 / 3


@pytest.mark.parametrize(("size", "turning"), [(2, 2), (20, 20), (211, 210)])  # 211 is a prime: one stays
def test_rotations_are_orthogonal_and_keep_the_mean(size: int, turning: int) -> None:
    rng = np.random.default_rng(0)
    columns = rng.standard_normal((size, 5)).astype(np.float32)
    whole = np.eye(size + 5, dtype=np.float32)
    whole[:size, size:], whole[size:, :size] = columns, columns.T  # against five classes of one example each
    labels = np.repeat(np.arange(6), [size, 1, 1, 1, 1, 1])
    turned = rotated(in_waves(whole, labels), labels, rng)[:size, size:]
    np.testing.assert_allclose(turned.mean(axis=0), columns.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(turned.T @ turned, columns.T @ columns, rtol=1e-4, atol=1e-4)
    if size > 2:
        assert np.abs(np.corrcoef(turned[:turning].ravel(), columns[:turning].ravel())[0, 1]) < 0.3


def test_rotations_are_those_of_a_group() -> None:
    size, labels = 24, np.concatenate([np.zeros(24, dtype=np.int64), np.arange(1, 25)])
    waves = idct(np.eye(size), axis=0, norm="ortho")
    whole = np.eye(2 * size)
    whole[:size, size:], whole[size:, :size] = waves, waves.T
    turned = rotated(in_waves(whole, labels), labels, np.random.default_rng(0))[:size, size:]
    of_waves = dct(turned, axis=0, norm="ortho")
    np.testing.assert_allclose(of_waves[0], np.eye(size)[0], atol=1e-5)
    assert (np.abs(np.round(of_waves)).sum(axis=0) == 1).all()  # one wave for each, with a sign
    np.testing.assert_allclose(of_waves, np.round(of_waves), atol=1e-5)


def test_where_there_is_nothing_the_run_has_any_rank_among_its_rotations() -> None:
    labels, ranks, rng = np.repeat([0, 1], [14, 17]), np.zeros(10), np.random.default_rng(0)

    def extreme(matrix: np.ndarray) -> float:
        return float(np.abs(matrix).max() / np.sqrt(np.square(matrix).mean()))

    for _ in range(200):
        features = rng.standard_normal((31, 200)) * np.linspace(0.3, 3, 200)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        whole = features @ features.T
        np.fill_diagonal(whole, 0)
        waves = in_waves(whole, labels)
        chance = [extreme(rotated(waves, labels, rng)) for _ in range(9)]
        ranks[int((np.array(chance) > extreme(whole)).sum())] += 1
    assert ((ranks - 20) ** 2 / 20).sum() < 27.9  # chi-squared of 9 degrees of freedom, p .001


def test_results_come_in_order_and_few_more_are_begun_than_were_asked_for() -> None:
    begun, lock = [], threading.Lock()

    def square(number: int) -> int:
        with lock:
            begun.append(number)
        return number**2

    assert list(side_by_side(square, range(20))) == [n**2 for n in range(20)]
    begun.clear()
    results = side_by_side(square, range(1000))
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    results.close()
    assert len(begun) <= 3 + AT_ONCE
    # Pieces of a piece are worked off by the thread that has it.
    whose = list(
        side_by_side(lambda _: set(side_by_side(lambda _: threading.get_ident(), range(5))), range(3))
    )
    assert all(len(threads) == 1 for threads in whose)
    assert threading.get_ident() not in set().union(*whose)
