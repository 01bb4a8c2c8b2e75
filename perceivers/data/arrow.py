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
from pyarrow import ipc, parquet

from perceivers.data.tensors import without_tensors
from perceivers.errors import BadInput

WIDTHS = {"BOOLEAN": 1 / 8, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8}  # bytes in memory; of all others 16


PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # how pandas stores an index without a name: no data


def read_parquet(path: Path) -> pl.DataFrame:
    """The table. Raises BadInput where the file is damaged, or so compressed that memory cannot hold it."""
    return _table(path, "parquet", lambda file: _unpacked(path, parquet.ParquetFile(file)))


def read_arrow(path: Path) -> pl.DataFrame:
    """Arrow IPC, as a file (Feather) or as a stream. Raises BadInput where the file is damaged."""

    def read(file: Any) -> pa.Table:
        is_file = file.read(6) == b"ARROW1"
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
            OSError,
            ValueError,
            pl.exceptions.PolarsError,
            pl.exceptions.PanicException,
        ) as error:
            reason = str(error).strip().split("\n")[0]
            raise BadInput(f"{path}: damaged, or not {kind}: {reason}") from error


def _unpacked(path: Path, file: parquet.ParquetFile) -> pa.Table:
    """The table of a Parquet file whose cells, by its footer, fit into memory."""
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    chunks = (group.column(i) for group in groups for i in range(group.num_columns))
    needed = sum(chunk.num_values * WIDTHS.get(chunk.physical_type, 16) for chunk in chunks)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > memory:
        raise BadInput(
            f"{path}: {file.metadata.num_rows:,} rows take at least {needed / 1e9:,.0f} GB unpacked, more than the "
            f"{memory / 1e9:,.0f} GB of this machine: give fewer rows"
        )
    return file.read()


def _checked(field: pa.Field) -> pa.Field:
    """A field without metadata. Raises UnicodeDecodeError where its name, or one inside it, is not UTF-8."""
    field.name.encode()
    for i in range(field.type.num_fields):
        _checked(field.type.field(i))
    return field.remove_metadata()
