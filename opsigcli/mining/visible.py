"""What can be seen in a picture, as numbers and as a colour's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.mining.features import image_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Floats

BORDER = 8  # the background is the rim, an eighth of the shorter side wide
GREY = 0.15  # of full saturation, below which a pixel has no hue
DOMINANT = "dominant colour"
COLOURS = ("grey", "red", "yellow", "green", "cyan", "blue", "magenta")


def visible_features(images: Floats) -> dict[str, NDArray[Any]]:
    """Brightness, contrast and colour of pictures, of their rim, and the hue that most of their pixels have.

    Args:
        images: (M, 1 or 3, H, W) in any fixed units; the dominant colour is that of pictures from 0 to 1.

    Returns:
        Feature name to (M,): float32 numbers, and ``dominant colour`` as an int64 index in ``COLOURS``.
    """
    found: dict[str, NDArray[Any]] = {
        name: values.astype(np.float32) for name, values in image_features(images).items()
    }
    height, width = images.shape[2:]
    wide = max(1, min(height, width) // BORDER)
    rim = np.ones((height, width), dtype=bool)
    rim[wide : height - wide, wide : width - wide] = False
    background = images[:, :, rim].mean(axis=2)
    found["background brightness"] = background.mean(axis=1)
    if images.shape[1] == 3:
        red, green, blue = background.T
        found["background red against green"] = red - green
        found["background yellow against blue"] = (red + green) / 2 - blue
        if images.min() >= 0 and images.max() <= 1:
            found[DOMINANT] = _dominant(images)
    return found


def _dominant(images: Floats) -> NDArray[np.int64]:
    """The colour of most pixels, (M,)."""
    red, green, blue = images.transpose(1, 0, 2, 3)
    most, least = images.max(axis=1), images.min(axis=1)
    spread = np.maximum(most - least, 1e-9)
    hue = np.where(
        most == red,
        (green - blue) / spread % 6,
        np.where(most == green, (blue - red) / spread + 2, (red - green) / spread + 4),
    )
    colour = np.where(most - least < GREY, 0, 1 + np.rint(hue).astype(np.int64) % 6).reshape(len(images), -1)
    counts = np.stack([(colour == k).sum(axis=1) for k in range(len(COLOURS))], axis=1)
    found: NDArray[np.int64] = counts.argmax(axis=1).astype(np.int64)
    return found
