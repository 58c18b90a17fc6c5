"""The cause of a spike in a sentence, and how sure it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsigcli.loss_unit import NATS, LossUnit
from opsigcli.sentences import decimals, percent, say
from opsigcli.spike_records import LIKELY, SEEN, UNTOLD

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from opsigcli.mining.causes.classes import ByClass
    from opsigcli.spike_records import FeatureSplit, Share

HALF = 0.5  # of the rise
SURE, CLEAR = 0.01, 0.05  # p
FALLING = 2  # classes named
LEAST = 0.05  # of a class's rise, by which a part holds more or less than its size; of the rise, that a group holds
LARGE = 0.2  # of the rise, from which a class that is not named matters


def strength(of: ByClass, features: Sequence[FeatureSplit], groups: Sequence[Share], few: int = 0) -> str:
    """How sure it is who holds the rise, ``few`` examples by themselves or others; the rules are in ``SpikeCause``."""
    if few:
        return SEEN
    held = of.held
    p = 1.0 if held is None or held.p_value is None else held.p_value
    if of.named and held is not None and held.share >= HALF and p <= SURE:
        return SEEN
    if of.named or holding(groups) or told_apart(of, features):
        return LIKELY
    return UNTOLD


def sentence(
    of: ByClass,
    features: Sequence[FeatureSplit],
    groups: Sequence[Share],
    why_no_features: str,
    proposed: Collection[str] = (),
    unit: LossUnit = NATS,
    few: tuple[Sequence[str], float] = ((), 0.0),
) -> str:
    """Who holds the rise: a few examples, classes, what parts them, groups (some are no findings); or nothing seen."""
    parts = []
    alone, share_alone = few
    if alone:
        s = "" if len(alone) > 1 else "s"
        parts.append(say("cause: few", examples=_listed(alone), s=s, share=percent(share_alone)))
    held = of.held
    if of.named and held is not None:
        words = say(
            "cause: classes",
            classes=_listed(of.named),
            s="" if len(of.named) > 1 else "s",
            share=percent(sum(share.share for share in of.table if share.name in of.named)),
            held=percent(held.share),
            expected=percent(held.expected),
            p=_p(held.p_value),
        )
        falling = [share for share in of.table if share.name in of.falling[:FALLING]]
        if falling:
            each = _listed([f"{share.name} ({_signed(share.change, unit)})" for share in falling])
            words += say("cause: falling", classes=each, s="" if len(falling) > 1 else "s")
        parts.append(words)
    splits = told_apart(of, features)
    parts += [_split(split, unit) for split in splits[:1]]
    strong = holding(groups)
    if strong:
        best = max(strong, key=lambda g: g.share)
        share, expected = percent(best.share), percent(best.expected)
        name = f"proposed {best.name}" if best.name in proposed else best.name
        parts.append(say("cause: group", group=name, share=share, expected=expected, p=_p(best.p_value)))
    if not parts:
        largest = of.table[0]
        share, expected = percent(largest.share), percent(largest.expected)
        parts.append(
            say("cause: no class", largest=largest.name, share=share, expected=expected)
            if len(of.table) > 1
            else say("cause: no classes")
        )
    if not splits:
        parts.append(why_no_features or say("cause: no feature"))
    return "; ".join(parts)


def holding(groups: Sequence[Share]) -> list[Share]:
    """The groups that hold a part worth telling, and more than class-matched random groups."""
    return [
        g for g in groups if g.p_value is not None and g.p_value <= CLEAR and g.share >= max(g.high, LEAST)
    ]


def told_apart(of: ByClass, features: Sequence[FeatureSplit]) -> list[FeatureSplit]:
    """The clear splits of classes that matter, named ones and large holders; the strongest correlation first."""
    large = {share.name for share in of.table if share.share >= LARGE}
    matter = {"", *of.named, *large}
    clear = [
        split
        for split in features
        if split.p_value <= CLEAR
        and split.of in matter
        and max(abs(part.share - part.expected) for part in split.parts) >= LEAST
    ]
    return sorted(clear, key=lambda split: -abs(split.correlation))


def _split(split: FeatureSplit, unit: LossUnit) -> str:
    lowest, highest = split.parts[0], split.parts[-1]
    whose = f"within {split.of}" if split.of else "among all examples"
    again = f", again in {split.again} of {split.others} other spikes" if split.others else ""
    return say(
        "cause: feature",
        whose=whose,
        highest=highest.name,
        feature=split.feature,
        up=_signed(highest.change, unit),
        lowest=lowest.name,
        down=_signed(lowest.change, unit),
        p=_p(split.p_value),
        again=again,
    )


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words) if len(words) > 2 else " and ".join(words)


def _signed(value: float, unit: LossUnit) -> str:
    return f"{decimals(value, '+')}{unit.after}".replace("-", "\u2212")


def _p(value: float | None) -> str:
    return "\u2013" if value is None else f"{value:.2g}"
