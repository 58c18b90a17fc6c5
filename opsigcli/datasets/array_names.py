"""Which of an archive's arrays are inputs and targets."""

from __future__ import annotations

import re
from collections.abc import Sequence

from opsigcli.errors import DatasetError, UsageError
from opsigcli.examples import BESIDE
from opsigcli.registry import nearest
from opsigcli.specs import Spec

BESIDES = ("ids", "classes", "weights", *BESIDE)
INPUTS = ("x", "images", "image", "data", "features", "input_ids", "inputs", "arr_0")
TARGETS = ("y", "labels", "label", "targets", "target", "arr_1")


def named_arrays(spec: Spec, names: Sequence[str]) -> dict[str, str]:
    """``x``, ``y`` and what may stand beside them -> the name of the array: as asked, else by the usual names.

    Args:
        spec: of the archive; ``split=train`` takes ``train_images``, ``images_train``, ``x_train`` and the like.
        names: of its arrays.

    Raises:
        UsageError: an array or a split that is asked for is not there.
        DatasetError: none, or several, have a usual name.
    """
    split = spec.options.get("split")
    here = {name: name for name in names}
    if split is not None:
        here = {short: name for name in names if (short := _within(str(split), name)) is not None}
        if not here:
            known = sorted({part for name in names for part in _parts(name)})
            raise UsageError(
                f"in {str(spec)!r}: there are no arrays of a split {str(split)!r}; there are {', '.join(names)}",
                f"did you mean split={close[0]}?"
                if (close := nearest(str(split), known))
                else "change split=…",
            )
    found = {
        what: _one(spec, option, here, names, usual)
        for what, option, usual in (("x", "input", INPUTS), ("y", "target", TARGETS))
    }
    return found | {what: here[what] for what in BESIDES if what in here}


def _one(spec: Spec, option: str, here: dict[str, str], names: Sequence[str], usual: tuple[str, ...]) -> str:
    asked = spec.options.get(option)
    if asked is not None:
        if asked in names:
            return str(asked)
        close = nearest(str(asked), list(names))
        raise UsageError(
            f"in {str(spec)!r}: there is no array {asked!r}; there are {', '.join(names)}",
            f"did you mean {option}={close[0]}?" if close else f"change {option}=…",
        )
    first = usual[0]
    fitting = [here[first]] if first in here else [here[name] for name in usual if name in here]
    if len(fitting) == 1:
        return fitting[0]
    splits = [part for part in ("train", "test") if any(_within(part, name) in usual for name in names)]
    raise DatasetError(
        f"expected arrays x and y in {spec.name}; {first} not found among: {', '.join(names)}",
        f"add split={splits[0]} to --data" if splits else f"name the array: add {option}=NAME to --data",
    )


def _parts(name: str) -> list[str]:
    return re.split(r"[_.\-/]", name.lower())


def _within(split: str, name: str) -> str | None:
    """The name without the split that it begins or ends with; None where it has none."""
    parts = _parts(name)
    if len(parts) < 2 or split.lower() not in (parts[0], parts[-1]):
        return None
    return "_".join(parts[1:] if parts[0] == split.lower() else parts[:-1])
