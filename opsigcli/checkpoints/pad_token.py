"""The number of the token that pads, where a run wrote it down beside its weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.files import read_file

if TYPE_CHECKING:
    from opsigcli.checkpoints.series import Series


def recorded_pad(series: Series) -> int | None:
    """The number, from the last checkpoint's own folder or that of the checkpoints; None where no file has one."""
    last = series.checkpoints[-1].path
    for place in dict.fromkeys((last, last.parent, series.folder)):
        for file, reader in FILES.items():
            path = Path(place) / file
            try:
                found = reader(json.loads(read_file(path))) if path.is_file() else None
            except (
                OSError,
                ValueError,
                TypeError,
                KeyError,
                AttributeError,
            ):  # another program's file of that name
                continue
            if isinstance(found, int) and not isinstance(found, bool) and found >= 0:
                return found
    return None


def _of_tokenizer(found: dict[str, Any]) -> int | None:
    """``pad_token`` by the numbers of added tokens."""
    pad = found["pad_token"]
    pad = pad["content"] if isinstance(pad, dict) else pad
    added = found["added_tokens_decoder"]
    return next((int(number) for number, token in added.items() if token["content"] == pad), None)


FILES: dict[str, Callable[[dict[str, Any]], int | None]] = {
    "tokenizer.json": lambda found: int(found["padding"]["pad_id"]),
    "tokenizer_config.json": _of_tokenizer,
    "config.json": lambda found: found["pad_token_id"],
    "generation_config.json": lambda found: found["pad_token_id"],
}
