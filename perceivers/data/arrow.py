"""Parquet and Arrow files. Read by Arrow, which mistrusts its input, and handed to polars, which does not.

Not concerned with what stands in the columns.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc, parquet

from perceivers.data.ipc_sizes import MARK, messages, unpacked_size
from perceivers.data.tensors import without_tensors
from perceivers.errors import BadInput

SHARE = 0.5  # of the machine's memory that a table may take
WIDTHS = {"BOOLEAN": 1 / 8, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8}  # bytes in memory; of all others 16


PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # how pandas stores an index without a name: no data


def read_parquet(path: Path) -> pl.DataFrame:
    """The table. Raises BadInput where the file is damaged, or unpacks to more than half of the memory."""

    def read(file: Any) -> pa.Table:
        opened = parquet.ParquetFile(file)
        _check_size(path, opened.metadata.num_rows, _cells(opened.metadata))
        repeated = [i for i in range(opened.metadata.num_columns) if _may_repeat(opened.metadata, i)]
        if repeated:
            _check_size(path, opened.metadata.num_rows, _strings(file, opened.metadata, repeated))
        return opened.read()

    return _table(path, "parquet", read)


def read_arrow(path: Path) -> pl.DataFrame:
    """Arrow IPC, as a file (Feather) or as a stream.

    Raises BadInput where the file is damaged, or unpacks to more than half of the memory.
    """

    def read(file: Any) -> pa.Table:
        needed = 0
        for message in messages(file):
            needed += unpacked_size(message)
            _check_size(path, None, needed)
        file.seek(0)
        is_file = file.read(len(MARK)) == MARK
        file.seek(0)
        return (ipc.open_file if is_file else ipc.open_stream)(file).read_all()

    return _table(path, "arrow", read)


def _table(path: Path, kind: str, read: Callable[[Any], pa.Table]) -> pl.DataFrame:
    with path.open("rb") as opened:  # what may not be opened is not damaged: the OSError says why
        try:
            with pa.PythonFile(opened, mode="r") as file:
                table = read(file)
                table.validate(full=True)
                table = without_tensors(table)
                table = table.drop_columns([name for name in table.column_names if PANDAS_INDEX.fullmatch(name)])
                schema = pa.schema([_checked(field) for field in table.schema])
                return pl.DataFrame(table.cast(schema).replace_schema_metadata(None))
        except BadInput:
            raise
        except MemoryError as error:
            raise BadInput(
                f"{path}: damaged, or unpacks to more than this machine's memory: give fewer rows"
            ) from error
        except (
            pa.ArrowException,
            EOFError,
            OSError,
            ValueError,
            pl.exceptions.PolarsError,
            pl.exceptions.PanicException,
        ) as error:
            reason = str(error).strip().split("\n")[0]
            raise BadInput(f"{path}: damaged, or not {kind}: {reason}") from error


def _check_size(path: Path, rows: int | None, needed: float) -> None:
    """Raises BadInput where a table needs more than its share of the memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > SHARE * memory:
        what = "it takes" if rows is None else f"{rows:,} rows take"
        raise BadInput(
            f"{path}: {what} at least {needed / 1e9:,.0f} GB unpacked, more than half of this machine's memory of "
            f"{memory / 1e9:,.0f} GB: give fewer rows"
        )


def _chunks(metadata: parquet.FileMetaData, column: int) -> list[parquet.ColumnChunkMetaData]:
    return [metadata.row_group(i).column(column) for i in range(metadata.num_row_groups)]


def _cells(metadata: parquet.FileMetaData) -> float:
    """Bytes of a Parquet file's cells, by its footer; strings that repeat count as their places alone."""
    chunks = (chunk for i in range(metadata.num_columns) for chunk in _chunks(metadata, i))
    return sum(chunk.num_values * WIDTHS.get(chunk.physical_type, 16) for chunk in chunks)


def _may_repeat(metadata: parquet.FileMetaData, column: int) -> bool:
    """Whether strings of a column, which stand once in the file, may fill the memory when each row has its own."""
    chunks = [chunk for chunk in _chunks(metadata, column) if chunk.physical_type == "BYTE_ARRAY"]
    most = sum(chunk.num_values * chunk.total_uncompressed_size for chunk in chunks if chunk.has_dictionary_page)
    return most > SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _strings(file: Any, metadata: parquet.FileMetaData, columns: list[int]) -> int:
    """Bytes of all strings in these columns, which are read as places in dictionaries."""
    names = [metadata.schema.column(i).path for i in columns]
    opened = parquet.ParquetFile(file, read_dictionary=names)
    return sum(_string_bytes(chunk) for name in names for chunk in opened.read([name]).column(0).chunks)


def _string_bytes(array: pa.Array) -> int:
    """Of strings by their dictionary, also inside of lists and structures."""
    if pa.types.is_dictionary(array.type):
        lengths = pc.call_function("binary_length", [array.dictionary]).cast(pa.int64())
        return pc.call_function("sum", [lengths.take(array.indices)]).as_py() or 0
    if pa.types.is_struct(array.type):
        return sum(map(_string_bytes, array.flatten()))
    return _string_bytes(array.flatten()) if array.type.num_fields else 0


def _checked(field: pa.Field) -> pa.Field:
    """A field without metadata. Raises UnicodeDecodeError where its name, or one inside it, is not UTF-8."""
    field.name.encode()
    for i in range(field.type.num_fields):
        _checked(field.type.field(i))
    return field.remove_metadata()
