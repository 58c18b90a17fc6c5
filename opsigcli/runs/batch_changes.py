"""What training changes of a batch that a trace does not: crops, flips and mixtures, the same for a seed and a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.errors import UsageError
from opsigcli.examples import ExampleSource

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

EXPECTED = "flip, crop=PIXELS and mixup=ALPHA, with commas between them"


@dataclass(frozen=True)
class Drawn:
    """What is drawn for a batch of B examples, as a whole: pieces of the batch take their own part."""

    flips: NDArray[np.bool_]  # (B,)
    offsets: NDArray[np.int64]  # (B, 2) pixels, of the crop within the padded picture
    partners: NDArray[np.int64]  # (B,) places in the batch
    share: float  # of each example in its mixture; 1 without mixtures


@dataclass(frozen=True)
class BatchChanges:
    """Changes of the examples of a batch, as ``--augment`` has them.

    ``flip`` turns half of the pictures round, left and right; ``crop=P`` moves each by up to P pixels, with 0 where
    nothing is; ``mixup=α`` trains ``s x_i + (1 − s) x_j`` with loss ``s ℓ(y_i) + (1 − s) ℓ(y_j)``, j a permutation of
    the batch and s one number of each update, from Beta(α, α).

    Reference: Zhang et al. 2018, mixup: Beyond Empirical Risk Minimization.
    """

    flip: bool = False
    crop: int = 0
    mixup: float = 0.0

    @classmethod
    def of(cls, text: str, source: ExampleSource) -> BatchChanges | None:
        """The changes of the source's examples that ``text`` names; None where it names none.

        Raises:
            UsageError: it names something else, or the inputs are none that can be changed so.
        """
        found: dict[str, float] = {}
        for piece in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = piece.partition("=")
            try:
                number = float(value) if equals else 1.0
            except ValueError:
                number = -1.0
            whole = name != "crop" or number == int(number)
            if name not in ("flip", "crop", "mixup") or name in found or not 0 < number < 1e6 or not whole:
                raise _wrong(text)
            if (name == "flip") == bool(equals):
                raise _wrong(text)
            found[name] = number
        if not found:
            return None
        shape = source.input_shape
        tokens = source.sequences is not None or source.read(np.arange(min(1, len(source)))).dtype == np.int64
        if tokens or ({"flip", "crop"} & found.keys() and len(shape) != 3):
            what = "tokens" if tokens else f"inputs of shape {shape}"
            raise UsageError(
                f"expected pictures (C, H, W) for --augment {text}, found {what}", "leave out --augment"
            )
        if found.get("crop", 0) >= min(shape[1:], default=0) and "crop" in found:
            raise UsageError(
                f"expected a crop of fewer pixels than the pictures have, found --augment {text}",
                "crop by fewer pixels",
            )
        return cls("flip" in found, int(found.get("crop", 0)), found.get("mixup", 0.0))

    def __str__(self) -> str:
        """As ``--augment`` has them."""
        pieces = [f"mixup={self.mixup:g}"] if self.mixup else []
        return ",".join(["flip"] * self.flip + [f"crop={self.crop}"] * bool(self.crop) + pieces)

    def draw(self, count: int, seed: int, step: int) -> Drawn:
        """What changes in the update from ``step``, whose batch has ``count`` examples."""
        rng = np.random.default_rng([seed, step, 20])  # apart from the order of examples
        flips = rng.random(count) < 0.5 if self.flip else np.zeros(count, dtype=bool)
        offsets = rng.integers(0, 2 * self.crop + 1, (count, 2))
        partners = rng.permutation(count)
        share = float(rng.beta(self.mixup, self.mixup)) if self.mixup else 1.0
        return Drawn(flips, offsets, partners, share)

    def changed(self, inputs: Tensor, drawn: Drawn, places: NDArray[np.int64]) -> Tensor:
        """Inputs (b, C, H, W) flipped and cropped as is drawn for these places of the batch."""
        import torch

        if self.flip:
            turned = torch.as_tensor(drawn.flips[places], device=inputs.device)
            inputs = torch.where(turned.view(-1, 1, 1, 1), inputs.flip(-1), inputs)
        if self.crop:
            height, width = inputs.shape[-2:]
            padded = torch.nn.functional.pad(inputs, [self.crop] * 4)
            down, right = torch.as_tensor(drawn.offsets[places], device=inputs.device).unbind(1)
            rows = (down[:, None] + torch.arange(height, device=inputs.device))[:, None, :, None]
            columns = (right[:, None] + torch.arange(width, device=inputs.device))[:, None, None, :]
            batch = torch.arange(len(inputs), device=inputs.device).view(-1, 1, 1, 1)
            channels = torch.arange(inputs.shape[1], device=inputs.device).view(1, -1, 1, 1)
            inputs = padded[batch, channels, rows, columns]
        return inputs


def _wrong(text: str) -> UsageError:
    return UsageError(f"expected {EXPECTED} for --augment, found {text!r}", "example: --augment flip,crop=4")
