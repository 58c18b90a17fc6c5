"""What can be seen in the data: features of the candidates, and the pictures that a report shows.

Pictures are kept in the store, so that a report needs neither data nor torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.examples import ExampleSource
from opsigcli.mining.causes.attribute import moved_ids
from opsigcli.mining.features import image_features
from opsigcli.mining.tokens import labelled_tokens
from opsigcli.mining_records import (
    Mining,
    Pair,
)
from opsigcli.records import LossTrace, Thumbnails
from opsigcli.reporting.galleries import top_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Bytes, Ints
    from opsigcli.store.reader import Store

PER_GROUP = 24  # pictures of each group: the most that `report --thumbnails` can show
LARGEST = 96  # pixels on the longer side; larger pictures are shrunk
PIECE = 512  # examples read at once


def look(source: ExampleSource, positions: Ints) -> dict[str, NDArray[Any]]:
    """What can be seen in examples: features of images, tokens of texts.

    Args:
        source: the data.
        positions: M examples.

    Returns:
        Feature name to (M,), or role to (M, W) tokens; {} for inputs that are neither.
    """
    pieces = [positions[at : at + PIECE] for at in range(0, len(positions), PIECE)]
    if source.read_targets(positions[:1]).ndim == 2 and source.read(positions[:1]).dtype.kind == "i":
        inputs, told = (
            np.concatenate([read(piece) for piece in pieces]) for read in (source.read, source.read_targets)
        )
        return dict(labelled_tokens(inputs, told)) if inputs.shape == told.shape else {}
    if len(source.input_shape) != 3:
        return {}
    found = [image_features(source.read(piece).astype(np.float32, copy=False)) for piece in pieces]
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def wanted_ids(mining: Mining, trace: LossTrace) -> list[int]:
    """Ids of the examples a report shows of what was mined, without repetition.

    Of each group the nearest prototype and those whose loss changed most at the pair's strongest step, and the top
    examples.
    """
    ids: list[int] = []
    for pair in mining.pairs:
        row = int(np.searchsorted(trace.steps, pair.strongest_step))
        for group in (pair.first, pair.second):
            places = trace.positions(group.ids)
            before, after = trace.around(row, places)
            change = np.nan_to_num(np.abs(after - before))
            ids += [] if group.nearest is None else [group.nearest]
            ids += [int(i) for i in group.ids[np.argsort(-change, kind="stable")[:PER_GROUP]]]
    return list(dict.fromkeys([*ids, *top_ids(mining)]))


def pictures_of(
    store: Store, found: Mining, trace: LossTrace, source: ExampleSource | None
) -> Thumbnails | None:
    """Pictures for the report of what was mined; those the store has are used again.

    Raises:
        DatasetError: the data cannot be opened.
    """
    ids = list(dict.fromkeys([*wanted_ids(found, trace), *moved_ids(trace)]))
    kept = store.thumbnails
    if kept is not None and set(ids) <= set(map(int, kept.ids)) and same_groups(store.mining, found):
        return kept
    if source is None:
        from opsigcli.datasets import open_source

        source = open_source(store.run.data)
    return take_pictures(source, ids, found)


def same_groups(old: Mining | None, new: Mining) -> bool:
    """Whether both found the same groups, so that their mean pictures are the same."""
    sides = [
        [group.ids.tolist() for pair in mining.pairs for group in (pair.first, pair.second)]
        for mining in (old, new)
        if mining is not None
    ]
    return len(sides) == 2 and sides[0] == sides[1]


def take_pictures(source: ExampleSource, ids: list[int], mining: Mining) -> Thumbnails | None:
    """Pictures of the examples and the mean pictures of all groups; None where examples are no pictures."""
    members = [group.ids for pair in mining.pairs for group in (pair.first, pair.second)]
    places = np.flatnonzero(np.isin(source.ids, np.concatenate([np.asarray(ids, dtype=np.int64), *members])))
    position = dict(zip(source.ids[places].tolist(), places.tolist(), strict=True))
    images: list[Bytes] = []
    for example in ids:
        image = source.image(position[example])
        if image is None:
            return None
        images.append(_shrunk(image))
    if not images:
        return None
    means = [picture for pair in mining.pairs for picture in _means(source, pair, position)]
    return Thumbnails(np.array(ids, dtype=np.int64), tuple(images), tuple(means))


def more_pictures(source: ExampleSource, ids: list[int], kept: Thumbnails | None) -> Thumbnails | None:
    """The pictures kept and those of more examples; None where none is lacking, or examples are no pictures."""
    known = [] if kept is None else kept.ids.tolist()
    new = [example for example in dict.fromkeys(ids) if example not in set(known)]
    found = [source.image(int(np.flatnonzero(source.ids == example)[0])) for example in new]
    shown = [_shrunk(image) for image in found if image is not None]
    old = () if kept is None else kept.images
    if not new or len(shown) < len(new) or len({image.shape for image in (*old, *shown)}) > 1:
        return None
    return Thumbnails(
        np.array([*known, *new], dtype=np.int64), (*old, *shown), () if kept is None else kept.means
    )


def _means(source: ExampleSource, pair: Pair, position: dict[int, int]) -> list[Bytes]:
    """The mean picture of each group, and their difference, first minus second: grey is none, the largest 127 levels.

    [] where the members' pictures have different sizes.
    """
    sides = []
    for group in (pair.first, pair.second):
        pictures = [source.image(position[int(i)]) for i in group.ids]
        if len({None if p is None else p.shape for p in pictures}) != 1 or pictures[0] is None:
            return []
        sides.append(np.mean([p for p in pictures if p is not None], axis=0, dtype=np.float64))
    gap = sides[0] - sides[1] if sides[0].shape == sides[1].shape else np.zeros_like(sides[0])
    gap *= 127 / max(np.abs(gap).max(), 1)
    return [_shrunk(np.rint(picture).astype(np.uint8)) for picture in (*sides, 128 + gap)]


def _shrunk(image: Bytes) -> Bytes:
    longest = max(image.shape[:2])
    if longest <= LARGEST:
        return image
    from PIL import Image

    size = (max(1, image.shape[1] * LARGEST // longest), max(1, image.shape[0] * LARGEST // longest))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
