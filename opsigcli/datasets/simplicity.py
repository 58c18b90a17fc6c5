"""The built-in ``simplicity``: a feature that a line tells beside a complex one, of which the line errs on a few."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.datasets.digits import digits
from opsigcli.datasets.generated import Generated
from opsigcli.errors import UsageError
from opsigcli.query import LARGEST_SEED, amount, choice, integer
from opsigcli.specs import Spec, Value

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

MOST = 1 << 20  # examples
COMPLEX = ("slabs", "product", "digits")
BRIGHTNESS = (
    0.5  # of the white noise beside a digit, whose deviation is 1: its mean over 64 pixels is 4 deviations
)


def open_simplicity(spec: Spec) -> Generated:
    """``simplicity?n=600&complex=slabs&slabs=5&agree=0.9&noise=5&seed=0``: labels 0 and 1 by two features.

    The simple feature is a number whose sign is the label in a share ``agree`` of the examples, and the other sign in
    the rest, which are called ``against``: only the complex feature has their label. ``complex=slabs``: a number
    in one of an odd number of slabs side by side, whose labels alternate; ``product``: two signs whose product is the
    label; both beside ``noise`` signs that say nothing. ``digits``: pictures (1, 16, 8) of a 3 or an 8 above white
    noise, which is brighter or darker: the simple feature.

    Raises:
        UsageError: an option is unknown, out of range, or none of these.

    Reference: Shah et al. 2020, The pitfalls of simplicity bias in neural networks, arXiv 2006.07710, section 3.
    """
    spec.only("n", "complex", "slabs", "agree", "noise", "seed")
    kind = choice(spec, "complex", "slabs", COMPLEX)
    n, slabs = integer(spec, "n", 600, maximum=MOST), integer(spec, "slabs", 5, minimum=3, maximum=99)
    noise, seed = integer(spec, "noise", 5, 0, 1000), integer(spec, "seed", 0, 0, LARGEST_SEED)
    agree = amount(spec, "agree", 0.9)
    numbers: dict[str, int] = {
        "slabs": {"slabs": slabs, "noise": noise},
        "product": {"noise": noise},
        "digits": {},
    }[kind]
    for key in ("slabs", "noise"):
        if key in spec.options and key not in numbers:
            raise UsageError(f"in {str(spec)!r}: {key}= says nothing of complex={kind}", f"leave out {key}=")
    if agree > 1 or slabs % 2 == 0:
        raise UsageError(
            f"in {str(spec)!r}: expected agree from 0 to 1, and slabs an odd number", "change them"
        )
    rng = np.random.default_rng([seed, 2_006])
    labels = rng.permutation(np.arange(n) % 2)
    against = np.zeros(n, dtype=bool)
    against[rng.permutation(n)[: n - round(agree * n)]] = True
    sign = np.where(labels == 1, 1.0, -1.0) * np.where(against, -1.0, 1.0)
    if kind == "digits":
        inputs = _pictures(labels, sign, rng)
    else:
        told = _slabs(labels, slabs, rng) if kind == "slabs" else _product(labels, rng)
        inputs = np.concatenate([sign[:, None], told, rng.choice([-1.0, 1.0], (n, noise))], axis=1)
    whole: dict[str, Value] = {"n": n, "complex": kind, "agree": agree, **numbers, "seed": seed}
    names = tuple(f"{'against' if is_against else 'with'} {row}" for row, is_against in enumerate(against))
    # Multiples of 2^-10, so that the fingerprint is the same on every machine.
    rounded = np.round(inputs * 1024) / 1024
    return Generated(Spec("", "simplicity", whole), rounded, labels, ("0", "1"), names=names)


def _slabs(labels: Ints, slabs: int, rng: np.random.Generator) -> Floats:
    """A number from -1 to 1 (N, 1) in the middle half of a slab: those of label 1 and 0 alternate, from 1 on."""
    own = np.where(
        labels == 1,
        2 * rng.integers(0, slabs // 2 + 1, len(labels)),
        2 * rng.integers(0, slabs // 2, len(labels)) + 1,
    )
    found: Floats = ((own + rng.uniform(0.25, 0.75, len(labels))) / slabs * 2 - 1)[:, None]
    return found


def _product(labels: Ints, rng: np.random.Generator) -> Floats:
    """Two signs (N, 2), alike where the label is 1."""
    first = rng.choice([-1.0, 1.0], len(labels))
    return np.stack([first, first * np.where(labels == 1, 1, -1)], axis=1)


def _pictures(labels: Ints, sign: Floats, rng: np.random.Generator) -> Floats:
    """Pictures (N, 1, 16, 8): a 3 or an 8 with a mean of 0 and a deviation of 1 above noise of the mean of its sign."""
    pixels, digit = digits()
    ink = pixels / 255.0
    own = np.where(
        labels == 1,
        rng.choice(np.flatnonzero(digit == 8), len(labels)),
        rng.choice(np.flatnonzero(digit == 3), len(labels)),
    )
    above = (ink[own] - ink.mean()) / ink.std()
    below = rng.standard_normal(above.shape) + BRIGHTNESS * sign[:, None, None]
    found: Floats = np.concatenate([above, below], axis=1)[:, None]
    return found
