"""Rows of tokens that have their own lengths, filled up to one length behind their last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.errors import DatasetError
from opsigcli.examples import IGNORED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.records import Ints

Rows = Sequence["NDArray[Any]"]


@dataclass(frozen=True)
class Levelled:
    """What is said of each token, in rows of one length."""

    targets: NDArray[Any]  # (N, …)
    beside: dict[str, Ints]  # (N, L) by name
    filled: bool  # tokens had their own lengths


def filled_up(rows: Rows, fill: int, width: int = 0) -> NDArray[Any]:
    """(N, width) rows with ``fill`` behind the last number of each; width is at least the longest."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    if lengths.min() == lengths.max() >= width:
        return np.stack(rows)
    found = np.full((len(rows), max(width, int(lengths.max()))), fill, dtype=np.result_type(*rows, np.int64))
    for place, row in enumerate(rows):
        found[place, : len(row)] = row
    return found


def levelled(lengths: Ints | None, targets: Rows, beside: Mapping[str, Rows], where: str) -> Levelled:
    """Targets and what is said beside tokens, with as many numbers as the longest row of tokens has.

    Labels get ``IGNORED`` and everything else 0; where rows of tokens are filled up and nothing says which tokens are
    read, a mask does.

    Args:
        lengths: (N,) of the rows of tokens; None where inputs are none.
        targets: N arrays; whole numbers (L,) are labels, one for each token or of a decoder.
        beside: N arrays (L,) by name in ``BESIDE``.
        where: the data, for messages.

    Raises:
        DatasetError: rows do not have one number for each token.
    """
    if lengths is None:
        return Levelled(_stacked(targets, where), {}, filled=False)
    width, ragged = int(lengths.max()), bool(np.ptp(lengths))
    found: dict[str, Ints] = {}
    for name, rows in beside.items():
        odd = [row for row, values in enumerate(rows) if values.ndim != 1 or values.dtype.kind not in "iub"]
        own = name.startswith("decoder_")
        odd += [row for row, values in enumerate(rows) if not own and len(values) != lengths[row]]
        if odd or len(rows) != len(lengths):
            raise DatasetError(
                f"expected {name} of every example in {where}, a whole number for each of its tokens; "
                + (
                    f"that of example {odd[0]} has {rows[odd[0]].dtype} of shape {rows[odd[0]].shape} for "
                    f"{lengths[odd[0]]} tokens"
                    if odd
                    else f"found {len(rows)} of {len(lengths)}"
                ),
                f"give {name} as the tokenizer does, or leave it out",
            )
        found[name] = filled_up(rows, 0, 0 if own else width).astype(np.int64)
        if (
            name == "decoder_input_ids"
            and "decoder_attention_mask" not in beside
            and len({*map(len, rows)}) > 1
        ):
            found["decoder_attention_mask"] = filled_up(
                [np.ones(len(row), dtype=np.int64) for row in rows], 0
            )
    if ragged and "attention_mask" not in found:
        found["attention_mask"] = (np.arange(width) < lengths[:, None]).astype(np.int64)
    labels = all(target.ndim == 1 and target.dtype.kind in "iu" for target in targets)
    if not labels or len({len(target) for target in targets}) == 1:
        return Levelled(_stacked(targets, where), found, ragged)
    each = all(len(target) == length for target, length in zip(targets, lengths, strict=True))
    return Levelled(filled_up(targets, IGNORED, width if each else 0), found, ragged)


def _stacked(targets: Rows, where: str) -> NDArray[Any]:
    kinds = [(target.dtype.kind, target.shape) for target in targets]
    if len(set(kinds)) > 1:
        other = next(row for row, kind in enumerate(kinds) if kind != kinds[0])
        raise DatasetError(
            f"expected targets of one kind in {where}; that of example 0 is {targets[0].dtype} {targets[0].shape}, "
            f"of example {other} {targets[other].dtype} {targets[other].shape}",
            "give labels as whole numbers, one for each example or a list of them for its tokens",
        )
    return np.stack(targets)
