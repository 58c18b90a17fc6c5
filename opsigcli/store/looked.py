"""Writes what was looked at in the data: the table of what can be seen, and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opsigcli.records import Thumbnails

DIGESTS = "example_digests"


def put_seen(
    file: h5py.File,
    seen: Mapping[str, NDArray[Any]],
    unseen: str,
    fingerprint: str,
    digests: NDArray[np.int64] | None,
) -> None:
    """Put the table in the place of the one that is there: feature to (N,), why there is none, of which data; and (N,)
    of the examples' contents."""
    file.pop(DIGESTS, None)
    if digests is not None:
        file[DIGESTS] = digests
    file.pop("seen", None)
    group = file.create_group("seen")
    group.attrs.update(unseen=unseen, fingerprint=fingerprint)
    for name, values in seen.items():
        group.create_dataset(name, data=values, compression="gzip")


def put_pictures(file: h5py.File, thumbnails: Thumbnails) -> None:
    """Put pictures in the place of those that are there."""
    file.pop("thumbnails", None)
    file["thumbnails/ids"] = thumbnails.ids
    file.create_dataset("thumbnails/images", data=np.stack(thumbnails.images), compression="gzip")
    if thumbnails.means:
        file.create_dataset("thumbnails/means", data=np.stack(thumbnails.means), compression="gzip")
