"""Sources of numbers that are made, not read: white noise, and the data of models known in closed form."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.errors import UsageError
from opsigcli.examples import ExampleSource
from opsigcli.query import LARGEST_SEED, amount, integer, integers
from opsigcli.specs import Spec, Value

if TYPE_CHECKING:
    from opsigcli.records import Floats, Ints

LARGEST = 1 << 28  # numbers in all inputs


class Generated(ExampleSource):
    """Examples that lie in memory.

    Args:
        spec: opens them again.
        inputs: (N, …) float32.
        labels: (N,) classes, by which groups are told apart.
        classes: names.
        targets: (N, k) float32 that the outputs are to be; None: the labels are.
        pair: ids of two groups that oppose one another.
        names: of the examples; () = they have none.
    """

    def __init__(
        self,
        spec: Spec,
        inputs: Floats,
        labels: Ints,
        classes: tuple[str, ...],
        targets: Floats | None = None,
        pair: tuple[Ints, Ints] | None = None,
        names: tuple[str, ...] = (),
    ) -> None:
        self._inputs, self._targets = inputs.astype(np.float32), targets
        self.spec = str(spec)
        self.ids: Ints = np.arange(len(inputs), dtype=np.int64)
        self.labels: Ints = labels.astype(np.int64)
        self.classes, self.names = classes, names
        self.input_shape = tuple(inputs.shape[1:])
        self.transform: dict[str, Any] = {}
        self.known_pairs = () if pair is None else (pair,)
        digest = hashlib.sha256(repr((self.input_shape, classes)).encode())
        for array in (self._inputs, self.labels, *(() if targets is None else (targets,))):
            digest.update(array.tobytes())
        self.fingerprint = digest.hexdigest()

    def read(self, positions: Ints) -> Floats:
        """The inputs at ``positions``: (B, *input_shape) float32."""
        return self._inputs[np.asarray(positions, dtype=np.int64)]

    def read_targets(self, positions: Ints) -> Floats | Ints:
        """Labels (B,) int64, or the numbers (B, k) float32 that outputs are to be."""
        return (self.labels if self._targets is None else self._targets)[positions]

    @property
    def outputs(self) -> int:
        """Classes, or entries of a target."""
        return len(self.classes) if self._targets is None else int(self._targets.shape[1])


def open_noise(spec: Spec) -> Generated:
    """``noise?n=1000&shape=3,32,32&classes=10&seed=0``: independent standard normal numbers with random labels.

    Nothing in them can oppose anything: what is found there is found by chance. Multiples of 2⁻¹⁰, so that the
    fingerprint is the same on every machine.

    Raises:
        UsageError: an option is unknown or has the wrong type, or the numbers are too many.
    """
    spec.only("n", "shape", "classes", "seed")
    n, classes = integer(spec, "n", 1000), integer(spec, "classes", 10)
    shape, seed = integers(spec, "shape", (3, 32, 32)), integer(spec, "seed", 0, 0, LARGEST_SEED)
    if n * math.prod(shape) > LARGEST:
        raise UsageError(
            f"in {str(spec)!r}: expected up to {LARGEST:,} numbers", "give a smaller n= or shape="
        )
    rng = np.random.default_rng([seed, 1_111])
    inputs = np.round(rng.standard_normal((n, *shape), dtype=np.float32) * 1024) / 1024
    labels = rng.permutation(np.arange(n) % classes)
    whole: dict[str, Value] = {"n": n, "shape": list(shape), "classes": classes, "seed": seed}
    return Generated(Spec("", "noise", whole), inputs, labels, tuple(f"class {c}" for c in range(classes)))


def open_two_layer_linear(spec: Spec) -> Generated:
    """``two-layer-linear?d=20&alpha=50&beta=10&copies=4&kappa=0``: inputs (x, z), target ``β·x + κ|z|``.

    x is ±√d along each axis in turn, so that ``E x = 0`` and ``E xxᵀ = I`` exactly; of ``copies`` examples
    with one x, one has ``z = +√(α/p)``, one ``−√(α/p)``, the others 0: p = 2/copies,
    ``E z² = α`` and z is orthogonal to x.
    β has length ``beta`` and equal entries. The two signs of z are the opposing groups.

    Raises:
        UsageError: an option is unknown or has the wrong type.
    """
    spec.only("d", "alpha", "beta", "copies", "kappa")
    d, copies = integer(spec, "d", 20, maximum=10_000), integer(spec, "copies", 4, minimum=2, maximum=1000)
    alpha, beta, kappa = (
        amount(spec, key, default) for key, default in (("alpha", 50.0), ("beta", 10.0), ("kappa", 0.0))
    )
    axes = np.repeat(np.concatenate([np.eye(d), -np.eye(d)]) * math.sqrt(d), copies, axis=0)
    sign = np.tile(np.array([1.0, -1.0] + [0.0] * (copies - 2)), 2 * d)
    z = sign * math.sqrt(alpha * copies / 2)
    targets = axes @ np.full(d, beta / math.sqrt(d)) + kappa * np.abs(z)
    whole: dict[str, Value] = {"d": d, "alpha": alpha, "beta": beta, "copies": copies, "kappa": kappa}
    return Generated(
        Spec("", "two-layer-linear", whole),
        np.concatenate([axes, z[:, None]], axis=1),
        np.where(sign > 0, 1, np.where(sign < 0, 2, 0)),
        (),  # numbers are the target: the labels tell the groups alone, 1 up and 2 down
        targets[:, None].astype(np.float32),
        (np.flatnonzero(sign > 0), np.flatnonzero(sign < 0)),
    )


def open_one_axis(spec: Spec) -> Generated:
    """``one-axis?n=200&p=0.5&s=4``: half of a fraction p of examples has input s and label 0, half s and label 1.

    The others have input 0 and labels by turns. The two halves are the opposing groups.

    Raises:
        UsageError: an option is unknown or has the wrong type, or p n is no even number of at least 2.
    """
    spec.only("n", "p", "s")
    n, p, s = integer(spec, "n", 200, maximum=1 << 24), amount(spec, "p", 0.5), amount(spec, "s", 4.0)
    held = round(p * n)
    if held % 2 or not 2 <= held <= n or abs(held - p * n) > 1e-9 * n:
        raise UsageError(
            f"in {str(spec)!r}: expected p n to be an even number from 2 to n, found {p * n:g}",
            "change p= or n=",
        )
    inputs = np.where(np.arange(n) < held, s, 0.0)[:, None]
    labels = np.arange(n) % 2
    first, second = np.arange(0, held, 2), np.arange(1, held, 2)
    return Generated(
        Spec("", "one-axis", {"n": n, "p": p, "s": s}), inputs, labels, ("up", "down"), None, (first, second)
    )
