"""Records from the JSON that a store keeps of them."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any

import numpy as np

from opsigcli.errors import StoreError
from opsigcli.records import REST, SIDES, Evidence, Group, GroupKey, Pair, Spike
from opsigcli.sharpness_records import (
    GroupCurvature,
    HessianSpectrum,
    LayerCurvature,
    SharpnessPoint,
    StepCheck,
)
from opsigcli.training_records import AgainstLog


def decode(kind: Any, data: dict[str, Any], **convert: Any) -> Any:
    """Build a record from its JSON, ignoring fields that a later version added."""
    known = {f.name for f in fields(kind)}
    return kind(**{k: convert[k](v) if k in convert else v for k, v in data.items() if k in known})


def tuples(lists: list[list[Any]]) -> tuple[tuple[Any, ...], ...]:
    """Lists in a list, as a record holds them."""
    return tuple(map(tuple, lists))


def decode_layers(data: list[dict[str, Any]]) -> tuple[LayerCurvature, ...]:
    """The curvature of each layer, or of each kind of layer."""
    return tuple(decode(LayerCurvature, layer, shares=as_floats) for layer in data)


def decode_curvatures(data: list[dict[str, Any]]) -> tuple[GroupCurvature, ...]:
    """The curvature that each group holds, with its evidence."""
    return tuple(
        decode(GroupCurvature, group, name=group_key, share=_evidence, alignment=_evidence) for group in data
    )


def decode_spike(data: dict[str, Any]) -> Spike:
    """A spike with the shares of its rise."""
    spike: Spike = decode(
        Spike, data, share_of_rise=lambda shares: {group_key(name): share for name, share in shares.items()}
    )
    return spike


def group_key(text: str) -> GroupKey:
    """The group that a store calls ``text``: ``pair 3 first``, or ``rest``.

    Raises:
        StoreError: it is neither.
    """
    if text == str(REST):
        return REST
    found = re.fullmatch(r"pair (\d+) (first|second)", text)
    if found is None:
        raise StoreError(
            f"expected the name of a group, like 'pair 1 first', found {text!r} in the store",
            "mine it again: opsig mine",
        )
    return GroupKey(int(found[1]), SIDES[SIDES.index(found[2])])


def _evidence(data: dict[str, Any]) -> Evidence:
    evidence: Evidence = decode(Evidence, data)
    return evidence


def decode_spectrum(data: dict[str, Any] | None) -> HessianSpectrum | None:
    """The density of eigenvalues, where it was measured."""
    if data is None:
        return None
    spectrum: HessianSpectrum = decode(
        HessianSpectrum, data, grid=as_floats, density=as_floats, errors=as_floats, outliers_range=tuple
    )
    return spectrum


def decode_pair(data: dict[str, Any]) -> Pair:
    """A pair with its groups and its evidence."""
    data["first"], data["second"] = _group(data["first"]), _group(data["second"])
    data["opposition"] = _defined("opposition", _evidence(data["opposition"]))
    data["evidence"] = {name: _defined(name, _evidence(item)) for name, item in data["evidence"].items()}
    pair: Pair = decode(Pair, data, reasons=tuple, traits=tuple)
    return pair


def _defined(name: str, evidence: Evidence) -> Evidence:
    """The evidence with what its name says of definition, feature and side, where an older store says no more."""
    if evidence.definition:
        return evidence
    if by_feature := re.fullmatch(r"(members|sides) by (.*)", name, re.DOTALL):
        word, feature = by_feature.groups()
        return replace(evidence, definition=f"{word} by FEATURE", feature=feature)
    if token := re.fullmatch(r"(first|second): (token seen|token predicted) (.*)", name, re.DOTALL):
        side, role, word = token.groups()
        spelled = len(word) > 1 and word[0] == word[-1] == "'"
        feature = word[1:-1] if spelled else word
        return replace(evidence, definition=f"SIDE: {role}", feature=feature, side=side)
    return replace(evidence, definition=name)


def _group(data: dict[str, Any]) -> Group:
    return Group(np.asarray(data["ids"], dtype=np.int64), dict(data["labels"]), data.get("nearest"))


def as_floats(values: list[float | None]) -> tuple[float, ...]:
    """Numbers, of which JSON writes those that are not finite as null; they come back as NaN."""
    return tuple(float("nan") if value is None else float(value) for value in values)


def decode_step_check(data: dict[str, Any] | None) -> StepCheck | None:
    """The check of the step to the next checkpoint, where it was made."""
    if data is None:
        return None
    check: StepCheck = decode(StepCheck, data)
    return check


def decode_log(data: dict[str, Any]) -> AgainstLog:
    """The mean loss beside the one that the run logged."""
    numbers = dict.fromkeys(("traced", "logged", "allowed"), as_floats)
    log: AgainstLog = decode(AgainstLog, data, steps=tuple, not_read=tuple, **numbers)
    return log


def decode_point(data: dict[str, Any]) -> SharpnessPoint:
    """A sharpness point from its JSON."""
    point: SharpnessPoint = decode(
        SharpnessPoint,
        data,
        eigenvalues=as_floats,
        residuals=as_floats,
        subsets=as_floats,
        layers=decode_layers,
        kinds=decode_layers,
        groups=decode_curvatures,
        spectrum=decode_spectrum,
        notes=tuple,
        step_check=decode_step_check,
    )
    return point
