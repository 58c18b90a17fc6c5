"""The number of the token that pads, where a run wrote it down beside its weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints.read_beside import read_beside

if TYPE_CHECKING:
    from opsigcli.checkpoints.series import Series


def recorded_pad(series: Series) -> int | None:
    """The number, from files beside the weights; None where no file has one."""
    found = read_beside(series, FILES)
    return None if found is None else found[0]


def _in(number_of: Callable[[dict[str, Any]], Any]) -> Callable[[str], int | None]:
    """A reader of files in JSON in which ``number_of`` finds the number."""

    def read(text: str) -> int | None:
        found = number_of(json.loads(text))
        return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None

    return read


def _of_tokenizer(found: dict[str, Any]) -> int | None:
    """``pad_token`` by the numbers of added tokens."""
    pad = found["pad_token"]
    pad = pad["content"] if isinstance(pad, dict) else pad
    added = found["added_tokens_decoder"]
    return next((int(number) for number, token in added.items() if token["content"] == pad), None)


FILES: dict[str, Callable[[str], int | None]] = {
    "tokenizer.json": _in(lambda found: int(found["padding"]["pad_id"])),
    "tokenizer_config.json": _in(_of_tokenizer),
    "config.json": _in(lambda found: found["pad_token_id"]),
    "generation_config.json": _in(lambda found: found["pad_token_id"]),
}
