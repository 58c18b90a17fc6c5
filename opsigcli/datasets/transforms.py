"""``transform=``: pictures prepared as a set of pretrained weights asks, or by a function of the user's own.

What ``weights:`` and ``timm:`` ask is resolved into the options a user could have written: size, crop, mean, std.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from opsigcli.datasets.arrays import as_array
from opsigcli.datasets.pictures import INTERPOLATIONS, MODES, Pictures, deep
from opsigcli.errors import DatasetError, UsageError
from opsigcli.query import choice
from opsigcli.registry import did_you_mean, nearest
from opsigcli.specs import Spec, parse
from opsigcli.trust import CODE_SCHEMES
from opsigcli.usercode import guarded, load_factory

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

EXPECTED = "weights:ResNet18_Weights.DEFAULT, timm:MODEL, py:pkg.mod:function or file:path.py:function"


@dataclass(frozen=True)
class Prepared:
    """What ``transform=`` stands for: what is done to pictures, and the constants of each channel."""

    pictures: Pictures
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True)
class Function(Pictures):
    """Pictures that a function of the user's own turns into arrays (C, H, W), uint8 or float."""

    function: Callable[[Image], Any] = as_array
    text: str = ""  # the spec that names it

    code: ClassVar[bool] = True

    def facts(self) -> dict[str, Any]:
        """The function by its name; a file by its own name, wherever it lies."""
        spec = parse(self.text)
        name = Path(spec.name).name if spec.scheme == "file" else spec.name
        return super().facts() | {"function": f"{spec.scheme}:{name}"}

    def pixels(self, picture: Image, where: str) -> NDArray[Any]:
        """One PIL picture as the function gives it: uint8, or float32.

        Raises:
            DatasetError: the function fails, or gives something else.
        """
        if (
            self.mode and picture.mode != self.mode and not deep(picture)
        ):  # whose numbers are for the function
            picture = picture.convert(self.mode)
        with guarded(DatasetError, f"calling {self.text!r} on {where}"):
            found = self.function(picture)
            array = np.empty(0) if hasattr(found, "getbands") else as_array(found)
        channels_last = array.ndim == 3 and array.shape[2] in (1, 3, 4) and array.shape[0] not in (1, 3, 4)
        if array.ndim != 3 or channels_last or not (array.dtype == np.uint8 or array.dtype.kind == "f"):
            shape = f" of {array.dtype} {array.shape}" if array.size else ""
            raise DatasetError(
                f"expected {self.text!r} to return an array or tensor (C, H, W), uint8 or float, for {where}; "
                f"found {type(found).__name__}{shape}",
                "end the function with torchvision.transforms.functional.to_tensor, or transpose(2, 0, 1)",
            )
        kind = np.uint8 if array.dtype == np.uint8 else np.float32
        with np.errstate(over="ignore"):  # becomes infinite, which the source refuses by name
            return np.ascontiguousarray(array, dtype=kind)


def prepared_by(spec: Spec, mode: str | None) -> Prepared | None:
    """What ``transform=`` in a dataset's spec stands for; None without it.

    Args:
        spec: of the dataset.
        mode: the mode of pictures where the spec gives none.

    Raises:
        UsageError: it is no known transform, or contradicts another option.
        DatasetError: the code that it names fails, or timm is not installed.
    """
    if "transform" not in spec.options:
        return None
    value = spec.options["transform"]
    inner = parse(value) if isinstance(value, str) and value.strip() else Spec("", "")
    if inner.scheme not in (*PRESETS, *CODE_SCHEMES) or inner.options:
        raise UsageError(f"in {str(spec)!r}: expected transform={EXPECTED}", "write transform= in that way")
    barred = ("size", "crop", "interpolation", "mean", "std", "standardize") + (
        ("mode",) if inner.scheme in PRESETS else ()
    )
    both = [key for key in barred if key in spec.options]
    if both:
        raise UsageError(
            f"in {str(spec)!r}: transform= already says what {', '.join(f'{key}=' for key in both)} would say",
            f"leave out transform=, or {' and '.join(f'{key}=' for key in both)}",
        )
    if inner.scheme in PRESETS:
        return PRESETS[inner.scheme](inner)
    mode = choice(spec, "mode", mode, MODES)
    return Prepared(Function(mode, function=load_factory(inner, DatasetError), text=str(inner)))


def _weights(spec: Spec) -> Prepared:
    """The evaluation preset of torchvision's weights, ``weights:ResNet18_Weights.DEFAULT``.

    Raises:
        UsageError: torchvision has no such weights, or they are not those of a classifier of images.
    """
    from torchvision import models
    from torchvision.transforms._presets import ImageClassification

    try:
        preset = models.get_weight(spec.name).transforms()
    except (ValueError, KeyError):
        kind, _, member = spec.name.partition(".")
        kinds = [name for name in dir(models) if name.endswith("_Weights")]
        members = list(getattr(models, kind).__members__) if kind in kinds else []
        close = [f"{kind}.{name}" for name in nearest(member, members)] or [
            f"{name}.DEFAULT" for name in nearest(kind, kinds)
        ]
        raise UsageError(
            f"torchvision has no weights {spec.name!r}",
            did_you_mean((f"weights:{name}" for name in close), "example: weights:ResNet18_Weights.DEFAULT"),
        ) from None
    if not isinstance(preset, ImageClassification):
        raise UsageError(
            f"expected the transform of a classifier of images; that of {spec.name} is {type(preset).__name__}",
            "write transform=py:pkg.mod:function",
        )
    pictures = Pictures(
        "RGB", tuple(preset.resize_size), _square(preset.crop_size), preset.interpolation.value
    )
    return Prepared(pictures, tuple(preset.mean), tuple(preset.std))


def _timm(spec: Spec) -> Prepared:
    """The data configuration of a timm model, ``timm:resnet18``, as timm's own evaluation resolves it.

    Raises:
        DatasetError: timm is not installed.
        UsageError: timm has no such model, or prepares its pictures in a way that is not known here.
    """
    try:
        timm: Any = import_module("timm")
    except ImportError as error:
        raise DatasetError(
            f"expected timm to be installed for transform={spec!s}; it is not", "pip install 'opsig[timm]'"
        ) from error
    if not timm.is_model(spec.name):
        close = nearest(spec.name, timm.list_models())
        raise UsageError(
            f"timm has no model {spec.name!r}",
            did_you_mean((f"timm:{name}" for name in close), "see timm.list_models()"),
        )
    with guarded(DatasetError, f"reading the data configuration of {str(spec)!r}"):
        card = timm.get_pretrained_cfg(spec.name)
        asked = import_module("timm.data").resolve_data_config(pretrained_cfg=card.to_dict() if card else {})
    _, height, width = asked["input_size"]
    if asked["crop_mode"] != "center" or height != width or asked["interpolation"] not in INTERPOLATIONS:
        raise UsageError(
            f"timm prepares pictures for {spec.name} in a way that opsig does not know: {asked}",
            "write transform=py:pkg.mod:function",
        )
    size = math.floor(height / asked["crop_pct"])
    pictures = Pictures("RGB", (size,), (height, width), asked["interpolation"])
    return Prepared(pictures, tuple(asked["mean"]), tuple(asked["std"]))


def _square(size: list[int]) -> tuple[int, int]:
    return size[0], size[-1]


PRESETS: dict[str, Callable[[Spec], Prepared]] = {"weights": _weights, "timm": _timm}
