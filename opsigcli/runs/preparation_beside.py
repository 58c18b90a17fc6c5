"""The preparation of the data's pictures against the one that the run wrote down beside its weights."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.checkpoints.input_cards import Card
from opsigcli.checkpoints.recorded_inputs import Recorded, recorded_inputs
from opsigcli.datasets.pictures import INTERPOLATIONS
from opsigcli.datasets.transforms import PRESETS
from opsigcli.errors import OpsigError
from opsigcli.examples import OWN_MEANS
from opsigcli.runs.class_order_beside import require_class_order
from opsigcli.specs import Value, parse

if TYPE_CHECKING:
    from opsigcli.checkpoints.series import Series
    from opsigcli.examples import ExampleSource
    from opsigcli.records import Floats

CONSTANTS = ("mean", "std", "standardize")  # options of the data that a warning replaces
GEOMETRY = ("size", "crop", "interpolation")
CLOSE = 2e-3  # by which constants may differ, as they are rounded
PLAIN = "bilinear"  # the interpolation where none is named

Odd = tuple[
    str, str, dict[str, Value]
]  # what is written down, what is here, and the options that are like the first


def hold_beside(series: Series, source: ExampleSource) -> list[str]:
    """Hold the data against all that the run wrote down of its own; what a person should know.

    Raises:
        DatasetError: the classes of the data have another order.
    """
    require_class_order(series, source)
    return preparation_beside(series, source)


def preparation_beside(series: Series, source: ExampleSource) -> list[str]:
    """What a person should know where something beside the weights says other constants, another size or another
    interpolation; nothing for inputs that are no pictures of bytes, of which the scale is not known."""
    recorded = recorded_inputs(series)
    if recorded is None or "scale" not in source.transform or len(source.input_shape) != 3:
        return []
    card = _card(recorded)
    odd = [found for found in (_constants(card, source), _geometry(card, source)) if found is not None]
    if not odd:
        return []
    theirs, ours = (", ".join(said) for said in (zip(*((one, other) for one, other, _ in odd), strict=True)))
    advice = _advice(source, [options for _, _, options in odd])
    return [
        f"{recorded.where} has {theirs}, and inputs here have {ours}. If the run was trained so, the losses here are "
        f"of other inputs{advice}"
    ]


def _card(recorded: Recorded) -> Card:
    """What was written down; of weights of torchvision, their evaluation preset, where this torchvision has them."""
    if not recorded.weights:
        return recorded.card
    try:
        found = PRESETS["weights"](parse(f"weights:{recorded.weights}"))
    except OpsigError:
        return recorded.card
    pictures = found.pictures
    return Card(found.mean, found.std, pictures.size, pictures.crop or (), pictures.interpolation or "")


def _constants(card: Card, source: ExampleSource) -> Odd | None:
    channels = source.input_shape[0]
    if len(card.mean) not in (1, channels):
        return None
    wanted = [np.broadcast_to(np.array(each), channels) for each in (card.mean, card.std)]
    own = source.normalisation or (np.zeros(1), np.ones(1))
    found = [np.broadcast_to(np.asarray(each, dtype=np.float64).reshape(-1), channels) for each in own]
    own_mean = source.transform.get("standardize") in OWN_MEANS
    if not own_mean and all(
        np.allclose(a, b, rtol=CLOSE, atol=CLOSE) for a, b in zip(wanted, found, strict=True)
    ):
        return None
    here = "each picture's own mean" if own_mean else _words(found)
    return (
        f"{_words(wanted)} for pictures in [0, 1]",
        here,
        {"mean": [round(v, 8) for v in card.mean], "std": [round(v, 8) for v in card.std]},
    )


def _geometry(card: Card, source: ExampleSource) -> Odd | None:
    facts, shape = source.transform, tuple(source.input_shape[1:])
    if not card.shape:
        return None
    size, kind = tuple(facts.get("size", ())), facts.get("interpolation", PLAIN)
    other_size = bool(size and card.size) and size != card.size
    other_kind = bool(size and card.interpolation) and kind != card.interpolation
    if shape == card.shape and not other_size and not other_kind:
        return None
    options: dict[str, Value] = {"size": list(card.size or card.shape)}
    if card.crop and (len(card.size) != 1 or card.crop != (card.size[0], card.size[0])):
        options["crop"] = list(card.crop)
    if card.interpolation in INTERPOLATIONS and card.interpolation != PLAIN:
        options["interpolation"] = card.interpolation
    return _sized(card.shape, card.size, card.interpolation), _sized(shape, size, kind), options


def _sized(shape: tuple[int, ...], size: tuple[int, ...], kind: str) -> str:
    """``224x224 pixels of pictures brought to 256, bicubic``."""
    how = (
        f" of pictures whose shorter side is brought to {size[0]}" if len(size) == 1 else " of whole pictures"
    )
    more = f"{how}{f', {kind}' if kind else ''}" if size else ""
    return f"{shape[0]}x{shape[1]} pixels{more}"


def _advice(source: ExampleSource, changes: Sequence[dict[str, Value]]) -> str:
    """The data's spec with these options in place of its own; nothing where code of the user's makes the inputs."""
    spec = parse(source.spec)
    options: dict[str, Value] = dict(spec.options)
    if "transform" in options:
        if parse(str(options.pop("transform"))).scheme not in PRESETS:
            return ""
        own: dict[str, Any] = source.transform
        options |= {key: own[key] for key in (*CONSTANTS, *GEOMETRY) if key in own}
    for change in changes:
        replaced = CONSTANTS if "mean" in change else GEOMETRY
        options = {key: value for key, value in options.items() if key not in replaced} | change
    return f": give --data {shlex.quote(str(replace(spec, options=_short(options))))}"


def _short(options: dict[str, Value]) -> dict[str, Value]:
    """Lists of one number as that number."""
    return {
        key: value[0] if isinstance(value, list) and len(value) == 1 else value
        for key, value in options.items()
    }


def _words(constants: Sequence[Floats]) -> str:
    mean, std = (", ".join(f"{value:.4g}" for value in each) for each in constants)
    return f"mean {mean} and deviation {std}"
