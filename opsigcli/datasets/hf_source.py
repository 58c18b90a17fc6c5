"""``hfds:NAME``: the datasets of Hugging Face, where the library is installed."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from opsigcli.datasets.base import Settings, Source
from opsigcli.datasets.mapstyle import collect
from opsigcli.datasets.python_source import split_options
from opsigcli.errors import DatasetError, UsageError
from opsigcli.examples import BESIDE, IGNORED
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

    A folder is one that ``save_to_disk`` made; anything else is a name on the hub, or in its cache. ``input`` and
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
    table = _table(spec, theirs)
    columns = list(table.column_names)
    pairs = _Pairs(
        table,
        _column(spec, "input", columns, _INPUTS),
        _column(spec, "target", columns, _LABELS),
        integer(spec, "pad", None, minimum=0),
    )
    settings = Settings.of(ours)
    listing, reader = collect(pairs, repr(str(spec)), settings.pictures)
    name = absolute_path(spec.name) if Path(spec.name).is_dir() else spec.name
    return Source(replace(spec, name=name), listing, reader, settings)


class _Pairs:
    """A table as a map-style dataset of (input, target)."""

    def __init__(self, table: Any, first: str, second: str, pad: int | None) -> None:
        self.table, self.first, self.second = table, first, second
        self.beside = [] if first in _FEATURES else [name for name in BESIDE if name in table.column_names]
        self.pad = pad
        if pad is not None:
            if not len(table) or not isinstance(table[0][first], list):
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


def _table(spec: Spec, options: Spec) -> Any:
    try:
        datasets: Any = import_module("datasets")
    except ImportError as error:
        raise DatasetError(
            f"expected datasets to be installed for {str(spec)!r}; it is not", "pip install 'opsig[hf]'"
        ) from error
    split = str(options.options.get("split", "train"))
    more = {key: options.options[key] for key in ("name", "revision") if key in options.options}
    with guarded(DatasetError, f"opening {str(spec)!r}", "check the name, the split, and the network"):
        if Path(spec.name).expanduser().is_dir():
            found = datasets.load_from_disk(str(Path(spec.name).expanduser()))
            found = found[split] if isinstance(found, datasets.DatasetDict) else found
        else:
            found = datasets.load_dataset(spec.name, split=split, **more)
    if not isinstance(found, datasets.Dataset):
        raise DatasetError(
            f"expected a dataset with rows for {str(spec)!r}, found {type(found).__name__}", "add split=train"
        )
    return found


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
