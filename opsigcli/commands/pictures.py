"""The pictures a report shows, kept in the store so that it needs neither data nor torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.records import ExampleSource, Mining, Thumbnails

if TYPE_CHECKING:
    from opsigcli.records import Bytes

PER_GROUP = 24  # the members whose loss changed most at the pair's strongest step come first
PER_STEP = 6  # of each side of the steps with the largest changes
STEPS = 6
LARGEST = 96  # pixels on the longer side; larger pictures are shrunk


def wanted_ids(mining: Mining) -> list[int]:
    """Ids of the examples a report shows, without repetition."""
    ids = [
        int(i) for pair in mining.pairs for group in (pair.first, pair.second) for i in group.ids[:PER_GROUP]
    ]
    steps = sorted(mining.top, key=lambda top: -float(np.abs(top.up_deltas[:1]).sum()))[:STEPS]
    for top in steps:
        ids += [int(i) for i in (*top.up_ids[:PER_STEP], *top.down_ids[:PER_STEP])]
    return list(dict.fromkeys(ids))


def take_pictures(source: ExampleSource, ids: list[int]) -> Thumbnails | None:
    """Pictures of the examples; None where examples are no pictures."""
    position = {int(i): place for place, i in enumerate(source.ids)}
    images: list[Bytes] = []
    for example in ids:
        image = source.image(position[example])
        if image is None:
            return None
        images.append(_shrunk(image))
    return Thumbnails(np.array(ids, dtype=np.int64), tuple(images)) if images else None


def _shrunk(image: Bytes) -> Bytes:
    longest = max(image.shape[:2])
    if longest <= LARGEST:
        return image
    from PIL import Image

    size = (max(1, image.shape[1] * LARGEST // longest), max(1, image.shape[0] * LARGEST // longest))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
