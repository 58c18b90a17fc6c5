"""The order of the data's classes against the one that the run wrote down beside its weights."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from opsigcli.checkpoints.class_names import recorded_classes
from opsigcli.datasets.class_order import ORDERED
from opsigcli.errors import DatasetError
from opsigcli.specs import parse

if TYPE_CHECKING:
    from opsigcli.checkpoints.series import Series
    from opsigcli.examples import ExampleSource

SHOWN = 6  # names in a message


def require_class_order(series: Series, source: ExampleSource) -> None:
    """Refuse data whose classes are those of the run in another order, unless ``classes=`` says so.

    Raises:
        DatasetError: the order is another one.
    """
    spec, recorded = parse(source.spec), recorded_classes(series)
    if recorded is None or "classes" in spec.options:
        return
    names, where = recorded
    own = {_alike(name): name for name in source.classes}
    wanted = [_alike(name) for name in names]
    if len(own) != len(source.classes) or set(own) != set(wanted) or list(own) == wanted:
        return
    order: list[bool | int | float | str] = [own[name] for name in wanted]
    given = replace(spec, options=spec.options | {"classes": order})
    if Path(where).suffix == ".txt" and set(names) == set(source.classes):
        given = replace(spec, options=spec.options | {"classes": where})
    raise DatasetError(
        f"expected the classes of the data in the order of {where}: {', '.join(map(str, order[:SHOWN]))}"
        f"{' …' if len(order) > SHOWN else ''}; found {', '.join(source.classes[:SHOWN])}"
        f"{' …' if len(order) > SHOWN else ''}",
        f"give --data {shlex.quote(str(given))}"
        if spec.scheme in ORDERED
        else "number the labels of the data in that order",
    )


def _alike(name: str) -> str:
    """A name without what programs change in it."""
    return "".join(char for char in name.casefold() if char.isalnum())
