"""What going on without the mined groups did, in words that are made from the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.loss_unit import NATS, LossUnit
from opsigcli.printable import count
from opsigcli.reporting.format import number
from opsigcli.reporting.sentences import capital, joined
from opsigcli.result_records import NOBODY, RANDOM, SHARES
from opsigcli.sentences import percent, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.result_records import Causal, CausalEffect

NAMES = {
    "sharpness": "the sharpness at once",
    "rises": "the sum of the mean loss's rises",
    "amplitude": "the amplitude of period two",
    "mean_loss": "the final mean loss",
    "test_loss": "the final test loss",
}


def sentences(causal: Causal, unit: LossUnit = NATS) -> tuple[str, ...]:
    """Each outcome's effect with its interval and the controls that it beats or not; and what may be concluded."""
    if not causal.arms:
        return (say("causal: no sentence", why="; ".join(causal.notes) or causal.caveat),)
    if not causal.effects:
        older = all(arm.step is None for arm in causal.arms)
        why = (
            "one control of each kind, from one checkpoint"
            if older
            else "fewer than two forks, 20 updates apart, oscillate"
        )
        return (say("causal: no sentence", why=f"{why}, so that no interval can be given"),)
    own = [effect for effect in causal.effects if not effect.control]
    forks = len({arm.step for arm in causal.arms})
    found = [_outcome(effect, forks, _against(causal, effect.outcome), unit) for effect in own]
    return (*found, _conclusion(causal, own))


def lines(causal: Causal, unit: LossUnit = NATS) -> tuple[str, ...]:
    """The comparison as ``opsig mine`` says it."""
    if not causal.arms:
        return (f"--causal: {sentences(causal, unit)[0]}",)
    of = next(arm for arm in causal.arms if arm.removed != NOBODY)
    head = f"--causal, without the {count(of.examples, 'example')} of the mined groups, {causal.updates} updates:"
    notes = [f"  {note}" for note in causal.notes]
    return (
        head,
        *notes,
        *(f"  {text}" for text in (*members_told(causal), *sentences(causal, unit), causal.caveat)),
    )


def members_told(causal: Causal) -> list[str]:
    """Which controls hold members of the mined groups."""
    held: dict[str, list[float]] = {}
    for arm in causal.arms:
        if arm.removed != NOBODY and arm.members and arm.members < arm.examples:
            held.setdefault(arm.removed, []).append(arm.members / arm.examples)
    return [
        f"of {name} up to {percent(max(of))} are members of the mined groups" for name, of in held.items()
    ]


def _against(causal: Causal, outcome: str) -> list[CausalEffect]:
    return [effect for effect in causal.effects if effect.outcome == outcome and effect.control]


def _size(outcome: str, value: float, unit: LossUnit) -> str:
    return percent(value) if outcome in SHARES else f"{number(value)}{unit.after}"


def _outcome(own: CausalEffect, forks: int, against: Sequence[CausalEffect], unit: LossUnit) -> str:
    """One outcome: lowered, raised or not told to change, at how many forks if not at all; and beside each control."""
    sign = -1 if own.mean < 0 else 1
    low, high = sorted((sign * own.low, sign * own.high))
    words = say(
        "causal: lower" if own.beats else "causal: higher" if own.beaten else "causal: not told",
        outcome=NAMES[own.outcome],
        change=_size(own.outcome, sign * own.mean, unit),
        low=_size(own.outcome, low, unit),
        high=_size(own.outcome, high, unit),
        forks="" if own.forks == forks else f", known at {own.forks} of {count(forks, 'fork')}",
        **({} if own.beats or own.beaten else {"way": "higher" if sign < 0 else "lower"}),
    )
    told = [
        ("causal: more than", [e.control for e in against if e.beats]),
        ("causal: less than", [e.control for e in against if e.beaten]),
        ("causal: like", [e.control for e in against if not e.beats and not e.beaten]),
    ]
    return capital("; ".join([words, *(say(name, controls=_controls(of)) for name, of in told if of)]))


def _controls(names: Sequence[str]) -> str:
    return joined([name.removeprefix("examples of ") for name in names])


def _conclusion(causal: Causal, own: Sequence[CausalEffect]) -> str:
    """What the numbers warrant: a cause only where the groups lower something and random examples do so less."""
    held = []
    for effect in own:
        against = _against(causal, effect.outcome)
        if (
            effect.outcome in SHARES
            and effect.beats
            and any(e.control == RANDOM and e.beats for e in against)
        ):
            others = [e.control for e in against if not e.beats]
            name = "causal: beyond some" if others else "causal: beyond all"
            held.append(say(name, outcome=NAMES[effect.outcome], controls=_controls(others)))
    return say("causal: cause", outcomes=joined(held)) if held else say("causal: no cause")
