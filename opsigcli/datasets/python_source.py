"""``py:pkg.mod:factory`` and ``file:path.py:factory``: a dataset that the user's own code makes."""

from __future__ import annotations

from dataclasses import replace

from opsigcli.datasets.base import COMMON, Settings, Source
from opsigcli.datasets.mapstyle import collect
from opsigcli.datasets.parts import OPTIONS, Parts
from opsigcli.errors import DatasetError
from opsigcli.query import integer
from opsigcli.specs import Spec
from opsigcli.usercode import call_factory, importable, load_factory, parameters


def open_python(spec: Spec) -> Source:
    """Open the map-style dataset of ``(input, target)`` that ``factory(**query)`` returns.

    Inputs are tensors, arrays or PIL images, or as a tokenizer gives them: a mapping with ``input_ids`` and perhaps
    more of ``BESIDE``; rows of tokens may have their own lengths, and are filled up as those of ``hfds:``. Examples
    that are mappings, or tuples of more than two, are told apart by ``input=`` and ``target=``, a key or a place.
    Integer targets are class labels, float targets regression targets. Options of every source (``limit``,
    ``standardize``, ``mean``, ``std``, ``size``, ``crop``, ``mode``, ``transform``, ``shift``) are applied here, unless
    the factory has a parameter of that name: then they are the factory's.

    Raises:
        DatasetError: the code fails, returns no such dataset, or reads differ (random augmentation).
        UsageError: an option does not fit the factory.
    """
    factory = load_factory(spec, DatasetError)
    taken = parameters(factory)
    ours, theirs = split_options(spec, taken)
    settings = Settings.of(ours)
    own = {
        key: value for key, value in theirs.options.items() if key not in (*OPTIONS, "pad") or key in taken
    }
    rest = replace(theirs, options={k: v for k, v in theirs.options.items() if k not in own})
    parts, pad = Parts.of_spec(rest), integer(rest, "pad", None, minimum=0)
    dataset = call_factory(factory, own, spec, DatasetError)
    with importable(spec):
        listing, reader = collect(dataset, repr(str(spec)), settings.pictures, parts, pad)
    return Source(spec, listing, reader, settings)


def split_options(spec: Spec, taken: set[str]) -> tuple[Spec, Spec]:
    """The spec with the options of every source alone, and with the others; names in ``taken`` are others."""
    common = {key for key in (*COMMON, "mode") if key not in taken}
    ours = {key: value for key, value in spec.options.items() if key in common}
    theirs = {key: value for key, value in spec.options.items() if key not in common}
    return Spec(spec.scheme, spec.name, ours), Spec(spec.scheme, spec.name, theirs)
