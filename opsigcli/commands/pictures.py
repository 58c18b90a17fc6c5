"""The pictures a report shows, kept in the store so that it needs neither data nor torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opsigcli.records import ExampleSource, LossTrace, Mining, Thumbnails
from opsigcli.reporting.galleries import top_ids
from opsigcli.reporting.summary import positions_of

if TYPE_CHECKING:
    from opsigcli.records import Bytes

PER_GROUP = 24  # pictures of each group: the most that `report --thumbnails` can show
LARGEST = 96  # pixels on the longer side; larger pictures are shrunk


def wanted_ids(mining: Mining, trace: LossTrace) -> list[int]:
    """Ids of the examples a report shows, without repetition.

    Of each group those whose loss changed most at the pair's strongest step, and the top examples.
    """
    ids: list[int] = []
    for pair in mining.pairs:
        row = int(np.searchsorted(trace.steps, pair.strongest_step))
        for group in (pair.first, pair.second):
            places = positions_of(trace, group.ids)
            change = np.nan_to_num(np.abs(trace.losses[row + 1, places] - trace.losses[row, places]))
            ids += [int(i) for i in group.ids[np.argsort(-change, kind="stable")[:PER_GROUP]]]
    return list(dict.fromkeys([*ids, *top_ids(mining)]))


def take_pictures(source: ExampleSource, ids: list[int]) -> Thumbnails | None:
    """Pictures of the examples; None where examples are no pictures."""
    places = np.flatnonzero(np.isin(source.ids, ids))
    position = dict(zip(source.ids[places].tolist(), places.tolist(), strict=True))
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
