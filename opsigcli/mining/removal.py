"""How much more taking the mined groups away lowers something than taking away other sets as large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.result_records import MINED, NOBODY, SHARES, CausalArm, CausalEffect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.records import Floats

OUTCOMES = ("sharpness", "rises", "amplitude", "mean_loss", "test_loss")
STUDENT = {2: 12.706, 3: 4.303}  # 97.5 % quantiles for so many forks


def effects(arms: Sequence[CausalArm]) -> tuple[CausalEffect, ...]:
    """Effects of the mined groups on each outcome, and what they have beyond each control, over the forks.

    The effect of an arm at a fork is ``1 − q/q₀`` for sharpness, rises and amplitude and ``q₀ − q`` for losses, with q₀
    of the same examples in the arm that keeps all. Over F forks the mean has the interval ``± t s/√F``, Student's t of
    F − 1 degrees of freedom. The mined groups beat a control where their effect is the larger one at every fork, than
    that of every random draw there, and the interval of the difference (of the draws' mean) lies above 0; they are
    beaten where all of that is so the other way round.

    Args:
        arms: of all forks.

    Returns:
        For each outcome that is known of two forks or more: the effect itself (``control`` is ""), then the
        differences to the controls.
    """
    forks = list(dict.fromkeys(arm.step for arm in arms))
    controls = [name for name in dict.fromkeys(arm.removed for arm in arms) if name not in (NOBODY, MINED)]
    found = []
    for outcome in OUTCOMES:
        told = {(arm.step, arm.removed): [] for arm in arms}  # type: dict[tuple[int | None, str], list[float]]
        for arm in arms:
            told[arm.step, arm.removed].append(effect(arm, outcome))
        mined = np.array([told.get((fork, MINED), [np.nan])[0] for fork in forks])
        if not (own := _over_forks(mined)):
            continue
        found.append(CausalEffect(outcome, "", *own, bool(own[1] > 0), bool(own[2] < 0)))
        for control in controls:
            draws = [np.array(told.get((fork, control), [np.nan])) for fork in forks]
            more = np.array([value - each.mean() for value, each in zip(mined, draws, strict=True)])
            if not (over := _over_forks(more)):
                continue
            known = [
                (value, each) for value, each, m in zip(mined, draws, more, strict=True) if np.isfinite(m)
            ]
            beats = over[1] > 0 and all(value > each.max() for value, each in known)
            beaten = over[2] < 0 and all(value < each.min() for value, each in known)
            found.append(CausalEffect(outcome, control, *over, bool(beats), bool(beaten)))
    return tuple(found)


def effect(arm: CausalArm, outcome: str) -> float:
    """What going on without the arm's examples took from an outcome, as ``effects`` says; NaN = not known."""
    value, before = {
        "sharpness": (arm.sharpness_start, arm.sharpness_with_all),
        "rises": (arm.rises, arm.rises_with_all),
        "amplitude": (arm.amplitude, arm.amplitude_with_all),
        "mean_loss": (arm.mean_loss, arm.mean_loss_with_all),
        "test_loss": (arm.test_loss, arm.test_loss_with_all),
    }[outcome]
    if value is None or before is None or not np.isfinite([value, before]).all():
        return float("nan")
    if outcome not in SHARES:
        return before - value
    return 1 - value / before if before > 0 else float("nan")


def _over_forks(values: Floats) -> tuple[float, float, float, int] | None:
    """Mean, interval and number of the forks at which it is known; None where these are fewer than two."""
    known = values[np.isfinite(values)]
    if len(known) not in STUDENT:
        return None
    mean, half = known.mean(), STUDENT[len(known)] * known.std(ddof=1) / np.sqrt(len(known))
    return float(mean), float(mean - half), float(mean + half), len(known)
