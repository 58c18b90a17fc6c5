"""The contract of model, loss and data, held on a real batch before an hour is spent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from opsigcli.errors import ObjectiveError
from opsigcli.objective.counting import BLOCK, SUM, check_dense, check_labels, check_maps, check_tokens
from opsigcli.objective.made_by import made_by
from opsigcli.objective.vocabulary import check_vocabulary
from opsigcli.objective.weights_of_loss import watch_weights
from opsigcli.usercode import guarded

if TYPE_CHECKING:
    from opsigcli.objective.base import Objective

LOOKED_AT = 8  # examples, at most
HINT = "choose a loss that fits the model's outputs"
LOSS = re.compile(r"--loss (?:'([^']*)'|(\w+))")  # in a hint


def require_contract(objective: Objective, *, again: bool = False) -> bool:
    """``check_contract``, whose hints lead to no second refusal: what one says to give is tried first.

    Raises:
        ObjectiveError: outputs do not fit the loss or the labels.
    """
    try:
        return check_contract(objective, again=again)
    except ObjectiveError as error:
        advised = [quoted or bare for quoted, bare in LOSS.findall(error.hint)]
        if all(objective.holds_with(loss) for loss in advised):
            raise
        some = objective.counted[: min(LOOKED_AT, objective.batch_size)]
        with torch.inference_mode():
            shape = tuple(objective.model(objective.read(some)).shape)
        raise ObjectiveError(
            error.message,
            f"check that model, data and loss belong together: the model gives outputs {shape}, the data have "
            f"targets {tuple(objective.bare_targets(some).shape)}",
        ) from error


@torch.inference_mode()
def check_contract(objective: Objective, *, again: bool = False) -> bool:
    """Refuse outputs that do not fit the loss or the labels.

    Args:
        objective: model, loss and data.
        again: with other weights than before: a model as it is built may end in zeros, which are anything.

    Returns:
        Whether they are (B, L, …) for labels (B, L).

    Raises:
        ObjectiveError: they do not fit.
    """
    some = objective.counted[: min(LOOKED_AT, objective.batch_size)]
    source, kind, name = objective.source, objective.kind, objective.loss
    inputs, targets = objective.read(some), objective.bare_targets(some)
    outputs = objective.model(inputs)
    if not again:
        if kind.of_tokens is not None and isinstance(outputs, Tensor) and outputs.ndim == 3:
            objective.notes += filter(None, [check_vocabulary(outputs.shape[-1], source)])
        _check_tokens_seen(objective)
    _check_single(objective, inputs, outputs)
    if kind.classes is not None and not targets.is_floating_point():
        if kind.of_tokens is not None:
            check_tokens(outputs, targets, source, kind, name)
        elif targets.ndim == 1:
            check_labels(kind.classes(outputs), source, kind, name)
        elif kind.of_maps:
            check_maps(outputs, targets, source, kind, name)
    _check_whole(objective, outputs, targets)
    check_dense(outputs, targets, source, kind, name)
    _check_takes(objective, inputs, outputs)
    what = f"the loss {name!r} of outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"
    with guarded(ObjectiveError, what, HINT), watch_weights(kind.foreign) as seen:
        losses = kind.of_examples(outputs, targets)
    said = [
        f"the loss {name!r} multiplies by weights of classes: its mean here is Σ w ℓ / N over N examples, and "
        f"torch's own mean is Σ w ℓ / Σ w. If the run was trained with that, give --loss {spec!r}"
        for spec in seen
        if kind.counts is None or kind.counts(targets) is None
    ]
    objective.notes += [note for note in said if note not in objective.notes]
    if losses.shape != (len(targets),):
        raise ObjectiveError(
            f"expected one loss per example, shape ({len(targets)},), found {tuple(losses.shape)} from "
            f"outputs {tuple(outputs.shape)}",
            HINT,
        )
    return not targets.is_floating_point() and outputs.ndim > 2 and outputs.shape[:-1] == targets.shape


def _check_single(objective: Objective, inputs: Tensor, outputs: Tensor) -> None:
    """Refuse a model that drops the dimension of a batch of one: the last batch may be one.

    Raises:
        ObjectiveError: it does, fails on one example, or gives something other than a tensor.
    """
    if not isinstance(outputs, Tensor):
        raise ObjectiveError(
            f"expected the model to return one tensor, found {type(outputs).__name__}",
            "let the factory of --model return a module whose forward returns the outputs that the loss takes",
        )
    if not outputs.is_floating_point():
        raise ObjectiveError(
            f"expected outputs that are real numbers, found {str(outputs.dtype).removeprefix('torch.')}",
            "let the model return its logits as floats; of complex numbers, the part that the loss is of",
        )
    with guarded(ObjectiveError, "a forward pass over one example", "let the model take batches of one"):
        alone = objective.model(inputs[:1])
    if alone.shape != (1, *outputs.shape[1:]):
        raise ObjectiveError(
            f"expected outputs {(1, *outputs.shape[1:])} for one example, as they are {tuple(outputs.shape)} for "
            f"{len(outputs)}; found {tuple(alone.shape)}",
            "the model squeezes the batch away: let it name the dimension, as in squeeze(-1) or flatten(1)",
        )


def one_tensor(outputs: Any) -> Tensor:
    """The outputs of a pass in the mode that the model is in, in training too, where some put out more.

    Raises:
        ObjectiveError: they are not one tensor.
    """
    if isinstance(outputs, Tensor):
        return outputs
    raise ObjectiveError(
        f"in training the model puts out a {type(outputs).__name__}, as with auxiliary classifiers, and one tensor "
        "else: the loss trained has terms that the traced one does not",
        "let the factory of --model build it without what is for training alone (aux_logits=False)",
    )


def _check_whole(objective: Objective, outputs: Tensor, targets: Tensor) -> None:
    """Refuse numbers as targets of a loss that takes labels alone.

    Raises:
        ObjectiveError: the targets are floats.
    """
    kind, name = objective.kind, objective.loss
    if kind.classes is None or kind.dense or not kind.ignores or not targets.is_floating_point():
        return
    tokens = kind.of_tokens is not None
    hint = "store labels as whole numbers, y.astype('int64')"
    if not bool((targets == targets.round()).all()):
        fits = targets.numel() == outputs.numel()
        hint = (
            "for numbers as targets give --loss mse" if fits else "check that --data are those of the model"
        )
    elif targets.ndim == 2 and not tokens and targets.shape == outputs.shape:
        hint = "store the labels of one-hot rows: y.argmax(1)"
    raise ObjectiveError(
        f"expected labels under {name}, whole numbers {'(B, L), one for each token' if tokens else '(B, …)'}; found "
        f"{str(targets.dtype).removeprefix('torch.')} {tuple(targets.shape)}",
        hint,
    )


def _check_takes(objective: Objective, inputs: Tensor, outputs: Tensor) -> None:
    """Refuse probabilities for a loss of logits, and the other way round.

    Raises:
        ObjectiveError: the outputs are not what the loss takes.
    """
    takes, name = objective.kind.takes, objective.loss
    if takes == "logits":
        with torch.inference_mode(False):
            made = made_by(objective.model, inputs.clone())
        if made in ("softmax", "sigmoid"):
            binary = name.startswith("bce")
            own = "bce_prob" if binary else "ce?of=probabilities"
            own = "bce_prob" if made == "sigmoid" else own
            raise ObjectiveError(
                f"expected logits for {name}; the model ends in {made}, so its outputs are probabilities",
                f"if the run's loss was of probabilities, give --loss '{own}'; if it took them for logits, give "
                f"--loss '{name}{'&' if '?' in name else '?'}of=logits'",
            )
    elif takes and bool(torch.isfinite(outputs).all()):
        unit = bool(((outputs >= 0) & (outputs <= 1)).all())
        rows = outputs.float().transpose(1, -1) if outputs.ndim > 1 else outputs.float()[:, None]
        if takes == "log-probabilities":
            fits = bool((rows.logsumexp(-1).abs() < SUM).all())
            hint = "give --loss 'ce?of=probabilities'" if unit else "for logits give --loss ce"
        else:
            fits, hint = unit, "for logits give --loss bce"
        if takes == "probabilities of classes":
            fits = unit and bool(((rows.sum(-1) - 1).abs() < SUM).all())
            hint = "for logits give --loss ce, for probabilities of yes and no --loss bce_prob"
        if not fits:
            low, high = float(outputs.min()), float(outputs.max())
            raise ObjectiveError(
                f"expected {takes} for {name}, found outputs from {low:.4g} to {high:.4g}", hint
            )


def _check_tokens_seen(objective: Objective) -> None:
    """Pass the examples with the least and the largest token through the model.

    Raises:
        ObjectiveError: it fails, as where its vocabulary is smaller than that of the data.
    """
    source = objective.source if objective.source.sequences is None else objective.source.sequences.whole
    if objective.read(np.arange(1), source).is_floating_point():
        return
    found: dict[int, int] = {}  # token -> an example that has it
    for at in range(0, len(source), BLOCK):
        tokens = source.read(np.arange(at, min(at + BLOCK, len(source))))
        flat = tokens.reshape(len(tokens), -1)
        for place in (int(flat.argmin()), int(flat.argmax())):
            found.setdefault(int(flat.flat[place]), at + place // flat.shape[1])
    for token in (min(found), max(found)):
        what = f"a forward pass over token {token} (example {source.ids[found[token]]})"
        with guarded(ObjectiveError, what, "check that --model has the vocabulary that numbered --data"):
            objective.model(objective.read(np.array([found[token]]), source))
