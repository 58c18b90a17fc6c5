"""``label_noise=0.1`` of any source: a share of the examples has another class than it should."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.datasets.subset import Subset
from opsigcli.errors import UsageError
from opsigcli.query import amount, integer
from opsigcli.specs import Spec, parse
from opsigcli.trust import is_code

if TYPE_CHECKING:
    from opsigcli.examples import ExampleSource
    from opsigcli.records import Floats, Ints

SHARE, SEED = "label_noise", "label_noise_seed"  # options of every source with one class for each example


class NoisyLabels(Subset):
    """A source of which some examples have other labels; inputs and ids stay what they are.

    Each example, with the probability ``share``, has a label drawn evenly from the other classes. What is drawn
    depends on the seed and the example's id alone, so that a part of the source has the labels of the whole.

    Args:
        source: with one class for each example.
        share: 0 to 1.
        seed: of what is drawn.

    Raises:
        UsageError: the examples have not one class each, or there are fewer than two classes.
    """

    def __init__(self, source: ExampleSource, share: float, seed: int) -> None:
        super().__init__(source, np.arange(len(source)))
        classes, targets = source.outputs, source.read_targets(np.arange(min(len(source), 1)))
        labelled = targets.dtype.kind == "i" and targets.ndim == 1 and bool((source.labels >= 0).all())
        if not labelled or source.sequences is not None or classes < 2:
            raise UsageError(
                f"{SHARE}= is for examples of two classes or more, one each; {source.spec} has others",
                f"leave out {SHARE}=",
            )
        chance, further = (_drawn(self.ids, 2 * seed + part) for part in (0, 1))
        moved = 1 + np.minimum((further * (classes - 1)).astype(np.int64), classes - 2)
        self.labels = np.where(chance < share, (source.labels + moved) % classes, source.labels)
        spec = parse(source.spec)
        self.spec = str(replace(spec, options={**spec.options, SHARE: share, SEED: seed}))
        self.fingerprint = hashlib.sha256(source.fingerprint.encode() + self.labels.tobytes()).hexdigest()

    def read_targets(self, positions: Ints) -> Ints:
        """The labels at ``positions``, as they are now."""
        return self.labels[positions]


def _drawn(ids: Ints, seed: int) -> Floats:
    """(N,) numbers from 0 to 1, even and independent: of each id those that SplitMix64 makes of it and the seed.

    Reference: Steele, Lea & Flood 2014, Fast splittable pseudorandom number generators, figure 17.
    """
    bits = ids.astype(np.uint64) + np.uint64(seed * 0xD1342543DE82EF95 % (1 << 64))
    for _ in range(2):
        bits += np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
    found: Floats = (bits >> np.uint64(11)).astype(np.float64) / (1 << 53)
    return found


def without_noise(spec: Spec) -> tuple[Spec, float, int]:
    """A spec without what it says of noise, the share of the labels, and the seed.

    Code of the user's own (``py:``, ``file:``) may have options of these names, which it is given as they are.

    Raises:
        UsageError: the share is not between 0 and 1, or the seed is none.
    """
    if is_code(f"{spec.scheme}:{spec.name}"):
        return spec, 0.0, 0
    share, seed = amount(spec, SHARE, 0.0), integer(spec, SEED, 0, 0, 1 << 31)
    if share > 1 or (SEED in spec.options and SHARE not in spec.options):
        raise UsageError(
            f"in {str(spec)!r}: expected {SHARE}= between 0 and 1, and {SEED}= beside it",
            f"example: {SHARE}=0.1&{SEED}=1",
        )
    rest = {key: value for key, value in spec.options.items() if key not in (SHARE, SEED)}
    return replace(spec, options=rest), share, seed
