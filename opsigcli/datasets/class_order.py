"""``classes=``: which number each class has, or how many there are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.datasets.listing import Listing, one_each
from opsigcli.errors import UsageError
from opsigcli.files import read_file
from opsigcli.registry import nearest
from opsigcli.specs import Spec, Value
from opsigcli.usercode import absolute_path

if TYPE_CHECKING:
    from opsigcli.records import Ints

SHOWN = 12  # names in a message
# Schemes whose specs have classes=.
ORDERED = ("folder", "csv", "parquet", "npz", "hfds", "torchvision", "py", "file")


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts 1, 2, 10, as timm sorts folders of classes: numbers by value, capitals like small letters."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def ordered(spec: Spec, names: Sequence[str]) -> list[str]:
    """Class names in the order in which ``classes=`` of a spec numbers them.

    Args:
        spec: ``classes=sorted`` (the default) or ``natural``, or all names with commas between them, or a text file
            with one name a line.
        names: that the data have.

    Raises:
        UsageError: the list does not have the names of the data, each once.
    """
    asked = spec.options.get("classes", "sorted")
    if asked == "sorted":
        return sorted(names)
    if asked == "natural":
        return sorted(names, key=lambda name: (natural(name), name))
    given = _listed(asked)
    if sorted(given) != sorted(names):
        odd = sorted(set(given) ^ set(names)) or [name for name in given if given.count(name) > 1]
        close = nearest(odd[0], names if odd[0] in given else given)
        raise UsageError(
            f"in {str(spec)!r}: expected classes= to be sorted, natural, or the {len(names)} names of the data, each "
            f"once; {odd[0]!r} is {_where(odd[0], given, names)}. The data have "
            f"{', '.join(sorted(names)[:SHOWN])}{', …' if len(names) > SHOWN else ''}",
            f"did you mean {close[0]}?" if close else "write the names in the order of the model's outputs",
        )
    return given


def relabelled(listing: Listing, spec: Spec) -> Listing:
    """A listing whose labels are in the order of ``classes=``; the examples and their ids stay as they are.

    Where the data name no classes, ``classes=10`` says how many there are, as not all need to occur.

    Raises:
        UsageError: the data name no classes, or others; or the number is less than the labels need.
    """
    asked = spec.options.get("classes")
    if not listing.classes and listing.targets.dtype.kind == "i" and isinstance(asked, int):
        needed = int(listing.targets.max()) + 1
        if asked < needed:
            raise UsageError(
                f"in {str(spec)!r}: expected classes= to be at least {needed}, as there is a label {needed - 1}",
                "labels count from 0",
            )
        return replace(listing, outputs=asked)
    if not listing.classes:
        raise UsageError(
            f"in {str(spec)!r}: expected names of classes in the data for classes=; there are none",
            "leave out classes=, and number the labels in the order of the model's outputs; of labels that are whole "
            "numbers, classes=10 says how many there are",
        )
    names = ordered(spec, listing.classes)
    new = np.array([names.index(name) for name in listing.classes], dtype=np.int64)
    targets = listing.targets
    if targets.ndim == 2 and targets.shape[1] == len(names) > 1 and one_each(targets) is not None:
        targets = targets[:, np.argsort(new)]
    elif targets.dtype.kind == "i":
        targets = _mapped(targets.astype(np.int64), new)
    labels = _mapped(listing.labels, new) if listing.labelled else listing.labels
    return replace(listing, labels=labels, targets=targets, classes=tuple(names))


def _mapped(labels: Ints, new: Ints) -> Ints:
    """Labels by their new numbers; those that are no class stay as they are."""
    found: Ints = np.where((labels >= 0) & (labels < len(new)), new[labels.clip(0, len(new) - 1)], labels)
    return found


def absolute_classes(spec: Spec) -> Spec:
    """The spec with the path of a file of class names made absolute."""
    asked = spec.options.get("classes")
    if isinstance(asked, str) and Path(asked).expanduser().is_file():
        return replace(spec, options=spec.options | {"classes": absolute_path(asked)})
    return spec


def _listed(asked: Value) -> list[str]:
    if isinstance(asked, str) and Path(asked).expanduser().is_file():
        lines = read_file(Path(asked).expanduser()).decode(errors="surrogateescape").splitlines()
        return [line.strip() for line in lines if line.strip()]
    names = asked if isinstance(asked, list) else [asked]
    return [str(name).lower() if isinstance(name, bool) else str(name) for name in names]


def _where(name: str, given: Sequence[str], names: Sequence[str]) -> str:
    if name not in names:
        return "no class of the data"
    return "not in it" if name not in given else "in it twice"
