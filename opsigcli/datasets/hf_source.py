"""``hfds:NAME``: data sets that the library of Hugging Face reads, where it is installed: from a path, or by name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from opsigcli.datasets.base import Settings, Source
from opsigcli.datasets.hf_pairs import Pairs
from opsigcli.datasets.hf_table import open_table
from opsigcli.datasets.mapstyle import collect
from opsigcli.datasets.python_source import split_options
from opsigcli.errors import UsageError
from opsigcli.query import integer
from opsigcli.registry import nearest
from opsigcli.specs import Spec
from opsigcli.usercode import absolute_path

LABELS = ("label", "labels", "fine_label", "target", "y")
INPUTS = ("image", "img", "pixel_values", "input_ids", "x", "features")
_OPTIONS = ("split", "input", "target", "name", "revision", "pad")


def open_hf(spec: Spec) -> Source:
    """Open ``hfds:NAME_OR_DIR?split=train&input=image&target=label``.

    A path is a folder that ``save_to_disk`` made, or a folder or file of parquet, arrow, json or csv, or of pictures
    in folders: it is read from there alone. Anything else is a name on the hub: what lies in its cache is read, and
    nothing is downloaded. ``input`` and ``target`` name the columns; without them the usual names are looked for, and
    two that fit are an error. Lists of whole numbers are tokens, rows of which are filled up behind their last to one
    length: with ``pad=ID``, else with the model's own token for that; labels beside them with -100. The columns
    ``BESIDE`` say which are padding, which sentence they are of, and so on. ``target=input_ids`` takes the tokens as
    labels, but for padding. No code of a dataset's own is run (``trust_remote_code`` stays off). Options of every
    source apply.

    Raises:
        DatasetError: the library is not installed, or the data are not there, or no pairs of input and target.
        UsageError: a column or an option is unknown.
    """
    ours, theirs = split_options(spec, set())
    theirs.only(*_OPTIONS)
    table, own = open_table(spec, theirs)
    columns = list(table.column_names)
    first, second = _column(spec, "input", columns, INPUTS), _column(spec, "target", columns, LABELS)
    name = absolute_path(spec.name) if os.path.exists(spec.name) else spec.name  # noqa: PTH110  (never raises)
    return of_pairs(replace(spec, name=name), table, own, (first, second), Settings.of(ours))


def of_pairs(spec: Spec, table: Any, own: Path, columns: tuple[str, str], settings: Settings) -> Source:
    """The source of a table's rows.

    Args:
        spec: opens it again; may have ``pad``.
        table: a ``datasets.Dataset``.
        own: the folder that its files lie below.
        columns: of the inputs and of the targets.
        settings: of every source.

    Raises:
        DatasetError: the rows are no pairs of input and target.
        UsageError: ``pad`` is no token, or inputs are none.
    """
    first, second = columns
    pad = integer(spec, "pad", None, minimum=0)
    pairs = Pairs(table, first, second, own.resolve())
    if pad is not None and not pairs.tokens:
        raise UsageError(f"expected lists of tokens in the column {first!r} for pad={pad}", "leave out pad=")
    listing, reader = collect(pairs, repr(str(spec)), settings.pictures, pad=pad)
    return Source(spec, replace(listing, unread=pairs.unread), reader, settings)


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
    if not fitting and option == "target" and "input_ids" in columns:
        raise UsageError(
            f"in {str(spec)!r}: expected one column that is the target; it has {', '.join(columns)}",
            "for a causal language model, whose labels are its tokens: target=input_ids&shift=true; else target=NAME",
        )
    if len(fitting) != 1:
        found = f"found {', '.join(fitting)}" if fitting else f"it has {', '.join(columns)}"
        raise UsageError(
            f"in {str(spec)!r}: expected one column that is the {option}; {found}", f"add {option}=NAME"
        )
    return fitting[0]
