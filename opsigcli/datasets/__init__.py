"""Datasets as sources of examples: fixed order, permanent ids, no shuffling, no augmentation.

``SOURCES`` is the table; :func:`open_source` opens a spec. To add a source: one file with a
class that inherits from ``opsigcli.examples.ExampleSource``, or an opener that returns a ``base.Source``; one line.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from opsigcli.datasets.base import Source
from opsigcli.datasets.label_noise import NoisyLabels, without_noise
from opsigcli.datasets.token_options import tokens_of
from opsigcli.errors import DatasetError, UsageError
from opsigcli.examples import ExampleSource
from opsigcli.registry import Entry, Registry
from opsigcli.specs import parse

SOURCES = Registry(
    "dataset",
    {
        "planted": Entry(
            "opsigcli.datasets.planted:open_planted",
            "planted?n=900: generated, pairs known; with swap=true their backgrounds are in others",
            bare=True,
        ),
        "noise": Entry(
            "opsigcli.datasets.generated:open_noise",
            "noise?n=1000&shape=3,32,32&classes=10: white noise, in which nothing opposes anything",
            bare=True,
        ),
        "two-layer-linear": Entry(
            "opsigcli.datasets.generated:open_two_layer_linear",
            "two-layer-linear?d=20&alpha=50&beta=10: for the model of that name, known in closed form, with mse",
            bare=True,
        ),
        "one-axis": Entry(
            "opsigcli.datasets.generated:open_one_axis",
            "one-axis?n=200&p=0.5&s=4: for the model of that name, known in closed form",
            bare=True,
        ),
        "modular": Entry(
            "opsigcli.datasets.modular:open_modular",
            "modular?p=23&part=train&share=0.5: addition modulo p, on which networks grok",
            bare=True,
        ),
        "digits": Entry(
            "opsigcli.datasets.digits:open_digits",
            "digits: 1,797 handwritten digits of 8 × 8 pixels, which come with opsig",
            bare=True,
        ),
        "simplicity": Entry(
            "opsigcli.datasets.simplicity:open_simplicity",
            "simplicity?n=600&complex=slabs|product|digits&agree=0.9: a feature for a line beside a complex one",
            bare=True,
        ),
        "folder": Entry(
            "opsigcli.datasets.folder:open_folder",
            "folder:DIR?size=32: images in DIR/<class>/; folder:DIR?masks=masks: with maps of classes",
            path="folder",
        ),
        "npz": Entry(
            "opsigcli.datasets.npz:open_npz",
            "npz:FILE: arrays x, y and optionally ids, classes, weights; npz:FILE?split=train",
            path="file",
        ),
        "csv": Entry(
            "opsigcli.datasets.csv_source:open_csv",
            "csv:FILE?image=COLUMN&label=COLUMN&root=DIR: pictures or numbers in a table",
            path="file",
        ),
        "parquet": Entry(
            "opsigcli.datasets.parquet_source:open_parquet",
            "parquet:FILE?image=COLUMN&label=COLUMN: pictures in a table, or as csv: (extra: hf)",
            path="file",
        ),
        "cifar": Entry(
            "opsigcli.datasets.cifar:open_cifar",
            "cifar:DIR?labels=fine|coarse&train=true: CIFAR-10 or CIFAR-100, the folder that its archive unpacks to",
            path="folder",
        ),
        "torchvision": Entry(
            "opsigcli.datasets.torchvision_source:open_torchvision", "torchvision:CIFAR10?root=DIR&train=true"
        ),
        "hfds": Entry(
            "opsigcli.datasets.hf_source:open_hf",
            "hfds:NAME_OR_PATH?split=train: Hugging Face datasets, arrow, json (extra: hf)",
        ),
        "text": Entry(
            "opsigcli.datasets.text:open_text",
            "text:FILE?context=64&tokenizer=word|byte|DIR: for lm",
            path="file",
        ),
        "bin": Entry(
            "opsigcli.datasets.bin_source:open_bin",
            "bin:FILE?dtype=uint16&context=64: token numbers (nanoGPT, llm.c, Megatron), for lm",
            path="file",
        ),
        "babble": Entry(
            "opsigcli.datasets.text:open_babble", "babble?sentences=400: generated text, for lm", bare=True
        ),
        "py": Entry(
            "opsigcli.datasets.python_source:open_python", "py:pkg.mod:factory?key=value: your own dataset"
        ),
        "file": Entry(
            "opsigcli.datasets.python_source:open_python", "file:path.py:factory?key=value: your own dataset"
        ),
    },
    group="opsig.datasets",
    unlisted={"given": Entry("opsigcli.datasets.given_source:open_given", "given:NAME: an object of Python")},
)


# Ending of a file -> the scheme that reads it.
SCHEMES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
    ".bin": "bin",
    ".parquet": "parquet",
} | dict.fromkeys((".jsonl", ".json", ".arrow"), "hfds")


def open_source(spec_text: str) -> ExampleSource:
    """Open the dataset that a spec names.

    Args:
        spec_text: ``scheme:name?key=value``; the forms are in ``SOURCES``.

    Returns:
        The source; its ``spec`` opens the same examples again from any folder.

    Raises:
        UsageError: the scheme, the name or an option is unknown or malformed.
        DatasetError: the data cannot be read, or a plug-in gives no source.
    """
    spec = parse(spec_text)
    if not spec.scheme and spec.name not in SOURCES.entries and os.path.exists(spec.name):  # noqa: PTH110  (never raises)
        kind = "folder" if Path(spec.name).is_dir() else "file"
        scheme = SCHEMES.get(Path(spec.name).suffix.lower()) or next(
            name for name, entry in SOURCES.entries.items() if entry.path == kind
        )
        raise UsageError(
            f"expected a spec like scheme:name, found the path {spec.name!r}",
            f"write {replace(spec, scheme=scheme)!s}",
        )
    spec, share, seed = without_noise(spec)
    source = SOURCES.load_for(spec)(spec)
    if not isinstance(source, ExampleSource):
        raise DatasetError(
            f"expected {spec_text!r} to give a source of examples, found {type(source).__name__}",
            "let its class inherit from opsigcli.examples.ExampleSource",
        )
    if isinstance(source, Source) and source.tokens is not None:
        source = tokens_of(source, source.tokens)
    return NoisyLabels(source, share, seed) if share else source
