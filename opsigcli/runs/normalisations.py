"""Inputs prepared in other ways than the data's spec says: which of the usual ones the weights were trained with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.doubt_records import Better
from opsigcli.examples import OWN_MEANS
from opsigcli.runs.operations import operations
from opsigcli.runs.right_answers import right_answers
from opsigcli.specs import Spec, parse

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective
    from opsigcli.records import Floats, Ints
    from opsigcli.runs.stored_statistics import FirstBatchNorm

# The bound of the search is work and not time, so that a slow machine finds what a fast one does.
EXAMPLES, FEWEST = 100, 24  # of the sample, at most; and at least, before ways are left out
OPERATIONS = 4e12  # of all passes together
CLEARLY = 0.9  # of the loss as given, which the better one must be below, and
ERRORS = 3.0  # standard errors of the difference
ALIKE = 2.0  # standard errors within which two ways cannot be told apart
UNLIKE = 0.25  # nats per channel from which BatchNorm's stored statistics may be those of other inputs: they are if
UNLIKE_SO = 0.1  # prepared otherwise, they are within this part of it
NEAR, NATS = 2.0, 0.01  # of the nearest or the lowest, within which another way cannot be told from it
CONSTANTS = ("mean", "std", "standardize", "channels")

# Name -> mean and standard deviation of each channel, of inputs in [0, 1].
COLOUR: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "no normalisation": ((), ()),
    "the normalisation of ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "the normalisation of CIFAR-10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "the normalisation of CIFAR-10 with deviations of .20": (
        (0.4914, 0.4822, 0.4465),
        (0.2023, 0.1994, 0.2010),
    ),
    "the normalisation of CIFAR-100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "the normalisation of CLIP": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "inputs from -1 to 1": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "inputs from 0 to 255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
    "the normalisation of Caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)),
}
GREY: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "no normalisation": ((), ()),
    "the normalisation of MNIST": ((0.1307,), (0.3081,)),
    "the normalisation of Fashion-MNIST": ((0.2860,), (0.3530,)),
    "inputs from -1 to 1": ((0.5,), (0.5,)),
    "inputs from 0 to 255": ((0.0,), (1 / 255,)),
}
WAYS = {3: 2 * (len(COLOUR) + 2), 1: len(GREY) + 2}  # by channels


@dataclass(frozen=True)
class _Tried:
    """One way, and what came of it."""

    way: Better
    losses: Floats
    unlike: float | None  # nats, see ``FirstBatchNorm``


def better_prepared(
    objective: Objective, sample: Ints, weights: Floats, norm: FirstBatchNorm | None, search: bool
) -> tuple[Better | None, tuple[str, ...]]:
    """The usual normalisation and order of channels that suits the loaded weights clearly better, None where none does;
    and the ways that were not tried, where all of them would take too much work.

    Where BatchNorms use the statistics of the data, these undo most of what the constants of a normalisation are, and
    the statistics that the checkpoint stores tell instead. Where BatchNorms use those, and they lag behind the weights,
    wrong inputs can come out better: then they have to have those statistics as well.

    Args:
        objective: with the weights; its source reads pictures, or nothing is looked for.
        sample: positions of examples.
        weights: of each, adding up to 1.
        norm: of the weights; None where they have no BatchNorm.
        search: look by the losses as well, and not by the stored statistics alone.
    """
    source = objective.source
    bare = _bare(source.spec)
    of_data = None if objective.data_statistics is None else norm
    pictures = len(source.input_shape) == 3 and source.input_shape[0] in (1, 3)
    if bare is None or not pictures or (of_data is None and not search):
        return None, ()
    passes = OPERATIONS / operations(objective, sample[:1])  # of one example
    rows = np.random.default_rng(1).permutation(len(sample))
    rows = rows[: int(np.clip(passes / WAYS[source.input_shape[0]], FEWEST, EXAMPLES))]
    positions, share = sample[rows], weights[rows] / weights[rows].sum()
    raw = _raw(objective, positions)
    if raw is None:
        return None, ()
    inputs_given = source.read(positions)
    given, answers, unlike = losses_prepared(objective, inputs_given, positions, of_data)
    other = unlike is not None and unlike > UNLIKE
    if not search and not other:
        return None, ()
    as_given = float(share @ given)
    found: list[_Tried] = []
    untried: list[str] = []
    for place, (name, options, inputs) in enumerate(_ways(raw)):
        if (place + 1) * len(positions) > max(passes, len(positions)):
            untried.append(name)
            continue
        losses, outputs, its = losses_prepared(objective, inputs, positions, of_data)
        right = right_answers(objective, outputs, positions)
        mean = float(share @ losses)
        spec = str(replace(bare, options=bare.options | options))
        way = Better(name, spec, mean, None if right is None else float(share @ right), as_given)
        if np.isfinite(mean):
            found.append(_Tried(way, losses, its))
    better = _as_stored(unlike, found, as_given) if other and unlike is not None else None
    if better is None and search:
        # Inputs spread farther make outputs that are surer, and losses that are lower in a net that is hardly trained.
        known = right_answers(objective, answers, positions)
        least = None if known is None else float(share @ known)
        found = [one for one in found if least is None or one.way.right is None or one.way.right >= least]
        better = _by_losses(found, given, as_given) if found else None
        if better is not None and norm is not None and of_data is None:
            so = next(inputs for name, _, inputs in _ways(raw) if name == better.name)
            before, after = (losses_prepared(objective, x, positions, norm)[2] for x in (inputs_given, so))
            if before is not None and after is not None and after > before:
                better = None
    return better, tuple(untried)


def _by_losses(found: list[_Tried], given: Floats, as_given: float) -> Better | None:
    """The way of the lowest losses, if these are clearly below those as given.

    Of ways whose losses are next to the lowest it is the first, in the usual order of channels: of examples that are
    all answered rightly, inputs farther apart than those of training have the lower losses, and are not what was meant.
    """
    lowest = min(found, key=lambda one: one.way.mean_loss)
    best = next(one for one in found if one.way.mean_loss <= lowest.way.mean_loss + NATS)
    if not (best.way.mean_loss < CLEARLY * as_given and apart(given - best.losses) > ERRORS):
        return None
    alike = (
        one.way.name
        for one in sorted(found, key=lambda one: one.way.mean_loss)
        if one is not best
        and (one.way.mean_loss <= lowest.way.mean_loss + NATS or apart(one.losses - best.losses) < ALIKE)
    )
    return replace(best.way, others=tuple(alike))


def _as_stored(unlike: float, found: list[_Tried], as_given: float) -> Better | None:
    """The way whose inputs have the statistics that the checkpoint stores; None where none does."""
    fitting = [one for one in found if one.unlike is not None and one.way.mean_loss * CLEARLY <= as_given]
    best = min(fitting, key=lambda one: one.unlike or 0.0, default=None)
    if best is None or best.unlike is None or best.unlike > UNLIKE_SO * unlike:
        return None
    fitting.sort(key=lambda one: one.unlike or 0.0)
    near = (one for one in fitting if one is not best and (one.unlike or 0.0) <= NEAR * best.unlike + NATS)
    return replace(best.way, unlike=unlike, unlike_so=best.unlike, others=tuple(one.way.name for one in near))


def apart(differences: Floats) -> float:
    """The mean of differences (B,), in its standard errors."""
    error = float(differences.std(ddof=1)) / np.sqrt(len(differences)) if len(differences) > 1 else np.inf
    return float(differences.mean()) / error if error > 0 else float(np.sign(differences.mean())) * np.inf


def losses_prepared(
    objective: Objective, inputs: Any, positions: Ints, norm: FirstBatchNorm | None
) -> tuple[Floats, Any, float | None]:
    import torch

    objective.settle()
    prepared = torch.as_tensor(np.ascontiguousarray(inputs)).to(objective.device, objective.dtype)
    with torch.inference_mode():
        outputs, unlike = (objective.model(prepared), None) if norm is None else norm.pass_through(prepared)
        losses = objective.example_loss(outputs, objective.targets(positions))
    return losses.double().cpu().numpy(), outputs, unlike


def _bare(text: str) -> Spec | None:
    """The spec without constants; None where a transform of its own makes the inputs."""
    spec = parse(text)
    if "transform" in spec.options:
        return None
    return replace(spec, options={key: value for key, value in spec.options.items() if key not in CONSTANTS})


def _raw(objective: Objective, positions: Ints) -> Floats | None:
    """The inputs (B, C, H, W) before constants, channels as the data have them; None where they cannot be had."""
    source = objective.source
    if source.transform.get("standardize") in OWN_MEANS:
        return None
    inputs = np.asarray(source.read(positions), dtype=np.float64)
    if source.normalisation is not None:
        mean, std = source.normalisation
        inputs = inputs * std + mean
    return inputs[:, ::-1] if source.transform.get("channels") == "bgr" else inputs


def _ways(raw: Floats) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Name, options of the data's spec and inputs (B, C, H, W) of every usual way."""
    low, high = float(raw.min()), float(raw.max())
    if low < -1e-3:
        return  # normalised before they were saved
    unit = 1.0 if high <= 1 + 1e-3 else 255.0
    colour = raw.shape[1] == 3
    for reverse in (False, True) if colour else (False,):
        inputs = raw[:, ::-1] if reverse else raw
        order: dict[str, Any] = {"channels": "bgr"} if reverse else {}
        words = ", channels in the order BGR" if reverse else ""
        for name, constants in (COLOUR if colour else GREY).items():
            mean, std = ([v * unit for v in (each[::-1] if reverse else each)] for each in constants)
            options = {} if unit == 1 and not mean else _options(mean or [0.0], std or [unit])
            yield name + words, order | options, _scaled(inputs, options)
        for key, whose, axes in (("channel", "the data", (0, 2, 3)), ("image", "each picture", (1, 2, 3))):
            spread = inputs.std(axes, keepdims=True)
            scaled = (inputs - inputs.mean(axes, keepdims=True)) / np.where(spread > 0, spread, 1)
            name = f"the mean and deviation of {whose}{words}"
            yield name, order | {"standardize": key}, scaled.astype(np.float32)


def _options(mean: list[float], std: list[float]) -> dict[str, Any]:
    """The constants as options of a spec, rounded as they are written."""
    found = {"mean": [round(v, 6) for v in mean], "std": [round(v, 8) for v in std]}
    return {key: values if len(values) > 1 else values[0] for key, values in found.items()}


def _scaled(inputs: Floats, options: dict[str, Any]) -> Floats:
    """Inputs (B, C, H, W) less the mean, over the deviation, of each channel."""
    mean, std = (
        np.reshape(options.get(key, default), (1, -1, 1, 1)) for key, default in (("mean", 0), ("std", 1))
    )
    return ((inputs - mean) / std).astype(np.float32)
