"""Tables on their way out: to a file whole or not at all, or to stdout.

Not concerned with what stands in them.
"""

import io
import json
from pathlib import Path

import polars as pl

from perceivers.errors import BadInput
from perceivers.files import check_place, write_atomic

WRITERS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def kind_of(path: Path) -> str:
    """The format that a file's ending names. Raises BadInput where it names none."""
    kind = WRITERS.get(path.suffix.lower())
    if kind is None:
        raise BadInput(f"{path}: unknown ending {path.suffix!r}: use one of {', '.join(WRITERS)}")
    return kind


def check_out(path: Path) -> None:
    """Raises BadInput where no table could be written at `path`: asked before anything begins."""
    kind_of(path)
    check_place(path)


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Writes in the format of the file's ending. Raises BadInput."""
    write_atomic(path, to_bytes(frame, kind_of(path)))


def to_bytes(frame: pl.DataFrame, kind: str) -> bytes:
    """The table in a format. CSV and TSV hold nested cells as JSON."""
    buffer = io.BytesIO()
    if kind in ("csv", "tsv"):
        nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
        flat = frame.with_columns(
            pl.Series(name, [None if v is None else json.dumps(v) for v in frame[name].to_list()], dtype=pl.String)
            for name in nested
        )
        flat.write_csv(buffer, separator="," if kind == "csv" else "\t")
    elif kind == "parquet":
        frame.write_parquet(buffer)
    elif kind == "arrow":
        frame.write_ipc(buffer)
    else:
        frame.write_ndjson(buffer)
    return buffer.getvalue()
