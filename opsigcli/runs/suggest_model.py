"""What to tell somebody who named no model: which known ones fit the checkpoints."""

from __future__ import annotations

import shlex

from opsigcli.checkpoints.choose import choose
from opsigcli.checkpoints.series import Series
from opsigcli.errors import CheckpointError
from opsigcli.printable import count


def model_hint(series: Series) -> str:
    """A sentence with the specs that fit the first checkpoint's tensors; "" where none does."""
    from opsigcli.models.hints import fitting_specs

    first = series.checkpoints[0]
    header = first.header
    try:
        key, names = choose(first.path, header.candidates, series.key, series.weights)
    except CheckpointError:
        return ""
    shapes = {plain: header.candidates[key][own].shape for plain, own in names.items()}
    if header.model.startswith("hf:"):
        return "the checkpoints name their own model in a config.json; if that is it, add --model hf:"
    found = fitting_specs(shapes, header.model)
    if not found:
        return ""
    others = f" ({', '.join(found[1:])} fit too)" if len(found) > 1 else ""
    fit = f"{count(len(shapes), 'tensor')} fit by name and shape"
    return f"{fit}; if that is it, add --model {shlex.quote(found[0])}{others}"
