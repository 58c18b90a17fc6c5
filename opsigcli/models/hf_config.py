"""``config.json`` of a Hugging Face model: read from its folder, and what of it the model's outputs depend on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from opsigcli.errors import ModelError, UsageError
from opsigcli.files import read_file
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path

CONFIG = "config.json"
_LARGEST = 1 << 24  # bytes; names of 20,000 classes take two million
# Where it came from, who wrote it, and how numbers are kept or computed fast: none is part of the function.
_ASIDE = (
    "_name_or_path", "_commit_hash", "transformers_version", "torch_dtype", "dtype", "use_cache",
    "problem_type",  # of transformers' own loss; the first pass of training writes it
)  # fmt: skip


def config_file(spec: Spec) -> Path:
    """The ``config.json`` that ``hf:DIR`` names, whether it is there or not."""
    place = Path(absolute_path(spec.name))
    return place if place.name == CONFIG and not place.is_dir() else place / CONFIG


def read_config(spec: Spec) -> str:
    """The content of the ``config.json`` that ``hf:DIR`` names.

    Raises:
        UsageError: there is none.
        ModelError: it cannot be read.
    """
    file = config_file(spec)
    if not file.is_file():
        raise UsageError(
            f"expected a folder with a config.json in {str(spec)!r}, found none at {file.parent}",
            "name a checkpoint folder, as in hf:run/checkpoint-500; or hf: for that of the checkpoints themselves",
        )
    try:
        return read_file(file, _LARGEST).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read {file}: {error}", "check that file") from error


def settings(config: str) -> dict[str, Any]:
    """The entries of a ``config.json`` that the outputs depend on; {} of what is no object of JSON."""
    try:
        found = json.loads(config)
    except (ValueError, RecursionError):
        return {}
    return {k: v for k, v in found.items() if k not in _ASIDE} if isinstance(found, dict) else {}


def identity(config: str) -> str:
    """A text that is the same for configs of the same function, wherever they lie and whoever wrote them again."""
    return json.dumps(settings(config), sort_keys=True)


def differing(first: str, second: str) -> list[str]:
    """The entries in which two configs are of different functions."""
    a, b = settings(first), settings(second)
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


@contextmanager
def as_folder(config: str, name: str) -> Iterator[Path]:
    """A folder for a while with a ``config.json`` of that content, for libraries that read nothing else."""
    with TemporaryDirectory() as place:
        folder = Path(place) / (name or "model")
        folder.mkdir()
        (folder / CONFIG).write_text(config)
        yield folder
