"""The normalisation of the data against the one that the run wrote down beside its weights."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.checkpoints.recorded_inputs import recorded_normalisation
from opsigcli.runs.class_order_beside import require_class_order
from opsigcli.specs import Value, parse

if TYPE_CHECKING:
    from opsigcli.checkpoints.series import Series
    from opsigcli.examples import ExampleSource
    from opsigcli.records import Floats

GIVEN = ("mean", "std", "standardize")  # options that are replaced
CLOSE = 2e-3  # by which constants may differ, as they are rounded


def hold_beside(series: Series, source: ExampleSource) -> list[str]:
    """Hold the data against all that the run wrote down of its own; what a person should know.

    Raises:
        DatasetError: the classes of the data have another order.
    """
    require_class_order(series, source)
    return normalisation_beside(series, source)


def normalisation_beside(series: Series, source: ExampleSource) -> list[str]:
    """What a person should know where a file beside the weights says other constants; nothing for inputs that are no
    pictures of bytes, of which the scale is not known."""
    recorded = recorded_normalisation(series)
    if recorded is None or "scale" not in source.transform or len(source.input_shape) != 3:
        return []
    channels = source.input_shape[0]
    if len(recorded.mean) not in (1, channels):
        return []
    wanted = [np.broadcast_to(np.array(each), channels) for each in (recorded.mean, recorded.std)]
    own = source.normalisation or (np.zeros(1), np.ones(1))
    found = [np.broadcast_to(np.asarray(each, dtype=np.float64).reshape(-1), channels) for each in own]
    per_image = source.transform.get("standardize") == "image"
    if not per_image and all(
        np.allclose(a, b, rtol=CLOSE, atol=CLOSE) for a, b in zip(wanted, found, strict=True)
    ):
        return []
    spec = parse(source.spec)
    said = "each picture's own" if per_image else _words(found)
    constants: dict[str, Value] = {"mean": list(recorded.mean), "std": list(recorded.std)}
    options = {key: value for key, value in spec.options.items() if key not in GIVEN} | constants
    advice = (
        ""
        if "transform" in spec.options
        else f": give --data {shlex.quote(str(replace(spec, options=options)))}"
    )
    return [
        f"{recorded.where} has {_words(wanted)} for pictures in [0, 1], and inputs here have {said}. If the run was "
        f"trained so, the losses here are of other inputs{advice}"
    ]


def _words(constants: Sequence[Floats]) -> str:
    mean, std = (", ".join(f"{value:.4g}" for value in each) for each in constants)
    return f"mean {mean} and deviation {std}"
