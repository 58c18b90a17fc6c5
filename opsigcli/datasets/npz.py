"""``npz:FILE``: NumPy arrays ``x (N, …)`` and ``y (N,)``, or of other names, with ``ids``, ``classes``, ``weights``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.array_names import named_arrays
from opsigcli.datasets.arrays import array_reader
from opsigcli.datasets.base import COMMON, Settings, Source
from opsigcli.datasets.listing import are_tokens, beside_tokens, follow, listing_of
from opsigcli.datasets.npz_sizes import refuse_oversized
from opsigcli.datasets.other_files import other_file
from opsigcli.datasets.weights import checked_weights
from opsigcli.errors import DatasetError, OpsigError
from opsigcli.files import open_file
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path

if TYPE_CHECKING:
    from numpy.typing import NDArray


def open_npz(spec: Spec) -> Source:
    """Open ``npz:FILE``, or ``npz:FILE?split=train`` where arrays are ``train_images`` and ``train_labels`` (as in
    MedMNIST) or ``x_train`` and ``y_train`` (as in Keras), or ``npz:FILE?input=images&target=labels``.

    Float ``x`` is used as it is (as float32); uint8 images (N, H, W, C) or (N, H, W) become float [0, 1]
    (C, H, W). Integer ``y (N,)`` holds class indices, integer ``y (N, …)`` maps of them (of pixels); float ``y (N, …)``
    holds regression targets, and every label is then 0. Integers ``x (N, L)`` are tokens, and integers ``y (N, L)``
    beside them the ones that follow; ``attention_mask`` and ``token_type_ids (N, L)`` say which tokens are no padding,
    and which sentence they are of. ``weights (N,)`` are the examples' weights in the mean loss. Nothing is unpickled.

    Raises:
        DatasetError: the file is missing or no .npz, arrays are missing, of unequal length or of a wrong kind,
            or ids are not unique.
        UsageError: an option is unknown or has a wrong value.
    """
    settings = Settings.of(spec.only("split", "input", "target", *COMMON))
    path = absolute_path(spec.name)
    arrays = _load(path, spec)
    x, y = arrays["x"], arrays["y"]
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise DatasetError(f"expected x and y of one length in {path}; found shapes {x.shape} and {y.shape}")
    classes, ids = _class_names(arrays, path), arrays.get("ids")
    listing = listing_of(y, path, classes=classes, ids=ids, tokens=follow(x, y))
    listing = replace(
        listing,
        weights=checked_weights(arrays.get("weights"), len(y), path),
        beside=beside_tokens(arrays, x, path),
    )
    reader = array_reader(x, path, settings.pictures, tokens=are_tokens(x))
    return Source(replace(spec, name=path), listing, reader, settings)


def _load(path: str, spec: Spec) -> dict[str, NDArray[Any]]:
    """The arrays of the file by what they are, without unpickling.

    Raises:
        DatasetError: there is no such file, or it is no archive of arrays of numbers, or has other names.
        UsageError: a name that is asked for is not in it.
    """
    try:
        with open_file(path) as file:
            if told := other_file(file, path):
                raise DatasetError(f"expected an .npz archive with x and y, found {told[0]}: {path}", told[1])
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DatasetError(
                    f"expected an .npz archive with x and y, found a single array: {path}",
                    "save with numpy.savez(path, x=inputs, y=labels)",
                )
            with archive:
                names = named_arrays(spec, archive.files)
                refuse_oversized(file, names.values(), path)
                return {what: archive[name] for what, name in names.items()}
    except OpsigError:
        raise
    except FileNotFoundError:
        raise DatasetError(
            f"expected a file at {path}; there is none", "check the path after 'npz:'"
        ) from None
    except Exception as problem:  # zipfile, zlib, NumPy and the system each have errors of their own
        if "allow_pickle" in str(problem) or "Object arrays" in str(problem):
            raise DatasetError(
                f"expected arrays of numbers in {path}, found an object array; those need unpickling, "
                "which can run code",
                "save arrays with a numeric dtype",
            ) from None
        raise DatasetError(f"expected an .npz archive, cannot read {path}: {problem}") from problem


def _class_names(arrays: dict[str, NDArray[Any]], path: str) -> tuple[str, ...]:
    names = arrays.get("classes")
    if names is None:
        return ()
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise DatasetError(
            f"expected classes in {path} to be a list of strings; found {names.dtype} of shape {names.shape}"
        )
    return tuple(name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names)
