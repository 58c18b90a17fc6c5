"""Folders that hold one checkpoint: of the Hugging Face Trainer, of Accelerate, or sharded with an index."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints import step_keys
from opsigcli.checkpoints.base import CheckpointFormat, Header, OptimizerFacts, TensorFacts, unreadable
from opsigcli.checkpoints.choose import choose
from opsigcli.checkpoints.formats.dcp_folder import METADATA, DcpFolder
from opsigcli.checkpoints.formats.safetensors_file import SafetensorsFile
from opsigcli.checkpoints.formats.settings import flattened
from opsigcli.checkpoints.formats.torch_file import TorchFile
from opsigcli.errors import CheckpointError
from opsigcli.files import NotAFile, TooLarge, read_file

if TYPE_CHECKING:
    import torch

_WHOLE = ("model.safetensors", "pytorch_model.bin")
_INDEX = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
# Parts of weights whose index is not there: with all of them it is not needed.
_PART = re.compile(r"((?:pytorch_)?model)-(\d{5})-of-(\d{5})\.(safetensors|bin)")
_OPTIMIZERS = ("optimizer.pt", "optimizer.bin")
_ARGUMENTS = "training_args.bin"
_SHARDED = "pytorch_model_fsdp_0"  # where Accelerate puts what FSDP saved
_MAX_JSON = 1 << 26  # bytes
_MAX_SHARDS = 10_000


class WeightsFolder(CheckpointFormat):
    """One folder with the weights of one checkpoint. Of the files beside them, only the optimizer's, JSON and, as
    data, ``training_args.bin`` are read; random states and scripts are never opened."""

    name = "folder"
    folder = True
    parts: tuple[str, ...] = (*_WHOLE, _SHARDED, "optimizer_0")

    def recognises(self, path: Path) -> bool:
        """Folders with weights under a name of the Hugging Face libraries."""
        return path.is_dir() and (
            any((path / name).is_file() for name in (*_WHOLE, *_INDEX))
            or (path / _SHARDED / METADATA).is_file()
            or any(_PART.fullmatch(entry.name) for entry in path.iterdir())
        )

    def describe(self, path: Path) -> Header:
        """The weights of all shards; step, epoch, lr and optimizer from the files beside them."""
        sets = {"": {name: tensor for part in _parts(path).values() for name, tensor in part.items()}}
        if (path / _SHARDED).is_dir():
            sets = {
                key: dict(found) for key, found in DcpFolder().describe(path / _SHARDED).candidates.items()
            }
        counts, lr, optimizer, said = facts_beside(path)
        architectures = read_json(path / "config.json").get("architectures")
        named = architectures[0] if isinstance(architectures, list) and architectures else None
        notes = (f"architecture {named}",) if isinstance(named, str) else ()
        hint = f"hf:{path}" if notes else ""
        return Header(sets, {}, lr, optimizer, (*notes, *said), beside=counts, model=hint)

    def read(self, path: Path, key: str | None = None, weights: str = "") -> dict[str, torch.Tensor]:
        """The weights, from all shards."""
        if (path / _SHARDED).is_dir():
            return DcpFolder().read(path / _SHARDED, key, weights)
        parts = _parts(path)
        names = {name for part in parts.values() for name in part}
        _, plain = choose(path, {"": names}, key, weights if weights != "model" else "")
        found: dict[str, torch.Tensor] = {}
        for file, part in parts.items():
            own = {name: stored for name, stored in plain.items() if stored in part}
            found |= file_reader(file).read_named(file, own)
        return found

    def optimizer(self, path: Path, *, tensors: bool) -> dict[str, Any]:
        """The optimizer's groups and state, from the file beside the weights."""
        beside = _optimizer_file(path)
        return TorchFile().optimizer(beside, tensors=tensors) if beside else {}

    def arguments(self, path: Path) -> Mapping[str, Any]:
        """``config.json``, and ``training_args.bin`` read as data."""
        beside = path / _ARGUMENTS
        own = TorchFile().arguments(beside) if beside.is_file() else {}
        return flattened({"config": read_json(path / "config.json"), "training_args": own})

    def files(self, path: Path) -> list[Path]:
        """The files of weights; of the files beside them, none."""
        sharded = path / _SHARDED
        return DcpFolder().files(sharded) if sharded.is_dir() else _files(path)


def facts_beside(path: Path) -> tuple[dict[str, int], float | None, OptimizerFacts, tuple[str, ...]]:
    """Step and epoch, learning rate and optimizer, from the Trainer's log and the optimizer's file in a folder; and
    notes."""
    log = read_json(path / "trainer_state.json")
    counts = step_keys.content_counts(log)
    lr, optimizer, note = step_keys.sidecar_lr(log), OptimizerFacts(), step_keys.rate_note(log)
    if (beside := _optimizer_file(path)) is not None:
        # A step counted by the optimizer itself is worth more than the number in the folder's name.
        with contextlib.suppress(CheckpointError):
            state = TorchFile().describe_state(beside)
            counts = dict(state.counts) | counts
            optimizer = state.optimizer
            lr, note = (lr, note) if state.lr is None else (state.lr, "")
    return counts, lr, optimizer, (note,) if note else ()


def _parts(path: Path) -> dict[Path, Mapping[str, TensorFacts]]:
    """File of weights -> what it holds.

    Raises:
        CheckpointError: a shard is missing or broken, or the index names what is no file of this folder.
    """
    return {file: _only(file_reader(file).describe(file).candidates) for file in _files(path)}


def _files(path: Path) -> list[Path]:
    whole = next((path / name for name in _WHOLE if (path / name).is_file()), None)
    return [whole] if whole else _shards(path)


def _only(candidates: Mapping[str, Mapping[str, TensorFacts]]) -> Mapping[str, TensorFacts]:
    return next(iter(candidates.values()))


def _shards(path: Path) -> list[Path]:
    index = next((path / name for name in _INDEX if (path / name).is_file()), None)
    if index is None:
        return _without_index(path)
    names = read_json(index).get("weight_map")
    files = set(names.values()) if isinstance(names, dict) and len(names) else set()
    if not files or len(files) > _MAX_SHARDS:
        raise CheckpointError(
            f"expected a weight_map of tensors to files, found none in {index}",
            "copy or save the checkpoint again",
        )
    own = path.resolve()
    for name in sorted(files, key=str):
        # The index is data from elsewhere: it may name files of its own folder, and nothing else.
        if (
            not isinstance(name, str)
            or not name
            or name != Path(name).name
            or name.startswith(".")
            or "\\" in name
        ):
            raise CheckpointError(
                f"expected names of files in the folder, found {str(name)[:80]!r} in {index}",
                "the index is broken or forged: get the checkpoint again",
            )
        shard = path / name
        if not shard.is_file() or shard.suffix not in (".safetensors", ".bin") or not _within(shard, own):
            raise CheckpointError(
                f"the checkpoint {path} is incomplete: {index.name} names {name!r}, which is not there",
                "copy the missing files, or save the checkpoint again",
            )
    return [path / str(name) for name in sorted(files)]


def _without_index(path: Path) -> list[Path]:
    """The numbered parts of a folder that has no index; [] where there are none.

    Raises:
        CheckpointError: some are missing.
    """
    found: dict[tuple[str, ...], dict[int, Path]] = {}
    for entry in sorted(path.iterdir()):
        if (named := _PART.fullmatch(entry.name)) and entry.is_file() and _within(entry, path.resolve()):
            found.setdefault((named[1], named[3], named[4]), {})[int(named[2])] = entry
    if not found:
        return []
    # The series with the most parts there, safetensors before others.
    (name, total, suffix), parts = max(found.items(), key=lambda one: (len(one[1]), one[0][2]))
    missing = sorted({*range(1, min(int(total), _MAX_SHARDS) + 1)} - parts.keys())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(
            f"the checkpoint {path} is incomplete: there is no {name}-{missing[0]:05d}-of-{total}.{suffix}{more}",
            "copy the missing files, or save the checkpoint again",
        )
    return list(parts.values())


def _within(file: Path, folder: Path) -> bool:
    """A file of the folder itself; or, in a snapshot of the Hub's cache, a link to a blob of the same repository."""
    real = file.resolve()
    blobs = file.is_symlink() and real.parent.name == "blobs"
    return real.parent == folder or (blobs and real.parent.with_name("snapshots") in folder.parents)


def file_reader(file: Path) -> Any:
    """The format of a file of weights in a folder, by its name."""
    return SafetensorsFile() if file.suffix == ".safetensors" else TorchFile()


def _optimizer_file(path: Path) -> Path | None:
    return next((path / name for name in _OPTIMIZERS if (path / name).is_file()), None)


def read_json(file: Path) -> dict[str, Any]:
    """The entries of a JSON file; empty where there is none to read.

    Raises:
        CheckpointError: it may not be read.
    """
    try:
        entries = json.loads(read_file(file, _MAX_JSON))
    except (FileNotFoundError, NotAFile, TooLarge):
        return {}
    except OSError as error:
        raise unreadable(file, error) from error
    except (ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}
