"""The preparation of inputs that a run wrote down beside its weights, or in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsigcli.checkpoints.arguments import Argument, arguments
from opsigcli.checkpoints.input_cards import Card, numbers, of_open_clip, of_timm, of_transformers, usable
from opsigcli.checkpoints.read_beside import read_beside

if TYPE_CHECKING:
    from opsigcli.checkpoints.series import Series

CARDS = {
    "preprocessor_config.json": of_transformers,
    "processor_config.json": of_transformers,
    "open_clip_config.json": of_open_clip,
    "config.json": of_timm,
}
_WEIGHTS = re.compile(r"(\w+_Weights\.\w+)")  # of torchvision, as scripts name them
_CONSTANTS = re.compile(r"(?:image|pixel|img|norm|data|dataset)?_?(mean|std)")
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of torchvision's own training script


@dataclass(frozen=True)
class Recorded:
    """What was written down, and where."""

    card: Card
    where: str  # the file
    weights: str = ""  # of torchvision, whose evaluation preset it was; the card is empty then


def recorded_inputs(series: Series) -> Recorded | None:
    """The preparation: of files beside the weights, else of the run's settings; None where nothing says it."""
    if found := read_beside(series, CARDS):
        return Recorded(*found)
    by_file: dict[str, list[Argument]] = {}
    for argument in arguments(series):
        by_file.setdefault(argument.found_in, []).append(argument)
    return next(filter(None, (_of_settings(where, given) for where, given in by_file.items())), None)


def _of_settings(where: str, given: Sequence[Argument]) -> Recorded | None:
    """What the settings of one file say: constants, sizes of torchvision's training script, names of its weights."""
    named = {re.split(r"[./]", one.name.lower().replace("-", "_"))[-1]: one.value for one in given}
    constants = {
        part[1]: numbers(value)
        for name, value in named.items()
        if (part := _CONSTANTS.fullmatch(name)) and _is_list(value)
    }
    if {"mean", "std"} <= set(constants):
        unit = 255.0 if max(constants["std"]) > 1 or max(constants["mean"]) > 1 else 1.0
        mean, std = (tuple(value / unit for value in constants[name]) for name in ("mean", "std"))
        card = usable(Card(mean, std))
        return None if card is None else Recorded(card, where)
    size, crop = named.get("val_resize_size"), named.get("val_crop_size")
    if isinstance(size, int) and isinstance(crop, int):
        return Recorded(Card(*IMAGENET, (size,), (crop, crop), str(named.get("interpolation", ""))), where)
    weights = [_WEIGHTS.fullmatch(value) for value in named.values() if isinstance(value, str)]
    name = next((found[1] for found in weights if found), "")
    return Recorded(Card(), where, name) if name else None


def _is_list(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, int | float) and not isinstance(item, bool) for item in value
    )
