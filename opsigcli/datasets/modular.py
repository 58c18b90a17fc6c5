"""The built-in ``modular``: addition modulo p, on which networks fit long before they generalise (grokking)."""

from __future__ import annotations

import numpy as np

from opsigcli.datasets.generated import Generated
from opsigcli.errors import UsageError
from opsigcli.query import amount, choice, integer
from opsigcli.specs import Spec

MOST = 211  # p, of which there are p² examples


def open_modular(spec: Spec) -> Generated:
    """``modular?p=23&part=train&share=0.5&seed=0``: a and b as one-hot numbers (2p), label ``(a + b) mod p``.

    ``part=train`` has a share of the p² examples, drawn by the seed, ``part=test`` the others; ``part=all`` has all.

    Raises:
        UsageError: an option is unknown or out of range, or no example is left.

    Reference: Power et al. 2022, Grokking, section 2.
    """
    spec.only("p", "part", "share", "seed")
    p, seed = integer(spec, "p", 23, minimum=2), integer(spec, "seed", 0, minimum=0)
    part, share = choice(spec, "part", "train", ("train", "test", "all")), amount(spec, "share", 0.5)
    first, second = np.divmod(np.arange(p * p if p <= MOST else 0), p)
    order = np.random.default_rng(seed).permutation(len(first))
    cut = round(share * len(order))
    rows = np.sort({"train": order[:cut], "test": order[cut:], "all": order}[part])
    if share > 1 or not len(rows):
        raise UsageError(
            f"in {str(spec)!r}: expected p of at most {MOST}, and a share between 0 and 1 that leaves examples",
            "example: modular?p=23&part=train&share=0.5",
        )
    one_hot = np.eye(p, dtype=np.float32)
    inputs = np.concatenate([one_hot[first[rows]], one_hot[second[rows]]], axis=1)
    whole = Spec("", "modular", {"p": p, "part": part, "share": share, "seed": seed})
    labels = (first[rows] + second[rows]) % p
    return Generated(whole, inputs, labels, tuple(str(number) for number in range(p)))
