"""What was looked at in the data, in a store: the table of what can be seen, and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opsigcli.records import Thumbnails


def put_seen(file: h5py.File, seen: Mapping[str, NDArray[Any]], unseen: str, fingerprint: str) -> None:
    """Put the table in the place of the one that is there: feature to (N,), why there is none, of which data."""
    file.pop("seen", None)
    group = file.create_group("seen")
    group.attrs.update(unseen=unseen, fingerprint=fingerprint)
    for name, values in seen.items():
        group.create_dataset(name, data=values, compression="gzip")


def get_seen(file: h5py.File, fingerprint: str) -> tuple[dict[str, NDArray[Any]], str] | None:
    """Feature to (N,), and why there is none; None where nobody looked, or at other data."""
    group = file.get("seen")
    if group is None or group.attrs["fingerprint"] != fingerprint:
        return None
    return {name: group[name][()] for name in group}, str(group.attrs["unseen"])


def put_pictures(file: h5py.File, thumbnails: Thumbnails) -> None:
    """Put pictures in the place of those that are there."""
    file.pop("thumbnails", None)
    file["thumbnails/ids"] = thumbnails.ids
    file.create_dataset("thumbnails/images", data=np.stack(thumbnails.images), compression="gzip")
    if thumbnails.means:
        file.create_dataset("thumbnails/means", data=np.stack(thumbnails.means), compression="gzip")


def get_pictures(file: h5py.File) -> Thumbnails | None:
    """The pictures, or None."""
    group = file.get("thumbnails")
    if group is None:
        return None
    means = tuple(group["means"][()]) if "means" in group else ()
    return Thumbnails(group["ids"][()], tuple(group["images"][()]), means)
