"""Image files opened: the one place, with the formats that are read and a bound on their pixels.

Pillow tells formats by content, whatever a file is called, and for one of them, PostScript, it starts another program
(Ghostscript). So the formats are listed here, and each is decoded within this process.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.errors import DatasetError
from opsigcli.files import open_file

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MOST_PIXELS = 1 << 27  # of one picture; a file of a few bytes may claim billions


@cache
def keep_pictures_harmless() -> None:
    """Whatever code opens a picture in this process starts no program and fills no memory by it."""
    from PIL import EpsImagePlugin, Image

    EpsImagePlugin.gs_binary = False  # as on a machine without Ghostscript
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


@contextmanager
def open_picture(path: str | Path) -> Iterator[Image]:
    """The picture in an image file, closed afterwards.

    Raises:
        DatasetError: the file is missing, is no image of a known format, is broken, or has too many pixels.
    """
    with _readable(str(path)), open_file(path) as file, _opened(file) as picture:
        yield picture


def picture_of_bytes(content: bytes, where: str) -> Image:
    """The picture that the bytes of an image file hold, decoded.

    Raises:
        DatasetError: they are no image of a known format, are broken, or have too many pixels.
    """
    with _readable(where):
        picture = _opened(io.BytesIO(content))
        picture.load()
        return picture


def _opened(file: Any) -> Image:
    from PIL import Image

    keep_pictures_harmless()
    return Image.open(file, formats=FORMATS)


@contextmanager
def _readable(where: str) -> Iterator[None]:
    """Reading a picture: errors of the system and of Pillow become opsig's.

    Raises:
        DatasetError: there was one.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except DatasetError:
        raise
    except FileNotFoundError:
        raise DatasetError(
            f"expected an image at {where}; it is not there", "was it moved or deleted?"
        ) from None
    except UnidentifiedImageError:
        raise DatasetError(
            f"expected a readable image ({', '.join(FORMATS)}), found another, broken or unreadable one: {where}",
            "restore that file, convert it to PNG, or delete it",
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DatasetError(
            f"expected a picture of at most {MOST_PIXELS:,} pixels, found more: {where}",
            "make it smaller, or delete it",
        ) from None
    except Exception as problem:  # PIL raises OSError, SyntaxError, ValueError, struct.error and its own
        reason = getattr(problem, "strerror", None) or problem
        raise DatasetError(
            f"expected a readable image, found a broken or unreadable one: {where} ({reason})",
            "restore that file, or delete it",
        ) from problem
