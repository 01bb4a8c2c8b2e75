"""Where rows come from: a folder, a file, a data frame or a sample becomes one table.

Not concerned with what the columns mean (`infer.py`), nor with opening the files that a table names.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from perceivers.data import folders
from perceivers.data.arrow import read_arrow, read_parquet
from perceivers.data.delimited import read_delimited
from perceivers.data.samples import load_sample
from perceivers.data.tensors import array_columns, without_tensors
from perceivers.data.ts import find_pair, read_pair, read_ts
from perceivers.errors import BadInput, Unreadable, closest

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".ts": "ts",
}
DAYS = (-719_162, 2_932_896)  # of the years 1 to 9999, from 1970 on
TABLE_SUFFIXES = frozenset(FORMATS)
FIRST = 5  # cells of a column that are looked at for names of files


@dataclass(frozen=True)
class Table:
    """Rows, and what their source knows of them.

    name: for messages
    root: the paths in cells are relative to it and must stay inside; None: the working directory
    targets: what the source brings to be predicted
    modalities: column → the modality that the source knows it to have
    notes: what a person should know, one line each
    views: field → its cells, where they are not those of its columns: slices of the steps of a long table
    parts: the row ids of train, validation and test, where the source knows them
    """

    frame: pl.DataFrame
    name: str
    root: Path | None
    targets: tuple[str, ...] = ()
    modalities: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    views: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    parts: Mapping[str, np.ndarray] | None = None


def read(data: Any) -> Table:
    """One table of `data`: a path, `sample:NAME`, a polars, pandas or Arrow table, a list of dicts, a dict of lists.

    A path is a folder of classes (`class/name.ext`, also below `train/`, `validation/`, `test/`: columns `path`,
    `class` and `split`), a folder with one table and the files that it names, a folder with `X_TRAIN.ts` and
    `X_TEST.ts`, or a CSV, TSV, Parquet, Arrow, JSONL or `.ts` file. Empty cells are missing (null). Raises BadInput.
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, str) and (scheme := re.match(r"([a-z]{2,}):", data)) and not _exists(data):
        return _read_scheme(scheme[1], data)
    if isinstance(data, str | Path):
        if not str(data):
            raise BadInput("an empty name: give a folder, a table file or sample:NAME")
        try:
            return _read_path(Path(data))
        except (OSError, ValueError) as error:
            if isinstance(error, BadInput):
                raise
            reason = error.strerror if isinstance(error, OSError) else None
            raise BadInput(f"{str(data)[:200]}: cannot be read: {reason or error}") from error
    return _checked(Table(_to_frame(data), "the given data", Path()))


def resolve(root: Path | None, cell: str) -> Path:
    """The file that a cell names, below `root` as it was given: so lines name it. Raises Unreadable where it is not a
    regular file inside `root`.
    """
    base, named = (root or Path.cwd()).resolve(), (root or Path()) / cell
    try:
        path = (base / cell).resolve()
        exists, is_file = path.exists(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name that is too long, or none
        raise Unreadable(f"{cell[:200]!r}: cannot be opened: {error}") from error
    if not path.is_relative_to(base):
        raise Unreadable(f"{cell}: leads out of {base}, where the data is; keep the files inside that folder")
    if not is_file:
        raise Unreadable(f"{named}: not a file" if exists else f"{named}: no such file: mend its name, or add the file")
    return named


def opened(root: Path | None, cell: Any) -> Any:
    """A cell of a field of files, with paths for names, in a tuple of several columns too. Raises Unreadable."""
    if isinstance(cell, tuple):
        return tuple(opened(root, part) for part in cell)
    return resolve(root, cell) if isinstance(cell, str) else cell


def file_names(cell: Any) -> str | None:
    """The files that a cell of a field of files names, for a person: as they stand there, but those below the working
    folder from there on. None where it names none.
    """
    if isinstance(cell, tuple):
        return ", ".join(filter(None, map(file_names, cell))) or None
    if not isinstance(cell, str):
        return None
    here = Path.cwd()
    return str(Path(cell).relative_to(here)) if Path(cell).is_relative_to(here) else cell


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # too long for a name, or with NUL
        return False


def _read_scheme(scheme: str, data: str) -> Table:
    if scheme != "sample":
        raise BadInput(f"{data}: unknown source {scheme!r}: give a folder, a table file or sample:NAME")
    sample = load_sample(data.removeprefix("sample:"))
    return Table(sample.frame, data, None, sample.targets, modalities=sample.modalities, notes=sample.notes)


def _read_path(path: Path) -> Table:
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such file or folder{_alike(path)}")
    if path.suffix.lower() not in FORMATS:
        raise BadInput(f"{path}: unknown ending {path.suffix!r}: give a folder or one of {', '.join(FORMATS)}")
    kind = FORMATS[path.suffix.lower()]
    if kind == "ts":
        return _of_series(read_ts(path), path)
    return _checked(Table(READERS[kind](path), str(path), path.parent))


def _alike(path: Path) -> str:
    """A hint at the name beside it that is most like a mistyped one, if any is."""
    if not path.parent.is_dir():
        return ""
    found = closest(path.name, [beside.name for beside in path.parent.iterdir()])
    return f"; did you mean {str(path.parent / found)!r}?" if found else ""


def _of_series(frame: pl.DataFrame, path: Path) -> Table:
    """Of `.ts` files: they know what their label is."""
    if "class" not in frame.columns:
        return Table(frame, str(path), path)
    kind = "category" if frame["class"].dtype == pl.String else "number"
    return Table(frame, str(path), path, ("class",), {"class": kind})


def _read_folder(folder: Path) -> Table:
    """A folder with a pair of .ts files, with one table file, or else of classes."""
    if pair := find_pair(folder):
        return _of_series(read_pair(pair), folder)
    tables = sorted(p for p in folder.iterdir() if p.suffix.lower() in FORMATS and not p.name.startswith("."))
    if len(tables) > 1:
        names = ", ".join(p.name for p in tables[:5])
        raise BadInput(f"{folder}: holds {len(tables)} tables ({names}): name the one to read")
    if tables:
        return _beside(_read_path(tables[0]), folder, tables[0].name)
    files = folders.list_files(folder)
    targets = ("class",) if "class" in files.frame.columns else ()
    return Table(files.frame, str(folder), folder, targets, notes=files.notes)


def _beside(table: Table, folder: Path, name: str) -> Table:
    """The table of a folder, with a note where it names no files of the class folders beside it: they are not read."""
    if any(_names_a_file(table.frame[column], folder) for column in table.frame.columns):
        return table
    if not (classes := folders.class_folders(folder)):
        return table
    named = ", ".join(map(repr, classes[:5])) + (" …" if len(classes) > 5 else "")
    note = f"{name} is read, not the folders beside it ({named}): to read these as classes, move {name} out of {folder}"
    return replace(table, notes=(*table.notes, note))


def _names_a_file(cells: pl.Series, folder: Path) -> bool:
    if cells.dtype != pl.String:
        return False
    for cell in cells.drop_nulls().head(FIRST).to_list():
        with suppress(Unreadable):
            return bool(resolve(folder, cell))
    return False


def _checked(table: Table) -> Table:
    """The table in the few types that are read here. Raises BadInput where it has no rows or columns."""
    frame = table.frame
    if not frame.width or not frame.height:
        raise BadInput(f"{table.name}: no rows to read")
    frame = frame.with_columns(
        frame[name].cast(pl.String if isinstance(dtype, pl.Categorical | pl.Enum) else pl.Float64)
        for name, dtype in frame.schema.items()
        if isinstance(dtype, pl.Categorical | pl.Enum | pl.Decimal)
    )
    for name in frame.columns:
        if not _in_the_calendar(frame[name]):
            raise BadInput(f"{table.name}: column {name!r} holds dates outside of the years 1 to 9999: mend them")
    return replace(table, frame=frame)


def _in_the_calendar(cells: pl.Series) -> bool:
    """Whether Python can tell all dates; True for other cells."""
    units = {"ms": 10**3, "us": 10**6, "ns": 10**9}
    if cells.dtype == pl.Date:
        days = cells.to_physical()
    elif isinstance(cells.dtype, pl.Datetime):
        days = cells.to_physical() // (units[cells.dtype.time_unit] * 86_400)
    else:
        return True
    return bool(days.is_between(*DAYS).all())


def _read_jsonl(path: Path) -> pl.DataFrame:
    try:
        return pl.read_ndjson(path, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        rows = _json_rows(path)
        try:
            return _from_rows(rows)  # which reads a column of lists beside something else
        except (pl.exceptions.PolarsError, TypeError, OverflowError):
            raise BadInput(f"{path}: {_line(error)}") from error


def _json_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of all lines. Raises BadInput with the first line that is none."""
    rows = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line.decode("utf-8")) if line.strip() else None
            except UnicodeDecodeError as error:
                raise BadInput(f"{path}, line {number}: not UTF-8: save the file as UTF-8") from error
            except (ValueError, RecursionError) as error:
                raise BadInput(f"{path}, line {number}: not JSON: {error}") from error
            if line.strip() and not isinstance(row, dict):
                raise BadInput(f"{path}, line {number}: not a JSON object: expected {{…}} on every line")
            rows += [row] if line.strip() else []
    if not rows:
        raise BadInput(f"{path}: an empty file: expected a JSON object on every line")
    return rows


READERS = {"csv": read_delimited, "parquet": read_parquet, "arrow": read_arrow, "jsonl": _read_jsonl, "ts": read_ts}


def _to_frame(data: Any) -> pl.DataFrame:
    """A table in memory as a polars frame. Raises BadInput."""
    try:
        if isinstance(data, pl.DataFrame):
            return data
        if isinstance(data, pl.LazyFrame):
            return data.collect()
        if isinstance(data, pa.Table):
            return pl.DataFrame(without_tensors(data))
        if type(data).__module__.split(".")[0] == "pandas":
            return _from_pandas(data.rename(columns=str))
        if isinstance(data, dict) and all(isinstance(v, list | tuple) or _is_array(v) for v in data.values()):
            arrays = array_columns(data)
            others = {str(k): list(v) for k, v in data.items() if str(k) not in arrays}
            return _joined(pl.DataFrame(others, strict=False), arrays, [str(k) for k in data])
        if isinstance(data, list | tuple) and all(isinstance(row, dict) for row in data):
            return _from_rows(data)
    except (pl.exceptions.PolarsError, pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"the given data is not a table: {_line(error)}") from error
    raise BadInput(
        f"{type(data).__name__} is no source of rows: give a path, sample:NAME, a data frame, a list of dicts "
        "or a dict of lists"
    )


def _joined(frame: pl.DataFrame, arrays: Mapping[str, pl.Series], names: Sequence[str]) -> pl.DataFrame:
    """The columns of both, in the order of `names`."""
    if not frame.width:
        return pl.DataFrame([arrays[name] for name in names])
    return frame.with_columns(*arrays.values()).select(names) if arrays else frame


def _from_rows(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    names = list(dict.fromkeys(name for row in rows for name in row))
    arrays = array_columns({name: [row.get(name) for row in rows] for name in names})
    others = [{name: cell for name, cell in row.items() if name not in arrays} for row in rows]
    try:
        frame = pl.DataFrame(others, infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError):
        columns = {name: [row.get(name) for row in rows] for name in names if name not in arrays}
        frame = pl.DataFrame([_mixed(name, cells) for name, cells in columns.items()])
    return _joined(frame, arrays, names)


def _mixed(name: str, cells: Sequence[Any]) -> pl.Series:
    """A column that may hold lists beside something else: then as text, as a file of JSON lines is read."""
    try:
        return pl.Series(name, cells)
    except (pl.exceptions.PolarsError, TypeError):
        if not any(isinstance(cell, list | tuple | dict) for cell in cells):
            raise
        texts = [cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in cells]
        return pl.Series(name, texts)


def _from_pandas(data: Any) -> pl.DataFrame:
    """A pandas frame without its index. Raises BadInput with the column whose cells are of several types."""
    objects = [name for name, dtype in data.dtypes.items() if dtype.kind == "O" and data.columns.is_unique]
    arrays = array_columns({name: data[name].to_list() for name in objects})
    others = data.drop(columns=list(arrays))
    try:
        return _joined(pl.from_pandas(others, include_index=False), arrays, list(data.columns))
    except (pa.ArrowException, TypeError) as error:
        for name in others.columns:
            kinds = dict.fromkeys(type(cell).__name__ for cell in data[name].dropna())
            if data[name].dtype == object and len(kinds) > 1:
                mend = f"make it one type, such as data[{name!r}].astype(str)"
                raise BadInput(f"column {name!r} holds {' and '.join(list(kinds)[:3])}: {mend}") from error
        raise


def _is_array(value: Any) -> bool:
    return type(value).__module__.split(".")[0] in ("numpy", "polars", "pyarrow", "pandas")


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
