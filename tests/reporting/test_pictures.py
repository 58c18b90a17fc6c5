"""Thumbnails become PNG files that other programs read."""

from __future__ import annotations

import io
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from opsigcli.records import Thumbnails
from opsigcli.reporting.pictures import Album, png


@pytest.mark.parametrize("shape", [(1, 1, 3), (32, 32, 3), (7, 13, 3)])
def test_pillow_reads_back_the_same_pixels(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    read = Image.open(io.BytesIO(png(image)))
    assert (read.format, read.mode) == ("PNG", "RGB")
    assert np.array_equal(np.asarray(read), image)


def test_a_picture_is_encoded_without_changing_it() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    before = image.copy()
    assert png(image) == png(image)
    assert np.array_equal(image, before)


def test_an_album_knows_its_pictures_by_id() -> None:
    image = np.full((2, 2, 3), 9, dtype=np.uint8)
    album = Album(Thumbnails(np.array([40, 7]), (image, image + 1)))
    assert 7 in album
    assert 8 not in album
    assert album.uri(8) is None
    head, _, body = (album.uri(7) or "").partition(",")
    assert head == "data:image/png;base64"
    assert np.asarray(Image.open(io.BytesIO(b64decode(body))))[0, 0, 0] == 10
    assert 7 not in Album(None)
