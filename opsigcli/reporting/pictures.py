"""Thumbnails as PNG files inside a data: URI. The encoder is ours: a few lines, and the same bytes every time."""

from __future__ import annotations

import hashlib
import struct
import zlib
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from opsigcli.printable import without_home

if TYPE_CHECKING:
    from opsigcli.records import Bytes, Thumbnails

DIGITS = 16  # of a file's name that are of its content


def png(image: Bytes) -> bytes:
    """An RGB picture as PNG.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        The bytes of the file: 8 bits per channel, every row stored as differences from its left neighbour.

    Reference:
        PNG Specification, third edition (W3C), sections 9.2 (filter type 1) and 11.
    """
    height, width, _ = image.shape
    rows = np.array(image, dtype=np.uint8)
    rows[:, 1:] -= image[:, :-1]  # modulo 256, as the filter says
    filtered = np.concatenate([np.ones((height, 1), np.uint8), rows.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


class Beside:
    """Files that a page takes from the folder beside it, each named by its content: none is of another page."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.files: dict[str, bytes] = {}

    def put(self, kind: str, content: str | bytes, ending: str) -> str:
        """Keep a file; its address in the page."""
        data = without_home(content).encode() if isinstance(content, str) else content
        name = f"{kind}-{hashlib.sha256(data).hexdigest()[:DIGITS]}.{ending}"
        self.files[name] = data
        return f"{quote(self.folder)}/{name}"


class Album:
    """The pictures of a case by example id, encoded when first asked for.

    Args:
        thumbnails: of the case.
        beside: where they are kept; None = in the page itself.
    """

    def __init__(self, thumbnails: Thumbnails | None, beside: Beside | None = None) -> None:
        self._beside = beside
        known = zip(thumbnails.ids, thumbnails.images, strict=True) if thumbnails else ()
        self._images = {int(example): image for example, image in known}
        self._uris: dict[int, str] = {}
        self._means = thumbnails.means if thumbnails else ()

    def __contains__(self, example: int) -> bool:
        return int(example) in self._images

    def __len__(self) -> int:
        return len(self._images)

    @property
    def encoded(self) -> set[int]:
        """The examples whose pictures were asked for."""
        return set(self._uris)

    def uri(self, example: int) -> str | None:
        """The picture of an example as ``data:image/png;base64,…``, or None when there is none."""
        key = int(example)
        if key not in self._uris and key in self._images:
            self._uris[key] = self._address(self._images[key])
        return self._uris.get(key)

    def means(self, index: int) -> tuple[str, str, str] | None:
        """Mean pictures of both groups of pair ``index`` (from 1) and their difference, or None."""
        three = self._means[3 * (index - 1) : 3 * index]
        first, second, third = map(self._address, three) if len(three) == 3 else ("", "", "")
        return (first, second, third) if first else None

    def _address(self, image: Bytes) -> str:
        return data_uri(image) if self._beside is None else self._beside.put("picture", png(image), "png")


def data_uri(image: Bytes) -> str:
    """A picture as ``data:image/png;base64,…``."""
    return "data:image/png;base64," + b64encode(png(image)).decode("ascii")
