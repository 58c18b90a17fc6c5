"""The built-in ``digits``: 1,797 handwritten digits of 8 × 8 pixels, which come with the package.

They are the test set of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (1998), UCI Machine
Learning Repository, doi.org/10.24432/C50P49, licence CC BY 4.0 (creativecommons.org/licenses/by/4.0), in the order in
which scikit-learn's ``load_digits`` has them. ``digits.npz`` has the counts of ink from 0 to 16 as bytes, v 255/16.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.datasets.arrays import array_reader
from opsigcli.datasets.base import COMMON, Settings, Source
from opsigcli.datasets.listing import listing_of
from opsigcli.specs import Spec

if TYPE_CHECKING:
    from opsigcli.records import Bytes, Ints


def digits() -> tuple[Bytes, Ints]:
    """Pixels (1797, 8, 8) uint8 and labels (1797,) from 0 to 9."""
    with files(__package__).joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        return arrays["x"], arrays["y"].astype(np.int64)


def open_digits(spec: Spec) -> Source:
    """``digits?limit=500&standardize=channel``: pictures (1, 8, 8) of ten classes, with the options of all pictures.

    Raises:
        UsageError: an option is unknown or has a wrong value.
    """
    settings = Settings.of(spec.only("mode", *COMMON))
    pixels, labels = digits()
    listing = listing_of(labels, "digits", classes=[str(digit) for digit in range(10)])
    return Source(spec, listing, array_reader(pixels, "digits", settings.pictures), settings)
