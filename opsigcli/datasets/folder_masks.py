"""``folder:DIR?masks=NAME``: pictures with a mask each, whose pixels are numbers of classes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.datasets.base import Settings, Source
from opsigcli.datasets.listing import listing_of
from opsigcli.datasets.picture_files import open_picture
from opsigcli.datasets.pictures import Pictures
from opsigcli.datasets.readers import FileReader
from opsigcli.errors import DatasetError, UsageError
from opsigcli.specs import Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsigcli.records import Ints

IMAGES = ("images", "image", "imgs", "img", "jpegimages", "pictures")  # folders of pictures
MASKS = ("masks", "mask", "annotations", "segmentationclass", "segmentations", "labels", "gt")
SUFFIX = re.compile(r"[_-](mask|label|labels|gt|seg)$", re.IGNORECASE)  # of the name of a mask
MOST_BYTES = 4 << 30  # of masks as numbers
ON = 255  # in masks of 0 and 255, which have two classes


def mask_folders(folders: Sequence[str]) -> tuple[str, str] | None:
    """The folders of pictures and of masks, where there are these two and no others, by their usual names."""
    images = [name for name in folders if name.lower() in IMAGES]
    masks = [name for name in folders if name.lower() in MASKS]
    return (images[0], masks[0]) if len(images) == len(masks) == 1 and len(folders) == 2 else None


def open_masked(
    spec: Spec, root: Path, images: Sequence[str], masks: Sequence[str], settings: Settings
) -> Source:
    """The pictures of a folder, with the masks that are called like them in another one.

    Args:
        spec: of the source.
        root: its folder.
        images: paths of the pictures, sorted.
        masks: paths of the masks.
        settings: what is done to the pictures; masks are resized and cropped alike, by their nearest pixel.

    Raises:
        DatasetError: a picture has no mask, or two have; a mask is in colours, or of another size; there are too many.
        UsageError: a function of the user's makes the pictures, which cannot make the masks.
    """
    if settings.pictures.code:
        raise UsageError(
            f"in {str(spec)!r}: transform= names code for pictures, which masks would have to follow",
            "use size= and crop=, or give your own dataset: file:path.py:factory",
        )
    if len(images) == 0:
        raise DatasetError(
            f"expected pictures for the masks in {root}, found none", "name their folder: images=NAME"
        )
    of: dict[str, str] = {}
    for path in masks:
        if (other := of.setdefault(_stem(path, root), path)) != path:
            raise DatasetError(
                f"expected one mask for each picture, found {other} and {path}", "remove one of them"
            )
    if lacking := [path for path in images if _stem(path, root) not in of]:
        raise DatasetError(
            f"expected a mask for each of {len(images)} pictures in {root}; {len(lacking)} have none, as {lacking[0]}",
            "let masks have the names of their pictures, or remove pictures without one",
        )
    names = tuple(PurePath(path).relative_to(root).as_posix() for path in images)
    reader = FileReader(images, names, settings.pictures)
    places = reader.shape[-2:]
    if len(images) * 8 * int(np.prod(places)) > MOST_BYTES:
        raise DatasetError(
            f"expected masks of at most {MOST_BYTES >> 30} GiB, found {len(images)} of {places[0]}x{places[1]} numbers",
            "make pictures smaller with size=",
        )
    pictures = replace(settings.pictures, mode="F", interpolation="nearest")
    y = np.stack([_mask(of[_stem(path, root)], pictures, places) for path in images])
    if set(np.unique(y)) == {0, ON}:
        y //= ON
    listing = replace(listing_of(y, str(root)), names=names)
    return Source(replace(spec, name=str(root)), listing, reader, settings)


def _stem(path: str, root: Path) -> str:
    """What a picture and its mask have in common: the path below their folders, without what says which it is."""
    inner = PurePath(*PurePath(path).relative_to(root).parts[1:])
    return str(inner.with_name(SUFFIX.sub("", inner.stem)))


def _mask(path: str, pictures: Pictures, places: tuple[int, ...]) -> Ints:
    """(H, W) numbers of classes; of a picture with a palette, its numbers and not its colours.

    Raises:
        DatasetError: it is in colours, or of another size than its picture.
    """
    from PIL import Image

    with open_picture(path) as picture:
        numbers = np.asarray(picture)
    if numbers.ndim != 2:
        raise DatasetError(
            f"expected a mask of one channel, whose pixels are numbers of classes; found {numbers.shape} in {path}",
            "save masks with a palette, or as numbers of classes (mode L)",
        )
    found = pictures.pixels(Image.fromarray(numbers.astype(np.float32)), path)[0]
    if found.shape != places:
        raise DatasetError(
            f"expected a mask of {places[0]}x{places[1]}, as its picture is; found {found.shape} in {path}",
            "give every picture and its mask one size, or add size=H,W",
        )
    return np.asarray(found, dtype=np.int64)
