"""Datasets as sources of examples: fixed order, permanent ids, no shuffling, no augmentation.

``SOURCES`` is the table; :func:`open_source` opens a spec. To add a source: one file, one line.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from opsigcli.errors import UsageError
from opsigcli.registry import Entry, Registry
from opsigcli.specs import parse

if TYPE_CHECKING:
    from opsigcli.records import ExampleSource

SOURCES = Registry(
    "dataset",
    {
        "planted": Entry("opsigcli.datasets.planted:open_planted", "planted?n=900: generated, pairs known"),
        "folder": Entry("opsigcli.datasets.folder:open_folder", "folder:DIR?size=32: images in DIR/<class>/"),
        "npz": Entry(
            "opsigcli.datasets.npz:open_npz", "npz:FILE: arrays x, y and optionally ids, classes, weights"
        ),
        "torchvision": Entry(
            "opsigcli.datasets.torchvision_source:open_torchvision", "torchvision:CIFAR10?root=DIR&train=true"
        ),
        "hfds": Entry(
            "opsigcli.datasets.hf_source:open_hf",
            "hfds:NAME_OR_DIR?split=train: Hugging Face datasets (extra: hf)",
        ),
        "text": Entry("opsigcli.datasets.text:open_text", "text:FILE?context=64&tokenizer=word: for lm"),
        "babble": Entry("opsigcli.datasets.text:open_babble", "babble?sentences=400: generated text, for lm"),
        "py": Entry(
            "opsigcli.datasets.python_source:open_python", "py:pkg.mod:factory?key=value: your own dataset"
        ),
        "file": Entry(
            "opsigcli.datasets.python_source:open_python", "file:path.py:factory?key=value: your own dataset"
        ),
    },
    group="opsig.datasets",
)
BARE = ("planted", "babble")  # written without a scheme


def open_source(spec_text: str) -> ExampleSource:
    """Open the dataset that a spec names.

    Args:
        spec_text: ``scheme:name?key=value``; the forms are in ``SOURCES``.

    Returns:
        The source; its ``spec`` opens the same examples again from any folder.

    Raises:
        UsageError: the scheme, the name or an option is unknown or malformed.
        DatasetError: the data cannot be read.
    """
    spec = parse(spec_text)
    key = spec.scheme or spec.name
    if key not in SOURCES.entries and not spec.scheme and Path(spec.name).exists():
        scheme = "folder" if Path(spec.name).is_dir() else "npz"
        raise UsageError(
            f"expected a spec like scheme:name, found the path {spec.name!r}",
            f"write {replace(spec, scheme=scheme)!s}",
        )
    opener = SOURCES.load(key)
    if key in SOURCES.entries and (key in BARE) == bool(spec.scheme):  # plug-ins take both forms
        raise UsageError(
            f"expected {SOURCES.entries[key].summary.split(': ')[0]}, found {spec_text!r}",
            f"{'leave out' if spec.scheme else 'add'} what follows '{key}:'",
        )
    source: ExampleSource = opener(spec)
    return source
