"""Which of the names in a log is the training loss."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opsigcli.checkpoints.logs.columns import Points

LOSS = {"loss", "losses"}
TRAIN = {"train", "training", "trainer", "trn", "tr"}
OTHER_DATA = {
    "val",
    "valid",
    "validation",
    "eval",
    "evaluation",
    "test",
    "testing",
    "dev",
    "holdout",
    "heldout",
}
OVER_LONGER = {"epoch", "avg", "average", "mean", "running", "smooth", "smoothed", "ema"}  # means that lag
NEUTRAL = {"step", "steps", "iter", "iteration", "batch", "minibatch", "total", "metrics", "log", "logs", "scalars",
           "per", "current", "global"}  # fmt: skip
ALIKE = 0.01  # of the loss: two columns that differ by less are one


def words(name: str) -> list[str]:
    """The words of a name in any spelling: ``trainLoss``, ``Loss/train``, ``train_loss_step``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=train)(?=loss)|(?<=val)(?=loss)", " ", name)
    return re.findall(r"[a-z]+|\d+", spaced.lower())


def may_be_loss(name: str) -> bool:
    """Whether a name speaks of a loss, and not of that on other data."""
    found = set(words(name))
    return bool(found & LOSS) and not found & OTHER_DATA


def training_loss(columns: Mapping[str, Points]) -> tuple[str, str]:
    """The column of the training loss, and "" or why none is taken.

    A name that says ``train`` goes before one that does not; the losses of steps before their means over an epoch; of
    a single number, as some loggers add it for the whole run, none is made where there are columns of several.

    Args:
        columns: name -> step -> loss, of those that ``may_be_loss``.
    """
    plain = [name for name in columns if set(words(name)) <= LOSS | TRAIN | OVER_LONGER | NEUTRAL]
    if any(len(columns[name]) > 1 for name in plain):
        plain = [name for name in plain if len(columns[name]) > 1]
    if not plain:
        return (
            "",
            f"no column is named as the training loss alone; it has {_some(columns)}" if columns else "",
        )
    said = [name for name in plain if set(words(name)) & TRAIN] or plain
    of_steps = [name for name in said if not set(words(name)) & OVER_LONGER] or said
    first = max(of_steps, key=lambda name: len(columns[name]))
    unlike = [name for name in of_steps if not _alike(columns[first], columns[name])]
    if unlike:
        return "", f"{_some([first, *unlike])} may each be the training loss, and they differ"
    return first, ""


def _alike(one: Points, other: Points) -> bool:
    shared = one.keys() & other.keys()
    near = sum(abs(one[step] - other[step]) <= ALIKE * abs(one[step]) for step in shared)
    return 2 * near >= len(shared)


def _some(names: Mapping[str, Points] | list[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:6]) + (" …" if len(listed) > 6 else "")
