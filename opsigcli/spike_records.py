"""What a loss spike is made of: classes, what can be seen in examples, and how sure they were before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

FEWEST_CHANGES = 5  # of the mean loss, below which none is usual and none stands out
SEEN, LIKELY, UNTOLD = "seen", "likely", "cannot be told from these checkpoints"


@dataclass(frozen=True)
class Share:
    """What a set of examples holds of the positive loss deltas of a spike, beside what as many random ones hold."""

    name: str  # of the set
    examples: int  # in the set
    share: float  # of Σ w max(Δℓ, 0) over the parted set; the shares of a partition add up to 1
    expected: float  # mean of the same over random sets of that size
    low: float  # 2.5 % of them hold less
    high: float  # 2.5 % of them hold more
    change: float  # mean loss delta of the set, nats
    contribution: float  # its part of the rise of the parted set's mean loss, nats; adds up to that
    p_value: float | None = None  # of so large a share, corrected for all sets that were looked at


@dataclass(frozen=True)
class FeatureSplit:
    """Examples of one class, parted by what can be seen in them.

    The feature was chosen on one half of the class's examples; everything here is of the other half.
    """

    of: str  # the class; "" for all examples
    feature: str  # what parts them, in words
    parts: tuple[Share, ...]  # lowest first, of the class's positive loss deltas
    correlation: float  # Spearman's, of the feature with the loss delta
    p_value: float  # by permutation within the class, corrected for all splits that were measured (FDR)
    again: int = (
        0  # other spikes in which the class splits likewise, by the same half (p ≤ .05, either direction)
    )
    others: int = 0  # other spikes looked at


@dataclass(frozen=True)
class SpikeCause:
    """Who holds the rise of a spike, by name.

    ``seen``: the named classes hold at least half of the rise of the examples that did not choose them, p ≤ .01.
    Or six examples or fewer, at most 1 % of all, hold half of the rise by themselves, as their losses show.
    ``likely``: they hold less, or p ≤ .05; or a feature parts a class that holds a fifth of the rise, p ≤ .05, and a
    part holds 5 % of the class's rise more or less than its size; or a group of a pair holds 5 % and more than
    class-matched random groups, p ≤ .05 (it was mined from these same losses, so that it is never more than likely).
    Else it cannot be told from these checkpoints.
    """

    strength: str  # SEEN, LIKELY or UNTOLD
    words: str  # a sentence
    classes: tuple[Share, ...]  # every class, largest share first
    named: tuple[
        str, ...
    ] = ()  # classes that hold more than random sets, and 5 % above their size, chosen on one half of the examples
    held: Share | None = None  # by the named classes together, on the other half
    falling: tuple[str, ...] = ()  # classes whose mean loss fell meanwhile, by two standard errors or more
    confidence: tuple[
        Share, ...
    ] = ()  # by p = exp(-loss) at the checkpoint before; () where the loss is not plain ce
    features: tuple[FeatureSplit, ...] = ()
    groups: tuple[Share, ...] = ()  # of mined pairs, beside class-matched random groups
    rest: dict[str, float] = field(
        default_factory=dict
    )  # class -> what its examples in no group hold; adds to rest
    up_ids: Ints | tuple[int, ...] = ()  # (k,) examples that rose most
    up_deltas: Floats | tuple[float, ...] = ()  # (k,) nats
    down_ids: Ints | tuple[int, ...] = ()  # (k,) examples that fell most
    down_deltas: Floats | tuple[float, ...] = ()  # (k,) nats
    few_ids: (
        Ints | tuple[int, ...]
    ) = ()  # the fewest examples that hold half of the rise, where they are at most 6 and 1 % of all
    few_share: float = 0.0  # of the rise, that they hold

    @property
    def share(self) -> float:
        """What the named classes hold together, of all examples: as the table of classes says it."""
        return sum(share.share for share in self.classes if share.name in self.named)

    @property
    def part(self) -> float:
        """The part of the examples that the named classes are, which random ones of them would hold."""
        return sum(share.expected for share in self.classes if share.name in self.named)
