"""Rows of a Hugging Face table as pairs of input and target, with what is said of tokens beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.datasets.picture_files import picture_of_bytes
from opsigcli.errors import DatasetError
from opsigcli.examples import BESIDE, IGNORED
from opsigcli.files import read_file
from opsigcli.usercode import guarded

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEATURES = (
    "x",
    "features",
    "pixels",
    "pixel_values",
)  # whole numbers in these columns are numbers; in others they are tokens
BYTES = ("binary", "large_binary")


class Pairs:
    """A table as a map-style dataset of (input, target). Pictures may lie in files below the folder ``own`` alone.

    Args:
        table: a ``datasets.Dataset`` with rows.
        first: the column that is the input: pictures, numbers or tokens.
        second: the column that is the target; texts in it are names of classes, numbered in their sorted order.
        own: a resolved path.
    """

    def __init__(self, table: Any, first: str, second: str, own: Path) -> None:
        table = table.with_format(None)  # whatever it was saved with
        self.first, self.second, self.own = first, second, own
        self.image = table.features[first]
        self.encoded = type(self.image).__name__ == "Image"
        if self.encoded:  # opened here, as Pillow and the library would open anything
            table = table.cast_column(first, type(self.image)(decode=False))
        value = table[0][first] if len(table) else None
        self.encoded = (
            self.encoded or isinstance(value, bytes) or (isinstance(value, dict) and "bytes" in value)
        )
        self.tokens = first not in FEATURES and isinstance(value, list) and _whole(value)
        self.beside = [name for name in BESIDE if name in table.column_names] if self.tokens else []
        read = dict.fromkeys((first, second, *self.beside))
        self.unread = tuple(name for name in table.column_names if name not in read) if self.tokens else ()
        self.table = table.select_columns(list(read))
        self.classes = tuple(getattr(table.features[second], "names", None) or ())
        self._numbers: dict[str, int] = {}
        if str(getattr(table.features[second], "dtype", "")) in ("string", "large_string"):
            self.classes = tuple(sorted({str(name) for name in self.table[second]}))
            self._numbers = {name: number for number, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        found = self.table[row]
        value, target = found[self.first], found[self.second]
        if self._numbers:
            target = self._numbers[str(target)]
        if self.encoded:
            return self._picture(value, row), target
        if not isinstance(value, list):
            return value, target
        if not self.tokens:
            return np.asarray(value, dtype=np.float32), target
        tokens = np.asarray(value, dtype=np.int64)
        if self.first == self.second:
            mask = found.get("attention_mask")
            target = tokens if mask is None else np.where(np.asarray(mask) != 0, tokens, IGNORED)
        return {"input_ids": tokens} | {name: found[name] for name in self.beside}, target

    def _picture(self, value: Any, row: int) -> Any:
        """The picture in a cell, turned upright and in the column's mode, as the library itself gives it.

        Raises:
            DatasetError: it names a file in place of holding it, or is no picture.
        """
        from PIL import ImageOps

        value = value if isinstance(value, dict) else {"bytes": value}
        content = value.get("bytes")
        if content is None:
            path = value.get("path")
            if not path or not Path(path).resolve().is_relative_to(self.own):
                raise DatasetError(
                    f"expected a picture in row {row}, found "
                    + (f"the name of a file elsewhere: {path}" if path else "none"),
                    "save the dataset with its pictures in it: dataset.save_to_disk(DIR)",
                )
            with guarded(DatasetError, f"reading the picture in row {row}"):
                content = read_file(path)
        picture = ImageOps.exif_transpose(picture_of_bytes(content, f"row {row}"))
        mode = getattr(self.image, "mode", None)
        return picture.convert(mode) if mode else picture


def is_picture(kind: Any) -> bool:
    """Whether a column of this kind holds pictures: files of them, or such beside their names."""
    return (
        type(kind).__name__ == "Image"
        or (isinstance(kind, dict) and "bytes" in kind)
        or getattr(kind, "dtype", "") in BYTES
    )


def _whole(value: list[Any]) -> bool:
    """Whether a list holds whole numbers, in one row."""
    found: NDArray[Any] = np.asarray(value) if value else np.zeros(0, dtype=np.int64)
    return found.ndim == 1 and found.dtype.kind in "iu"
