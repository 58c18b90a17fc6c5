"""Optimizer states that scripts keep in files of their own, beside bare weights: ``net_4.pth``, ``optim_4.pth``."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints.base import Header
from opsigcli.checkpoints.choose import averages
from opsigcli.checkpoints.formats.torch_file import TorchFile
from opsigcli.checkpoints.holds_weights import holds_weights
from opsigcli.checkpoints.names import COPY
from opsigcli.checkpoints.unchanged import Kept, identity
from opsigcli.errors import CheckpointError

if TYPE_CHECKING:
    from opsigcli.checkpoints.base import CheckpointFormat

_WORD = re.compile(r"(?:^|[^a-z])(?:opt|optim|optimi[sz]er|solver)(?:[^a-z]|$)")
_STATE = ".state"  # a suffix of training states, as BasicSR has them
_AVERAGE = re.compile(r"(?:^|[^a-z])(?:ema|swa|avg|average|averaged|ave)(?:[^a-z]|$)")
_DIGITS = re.compile(r"\d+")
_SUFFIXES = (*TorchFile.suffixes, ".safetensors")
Numbers = tuple[int, ...]
_LISTED: Kept[dict[Numbers, list[str]]] = Kept(64)  # folders


def optimizer_beside(path: Path) -> Path | None:
    """The file that holds the optimizer of bare weights, by its name; None where there is no such file, or several.

    It says that it is one, and has the numbers of the weights' name. Without numbers the folder has to be of one step:
    a single file of weights, and a single one of an optimizer.

    Args:
        path: a file of weights.
    """
    name = path.name.lower()
    if not path.is_file() or _says(name) or _AVERAGE.search(name) or COPY.search(name):
        return None
    try:
        folder = path.parent.stat()
        listed = _LISTED.get(identity(folder), lambda: (_listed(path.parent), 1))
        numbers = _numbers(path.name)
        found = [own for own in listed.get(numbers, ()) if own != path.name]
        near = path.parent.iterdir() if found and not numbers else ()
        others = [e for e in near if e.suffix in _SUFFIXES and not _says(e.name.lower()) and e != path]
    except OSError:
        return None
    return path.parent / found[0] if len(found) == 1 and not any(map(holds_weights, others)) else None


def with_optimizer_beside(header: Header, path: Path) -> Header:
    """A header with what the file beside it says of optimizer, learning rate and step, where it says nothing itself."""
    beside = None if header.optimizer.group or header.optimizer.name else _sound(path)
    if beside is None or len(averages(header.candidates)) == len(header.candidates):
        return header
    state = TorchFile().describe_state(beside)
    return replace(
        header,
        optimizer=state.optimizer,
        lr=state.lr if header.lr is None else header.lr,
        beside={**state.counts, **header.beside},
    )


def optimizer_in(reader: CheckpointFormat, path: Path, *, tensors: bool) -> dict[str, Any]:
    """The optimizer's groups and state in a checkpoint, or in the file beside it; {} where there is none.

    Args:
        reader: of the checkpoint.
        path: the checkpoint.
        tensors: read them; else their facts stand for them.

    Raises:
        CheckpointError: a file cannot be read.
    """
    found = reader.optimizer(path, tensors=tensors)
    beside = None if found or reader.folder else _sound(path)
    return TorchFile().optimizer(beside, tensors=tensors) if beside is not None else found


def _sound(path: Path) -> Path | None:
    """The file beside, where it can be read and holds an optimizer's groups and no weights."""
    beside = optimizer_beside(path)
    try:
        return beside if beside and TorchFile().describe_state(beside).optimizer.group else None
    except CheckpointError:
        return None


def _says(name: str) -> bool:
    return bool(_WORD.search(name.rpartition(".")[0])) or name.endswith(_STATE)


def _listed(folder: Path) -> dict[Numbers, list[str]]:
    """The names that say to be an optimizer's, by the numbers in them."""
    found = defaultdict(list)
    for entry in folder.iterdir():
        name = entry.name.lower()
        if _says(name) and name.endswith((*TorchFile.suffixes, _STATE)) and entry.is_file():
            found[_numbers(entry.name)].append(entry.name)
    return dict(found)


def _numbers(name: str) -> Numbers:
    return tuple(map(int, _DIGITS.findall(name.rpartition(".")[0])))
