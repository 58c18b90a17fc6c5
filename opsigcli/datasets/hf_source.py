"""``hfds:NAME``: data sets that the library of Hugging Face reads, where it is installed: from a path, or by name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from opsigcli.datasets.base import Settings, Source
from opsigcli.datasets.hf_table import open_table
from opsigcli.datasets.mapstyle import collect
from opsigcli.datasets.picture_files import picture_of_bytes
from opsigcli.datasets.python_source import split_options
from opsigcli.errors import DatasetError, UsageError
from opsigcli.examples import BESIDE, IGNORED
from opsigcli.files import read_file
from opsigcli.query import integer
from opsigcli.registry import nearest
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path, guarded

_LABELS = ("label", "labels", "fine_label", "target", "y")
_INPUTS = ("image", "img", "pixel_values", "input_ids", "x", "features")
_FEATURES = ("x", "features")  # whole numbers in these columns are numbers; in others they are tokens
_OPTIONS = ("split", "input", "target", "name", "revision", "pad")


def open_hf(spec: Spec) -> Source:
    """Open ``hfds:NAME_OR_DIR?split=train&input=image&target=label``.

    A path is a folder that ``save_to_disk`` made, or a folder or file of parquet, arrow, json or csv, or of pictures
    in folders: it is read from there alone. Anything else is a name on the hub, or in its cache. ``input`` and
    ``target`` name the columns; without them the usual names are looked for, and two that fit are an error. Lists of
    whole numbers are tokens, all padded to one length, or with ``pad=ID`` filled up with that token behind their last.
    The columns ``attention_mask`` and ``token_type_ids`` beside them say which are padding, and which sentence they are
    of. No code of a dataset's own is run (``trust_remote_code`` stays off). Options of every source apply.

    Raises:
        DatasetError: the library is not installed, or the data are not there, or no pairs of input and target.
        UsageError: a column or an option is unknown.
    """
    ours, theirs = split_options(spec, set())
    theirs.only(*_OPTIONS)
    table, own = open_table(spec, theirs)
    columns = list(table.column_names)
    pairs = _Pairs(
        table,
        _column(spec, "input", columns, _INPUTS),
        _column(spec, "target", columns, _LABELS),
        integer(spec, "pad", None, minimum=0),
        own.resolve(),
    )
    settings = Settings.of(ours)
    listing, reader = collect(pairs, repr(str(spec)), settings.pictures)
    name = absolute_path(spec.name) if os.path.exists(spec.name) else spec.name  # noqa: PTH110  (never raises)
    return Source(replace(spec, name=name), listing, reader, settings)


class _Pairs:
    """A table as a map-style dataset of (input, target). Pictures may lie in files below the folder ``own`` alone."""

    def __init__(self, table: Any, first: str, second: str, pad: int | None, own: Path) -> None:
        self.table, self.first, self.second, self.own = table, first, second, own
        self.image = table.features[first]
        self.encoded = type(self.image).__name__ == "Image"
        if self.encoded:  # opened here, as Pillow and the library would open anything
            self.table = table.cast_column(first, type(self.image)(decode=False))
        self.beside = [] if first in _FEATURES else [name for name in BESIDE if name in table.column_names]
        self.pad = pad
        if pad is not None:
            if not len(table) or not isinstance(self.table[0][first], list):
                raise UsageError(
                    f"expected lists of tokens in the column {first!r} for pad={pad}", "leave out pad="
                )
            self.longest = max(map(len, table[first]))
            self.beside = list(dict.fromkeys(["attention_mask", *self.beside]))
        self.classes = tuple(getattr(table.features[second], "names", None) or ())

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        import numpy as np

        found = self._filled(self.table[row])
        value = found[self.first]
        if self.encoded:
            return self._picture(value, row), found[self.second]
        if isinstance(value, list):
            value = np.asarray(value)
            if value.dtype.kind not in "iu" or value.ndim != 1 or self.first in _FEATURES:
                value = np.asarray(value, dtype=np.float32)
        if self.beside and isinstance(value, np.ndarray) and value.dtype.kind in "iu":
            return {"input_ids": value} | {name: found[name] for name in self.beside}, found[self.second]
        return value, found[self.second]

    def _filled(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with as many tokens as the longest has."""
        if self.pad is None:
            return row
        length = len(row[self.first])
        row = {"attention_mask": [1] * length} | row
        found = dict(row)
        filling = {self.first: self.pad, self.second: IGNORED} | dict.fromkeys(self.beside, 0)
        for name, value in filling.items():
            if isinstance(row[name], list) and len(row[name]) == length:
                found[name] = row[name] + [value] * (self.longest - length)
        return found

    def _picture(self, value: Any, row: int) -> Any:
        """The picture in a cell, turned upright and in the column's mode, as the library itself gives it.

        Raises:
            DatasetError: it names a file in place of holding it, or is no picture.
        """
        from PIL import ImageOps

        content = (value or {}).get("bytes")
        if content is None:
            path = (value or {}).get("path")
            if not path or not Path(path).resolve().is_relative_to(self.own):
                raise DatasetError(
                    f"expected a picture in row {row}, found "
                    + (f"the name of a file elsewhere: {path}" if path else "none"),
                    "save the dataset with its pictures in it: dataset.save_to_disk(DIR)",
                )
            with guarded(DatasetError, f"reading the picture in row {row}"):
                content = read_file(path)
        picture = ImageOps.exif_transpose(picture_of_bytes(content, f"row {row}"))
        return picture.convert(self.image.mode) if self.image.mode else picture


def _column(spec: Spec, option: str, columns: list[str], usual: tuple[str, ...]) -> str:
    given = spec.options.get(option)
    if given is not None:
        if given in columns:
            return str(given)
        close = nearest(str(given), columns)
        raise UsageError(
            f"in {str(spec)!r}: there is no column {given!r}; it has {', '.join(columns)}",
            f"did you mean {option}={close[0]}?" if close else f"change {option}=…",
        )
    fitting = [name for name in usual if name in columns]
    if len(fitting) != 1:
        found = f"found {', '.join(fitting)}" if fitting else f"it has {', '.join(columns)}"
        raise UsageError(
            f"in {str(spec)!r}: expected one column that is the {option}; {found}", f"add {option}=NAME"
        )
    return fitting[0]
