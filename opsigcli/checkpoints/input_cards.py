"""How the files beside weights say that pictures were prepared: those of transformers, timm and open_clip."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

BYTE = 1 / 255  # by which pictures are multiplied first, mostly
LARGE = 384  # from which the processor of ConvNeXt does not crop
RESAMPLINGS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # by Pillow's numbers


@dataclass(frozen=True)
class Card:
    """What is said of the preparation of pictures; () and "" for what is not."""

    mean: tuple[float, ...] = ()  # of each channel, of pictures in [0, 1]
    std: tuple[float, ...] = ()
    size: tuple[int, ...] = ()  # (H,) of the shorter side, or (H, W)
    crop: tuple[int, int] | tuple[()] = ()
    interpolation: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width of inputs, () where they are not said."""
        return self.crop or (self.size if len(self.size) == 2 else ())


def usable(card: Card) -> Card | None:
    """The card, if it says something, and constants that can be."""
    if len(card.mean) != len(card.std) or min(card.std, default=1.0) <= 0:
        return None
    return card if card.mean or card.shape else None


def of_transformers(text: str) -> Card | None:
    """``preprocessor_config.json``, ``processor_config.json``: an image processor's settings."""
    found = json.loads(text)
    found = found.get("image_processor", found)
    mean, std = _normalised(found)
    if not mean and "size" not in found:
        return None
    size, crop = _resized(found)
    resample = found.get("resample")
    known = isinstance(resample, int) and 0 <= resample < len(RESAMPLINGS) and bool(size)
    return usable(Card(mean, std, size, crop, RESAMPLINGS[resample] if known else ""))


def _normalised(found: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if "image_mean" not in found and "do_normalize" not in found:
        return (), ()
    rescaled = found.get("do_rescale", True)
    scale = float(found.get("rescale_factor", BYTE)) / BYTE if rescaled else 255.0  # of what is normalised
    if found.get("do_normalize", True) is False:
        return (0.0,), (1 / scale,)
    mean, std = numbers(found["image_mean"]), numbers(found["image_std"])
    if not rescaled and max(mean) <= 1:
        return (), ()  # constants of [0, 1] for numbers that something else has brought there
    return tuple(m / scale for m in mean), tuple(s / scale for s in std)


def _resized(found: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, int] | tuple[()]]:
    crops = bool(found.get("do_center_crop", False))
    crop = _pair(found.get("crop_size")) if crops else ()
    size: Any = found.get("size") if found.get("do_resize", True) else None
    if isinstance(size, dict) and set(size) == {"shortest_edge"}:
        edge = int(size["shortest_edge"])
        if "crop_pct" not in found:
            return (edge,), crop
        if edge >= LARGE:  # as ConvNeXt's processor has it: without a crop
            return (edge, edge), ()
        return (int(edge / float(found["crop_pct"])),), (edge, edge)
    if isinstance(size, int) and crops:
        return (size,), crop
    return _pair(size), crop


def _pair(found: Any) -> tuple[int, int] | tuple[()]:
    """(H, W) of a number, of two, or of a mapping with both; () of anything else."""
    if isinstance(found, dict):
        found = [found["height"], found["width"]] if {"height", "width"} <= set(found) else None
    found = [found, found] if isinstance(found, int) else found
    return (int(found[0]), int(found[1])) if isinstance(found, list) and len(found) == 2 else ()


def of_timm(text: str) -> Card | None:
    """``config.json``: the data configuration of a pretrained model, by itself or under ``pretrained_cfg``."""
    found = json.loads(text)
    if "image_mean" in found:
        return of_transformers(text)
    card = found.get("pretrained_cfg", found)
    if not {"mean", "std"} <= set(card):
        return None
    mean, std = numbers(card["mean"]), numbers(card["std"])
    channels = card.get("input_size")
    if not isinstance(channels, list) or len(channels) != 3 or card.get("crop_mode", "center") != "center":
        return usable(Card(mean, std))
    height, width = int(channels[1]), int(channels[2])
    size = math.floor(min(height, width) / float(card.get("crop_pct") or 1))
    return usable(Card(mean, std, (size,), (height, width), _named(card.get("interpolation"))))


def of_open_clip(text: str) -> Card | None:
    """``open_clip_config.json``: ``preprocess_cfg``, and the size of the tower of vision."""
    found = json.loads(text)
    card = found["preprocess_cfg"]
    size = _pair(card.get("size") or found.get("model_cfg", {}).get("vision_cfg", {}).get("image_size"))
    mode = card.get("resize_mode", "shortest")
    if not size or mode not in ("shortest", "squash"):  # of the longest, with a border around
        return usable(Card(numbers(card["mean"]), numbers(card["std"])))
    shorter, crop = ((min(size),), size) if mode == "shortest" else (size, ())
    kind = _named(card.get("interpolation", "bicubic"))
    return usable(Card(numbers(card["mean"]), numbers(card["std"]), shorter, crop, kind))


def _named(found: Any) -> str:
    return found if found in RESAMPLINGS else ""


def numbers(found: Any) -> tuple[float, ...]:
    """A number, or a list of them, as numbers."""
    return tuple(float(value) for value in (found if isinstance(found, list | tuple) else [found]))
