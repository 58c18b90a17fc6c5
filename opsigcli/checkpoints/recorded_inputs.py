"""The normalisation of inputs that a run wrote down beside its weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from opsigcli.checkpoints.read_beside import read_beside

if TYPE_CHECKING:
    from opsigcli.checkpoints.series import Series

BYTE = 1 / 255  # by which pictures are multiplied first, mostly


class Constants(NamedTuple):
    """Mean and deviation of each channel, of pictures in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    where: str  # the file


def recorded_normalisation(series: Series) -> Constants | None:
    """The constants, from files beside the weights; None where no file has them."""
    found = read_beside(series, dict.fromkeys(("preprocessor_config.json", "config.json"), _usable))
    return None if found is None else Constants(*found[0], found[1])


def _usable(text: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    found = _constants(json.loads(text))
    return found if found is not None and len(found[0]) == len(found[1]) > 0 and min(found[1]) > 0 else None


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
