"""What checkpoints say about the optimizer: kind, hyper-parameters, second moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints.base import Checkpoint, Header
from opsigcli.checkpoints.choose import plain_names
from opsigcli.checkpoints.formats import formats
from opsigcli.checkpoints.formats.safetensors_file import SafetensorsFile
from opsigcli.checkpoints.optimizer_beside import optimizer_in
from opsigcli.checkpoints.series import Series
from opsigcli.checkpoints.writer import state_path
from opsigcli.errors import CheckpointError
from opsigcli.optimizers.base import plain_value
from opsigcli.optimizers.recognise import Recognised, from_state_dict
from opsigcli.optimizers.recognise import recognise as recognise_groups
from opsigcli.optimizers.spelling import meant
from opsigcli.runs.given_hyper import hyper_text
from opsigcli.runs.state_values import listed, require_numbers

if TYPE_CHECKING:
    from torch import Tensor


def recognise(series: Series) -> Recognised:
    """The optimizer in the last checkpoint of a series that holds one; without a name where it is an unknown one.

    A name alone, as ``opsig train`` writes it beside the weights, is none from which anything could be computed.
    Checkpoints without an optimizer are judged by what is found here, so that there is no name where others disagree.
    """
    having = [index for index, checkpoint in enumerate(series) if checkpoint.header.optimizer.group]
    try:
        saved = series.optimizer(having[-1] if having else len(series) - 1)
    except CheckpointError as error:
        return Recognised(reason=error.message)
    found = from_state_dict(saved) if saved.get("param_groups") else Recognised()
    others = [from_state_dict(state) for state in saved.get("others", ())]
    if any((one.rule, one.hyper) != (found.rule, found.hyper) for one in others):
        named = ", ".join(map(_with_rate, (found, *others)))
        return Recognised(
            reason=f"the checkpoints hold {1 + len(others)} optimizers ({named}), each is judged by the weights that "
            "it trains"
        )
    return _for_others(series, having, found) if found.name and len(having) < len(series) else found


def _with_rate(found: Recognised) -> str:
    """An optimizer by its rule and learning rate."""
    lr = found.hyper.get("lr")
    return (found.rule or "one that is not known") + ("" if lr is None else f" with lr {hyper_text(lr)}")


def _for_others(series: Series, having: Sequence[int], found: Recognised) -> Recognised:
    """What an optimizer says of the checkpoints of a series that have none, as where a run saved it at its end."""
    lacking = [checkpoint for index, checkpoint in enumerate(series) if index not in having]
    settings = {}
    for checkpoint in (series.checkpoints[index] for index in having):
        facts = checkpoint.header.optimizer
        if (one := recognise_groups([facts.group], facts.state_keys)).name:
            settings[checkpoint.file] = _settings(one)
    last = series.checkpoints[having[-1]]
    own = settings.get(last.file, "")
    if other := next((file for file, words in settings.items() if words != own), "") if own else "":
        return Recognised(
            reason=f"{settings[other]} in {other} and {own} in {last.file}: {_checkpoints(len(lacking))} without an "
            "optimizer may have had either; give --optimizer and --lr"
        )
    if len(having) > 1:
        return found
    words = [found.reason] if found.reason else []
    words.append(
        f"its settings are those of {last.file}, the only one of {len(series)} checkpoints that has any"
    )
    # A schedule of torch notes where it began: the rate at the end of a decay is that of no other checkpoint.
    if "initial_lr" not in last.header.optimizer.group:
        return replace(found, reason="; ".join(words))
    if any(checkpoint.lr is None for checkpoint in lacking):
        words.append("a schedule set its learning rate, so that of the others is not known without --lr")
    hyper = {key: value for key, value in found.hyper.items() if key != "lr"}
    return replace(found, hyper=hyper, reason="; ".join(words))


def _settings(found: Recognised) -> str:
    """Rule and hyper-parameters in words, but for the learning rate: where that differs, a checkpoint has its own."""
    hyper = ", ".join(f"{key} {hyper_text(value)}" for key, value in found.hyper.items() if key != "lr")
    return f"{found.name} ({hyper})" if hyper else found.name


def _checkpoints(amount: int) -> str:
    return f"the {amount} checkpoints" if amount > 1 else "the one checkpoint"


def optimizer_of(series: Series) -> Recognised:
    """The optimizer of a series: as its manifest says, else as its last checkpoint shows."""
    manifest = series.manifest
    if manifest is not None and manifest.optimizer:
        return Recognised(*meant(manifest.optimizer, manifest.hyper))
    return recognise(series)


def optimizer_name(header: Header) -> str:
    """The optimizers that a checkpoint's header shows or names (``adam + sgd``); "" where one is unknown."""
    facts = header.optimizer
    if not facts.group:
        return facts.name
    rules = [recognise_groups([one.group], one.state_keys).rule for one in (facts, *facts.others)]
    return " + ".join(dict.fromkeys(rules)) if all(rules) else ""


def lr_of(checkpoint: Checkpoint) -> float | None:
    """The learning rate of a checkpoint; None where it is not known, or its optimizers have several."""
    rates = [plain_value(one.group.get("lr")) for one in checkpoint.header.optimizer.others]
    return checkpoint.lr if all(rate == checkpoint.lr for rate in rates) else None


def saved_optimizer(path: Path, *, tensors: bool) -> Mapping[str, Any]:
    """The optimizer's groups and state that a checkpoint of another program holds; {} where it holds none.

    Raises:
        CheckpointError: the file cannot be read.
    """
    if state_path(path).exists():
        return {}
    reader = next(reader for reader in formats() if reader.recognises(path))
    return optimizer_in(reader, path, tensors=tensors)


def state_by_parameter(
    path: Path, names: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> dict[str, dict[str, Tensor]]:
    """The optimizer's state at a checkpoint, by the model's parameters; {} where there is none.

    ``opsig train`` keeps it beside the weights, other programs within the checkpoint.

    Args:
        path: the checkpoint.
        names: of the trainable parameters, in the model's order.
        shapes: of the same.

    Raises:
        CheckpointError: the file cannot be read, or the state does not tell which parameter is which, or is no numbers.
    """
    beside = state_path(path)
    if beside.exists():
        own: dict[str, dict[str, Tensor]] = {name: {} for name in names}
        for place, value in SafetensorsFile().read(beside).items():
            name, _, key = place.rpartition("/")
            own.setdefault(name, {})[key] = value
        return {name: entry for name, entry in own.items() if entry}
    reader = next(reader for reader in formats() if reader.recognises(path))
    saved = optimizer_in(reader, path, tensors=True)
    state: Mapping[Any, Any] = saved.get("state") or {}
    if not state:
        return {}
    if not all(isinstance(key, int) for key in state):
        found = _by_name({str(key): entry for key, entry in state.items()}, names)
    else:
        found = _by_number(state, saved.get("param_groups") or [], names, shapes)
    if found is None:
        raise CheckpointError(
            f"the optimizer state in {path} does not tell which of the {len(names)} parameters is which",
            "its parameters are other ones, or in groups whose order cannot be told",
        )
    missing = next((name for name in names if name not in found), None)
    if missing is not None:
        raise CheckpointError(
            f"the optimizer state in {path} has none for the parameter {missing!r}", "it was never updated"
        )
    require_numbers(found, dict(zip(names, shapes, strict=True)))
    return found


def _by_name(state: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any] | None:
    plain = plain_names(state)
    for key in plain:
        if not key.endswith(names[0]):
            continue
        prefix = key.removesuffix(names[0])
        if all(prefix + name in plain for name in names):
            return {name: state[plain[prefix + name]] for name in names}
    return None


def _by_number(
    state: Mapping[Any, Any], groups: list[Any], names: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> dict[str, Any] | None:
    """The state by name, when parameters are numbered by group.

    Groups keep the model's order within themselves (weights that decay, then those that do not), so their sequences
    are merged by shape. Where two groups could give the next parameter, nothing is guessed.
    """
    waiting = [listed(group) for group in groups]
    if sum(map(len, waiting)) != len(names):
        return None
    found = {}
    for name, shape in zip(names, shapes, strict=True):
        fitting = [queue for queue in waiting if queue and _fits(state.get(queue[0]), shape)]
        if len(fitting) != 1:
            return None
        entry = state.get(fitting[0].pop(0))
        if entry is not None:
            found[name] = entry
    return found


def _fits(entry: Any, shape: tuple[int, ...]) -> bool:
    """Whether a parameter's state can be of this shape; one without state can be of any."""
    tensors = [v for key, v in entry.items() if key != "step" and hasattr(v, "shape")] if entry else []
    return all(tuple(tensor.shape) == tuple(shape) for tensor in tensors)
