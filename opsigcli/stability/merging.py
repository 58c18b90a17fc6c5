"""What several measurements of one checkpoint say together, and whether they answer what is asked now.

They share all choices on which the numbers depend (see ``store.names``); they differ in how far the solver went and in
what was looked at besides. Nothing that one of them has is lost: where both have the same, the better one counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opsigcli.options import SharpnessOptions
from opsigcli.sharpness_records import SharpnessPoint

LAYERS, EXAMPLES, SECANT, SPECTRUM = "layers", "per example", "secant", "spectrum"
BATCH = ("batch_sharpness", "batch_error", "batch_ratio", "batches")


def wanted(options: SharpnessOptions, digest: str, *, last: bool) -> frozenset[str]:
    """What a command looks at beside the eigenvalues.

    Args:
        options: of the command.
        digest: of the mining whose groups are looked at.
        last: no checkpoint follows.
    """
    asked = {
        LAYERS: options.layers,
        EXAMPLES: options.per_example or options.groups,
        f"groups {digest}": options.groups,
        SECANT: options.secant and not last,
        SPECTRUM: options.spectrum,
    }
    return frozenset(name for name, is_asked in asked.items() if is_asked)


def answers(point: SharpnessPoint, options: SharpnessOptions, asked: frozenset[str]) -> bool:
    """Whether a point has all that is asked, as near as it is asked, or as the products that are allowed bring it."""
    if point.partial or _settled(point) < options.top or not asked <= set(point.asked):
        return False
    near = point.tolerance is not None and point.tolerance <= options.tolerance
    tried = point.max_matvecs is not None and point.max_matvecs >= options.max_matvecs
    return near and (point.converged or tried)


def completed(point: SharpnessPoint, options: Mapping[str, Any]) -> SharpnessPoint:
    """A point with what its command was asked for, where a store of an older version says it of all points at once."""
    if point.tolerance is not None:
        return point
    names = {
        LAYERS: "layers",
        EXAMPLES: "per_example",
        SECANT: "secant",
        SPECTRUM: "spectrum",
    }
    asked = tuple(name for name, option in names.items() if options.get(option))
    tolerance, products = options.get("tolerance"), options.get("max_matvecs")
    return replace(
        point,
        asked=() if point.partial else asked,
        tolerance=float(tolerance) if isinstance(tolerance, int | float) else None,
        max_matvecs=products if isinstance(products, int) else None,
    )


def merged(old: SharpnessPoint, new: SharpnessPoint) -> SharpnessPoint:
    """Both measurements of one checkpoint in one: the better eigenvalues, and all that either looked at."""
    best, other = (new, old) if _rank(new) >= _rank(old) else (old, new)
    blocks = old if LAYERS in old.asked and LAYERS not in new.asked else new
    layered = blocks if blocks.layers else old if old.layers else new
    secant = new if new.secant is not None else old
    batch = new if new.batch_sharpness is not None else old
    groups = {(group.mining, group.name): group for group in (*old.groups, *new.groups)}
    return replace(
        _with_tail(best, other),
        asked=tuple(dict.fromkeys([*old.asked, *new.asked])),
        layers=layered.layers,
        kinds=layered.kinds,
        concentration=old.concentration if new.concentration is None else new.concentration,
        groups=tuple(groups.values()),
        spectrum=new.spectrum or old.spectrum,
        secant=secant.secant,
        secant_step=secant.secant_step,
        subsets=new.subsets or old.subsets,
        step_check=new.step_check or old.step_check,
        **{name: getattr(batch, name) for name in BATCH},
    )


def _rank(point: SharpnessPoint) -> tuple[bool, bool, float]:
    tolerance = math.inf if point.tolerance is None else point.tolerance
    return not point.partial, point.converged, -tolerance


def _settled(point: SharpnessPoint) -> int:
    """How many eigenvalues the point's verdict of convergence is of."""
    return point.judged if point.judged is not None else len(point.eigenvalues)


def _with_tail(best: SharpnessPoint, other: SharpnessPoint) -> SharpnessPoint:
    """The better eigenvalues, and behind them those that only the other measurement has."""
    count = len(best.eigenvalues)
    if len(other.eigenvalues) <= count:
        return best
    return replace(
        best,
        eigenvalues=best.eigenvalues + other.eigenvalues[count:],
        residuals=best.residuals + other.residuals[count:],
        judged=_settled(other) if other.converged or not best.converged else _settled(best),
    )
