"""``folder:DIR``: images in one folder per class, in the order of torchvision's ``ImageFolder`` or in another one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from opsigcli.datasets.base import COMMON, Settings, Source
from opsigcli.datasets.folder_masks import mask_folders, open_masked
from opsigcli.datasets.listing import listing_of
from opsigcli.datasets.readers import FileReader
from opsigcli.errors import DatasetError, UsageError
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path

MOST_FOLDERS = 1 << 20  # below that of a class
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval", "evaluation"}


def open_folder(spec: Spec) -> Source:
    """Open ``folder:DIR?mode=RGB|L|F&classes=sorted`` with the layout ``DIR/<class>/**.<ext>``.

    Classes and files are sorted, so class indices and ids are those of ``torchvision.datasets.ImageFolder``;
    ``classes=natural`` numbers 1, 2, 10 as timm does, and ``classes=cat,dog`` in the order given; ids stay those of
    the sorted files. Names are paths relative to DIR. With ``masks=NAME`` the pictures are those below ``DIR/images``
    (or ``images=NAME``), and those below ``DIR/NAME`` that are called alike are maps of classes.

    Raises:
        DatasetError: DIR is missing, has no class folders, or holds the parts of a data set (train, test), a class
            folder has no image, or an image cannot be read.
        UsageError: an option is unknown or has a wrong value.
    """
    settings = Settings.of(spec.only("mode", "images", "masks", *COMMON), mode="RGB")
    root = Path(absolute_path(spec.name))
    classes = _classes(root)
    pair = mask_folders(classes)
    if "masks" in spec.options:
        inner = {
            name: str(spec.options.get(name, usual))
            for name, usual in (("images", "images"), ("masks", "masks"))
        }
        if pair is not None and "images" not in spec.options:
            inner["images"] = pair[0]
        for option, name in inner.items():
            if name not in classes:
                raise UsageError(
                    f"in {str(spec)!r}: there is no folder {name!r}; there are {', '.join(classes)}",
                    f"give {option}=NAME, one of them",
                )
        images, masks = (_images(root / name) for name in inner.values())
        return open_masked(spec, root, images, masks, settings)
    if "images" in spec.options:
        raise UsageError(
            f"in {str(spec)!r}: images= goes with masks=", "add masks=NAME, the folder of the masks"
        )
    if pair is not None and "classes" not in spec.options:
        raise DatasetError(
            f"expected one folder per class in {root}; found {pair[0]} and {pair[1]}, as of pictures and masks",
            f"for maps of classes add masks={pair[1]} to --data; if they are classes, classes={pair[0]},{pair[1]}",
        )
    _refuse_splits(spec, root, classes)
    files: list[str] = []
    labels: list[int] = []
    empty: list[str] = []
    for label, name in enumerate(classes):
        found = _images(root / name)
        files += found
        labels += [label] * len(found)
        if not found:
            empty.append(name)
    if empty:
        raise DatasetError(
            f"expected images in every class folder of {root}; none in {', '.join(map(repr, empty))}",
            f"remove the empty folders; images end in {' '.join(EXTENSIONS)}",
        )
    start = len(str(root / "x")) - 1
    names = tuple(file[start:].replace(os.sep, "/") for file in files)
    listing = listing_of(np.array(labels, dtype=np.int64), str(root), classes=classes)
    reader = FileReader(files, names, settings.pictures)
    return Source(replace(spec, name=str(root)), replace(listing, names=names), reader, settings)


def _classes(root: Path) -> list[str]:
    try:
        with os.scandir(root) as entries:
            found = list(entries)
    except FileNotFoundError:
        raise DatasetError(
            f"expected a folder of images at {root}; there is none", "check the path after 'folder:'"
        ) from None
    except OSError as problem:
        raise DatasetError(f"expected a folder of images, cannot list {root}: {problem.strerror}") from None
    classes = sorted(entry.name for entry in found if entry.is_dir())
    if classes:
        return classes
    images = sum(entry.name.lower().endswith(EXTENSIONS) for entry in found)
    what = f"{images} images but no folders" if images else f"{len(found)} files and no folders"
    raise DatasetError(
        f"expected one folder per class in {root}; found {what}", "lay images out as DIR/<class>/<image>"
    )


def _refuse_splits(spec: Spec, root: Path, classes: list[str]) -> None:
    """Refuse the parts of a data set as its classes: train/ and test/ with the classes below them.

    Raises:
        DatasetError: all folders are named as parts, and one holds folders of images.
    """
    if len(classes) < 2 or not {name.lower() for name in classes} <= SPLITS:
        return
    inner = [
        name for name in classes if any(_images(path) for path in (root / name).iterdir() if path.is_dir())
    ]
    if not inner:
        return
    best = min(inner, key=lambda name: (not name.lower().startswith("train"), name))
    raise DatasetError(
        f"expected one folder per class in {root}; found the parts of a data set: {', '.join(classes)}",
        f"did you mean {str(replace(spec, name=str(root / best)))!r}?",
    )


def _images(folder: Path) -> list[str]:
    return [
        f"{place}{os.sep}{name}"  # as text: a Path for each of a million files takes minutes
        for place, names in sorted(_walk(folder))
        for name in sorted(names)
        if name.lower().endswith(EXTENSIONS)
    ]


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The folders below ``folder``, links followed, each with the names of its files.

    Raises:
        DatasetError: one cannot be read, a link leads back to a folder around it, or there are too many.
    """

    def refuse(problem: OSError) -> None:
        raise DatasetError(f"expected to read {problem.filename}: {problem.strerror}") from problem

    around: dict[str, frozenset[tuple[int, int]]] = {}  # folder -> identities of those around it
    for number, (place, inner, names) in enumerate(os.walk(folder, onerror=refuse, followlinks=True)):
        status = os.stat(place)  # noqa: PTH116  (a Path for each takes longer)
        own, outer = (status.st_dev, status.st_ino), around.pop(place, frozenset())
        if own in outer or number > MOST_FOLDERS:
            what = "a link that leads back to a folder around it" if own in outer else "too many folders"
            raise DatasetError(f"expected folders of images in {folder}, found {what}: {place}", "remove it")
        around |= {f"{place}{os.sep}{name}": outer | {own} for name in inner}
        yield place, names
