"""``given:NAME``: a model that the Python program which calls opsig has made."""

from __future__ import annotations

import copy
from typing import Any

from opsigcli.errors import ModelError
from opsigcli.given import taken
from opsigcli.specs import Spec
from opsigcli.usercode import guarded


def build_given(spec: Spec, input_shape: tuple[int, ...], outputs: int) -> Any:
    """A copy of the module, on the CPU: weights that are loaded into it do not change the program's own.

    Raises:
        NotGiven: the module is not there.
        ModelError: it cannot be copied.
        UsageError: the spec has options.
    """
    found = taken(spec.only(), "model")
    hint = "let the module hold parameters and buffers alone, or give a factory: py:pkg.mod:factory"
    with guarded(ModelError, f"copying {spec.name}", hint):
        return copy.deepcopy(found).cpu()
