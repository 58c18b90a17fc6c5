"""``given:NAME``: a map-style dataset that the Python program which calls opsig has made."""

from __future__ import annotations

from opsigcli.datasets.base import Settings, Source
from opsigcli.datasets.mapstyle import collect
from opsigcli.datasets.parts import Parts
from opsigcli.datasets.python_source import split_options
from opsigcli.given import taken
from opsigcli.query import integer
from opsigcli.specs import Spec


def open_given(spec: Spec) -> Source:
    """Open it as ``py:`` opens what a factory returns, with the same options.

    Raises:
        NotGiven: the dataset is not there.
        DatasetError: it is none, or reads differ (random augmentation).
        UsageError: an option is not known.
    """
    dataset = taken(spec, "data")
    ours, rest = split_options(spec, set())
    settings = Settings.of(ours)
    parts, pad = Parts.of_spec(rest), integer(rest, "pad", None, minimum=0)
    listing, reader = collect(dataset, repr(str(spec)), settings.pictures, parts, pad)
    return Source(spec, listing, reader, settings)
