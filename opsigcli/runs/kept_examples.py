"""How much each example counts in a run that is to be made, from the options of ``opsig train``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from opsigcli.errors import UsageError
from opsigcli.examples import ExampleSource
from opsigcli.options import TrainOptions
from opsigcli.runs.example_ids import read_ids

if TYPE_CHECKING:
    from opsigcli.records import Floats


def example_weights(options: TrainOptions, source: ExampleSource, less: Mapping[int, float]) -> Floats | None:
    """How much each example counts, (N,) float32: 0 for excluded ones; None when all count alike.

    Args:
        options: what they say comes on top of ``less``.
        source: the examples.
        less: example id -> weight of those that count less in the run that this one goes on from.

    Raises:
        UsageError: the data has no such examples, or none is left.
    """
    if options.exclude is None and options.downweight is None and not less:
        return None
    weights = np.array([less.get(i, 1.0) for i in source.ids.tolist()], dtype=np.float32)
    for path, weight in ((options.downweight, options.weight), (options.exclude, 0.0)):
        if path is not None:
            ids = read_ids(path)
            unknown = np.setdiff1d(ids, source.ids)
            if len(unknown):
                raise UsageError(
                    f"{path} names {len(unknown)} examples that {source.spec} does not have, such as {unknown[0]}",
                    "give the --data of the run that was mined",
                )
            weights[np.isin(source.ids, ids)] = weight
    if not (weights > 0).any():
        raise UsageError("no examples are left to train on", "exclude fewer examples")
    return weights
