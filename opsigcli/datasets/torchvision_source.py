"""``torchvision:CIFAR10?root=DIR``: the datasets of torchvision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.arrays import array_reader
from opsigcli.datasets.base import Settings, Source
from opsigcli.datasets.cifar import coarse_labels
from opsigcli.datasets.listing import Listing, listing_of
from opsigcli.datasets.mapstyle import class_names, collect
from opsigcli.datasets.picture_files import keep_pictures_harmless
from opsigcli.datasets.pictures import Pictures
from opsigcli.datasets.python_source import split_options
from opsigcli.datasets.readers import FileReader, Reader
from opsigcli.errors import DatasetError, UsageError
from opsigcli.files import require_files
from opsigcli.query import choice
from opsigcli.registry import did_you_mean, nearest
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path, call_factory, guarded, parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray


def open_torchvision(spec: Spec) -> Source:
    """Open ``torchvision:NAME?root=DIR&train=true&download=false``, any dataset of (PIL image, int).

    The query goes to the class as keywords, but for the options of every source (``limit``, ``standardize``,
    ``mean``, ``std``, ``size``, ``crop``, ``mode``) that the class has no parameter for, and ``transform``, which is
    opsig's own here. ``CIFAR100?labels=coarse`` has its 20 coarse labels in place of the 100 fine ones.

    Raises:
        DatasetError: the data are not there, or are no images with labels.
        UsageError: the name or an option is unknown.
    """
    from torchvision import datasets

    names = list(datasets.__all__)
    if spec.name not in names:
        close = nearest(spec.name, names)
        raise UsageError(
            f"torchvision has no dataset {spec.name!r}",
            did_you_mean((f"torchvision:{name}" for name in close), "see torchvision.datasets"),
        )
    factory = getattr(datasets, spec.name)
    taken = parameters(factory) - {"transform"}
    spec = _with_absolute_root(spec, taken)
    ours, theirs = split_options(spec, taken)
    coarse = spec.name == "CIFAR100" and choice(spec, "labels", "fine", ("fine", "coarse")) == "coarse"
    if spec.name == "CIFAR100":  # torchvision knows the fine ones alone
        theirs = replace(theirs, options={k: v for k, v in theirs.options.items() if k != "labels"})
    for key in ("target_transform", "transforms"):
        if key in theirs.options:
            raise UsageError(
                f"in {str(spec)!r}: {key}= is Python code and cannot stand in a spec",
                "use transform=, or py:pkg.mod:factory",
            )
    root = spec.options.get("root")
    with guarded(DatasetError, f"looking through {root}"):
        require_files(str(root) if root else "")
    keep_pictures_harmless()
    # Files on disk have modes of their own; datasets held as arrays have one.
    of_files = isinstance(factory, type) and issubclass(factory, datasets.DatasetFolder)
    settings = Settings.of(ours, mode="RGB" if of_files else None)
    try:
        dataset = call_factory(factory, theirs.options, spec, DatasetError)
    except DatasetError as error:
        wanting = "download" in taken and not spec.options.get("download")
        hint = "add download=true to the spec, or let root= name the folder that holds it" if wanting else ""
        raise DatasetError(error.message, hint or error.hint) from error
    if coarse:
        dataset.targets, dataset.classes = coarse_labels(Path(str(root)), dataset.train)
    listing, reader = _collect(dataset, repr(str(spec)), settings.pictures)
    # It is there now: the stored spec need not check the archive again.
    kept = {key: value for key, value in spec.options.items() if key != "download"}
    return Source(replace(spec, options=kept), listing, reader, settings)


def _with_absolute_root(spec: Spec, taken: set[str]) -> Spec:
    if "root" not in taken:
        return spec
    root = spec.options.get("root")
    if root is None:
        raise UsageError(
            f"expected root= in {str(spec)!r}, the folder that holds the data",
            f"write torchvision:{spec.name}?root=DIR",
        )
    path = absolute_path(str(root))
    if isinstance(root, list) or any(mark in path for mark in ",&"):
        raise UsageError(f"in {str(spec)!r}: root= cannot hold ',' or '&'", "use a symbolic link")
    return replace(spec, options=dict(spec.options) | {"root": path})


def _collect(dataset: Any, where: str, pictures: Pictures) -> tuple[Listing, Reader]:
    """The listing and a reader: of the arrays or files that the dataset keeps, where it does, else item by item."""
    from torchvision.datasets import DatasetFolder

    with guarded(DatasetError, f"reading {where}"):
        pixels, labels = _held_arrays(dataset)
    if pixels is not None and labels is not None and not pictures.mode:
        return listing_of(labels, where, classes=class_names(dataset)), array_reader(pixels, where, pictures)
    if isinstance(dataset, DatasetFolder) and dataset.samples:
        files = [Path(file) for file, _ in dataset.samples]
        names = tuple(file.relative_to(dataset.root).as_posix() for file in files)
        listing = listing_of(np.array(dataset.targets), where, classes=class_names(dataset))
        return replace(listing, names=names), FileReader(files, names, pictures)
    return collect(dataset, where, pictures)


def _held_arrays(dataset: Any) -> tuple[NDArray[np.uint8] | None, NDArray[Any] | None]:
    """Pixels (N, H, W[, C]) and labels that the dataset keeps decoded, if a few items show that they are the items."""
    held, kept = getattr(dataset, "data", None), getattr(dataset, "targets", getattr(dataset, "labels", None))
    if held is None or kept is None:
        return None, None
    pixels, labels = np.asarray(held), np.asarray(kept)
    if pixels.dtype != np.uint8 or labels.shape != (len(dataset),) or len(pixels) != len(labels):
        return None, None
    for candidate in (pixels, pixels.transpose(0, 2, 3, 1) if pixels.ndim == 4 else pixels):
        rows = {0, len(dataset) // 2, len(dataset) - 1}
        items = [(row, *dataset[row]) for row in sorted(rows)]
        if all(
            np.array_equal(candidate[row], np.asarray(image)) and labels[row] == label
            for row, image, label in items
        ):
            return candidate, labels
    return None, None
