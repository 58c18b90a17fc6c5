"""From image files and PIL images to pixels: mode, resize and crop as torchvision's evaluation transforms do them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from opsigcli.errors import DatasetError, UsageError
from opsigcli.query import choice, integers
from opsigcli.specs import Spec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from opsigcli.records import Bytes

MODES = ("RGB", "L", "F")  # F: one channel of numbers as they are stored, unscaled
LARGEST_SIDE = 1 << 14  # pixels that size= and crop= may ask for
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")  # as PIL names them
PLAIN_MODES = ("L", "RGB", "RGBA")  # what one byte per channel can hold
DEEP_MODES = ("I", "F")  # what it cannot, with those of 16 bits, I;16 and I;16B


@dataclass(frozen=True)
class Pictures:
    """How pictures become arrays.

    ``size=H`` resizes the shorter side to H and crops the centre to H×H (``crop`` changes that crop);
    ``size=H,W`` resizes to exactly H×W. Bilinear, if ``interpolation=bicubic`` or another is not said, with
    antialiasing, as ``Resize`` and ``CenterCrop`` of torchvision on PIL images.
    """

    mode: str | None = None  # None keeps a picture's own mode
    size: tuple[int, ...] = ()
    crop: tuple[int, int] | None = None
    interpolation: str | None = None

    code: ClassVar[bool] = False  # whether the user's own code makes the arrays

    @classmethod
    def of(cls, spec: Spec, mode: str | None = None) -> Pictures:
        """Read ``mode``, ``size``, ``crop`` and ``interpolation`` from a spec.

        Raises:
            UsageError: a value is not of its form.
        """
        size = integers(spec, "size", (), maximum=LARGEST_SIDE)
        crop = integers(spec, "crop", size if len(size) == 1 else (), maximum=LARGEST_SIDE)
        for key, found in (("size", size), ("crop", crop)):
            if len(found) > 2:
                raise UsageError(
                    f"in {str(spec)!r}: expected {key}=H or {key}=H,W; found {len(found)} numbers"
                )
        kind = choice(spec, "interpolation", None, INTERPOLATIONS)
        return cls(choice(spec, "mode", mode, MODES), size, (crop[0], crop[-1]) if crop else None, kind)

    @property
    def changes(self) -> bool:
        """Whether pictures are altered at all."""
        return self != Pictures()

    def facts(self) -> dict[str, Any]:
        """What is done, for a source's ``transform``."""
        facts: dict[str, Any] = {}
        if self.mode:
            facts["mode"] = self.mode
        if self.size:
            facts["size"] = list(self.size)
        if self.crop:
            facts["crop"] = list(self.crop)
        if self.interpolation:
            facts["interpolation"] = self.interpolation
        return facts

    def pixels(self, picture: Image, where: str) -> NDArray[Any]:
        """One PIL picture as (C, H, W) uint8, or as float32 in mode F.

        Raises:
            DatasetError: the crop is larger than the picture, or its numbers are more than bytes can hold.
        """
        from PIL import Image

        if deep(picture) and self.mode != "F":
            raise DatasetError(
                f"expected a picture of 8 bits per channel, found mode {picture.mode} "
                f"({'float' if picture.mode == 'F' else '16 or 32 bits'}) in {where}; as bytes it would be white or "
                "black",
                "add mode=F to --data, which takes the numbers as they are; mean=0&std=65535 then brings 16 bits to "
                "[0, 1]",
            )

        mode = self.mode or (picture.mode if picture.mode in PLAIN_MODES else "RGB")
        if picture.mode == "1" and self.mode is None:
            mode = "L"
        if picture.mode != mode:
            picture = picture.convert(mode)
        width, height = picture.size
        if self.size:
            new_height, new_width = self._resized(height, width)
            if (new_height, new_width) != (height, width):
                picture = picture.resize(
                    (new_width, new_height), Image.Resampling[(self.interpolation or "bilinear").upper()]
                )
            height, width = new_height, new_width
        if self.crop:
            crop_height, crop_width = self.crop
            if crop_height > height or crop_width > width:
                raise DatasetError(
                    f"expected {where} to hold a crop of {crop_height}x{crop_width}; it is {height}x{width}",
                    "choose a smaller crop=, or a larger size=",
                )
            top, left = round((height - crop_height) / 2), round((width - crop_width) / 2)
            picture = picture.crop((left, top, left + crop_width, top + crop_height))
        pixels = np.asarray(picture)
        return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if len(self.size) == 2:
            return self.size[0], self.size[1]
        short = self.size[0]
        long = int(short * max(height, width) / min(height, width))
        return (short, long) if height <= width else (long, short)


def deep(picture: Image) -> bool:
    """Whether a picture holds numbers that bytes cannot."""
    return picture.mode in DEEP_MODES or picture.mode.startswith("I;")


def channels_first(x: NDArray[Any], where: str) -> Bytes:
    """uint8 pictures (N, H, W) or (N, H, W, C) as (N, C, H, W).

    Raises:
        DatasetError: the shape is another one, or looks like (N, C, H, W) already.
    """
    if x.ndim == 3:
        return np.ascontiguousarray(x[:, None])
    if x.ndim != 4 or (x.shape[1] in (1, 3, 4) and x.shape[3] not in (1, 3, 4)):
        raise DatasetError(
            f"expected uint8 images in {where} of shape (N, H, W, C) or (N, H, W); found {x.shape}",
            "transpose the images to (N, H, W, C), as by x.transpose(0, 2, 3, 1), or store what is no image as "
            "float32, and token numbers as int64",
        )
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def picture_of(pixels: NDArray[Any]) -> Bytes | None:
    """One input (C, H, W) as a person would look at it: (H, W, 3) uint8, or None when it is no image.

    Floats in [0, 1] are shown as they are; other floats are stretched so that their smallest entry is black
    and their largest white.
    """
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3, 4):
        return None
    if pixels.dtype != np.uint8:
        low, high = float(pixels.min()), float(pixels.max())
        if low < 0 or high > 1:
            pixels = (pixels - low) / ((high - low) or 1)
        pixels = np.rint(pixels * 255).astype(np.uint8)
    colours = pixels[:3] if pixels.shape[0] >= 3 else pixels.repeat(3, axis=0)
    return np.ascontiguousarray(colours.transpose(1, 2, 0))
