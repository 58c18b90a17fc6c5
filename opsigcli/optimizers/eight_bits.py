"""Moments that an optimizer keeps in 8 bits, as numbers (bitsandbytes, torchao)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsigcli.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

_BLOCKS = (256, 2048)  # elements that share a scale: in bitsandbytes of today, and before 0.44


def plain_state(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state of one parameter with numbers in place of codes, without what the codes were decoded with.

    bitsandbytes keeps ``state1`` with ``qmap1`` and ``absmax1`` beside it; torchao a tensor of parts ``codes``,
    ``qmap`` and ``scale``. Where no tensors were read, codes stand for the numbers.

    Raises:
        CheckpointError: codes and scales do not fit each other.
    """
    found = {}
    for key, value in entry.items():
        number = key[-1:]
        if isinstance(value, Mapping):
            parts = value.get("codes"), value.get("qmap"), value.get("scale")
            found[key] = value if None in parts else _decoded(*parts)
        elif key in ("state1", "state2") and f"absmax{number}" in entry:
            found[key] = _decoded(value, entry.get(f"qmap{number}"), entry[f"absmax{number}"])
        elif not key.startswith(("qmap", "absmax")):
            found[key] = value
    return found


def _decoded(codes: Any, table: Any, scales: Any) -> Any:
    """``table[code] · scale of its block``; the codes themselves where no tensors were read.

    Raises:
        CheckpointError: codes and scales do not fit each other.

    Reference: Dettmers et al. 2022, 8-bit Optimizers via Block-wise Quantization, section 2.1.
    """
    if not all(hasattr(part, "repeat_interleave") for part in (codes, table, scales)):
        return codes
    size, blocks = codes.numel(), scales.numel()
    even = (
        (size // blocks,) if blocks and size % blocks == 0 else ()
    )  # torchao, whose blocks can have any size
    block = next((block for block in (*_BLOCKS, *even) if -(-size // block) == blocks), 0)
    if not block or table.numel() != 256 or codes.is_floating_point():
        raise CheckpointError(
            f"expected {size} codes of 8 bits with a table of 256 values and a scale for each block, found "
            f"{table.numel()} values and {blocks} scales",
            "the optimizer's state is damaged, or of another kind of quantization",
        )
    flat = table.float()[codes.reshape(-1).long()] * scales.float().repeat_interleave(block)[:size]
    numbers: Tensor = flat.view(codes.shape)
    return numbers
