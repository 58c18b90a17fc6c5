"""A picture from elsewhere, brought to the size and the mode of the pictures of a data set."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.picture_files import open_picture
from opsigcli.datasets.pictures import Pictures
from opsigcli.errors import DatasetError, UsageError
from opsigcli.registry import did_you_mean, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

MODE_OF = {1: "L", 3: "RGB", 4: "RGBA"}  # by channels


def picture_in(kind: str, value: str, shape: tuple[int, ...]) -> Image:
    """The picture that ``colour:NAME`` or ``image:FILE`` means.

    Args:
        kind: colour or image.
        value: a colour as CSS writes it (skyblue, #87ceeb), or a path.
        shape: (C, H, W) of the data's inputs, which a colour fills.

    Raises:
        UsageError: there is no such colour.
        DatasetError: the file is no readable image.
    """
    from PIL import Image, ImageColor

    if kind == "image":
        with open_picture(value) as picture:
            return picture.copy()
    try:
        colour = ImageColor.getrgb(value)
    except ValueError:
        raise UsageError(
            f"expected a colour in --probe, found {value!r}",
            did_you_mean(nearest(value, list(ImageColor.colormap)), "as CSS writes it: skyblue, #87ceeb"),
        ) from None
    return Image.new("RGB", (shape[-1], shape[-2]) if len(shape) == 3 else (1, 1), colour[:3])


def drawn(
    picture: Image, pictures: Pictures, shape: tuple[int, ...], dtype: np.dtype[Any], where: str
) -> NDArray[Any]:
    """A picture as the reader of a data set would give it, (C, H, W).

    Where the data say no size, the picture is resized to theirs.

    Raises:
        DatasetError: the data are no pictures, or hold numbers whose scale is not known.
    """
    if len(shape) != 3 or shape[0] not in MODE_OF:
        told = " \u00d7 ".join(map(str, shape)) or "a number"
        raise DatasetError(
            f"expected data of pictures for {where}; its inputs ({told}) are none",
            "name an example:ID instead",
        )
    if not pictures.code and dtype != np.uint8:
        raise DatasetError(
            f"expected pictures in bytes for {where}; the inputs of the data are numbers that were scaled elsewhere, "
            "and nothing says how",
            "name an example:ID instead, or give pictures as files or uint8 arrays",
        )
    if not pictures.code:
        pictures = replace(pictures, mode=MODE_OF[shape[0]])
        if not pictures.size and not pictures.crop:
            pictures = replace(pictures, size=(shape[1], shape[2]))
    found = pictures.pixels(picture, where)
    if found.shape != shape or found.dtype != dtype:
        raise DatasetError(
            f"expected {where} to become {dtype} {shape}, as the data are; it became {found.dtype} {found.shape}",
            "crop or resize it to their size",
        )
    return found
