"""Parquet and Arrow files. Read by Arrow, which mistrusts its input, and handed to polars, which does not.

Not concerned with what stands in the columns.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc, parquet

from perceivers.data.ipc_sizes import MARK, messages, unpacked_size
from perceivers.data.parquet_sizes import Unpacked, unpacked
from perceivers.data.tensors import without_tensors
from perceivers.errors import BadInput

SHARE = 0.5  # of the machine's memory that a table may take
WIDTHS = {"BOOLEAN": 1 / 8, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8}  # bytes in memory; of all others 16


PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # how pandas stores an index without a name: no data


def read_parquet(path: Path) -> pl.DataFrame:
    """The table. Raises BadInput where the file is damaged, or unpacks to more than half of the memory."""

    def read(file: Any) -> pa.Table:
        opened = parquet.ParquetFile(file)
        metadata = opened.metadata
        pages = [_pages(path, metadata, i) for i in range(metadata.num_columns)]
        _check_size(path, metadata.num_rows, _cells(opened, pages))
        if repeated := [i for i, of_column in enumerate(pages) if _may_repeat(of_column)]:
            _check_size(path, metadata.num_rows, _strings(file, metadata, repeated))
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


def _pages(path: Path, metadata: parquet.FileMetaData, column: int) -> list[Unpacked]:
    """What the pages of a column declare, for each row group."""
    with path.open("rb") as file:
        return [unpacked(file, metadata.row_group(i).column(column)) for i in range(metadata.num_row_groups)]


def _cells(opened: parquet.ParquetFile, pages: Sequence[Sequence[Unpacked]]) -> float:
    """Bytes of all cells, by the headers of their pages; strings that repeat count as their places alone."""
    total, rows = 0.0, opened.metadata.num_rows
    places = [place for field in opened.schema_arrow for place in _places(field.type)]
    for i, (of_column, (fixed, varies)) in enumerate(zip(pages, places, strict=True)):
        leaf = opened.metadata.schema.column(i)
        width = WIDTHS.get(leaf.physical_type) or max(leaf.length, 16)
        values = sum(chunk.values for chunk in of_column)
        total += width * (values * fixed if varies else max(values, rows * fixed))
        if leaf.physical_type == "BYTE_ARRAY":
            total += sum(chunk.size for chunk in of_column)
    return total


def _places(kind: pa.DataType, fixed: int = 1, varies: bool = False) -> Iterator[tuple[int, bool]]:
    """Of each column that a type is stored as: how many places a missing value takes, as in lists of fixed size, and
    whether lists of any size stand above it.
    """
    if isinstance(kind, pa.BaseExtensionType):
        yield from _places(kind.storage_type, fixed, varies)
    elif pa.types.is_fixed_size_list(kind):
        yield from _places(kind.value_type, fixed * kind.list_size, varies)
    elif kind.num_fields:
        for i in range(kind.num_fields):
            yield from _places(kind.field(i).type, fixed, varies or not pa.types.is_struct(kind))
    else:
        yield fixed, varies


def _may_repeat(pages: Sequence[Unpacked]) -> bool:
    """Whether strings of a column, which stand once in the file, may fill the memory when each row has its own."""
    most = sum(chunk.values * chunk.repeated for chunk in pages)
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
    if pa.types.is_map(array.type):
        return _string_bytes(array.keys) + _string_bytes(array.items)
    return _string_bytes(array.flatten()) if array.type.num_fields else 0


def _checked(field: pa.Field) -> pa.Field:
    """A field without metadata. Raises UnicodeDecodeError where its name, or one inside it, is not UTF-8."""
    field.name.encode()
    for i in range(field.type.num_fields):
        _checked(field.type.field(i))
    return field.remove_metadata()
