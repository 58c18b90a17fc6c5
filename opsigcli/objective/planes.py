"""What a model of text is given of each example: its tokens, and what the data say beside them that the model takes."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from opsigcli.errors import ObjectiveError
from opsigcli.examples import BESIDE, ExampleSource, Plane, ReadsPadded

SHOWN = 8  # names in a note


def lay_out(model: nn.Module, source: ExampleSource) -> list[str]:
    """Set the model's ``planes`` to what it takes of the data; says what it does not take, and what has its default.

    Raises:
        ObjectiveError: the model takes something of the data that cannot be passed on; rows of tokens were filled up,
            and it is not told where; or they are longer than it has places for.
    """
    source = source if source.sequences is None else source.sequences.whole
    if not isinstance(model, ReadsPadded):
        if source.filled:
            raise ObjectiveError(
                f"expected rows of tokens of one length in {source.spec}, as this model is not told which tokens are "
                "padding; they have lengths of their own",
                "add pad=ID to --data, the token with which training filled rows up behind their last",
            )
        return []
    width = int(np.prod(source.input_shape))
    if model.longest is not None and width > model.longest:
        raise ObjectiveError(
            f"expected at most {model.longest} tokens in a row, as many as the model has places for; those of "
            f"{source.spec} have {width}",
            "cut rows as training did (the tokenizer's max_length, block_size), or check that --model is the run's",
        )
    given = [name for name in BESIDE if name in source.beside and name in model.takes]
    if lost := [name for name in source.unread if name in model.takes]:
        raise ObjectiveError(
            f"expected nothing in {source.spec} that the model takes beside its tokens but {', '.join(BESIDE)}; found "
            f"{', '.join(lost)}",
            f"if the run was trained without, leave it out: dataset.remove_columns({lost!r}); else give a --model "
            "py:pkg.mod:factory and inputs that hold it",
        )
    planes = [Plane("input_ids", width)]
    planes += [Plane(name, source.beside[name].shape[1]) for name in given]
    if model.from_labels and "decoder_input_ids" not in given:
        labels = source.read_targets(np.zeros(1, dtype=np.int64))
        if labels.ndim == 2 and labels.dtype.kind == "i":
            planes.append(Plane("labels", labels.shape[1]))
    model.planes = tuple(planes) if len(planes) > 1 else ()
    notes = []
    places = int(source.beside["position_ids"].max()) + 1 if "position_ids" in given else width
    if model.reach is not None and places > model.reach:
        notes.append(
            f"rows have places for {places:,} tokens, and the model was made for {model.reach:,} "
            "(max_position_embeddings): its rotations go on beyond, with losses of places that training may never have "
            "seen. If training cut rows there, cut them in --data"
        )
    if unused := [name for name in (*source.beside, *source.unread) if name not in model.takes]:
        more = f" and {len(unused) - SHOWN} more" if len(unused) > SHOWN else ""
        notes.append(f"the model does not take {', '.join(unused[:SHOWN])}{more} of the data")
    if lacking := [name for name in model.defaults if name not in given]:
        notes.append(
            f"the model takes {', '.join(lacking)}, which the data do not have: transformers' default is used, all 0. "
            "If training had it, save it with the data"
        )
    return notes


def read_inputs(model: nn.Module, source: ExampleSource, positions: NDArray[np.int64]) -> Tensor:
    """Inputs of the examples at ``positions``: as the source has them, or (B, P, M) where the model has ``planes``.

    Those of tokens are their whole sequences, with all that is said beside them.
    """
    if source.sequences is not None:
        rows, places, _ = source.sequences.locate(positions)
        return read_inputs(model, source.sequences.whole, rows)[torch.as_tensor(places)]
    inputs = torch.as_tensor(source.read(positions))
    if not isinstance(model, ReadsPadded) or not model.planes:
        return inputs
    if source.filled and model.padding is not None:
        read = torch.as_tensor(source.beside["attention_mask"][positions]) != 0
        inputs = inputs.where(read, model.padding)
    widest = max(plane.width for plane in model.planes)
    found = []
    for name, width in model.planes:
        values = inputs
        if name == "labels":
            values = torch.as_tensor(source.read_targets(positions))
        elif name != "input_ids":
            values = torch.as_tensor(source.beside[name][positions])
        found.append(F.pad(values, (0, widest - width)))
    return torch.stack(found, dim=1)
