"""What the members look like: features of images, tokens of texts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from opsigcli.mining.evidence.material import DRAWS, Kind, Matched
from opsigcli.mining.features import shared_feature
from opsigcli.mining.tokens import ROLE_PREDICTED, ROLE_SEEN, shared_tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.mining_records import (
        Evidence,
    )


def _of_shape(pair: Matched, dimensions: int) -> dict[str, NDArray[Any]]:
    """Features that are one number for each example, or, with two dimensions, its tokens."""
    features = pair.material.candidates.features
    return {name: values for name, values in features.items() if values.ndim == dimensions}


def _tokens(pair: Matched) -> dict[str, Evidence]:
    tokens = _of_shape(pair, 2)
    return shared_tokens(tokens, (pair.groups[0][0], pair.groups[1][0])) if tokens else {}


def _feature(word: str, pair: Matched) -> dict[str, Evidence]:
    features = _of_shape(pair, 1)
    if not features or not len(pair.others):
        return {}
    return shared_feature(features, word, pair.groups, pair.others)


TOKENS = Kind(
    {
        ROLE_SEEN: "share of the side's members with this token right before one they predict, for the most "
        "over-represented tokens (null: share of all candidates; p: hypergeometric, times the number of tokens tried "
        "on both sides; labels are not matched).",
        ROLE_PREDICTED: "the same for tokens that the members predict.",
    },
    _tokens,
    needs_gradients=False,
)
MEMBERS_BY_FEATURE = Kind(
    {
        "members by FEATURE": "probability that a member has more (or less, whichever is larger) of FEATURE than an "
        f"example outside all pairs, for the feature that tells them best (null: the best feature of {DRAWS} draws of "
        "random candidates of the same labels and sizes, mean; p: share of them at least as large)."
    },
    partial(_feature, "members"),
    needs_gradients=False,
)
SIDES_BY_FEATURE = Kind(
    {"sides by FEATURE": "the same for a member of one side against one of the other."},
    partial(_feature, "sides"),
    needs_gradients=False,
)
