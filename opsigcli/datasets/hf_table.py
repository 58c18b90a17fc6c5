"""Tables of Hugging Face's ``datasets``: from a path, or of the hub from its cache; never from the network."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from opsigcli.errors import DatasetError, UsageError
from opsigcli.files import require_files
from opsigcli.registry import nearest
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path, guarded

# Ending of a file -> the reader that datasets has for it.
READERS = {
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".arrow": "arrow",
}
PART = re.compile(r"-(\d+)-of-(\d+)")  # of a table in several files
SAVED = ("state.json", "dataset_dict.json")  # what save_to_disk writes into a folder


def open_table(spec: Spec, options: Spec) -> tuple[Any, Path]:
    """The rows that ``hfds:NAME_OR_PATH?split=train`` names, a ``datasets.Dataset``, and the folder that their files
    lie below.

    Args:
        spec: as the user gave it.
        options: the spec with ``split``, ``name`` and ``revision`` alone.

    Raises:
        DatasetError: the library is not installed, or there are no such data.
        UsageError: there is no such split.
    """
    try:
        datasets: Any = import_module("datasets")
    except ImportError as error:
        raise DatasetError(
            f"expected datasets to be installed for {str(spec)!r}; it is not", "pip install 'opsig[hf]'"
        ) from error
    path = Path(absolute_path(spec.name))
    own = path if path.is_dir() else path.parent
    if path.exists():
        with _offline(datasets), guarded(DatasetError, f"opening {str(spec)!r}", _advice(path)):
            require_files(path)
            found = _of_path(datasets, path, options)
    else:
        own = Path(datasets.config.HF_CACHE_HOME)
        hint = (
            f"nothing is downloaded; do that first: hf download --repo-type dataset {shlex.quote(spec.name)}"
        )
        with _offline(datasets), guarded(DatasetError, f"opening {str(spec)!r} from the cache", hint):
            found = _of_name(datasets, spec, options)
    if isinstance(found, dict):  # of splits
        found = _split(spec, options, found)
    if not isinstance(found, datasets.Dataset):
        raise DatasetError(
            f"expected a dataset with rows for {str(spec)!r}, found {type(found).__name__}", "add split=train"
        )
    return found, own


def _of_path(datasets: Any, path: Path, options: Spec) -> Any:
    """What lies at a path: one table, or one for each split.

    Raises:
        DatasetError: it is a file that the library has no reader for.
    """
    if path.is_dir() and any((path / name).is_file() for name in SAVED):
        return datasets.load_from_disk(str(path))
    if path.is_dir():
        more = {"name": options.options["name"]} if "name" in options.options else {}
        return datasets.load_dataset(str(path), **more)
    reader = READERS.get(path.suffix.lower())
    if reader is None or not path.is_file():
        raise DatasetError(
            f"expected a regular file that ends in {', '.join(READERS)}; found {path}",
            "rename it, or convert it to parquet",
        )
    more = {"delimiter": "\t"} if path.suffix.lower() == ".tsv" else {}
    return datasets.load_dataset(reader, data_files=str(path), split="train", **more)


def _of_name(datasets: Any, spec: Spec, options: Spec) -> Any:
    """What the cache has of a name on the hub: as the library prepared it, else the files as they were downloaded.

    Raises:
        DatasetError: some of several files that belong together are not there.
        FileNotFoundError: there is nothing.
    """
    hub: Any = import_module("huggingface_hub")
    asked = options.options
    name = {"name": asked["name"]} if "name" in asked else {}
    revision = {"revision": str(asked["revision"])} if "revision" in asked else {}
    try:
        folder = Path(
            hub.snapshot_download(spec.name, repo_type="dataset", local_files_only=True, **revision)
        )
    except (OSError, ValueError):
        return datasets.load_dataset(spec.name, **name, **revision)
    parts: dict[tuple[Path, str, str], set[str]] = {}
    for path in folder.rglob("*-of-*"):
        if found := PART.search(path.name):
            parts.setdefault((path.parent, path.name[: found.start()], found[2]), set()).add(found[1])
    for (place, first, count), numbers in parts.items():
        if len(numbers) != int(count):
            raise DatasetError(
                f"expected {int(count)} files {place.relative_to(folder) / first}-*-of-{count}* of {spec.name} in the "
                f"cache, found {len(numbers)}",
                f"download the rest: hf download --repo-type dataset {shlex.quote(spec.name)}",
            )
    return datasets.load_dataset(str(folder), **name)


def _split(spec: Spec, options: Spec, found: dict[str, Any]) -> Any:
    """One of the splits: as asked; else ``train``, or the only one.

    Raises:
        UsageError: there is none of that name, or several and none is ``train``.
    """
    asked = options.options.get("split")
    if asked is None and len(found) == 1:
        return next(iter(found.values()))
    name = str(asked or "train")
    if name not in found:
        close = nearest(name, list(found)) or list(found)[:1]
        raise UsageError(
            f"in {str(spec)!r}: there is no split {name!r}; there are {', '.join(found)}",
            f"did you mean split={close[0]}?",
        )
    return found[name]


@contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """Keep the library from the network while it reads, and its own lines from the terminal."""
    hub: Any = import_module("huggingface_hub.constants")
    before = datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE
    loud, bars = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    datasets.config.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE = True
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE = before
        datasets.logging.set_verbosity(loud)
        if not bars:
            datasets.enable_progress_bars()


def _advice(path: Path) -> str:
    if path.is_dir():
        return "let the folder hold parquet, arrow, json or csv files, or pictures in one folder per class"
    return "check that the file is what its name ends in"
