"""What in a run's settings makes its training loss another function than the one that is traced.

``KINDS`` is a table: to know another setting, add its name to the pattern of its kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opsigcli.checkpoints.step_keys import real
from opsigcli.training_records import SHARPNESS_AWARE

Active = Callable[[Any], bool]
NONE = ("", "none", "null", "no", "false", "off", "0", "0.0", "()", "[]", "{}")


def positive(value: Any) -> bool:
    """A number above 0, also as text."""
    number = real(value)
    return number is not None and number > 0


def probability(value: Any) -> bool:
    """A number above 0 and up to 1."""
    return positive(value) and float(value) <= 1


def given(value: Any) -> bool:
    """True, a number above 0, a list that is not all zeros, or a text that does not say no."""
    if isinstance(value, bool):
        return value
    if isinstance(value, list):
        return any(given(item) for item in value)
    return positive(value) if real(value) is not None else str(value).strip().lower() not in NONE


def weights(value: Any) -> bool:
    """Numbers that are not all alike, one other than 1, or a text such as ``balanced``."""
    if isinstance(value, list):
        return all(real(item) is not None for item in value) and len({real(item) for item in value}) > 1
    return given(value) and not isinstance(value, bool) and real(value) != 1


def fewer_bits(value: Any) -> bool:
    """True, or the name of a type of 16 bits."""
    return value is True or bool(re.search(r"16|half", str(value))) if not isinstance(value, list) else False


def text(value: Any) -> bool:
    """A name."""
    return isinstance(value, str) and value.strip().lower() not in NONE


@dataclass(frozen=True)
class Kind:
    """One kind of fact."""

    name: str
    pattern: str  # of the whole last part of a setting's name, in lower case, with _ for -
    active: Active  # the values that are a fact
    effect: str  # what it does to the traced losses
    many: bool = False  # settings of several names are facts of this kind together


EFFECT_OF_SAM = (
    "each gradient was taken where the loss is higher, further up than the weights: steps are none of the traced loss, "
    "and the threshold is not that of the rule inside, but reached where λ (1 + ρλ/‖g‖) comes to it"
)
KINDS = (
    Kind(
        "label smoothing",
        r"(label_?)?smoothing(_factor|_eps)?|(label|lbl)_?smooth",
        probability,
        "labels were mixed with all classes: the loss trained is higher where the model is sure, and its minimum is "
        "elsewhere; losses, deltas and sharpness traced are those of plain labels",
    ),
    Kind(
        "mixup",
        r"(use_)?(mix_?up|cut_?mix)(_?alpha)?|cutmix_minmax",
        given,
        "examples were trained mixed with one another, and their own losses alone never; the logged loss is the "
        "higher one, and steps of the run are none of the traced loss",
        many=True,
    ),
    Kind(
        "augmentation",
        r"aa|(auto|rand|trivial)_?aug(ment)?(ation)?|(use_|data_|train_)?aug(ment(ation)?s?)?|reprob|random_eras(e|ing)"
        r"|[hv]_?flip|(random_)?(horizontal_|vertical_)?flip|flip(lr|ud)|(random_)?(resized_)?crop|color_?jitter|cutout"
        r"|mosaic",
        given,
        "training saw changed inputs: the logged loss is the higher one, single deltas hold what other changes of the "
        "example moved, and steps of the run are none of the traced loss",
        many=True,
    ),
    Kind(
        "dropout",
        r"(\w+_)?(dropout|pdrop)(_?(p|prob|rate|ratio))?|drop(_rate|_prob)?|p_drop(out)?",
        probability,
        "training lost units at random, the trace has all of them: the logged loss is the higher one, and steps of "
        "the run are only on average those of the traced loss",
        many=True,
    ),
    Kind(
        "drop path",
        r"drop_?path(_rate|_prob)?|stochastic_depth(_prob|_rate)?|drop_?connect(_rate)?|drop_?block(_rate)?"
        r"|(\w+_)?layer_?drop",
        probability,
        "training left out blocks at random, the trace has all of them: the logged loss is the higher one",
        many=True,
    ),
    Kind(
        "class weights",
        r"(class|cls|label|ce)_weights?|pos_weight",
        weights,
        "the mean loss that fell weighed classes; in the traced mean all examples count alike",
    ),
    Kind(
        "weight decay",
        r"weight_?decay|wd|l2(_?(reg|lambda|weight|penalty))?",
        positive,
        "the weights shrank besides: no traced loss holds that, a step that raises the mean loss may be due to it, and "
        "thresholds take it as the optimizer's own",
    ),
    Kind(
        "mixed precision",
        r"(use_|native_)?amp|fp16|bf16|mixed_precision|precision|half|(torch_)?dtype|\w*scaler|mixedprecision",
        fewer_bits,
        "training rounded to 16 bits; the traced forward passes have 32, and small deltas of the run may be rounding",
    ),
    Kind(
        "gradient clipping",
        r"(max_)?(clip_)?grad(ient)?_(clip(ping)?(_val|_norm|_value)?|norm(_clip)?)|clip_?grad(_norm)?|clip(_norm)?",
        positive,
        "long steps were shortened to this norm: the losses are not changed by it, but steps and thresholds are not "
        "the rule's where it acted",
    ),
    Kind(
        SHARPNESS_AWARE,
        r"(use_|with_)?[ag]?sam(_rho)?",
        given,
        EFFECT_OF_SAM,
    ),
    Kind(
        SHARPNESS_AWARE,
        r"opt(im(i[sz]er)?)?(_name|_type|_class)?",
        lambda value: (
            isinstance(value, str) and bool(re.search(r"(^|[^a-z])[ag]?sam([^a-z]|$)", value.lower()))
        ),
        EFFECT_OF_SAM,
    ),
    Kind(
        "moving average",
        r"((model|use|with)_)?(ema|swa)",
        lambda value: value is True,
        "a moving average of the weights was kept beside those trained",
    ),
    Kind(
        "loss",
        r"criterion|loss(_fn|_func|_function|_type|_name)?|(bce|jsd)_loss",
        lambda value: value is True or text(value),
        "the loss trained, as its settings name it",
    ),
)
