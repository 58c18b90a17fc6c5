"""Tables as columns in binary files: arrays of NumPy, and Parquet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np

from opsigcli.errors import UsageError
from opsigcli.exporting.table import Column, Table

_DTYPES: dict[str, Any] = {
    "int": np.int64,
    "float": np.float64,
    "float32": np.float32,
    "bool": np.bool_,
    "maybe": np.float64,
}


def write_npz(table: Table, file: BinaryIO) -> None:
    """An array per column, (N,); a grid as one array (K, N) float32 beside what its rows are of.

    Texts are arrays of Unicode, so that nothing has to be unpickled. Arrays are written piece by piece.
    """
    with ZipFile(file, "w") as archive:
        for column in table.columns:
            dtype, pieces = _column(table, column)
            _write_array(archive, column.name, dtype, (table.rows,), pieces)
        if (grid := table.grid) is not None:
            name, values = grid.axis
            _write_array(archive, name, values.dtype, values.shape, [values])
            shape = (len(grid.names), table.rows)
            pieces = (piece for number in range(shape[0]) for piece in grid.column(number))
            _write_array(archive, grid.name, np.dtype(np.float32), shape, pieces)


def write_parquet(table: Table, file: BinaryIO) -> None:
    """Columns of Parquet, a group of rows per block; numbers that are missing are null.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            "expected pyarrow, which writes Parquet, found none",
            "pip install 'opsig[parquet]', or --format csv",
        ) from error
    types = {
        "int": pyarrow.int64(),
        "float": pyarrow.float64(),
        "float32": pyarrow.float32(),
        "bool": pyarrow.bool_(),
        "maybe": pyarrow.bool_(),
        "text": pyarrow.string(),
    }
    grid = table.grid
    fields = [(column.name, types[column.kind]) for column in table.columns]
    fields += [(name, types["float32"]) for name in (grid.names if grid else ())]
    schema = pyarrow.schema(fields)
    with parquet.ParquetWriter(file, schema) as writer:
        for start, stop in table.blocks():
            columns = [
                pyarrow.array(column.read(start, stop), type=types[column.kind], from_pandas=True)
                for column in table.columns
            ]
            if grid is not None:
                columns += [pyarrow.array(row, from_pandas=True) for row in grid.read(start, stop)]
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))


def _column(table: Table, column: Column) -> tuple[np.dtype[Any], Iterable[Any]]:
    """The type of a column's array, and its values block by block."""
    if column.kind != "text":
        dtype = np.dtype(_DTYPES[column.kind])
    else:  # an array has one width: the texts are read once for it
        longest = max((len(text) for at in table.blocks() for text in column.read(*at)), default=0)
        dtype = np.dtype(f"<U{max(longest, 1)}")
    return dtype, (np.asarray(column.read(*at), dtype=dtype) for at in table.blocks())


def _write_array(
    archive: ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], pieces: Iterable[Any]
) -> None:
    entry = ZipInfo(f"{name}.npy")  # of a fixed date: the same table is the same file
    entry.compress_type = ZIP_DEFLATED if dtype.kind == "U" else ZIP_STORED
    with archive.open(entry, "w", force_zip64=True) as file:
        descr = np.lib.format.dtype_to_descr(dtype)
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(cast(Any, file), cast(Any, header))
        for piece in pieces:
            file.write(np.ascontiguousarray(piece, dtype=dtype).tobytes())
