"""The embedded dataset: generated examples in which the opposing groups are known.

``planted?scenario=img2&n=900&seed=0``; the scenarios are in ``planted_scenarios.SCENARIOS``, ``planted_hard.HARD``,
``planted_pictures.PICTURES`` and ``planted_wholes.WHOLES``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.planted_draft import Draft
from opsigcli.datasets.planted_hard import HARD
from opsigcli.datasets.planted_pictures import PICTURES
from opsigcli.datasets.planted_scenarios import SCENARIOS
from opsigcli.datasets.planted_wholes import WHOLES
from opsigcli.errors import UsageError
from opsigcli.examples import ExampleSource
from opsigcli.query import LARGEST_SEED, flag, integer
from opsigcli.registry import unknown
from opsigcli.specs import Spec

if TYPE_CHECKING:
    from opsigcli.records import Bytes, Floats, Ints

EVERY = SCENARIOS | HARD | PICTURES | WHOLES
SMALLEST = 200  # below this the planted groups are too small to be groups
LARGEST = 5_000_000  # examples: those of pictures take some gigabytes
PICTURE_SCALE = 6  # pixels of a picture per pixel of an input


class Planted(ExampleSource):
    """A generated dataset with known opposing pairs, the same for the same scenario, size and seed.

    Args:
        scenario: a name in ``EVERY``.
        n: number of examples N, at least ``SMALLEST``.
        seed: of the generator.
        swap: whether what the groups share (their background) lies in other examples of the same labels instead.

    Raises:
        UsageError: the scenario is unknown or nothing in it can be swapped, or N is too small for its groups.
    """

    def __init__(self, scenario: str = "img2", n: int = 900, seed: int = 0, swap: bool = False) -> None:
        if scenario not in EVERY:
            raise unknown("planted scenario", scenario, EVERY)
        if n < SMALLEST:
            raise UsageError(
                f"expected n of at least {SMALLEST} in a planted dataset, found n={n}",
                f"use planted?n={SMALLEST} or more",
            )
        # The scenario's position is not part of the seed, so that a new scenario changes no other.
        name_seed = int.from_bytes(hashlib.sha256(scenario.encode()).digest()[:4], "big")
        draft = Draft(n, np.random.default_rng([seed, name_seed]))
        EVERY[scenario].fill(draft)
        if swap and not draft.swap():
            raise UsageError(
                f"expected a planted scenario whose pairs share a feature that others of their labels can have, "
                f"found {scenario}",
                "use planted?scenario=img2&swap=true, vec3, pictures4, or a larger n=",
            )
        # Multiples of 2^-10 make the content, and so its fingerprint, the same on machines that round differently.
        self._inputs = (np.round(draft.inputs * 1024) / 1024).astype(np.float32)
        self.scenario = scenario
        self.spec = f"planted?scenario={scenario}&n={n}&seed={seed}" + ("&swap=true" if swap else "")
        self.ids: Ints = np.arange(n, dtype=np.int64)
        self.labels: Ints = draft.labels
        self.classes = draft.classes
        self.input_shape = tuple(self._inputs.shape[1:])
        self.transform: dict[str, Any] = {}
        self.known_pairs = tuple((np.sort(first), np.sort(second)) for first, second in draft.pairs)
        self.alternatives = tuple((np.sort(first), np.sort(second)) for first, second in draft.alternatives)
        self.axis, self.opposed = draft.axis, tuple(draft.opposed)
        digest = hashlib.sha256(repr((self.input_shape, self.classes)).encode())
        digest.update(self._inputs.tobytes())
        digest.update(self.labels.tobytes())
        self.fingerprint = digest.hexdigest()

    def read(self, positions: Ints) -> Floats:
        """The inputs at ``positions``: (B, *input_shape) float32."""
        return self._inputs[np.asarray(positions, dtype=np.int64)]

    def image(self, position: int) -> Bytes | None:
        """The example enlarged, mid-grey at 0, (H, W, 3) uint8; None for scenarios of vectors."""
        if len(self.input_shape) != 3:
            return None
        levels = np.clip(self._inputs[position].transpose(1, 2, 0) * 70 + 128, 0, 255)
        pixels: Bytes = levels.astype(np.uint8)
        return pixels.repeat(PICTURE_SCALE, axis=0).repeat(PICTURE_SCALE, axis=1)


def open_planted(spec: Spec) -> Planted:
    """Open ``planted?scenario=img2&n=900&seed=0&swap=false``; every option may be left out.

    Raises:
        UsageError: an option or the scenario is unknown, or has the wrong type.
    """
    scenario = str(spec.only("scenario", "n", "seed", "swap").options.get("scenario", "img2"))
    n, seed = (
        integer(spec, "n", 900, maximum=LARGEST),
        integer(spec, "seed", 0, minimum=0, maximum=LARGEST_SEED),
    )
    return Planted(scenario, n, seed, flag(spec, "swap", False))
