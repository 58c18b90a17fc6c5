"""How the weights of a checkpoint do not fit a model, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from opsigcli.errors import ModelError
from opsigcli.models.fitting_names import parts
from opsigcli.registry import nearest

SHOWN = 3  # keys of each kind that a message names


@dataclass(frozen=True)
class Misfit:
    """The keys that keep weights from fitting; false where there are none."""

    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)

    @property
    def listed(self) -> str:
        """Counts, each with its first keys."""
        kinds = (
            (self.missing, "missing"),
            (self.unexpected, "unexpected"),
            (self.reshaped, "of another shape"),
        )
        return ", ".join(
            f"{len(keys)} {what} ({', '.join(keys[:SHOWN])}{', …' if len(keys) > SHOWN else ''})"
            for keys, what in kinds
            if keys
        )

    def refusal(self, where: str, own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> ModelError:
        """The error that names the keys, each with the nearest ones of the other side."""
        kinds = (
            (self.missing, "missing"),
            (self.unexpected, "unexpected"),
            (self.reshaped, "of another shape"),
        )
        counts = [f"{len(keys)} {what}" for keys, what in kinds if keys]
        lines = [
            *_lines("missing", self.missing, own, "nearest in the checkpoint", self.unexpected or weights),
            *_lines("unexpected", self.unexpected, weights, "nearest in the model", self.missing or own),
            *(
                f"  {key!r}: expected {tuple(own[key].shape)}, found {tuple(weights[key].shape)}"
                for key in self.reshaped[:SHOWN]
            ),
        ]
        return ModelError(
            "\n".join([f"the weights in {where} do not fit the model: {', '.join(counts)}", *lines]),
            self._hint(own, weights),
        )

    def _hint(self, own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
        """What to try: every part of the checkpoint in which all of the model's keys are found, if there is one."""
        found = parts(own, weights)
        if len(found) > 1:
            options = " or ".join(f"--key {part}" for part in found)
            return f"the model's names are found under each of {', '.join(map(repr, found))}: add {options}"
        if found:
            return f"the model's names are found under {found[0]!r}: add --key {found[0]}"
        if any(key.endswith("_flat_param") for key in weights):
            return (
                "these are parts of FSDP's flat parameters: save with StateDictType.FULL_STATE_DICT, or with "
                "torch.distributed.checkpoint"
            )
        if self.unexpected and {f"ema_{key.replace('.', '_')}" for key in own}.issuperset(self.unexpected):
            return (
                "weights and their average lie side by side, as MMCV's EMAHook keeps them, which has the two swapped "
                "where an epoch ends: save the trained ones alone, in files of epochs "
                "{name: state['ema_' + name.replace('.', '_')] for name in names}"
            )
        return (
            "check the options of --model (widths, number of classes), or --key for another entry of the file; "
            "--partial takes what fits"
        )


def _lines(
    what: str, keys: list[str], tensors: Mapping[str, Tensor], nearest_what: str, others: Iterable[str]
) -> list[str]:
    lines = []
    names = list(others)
    for key in keys[:SHOWN]:
        close = ", ".join(map(repr, nearest(key, names))) or "none"
        shape = f" {tuple(tensors[key].shape)}" if key in tensors else ""
        lines.append(f"  {what} {key!r}{shape}; {nearest_what}: {close}")
    if len(keys) > SHOWN:
        lines.append(f"  and {len(keys) - SHOWN} more {what}")
    return lines
