"""What a run's program wrote down of its own settings, beside its checkpoints and in them. Read as data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opsigcli.checkpoints.formats import named
from opsigcli.checkpoints.formats.settings import flattened
from opsigcli.checkpoints.formats.torch_file import TorchFile
from opsigcli.checkpoints.logs.places import wandb_logs
from opsigcli.checkpoints.logs.wandb_file import config
from opsigcli.checkpoints.manifest import Manifest
from opsigcli.checkpoints.series import Series
from opsigcli.checkpoints.yaml_scalars import yaml_scalars
from opsigcli.errors import CheckpointError, UsageError
from opsigcli.files import read_file
from opsigcli.options import MANIFEST
from opsigcli.specs import parse

_OF_A_RUN = re.compile(r"ckpt|checkpoint|weight|model|snapshot|save|state")  # folders that are a part of one
LARGEST = 1 << 22  # bytes of a file of settings


def _yaml(path: Path) -> Mapping[str, Any]:
    return yaml_scalars(read_file(path, LARGEST).decode("utf-8", "replace"))


def _json(path: Path) -> Mapping[str, Any]:
    return flattened(json.loads(read_file(path, LARGEST)))


# Files of settings in the folder of checkpoints or the one above it, by who writes them.
FILES: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    "args.yaml": _yaml,  # timm, Ultralytics
    "hparams.yaml": _yaml,  # Lightning
    "config.yaml": _yaml,
    ".hydra/config.yaml": _yaml,
    "opt.yaml": _yaml,
    "params.yaml": _yaml,
    "args.json": _json,
    "hparams.json": _json,
    "config.json": _json,
    "params.json": _json,
    "training_args.json": _json,
    "training_args.bin": TorchFile().arguments,  # Hugging Face
}


@dataclass(frozen=True)
class Argument:
    """A setting as it is written down."""

    name: str  # with dots where it is within another
    value: Any  # text, number, truth, or list of these
    found_in: str  # file


def arguments(series: Series) -> list[Argument]:
    """The settings of a run: from its manifest, its last checkpoint, and files of settings beside the checkpoints."""
    return [
        Argument(name, value, where)
        for where, settings in _sources(series)
        for name, value in settings.items()
        if value is not None
    ]


def _sources(series: Series) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if series.manifest is not None:
        yield MANIFEST, flattened(series.manifest.hyper)
        yield MANIFEST, _loss_options(series.manifest.loss)
        yield MANIFEST, _of_training(series.manifest)
    if series.checkpoints:
        last = series.checkpoints[-1]
        yield last.file, _read(named(last.format).arguments, last.path)
        group = last.header.optimizer.group
        if "weight_decay" in group:
            yield f"{last.file}, optimizer", {"weight_decay": group["weight_decay"]}
    whole = series.folder.resolve()
    # What lies above a folder that is a run's own may be of any run.
    above = [(whole.parent, "../")] if _OF_A_RUN.search(whole.name.lower()) else []
    for around, before in ((series.folder, ""), *above):
        for file, reader in FILES.items():
            path = around / file
            if path.is_file() and path.stat().st_size <= LARGEST:
                yield f"{before}{file}", _read(reader, path)
    runs = wandb_logs(series.folder)
    if len(runs) == 1:  # of several, none says which is this one
        for path, _ in runs[0]:
            yield path.name, flattened(_read(config, path))


def _of_training(manifest: Manifest) -> Mapping[str, Any]:
    """What training did that no loss of the trace has: clipping, and changes of examples by their kinds."""
    pieces = [piece.partition("=") for piece in manifest.augment.split(",") if piece]
    return {"clip": manifest.clip} | {name: float(value or 1) for name, _, value in pieces}


def _loss_options(loss: str) -> Mapping[str, Any]:
    """Options of the loss that a run was trained with, under the names that others give them."""
    names = {"weight": "class_weights"}
    try:
        return {names.get(key, key): value for key, value in parse(loss).options.items()} | {"loss": loss}
    except UsageError:
        return {}


def _read(reader: Callable[[Path], Mapping[str, Any]], path: Path) -> Mapping[str, Any]:
    """What a file says; nothing where it cannot be read, which the weights would have said already."""
    try:
        return reader(path)
    except (CheckpointError, OSError, ValueError, RecursionError):
        return {}
