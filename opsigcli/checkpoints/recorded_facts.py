"""What is recorded of a run that makes the loss traced another function than the one trained."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from opsigcli.checkpoints.arguments import Argument, arguments
from opsigcli.checkpoints.base import Checkpoint
from opsigcli.checkpoints.choose import averages, has_average
from opsigcli.checkpoints.fact_kinds import KINDS, Kind
from opsigcli.checkpoints.formats.settings import CRITERION
from opsigcli.checkpoints.series import Series
from opsigcli.checkpoints.step_keys import real
from opsigcli.errors import UsageError
from opsigcli.specs import Spec, parse
from opsigcli.training_records import RecordedFact

_EFFECTS = {kind.name: kind.effect for kind in KINDS}
# Kinds that are an option of a loss: which, and of which losses.
_OF_LOSS = {
    "label smoothing": ("label_smoothing", ("ce", "lm")),
    "class weights": ("weight", ("ce", "lm", "nll", "focal", "gce")),
}
# What others call the losses of opsig, without case and signs.
_SAME_LOSS = {"crossentropy": "ce", "crossentropyloss": "ce", "softmax": "ce", "xent": "ce", "mseloss": "mse",
              "l2": "mse", "bcewithlogits": "bce", "bcewithlogitsloss": "bce", "nllloss": "nll", "focalloss": "focal",
              "l1loss": "l1", "mae": "l1", "huberloss": "huber", "smoothl1": "smooth_l1", "smoothl1loss": "smooth_l1",
              "causallm": "lm", "forcausallm": "lm"}  # fmt: skip
_LOSSES = {"ce", "mse", "bce", "lm", "nll", "focal", "gce", "l1", "huber", "smooth_l1"}


@dataclass(frozen=True)
class Traced:
    """How the losses are, or would be, traced."""

    loss: str = "ce"  # spec
    weights: str = ""  # model or ema, where a checkpoint holds both
    precision: str = "float32"


def traced_as(series: Series) -> Traced:
    """How a series would be traced by default."""
    if series.manifest is not None and series.manifest.loss:
        return Traced(series.manifest.loss, series.weights)
    notes = " ".join(note for checkpoint in series for note in checkpoint.header.notes)
    return Traced("lm" if re.search(r"CausalLM|LMHead", notes) else "ce", series.weights)


def recorded_facts(series: Series, traced: Traced) -> tuple[RecordedFact, ...]:
    """The facts in a run's manifest, settings and last checkpoint, each once with all places where it was found.

    Options that change the loss spec are given as one spec that has them all.
    """
    settings = arguments(series)
    found = _of_arguments(_matching(settings))
    if series.checkpoints:
        found += _of_checkpoint(series.checkpoints[-1], traced)
        found += _of_criterion(series.checkpoints[-1], settings)
    spec = _spec(traced.loss)
    every = merged(found)
    told = [_with_option(fact, every, spec, traced) for fact in every]
    return tuple(fact for fact in told if fact.name != "loss" or not fact.matched)  # the same loss is no fact


def merged(facts: Iterable[RecordedFact]) -> list[RecordedFact]:
    """Facts of one kind and value as one, in the order of the kinds."""
    places: dict[tuple[str, str], list[RecordedFact]] = {}
    for fact in facts:
        places.setdefault((fact.name, fact.value), []).append(fact)
    order = [kind.name for kind in KINDS]
    every = [replace(same[0], found_in=", ".join(dict.fromkeys(fact.found_in for fact in same)))
             for same in places.values()]  # fmt: skip
    return sorted(every, key=lambda fact: order.index(fact.name) if fact.name in order else len(order))


def _matching(found: Iterable[Argument]) -> Iterable[tuple[Argument, Kind]]:
    """The settings that are facts; those of augmentation only where the program did not leave it out."""
    settings = list(found)
    without = {one.found_in for one in settings if _last(one.name) == "no_aug" and one.value is True}
    for argument in settings:
        for kind in KINDS:
            named = re.fullmatch(kind.pattern, _last(argument.name)) or (
                kind.name == "class weights" and CRITERION.fullmatch(argument.name)
            )
            if named and kind.active(argument.value):
                if kind.name != "augmentation" or argument.found_in not in without:
                    yield argument, kind
                break


def _last(name: str) -> str:
    parts = name.lower().replace("-", "_").replace("/", ".").split(".")
    return parts[-2] if parts[-1] == "value" and len(parts) > 1 else parts[-1]  # W&B's config.yaml


def _of_arguments(found: Iterable[tuple[Argument, Kind]]) -> list[RecordedFact]:
    """A fact for each setting; one for all of a kind in a file, where a kind has settings of many names."""
    facts = []
    together: dict[tuple[str, str], list[Argument]] = {}
    kinds = {kind.name: kind for kind in KINDS}
    for argument, kind in found:
        if kind.many:
            together.setdefault((kind.name, argument.found_in), []).append(argument)
        else:
            where = f"{argument.found_in}: {argument.name}"
            facts.append(RecordedFact(kind.name, _value(argument), where, kind.effect))
    for (name, file), same in together.items():
        own = sorted(
            {_last(one.name) if one.value is True else f"{_last(one.name)} {_value(one)}" for one in same}
        )
        facts.append(RecordedFact(name, ", ".join(own), file, kinds[name].effect))
    return facts


def _value(argument: Argument) -> str:
    if isinstance(argument.value, list):
        return ", ".join(map(_number, argument.value))
    return _last(argument.name) if argument.value is True else _number(argument.value)


def _number(value: Any) -> str:
    number = real(value)
    return str(value) if number is None else f"{number:.9g}"


def _of_checkpoint(checkpoint: Checkpoint, traced: Traced) -> list[RecordedFact]:
    """What the names of the tensors say: BatchNorm, moving averages."""
    sets = checkpoint.header.candidates
    found = []
    tensors = next(iter(sets.values()), {})
    normed = sum(name.rpartition(".")[2] == "running_mean" for name in tensors)
    if normed:
        found.append(batch_norm_fact(normed, f"{checkpoint.file}: running_mean"))
    if has_average(sets) or (sets and averages(sets) == sets.keys()):
        which = "the average is traced, which no step of the optimizer moved" if (
            traced.weights == "ema" or len(sets) == 1
        ) else "the trained weights are traced, not the average"  # fmt: skip
        option = "" if traced.weights == "ema" or len(sets) == 1 else "--weights ema (another store)"
        keys = ", ".join(key for key in sets if key in averages(sets)) or "n_averaged"
        found.append(
            RecordedFact("moving average", "of the weights", f"{checkpoint.file}: {keys}", which, option)
        )
    return found


def _of_criterion(checkpoint: Checkpoint, settings: Iterable[Argument]) -> list[RecordedFact]:
    """Weights of classes in the module of a loss, of which the format gives no numbers."""
    read = {one.name for one in settings}
    tensors = next(iter(checkpoint.header.candidates.values()), {})
    return [
        RecordedFact(
            "class weights",
            f"{tensor.count} numbers",
            f"{checkpoint.file}: {name}",
            _EFFECTS["class weights"],
        )
        for name, tensor in tensors.items()
        if CRITERION.fullmatch(name) and len(tensor.shape) == 1 and name not in read
    ]


def batch_norm_fact(layers: int, where: str, mode: str = "", gaps: str = "") -> RecordedFact:
    """BatchNorm, which training and trace use differently.

    Args:
        layers: how many there are.
        where: they were found.
        mode: statistics of the trace; "" before there is one.
        gaps: what these do to the mean loss, in words.
    """
    whose, effect = "those of the data at the weights of each checkpoint", "losses differ by batch"
    if not mode:
        whose += ", unless the stored ones never change along the run (--batch-norm)"
    elif mode == "stored":
        whose, effect = "those stored in the checkpoint", "they can be those of another function"
    return RecordedFact(
        "BatchNorm",
        f"{layers} layer{'s' if layers > 1 else ''}" + (f"; {gaps}" if gaps else ""),
        where,
        f"training used the statistics of each batch, {'the' if mode else 'a'} trace {'uses ' if mode else 'takes '}"
        f"{whose}: {effect}",
        "opsig trace --fresh --batch-norm batch" if mode not in ("", "batch") else "",
        matched=mode == "batch",
    )


def _spec(loss: str) -> Spec:
    try:
        return parse(loss)
    except UsageError:
        return Spec("", loss)


def _wanted(fact: RecordedFact, every: Iterable[RecordedFact], spec: Spec) -> dict[str, Any]:
    """Options of the loss spec by which it would be the one trained: of the fact, and of others that all agree on."""
    wanted: dict[str, Any] = {}
    for name, (key, losses) in _OF_LOSS.items():
        values = {other.value for other in every if other.name == name}
        value = fact.value if fact.name == name else values.pop() if len(values) == 1 else ""
        numbers = [real(part) for part in value.split(",")]
        if spec.name in losses and not spec.scheme and None not in numbers:
            wanted[key] = numbers if key == "weight" else numbers[0]
    return wanted


def _with_option(
    fact: RecordedFact, every: Iterable[RecordedFact], spec: Spec, traced: Traced
) -> RecordedFact:
    wanted = _wanted(fact, every, spec)
    key, _ = _OF_LOSS.get(fact.name, ("", ()))
    if key in wanted:
        matched = _alike(spec.options.get(key), wanted[key])
        whole = str(replace(spec, options={**spec.options, **wanted}))
        return replace(fact, matched=matched, option="" if matched else f"--loss '{whole}'")
    if fact.name == "mixed precision" and "bf" in f"{fact.value} {fact.found_in}":
        matched = traced.precision == "bf16"
        return replace(fact, matched=matched, option="" if matched else "--precision bf16")
    if fact.name == "loss":
        return _of_loss(fact, spec)
    return fact


def _alike(given: Any, wanted: Any) -> bool:
    one, other = (
        [real(item) for item in (value if isinstance(value, list) else [value])] for value in (given, wanted)
    )
    return len(one) == len(other) and all(
        a is not None and b is not None and math.isclose(a, b, rel_tol=1e-6)
        for a, b in zip(one, other, strict=True)
    )


def _of_loss(fact: RecordedFact, spec: Spec) -> RecordedFact:
    """The loss that the settings name, beside the one traced."""
    word = re.sub(r"[^a-z0-9]", "", fact.value.partition("?")[0].lower().rpartition(".")[2])
    word = {"bceloss": "bce"}.get(word, word)
    name = _SAME_LOSS.get(word, word)
    plain = name.replace("smoothl1", "smooth_l1")
    if plain not in _LOSSES and fact.value != str(spec):
        return replace(
            fact, effect=f"{fact.effect}; traced is {spec}, and whether that is the same is not known"
        )
    if fact.value == str(spec) or (plain == spec.name and not spec.scheme):
        return replace(fact, matched=True)
    return replace(fact, effect=f"{fact.effect}; traced is {spec}", option=f"--loss {plain}")
