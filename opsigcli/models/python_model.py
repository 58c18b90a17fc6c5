"""``py:pkg.mod:factory`` and ``file:path.py:factory``: a model that the user's own code makes."""

from __future__ import annotations

from typing import Any

from opsigcli.errors import ModelError
from opsigcli.specs import Spec
from opsigcli.usercode import call_factory, load_factory


def build_python(spec: Spec, input_shape: tuple[int, ...], outputs: int) -> Any:
    """What ``factory(**query)`` returns; ``input_shape`` and ``outputs`` are not given to it.

    Raises:
        ModelError: the code fails.
        UsageError: the query does not fit the factory's parameters.
    """
    return call_factory(load_factory(spec, ModelError), spec.options, spec, ModelError)
