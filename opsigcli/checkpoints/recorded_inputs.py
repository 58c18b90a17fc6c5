"""The normalisation of inputs that a run wrote down beside its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from opsigcli.files import read_file

if TYPE_CHECKING:
    from opsigcli.checkpoints.series import Series

BYTE = 1 / 255  # by which pictures are multiplied first, mostly


class Constants(NamedTuple):
    """Mean and deviation of each channel, of pictures in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    where: str  # the file


def recorded_normalisation(series: Series) -> Constants | None:
    """The constants, from the last checkpoint's own folder or that of the checkpoints; None where no file has them."""
    last = series.checkpoints[-1].path
    for place in dict.fromkeys((last, last.parent, series.folder)):
        for file in ("preprocessor_config.json", "config.json"):
            path = Path(place) / file
            try:
                found = _constants(json.loads(read_file(path))) if path.is_file() else None
            except (
                OSError,
                ValueError,
                TypeError,
                KeyError,
                AttributeError,
            ):  # another program's file of that name
                continue
            if found is not None and len(found[0]) == len(found[1]) > 0 and min(found[1]) > 0:
                return Constants(*found, str(path))
    return None


def _constants(found: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """As transformers' image processors write them, or timm."""
    if "image_mean" not in found:
        card = found.get("pretrained_cfg", found)
        return (_numbers(card["mean"]), _numbers(card["std"])) if {"mean", "std"} <= set(card) else None
    if found.get("do_rescale", True) is False:
        return None
    scale = float(found.get("rescale_factor", BYTE)) / BYTE  # of what is normalised, from [0, 1]
    if found.get("do_normalize", True) is False:
        return (0.0,), (1 / scale,)
    mean, std = _numbers(found["image_mean"]), _numbers(found["image_std"])
    return tuple(m / scale for m in mean), tuple(s / scale for s in std)


def _numbers(found: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in (found if isinstance(found, list) else [found]))
