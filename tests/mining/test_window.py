"""Where the first oscillation begins and ends."""

from __future__ import annotations

import numpy as np

from opsigcli.mining.window import first_window


def swelling(length: int, after: tuple[float, ...]) -> np.ndarray:
    """Amplitude that swells from step 60 over ``length`` steps, then lasts 20 steps at each of some levels."""
    found = np.full(60 + length + 20 * len(after) + 60, 0.01)
    found[60 : 60 + length] = np.linspace(0.1, 1.0, length)
    for number, level in enumerate(after):
        found[60 + length + 20 * number :][:20] = level
    return found


def test_an_oscillation_lasts_until_it_has_fallen_to_half_of_its_peak() -> None:
    assert abs(first_window(swelling(40, (0.8, 0.6, 0.4, 0.2)))[1] - 140) <= 1


def test_an_oscillation_begins_where_half_of_its_peak_is_reached() -> None:
    begin, _ = first_window(swelling(91, (0.2,)))
    assert abs(begin - 100) <= 2  # 0.1 to 1 in steps of 0.01: half a nat after 40 of them


def test_a_short_oscillation_keeps_enough_steps_for_segments_and_held_out_ones() -> None:
    begin, end = first_window(swelling(4, ()))
    assert end - begin >= 12
    assert begin <= 62 < end


def test_a_trace_too_short_for_two_windows_is_taken_whole() -> None:
    assert first_window(swelling(20, ())[50:73]) == (0, 23)
