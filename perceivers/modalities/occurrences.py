"""Cells of events → times, units and values: lists, JSON in strings, dicts, columns side by side, arrays, files.

Each form becomes columns by name first; a list of lists has the columns "0", "1", "2" …
Not concerned with what a model makes of them (`events.py`).
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from perceivers.arrays import array_names, read_array
from perceivers.errors import Unreadable
from perceivers.modalities.base import is_missing
from perceivers.modalities.category import label
from perceivers.modalities.steps import as_times

MOST = 50_000_000  # events of a file
TIME_NAMES = ("time", "times", "timestamp", "timestamps", "t", "ts", "when", "date", "datetime")
UNIT_NAMES = ("unit", "units", "channel", "channels", "event", "events", "neuron", "sensor", "code", "type", "kind")
TABLES = {".csv": ",", ".tsv": "\t", ".parquet": None}
EXPECTED = "expected a list of [time, unit, value …]"
Columns = dict[str, Any]  # name → a sequence; all are of one length


class Layout(NamedTuple):
    """Which columns are the times, the units (None: all events are of one unit), and the values."""

    time: str
    unit: str | None
    values: tuple[str, ...]


def as_columns(cell: Any, names: Sequence[str]) -> Columns | None:
    """A cell as columns by name; None where it is missing. `names`: those of the field. Raises Unreadable."""
    if len(names) > 1:
        columns = {name: _parsed(one) for name, one in zip(names, cell, strict=True)}
        return None if any(is_missing(column) for column in columns.values()) else _checked(columns)
    if isinstance(cell, Path):
        return _checked(_of_file(cell))
    cell = _parsed(cell)
    if is_missing(cell):
        return None
    if isinstance(cell, np.ndarray):
        return _checked(_of_array(cell))
    if isinstance(cell, Mapping):
        return _checked({str(name): column for name, column in cell.items()})
    if not isinstance(cell, list | tuple):
        raise Unreadable(f"{str(cell)[:60]} came, {EXPECTED}")
    return _checked(_of_rows(list(cell)))


def find_layout(
    rows: Sequence[Columns], time: str | None, unit: str | bool | None, values: Sequence[str] | None
) -> Layout:
    """The layout of rows that have events: by names where they are given or usual, else the first column is the time,
    the first of words, or else the second, the unit, and the values are all others that are numbers. A column counts
    that is in half as many rows as the most frequent one: one row of another kind does not decide how all are read.
    """
    found: dict[str, list[str]] = {}
    for columns in rows:
        for name, column in columns.items():
            found.setdefault(name, []).append(_kind(column))
    most = max(map(len, found.values()))
    kinds = {name: _usual(of) for name, of in found.items() if 2 * len(of) >= most}
    time = time or next((name for name in kinds if name.lower() in TIME_NAMES), next(iter(kinds)))
    others = [name for name in kinds if name != time]
    if unit is None:
        usual = (name for name in others if name.lower() in UNIT_NAMES)
        words = (name for name in others if kinds[name] == "words")
        unit = next(usual, None) or next(words, None) or ("1" if "1" in others else False)
    if values is None:
        values = [name for name in others if name != unit and kinds[name] == "numbers"]
    return Layout(time, unit if isinstance(unit, str) else None, tuple(values))


def as_times_of(columns: Columns, layout: Layout) -> Float[np.ndarray, " n"]:
    """Numbers as they are, dates as seconds since 1970. Raises Unreadable where one is missing or is no time."""
    cells = _column(columns, layout.time)
    times = _dates(cells)
    if times is None:
        try:
            times = np.asarray(cells, dtype=np.float64)
        except (ValueError, TypeError):
            times = _written_times([one.strip() if isinstance(one, str) else one for one in cells])
    if times.ndim != 1:
        raise Unreadable(f"times of rank {times.ndim} came, {EXPECTED}")
    if (bad := np.flatnonzero(~np.isfinite(times))).size:
        raise Unreadable(f"event {bad[0] + 1}: its time is missing or infinite: leave the event out, or give its time")
    return times


def _written_times(cells: Sequence[Any]) -> Float[np.ndarray, " n"]:
    """Times of which some are words: dates, or what most of them are. Raises Unreadable with the first other one."""
    if not _is_number(cells[0]):
        with suppress(Unreadable):
            times = as_times(cells)
            assert times is not None
            return times
    of_numbers = 2 * sum(map(_is_number, cells)) >= len(cells)
    expected = "a number" if of_numbers else "a time such as 2026-11-23"
    times = np.full(len(cells), np.nan)
    for place, one in enumerate(cells):
        if is_missing(one):
            continue
        try:
            times[place] = one if of_numbers else _moment(one)
        except (Unreadable, ValueError, TypeError) as error:
            raise Unreadable(
                f"event {place + 1}: its time is {str(one)[:40]!r}, expected {expected}: mend it, or leave it out"
            ) from error
    return times


def _moment(one: Any) -> float:
    times = as_times([one])
    assert times is not None
    return float(times[0])


def as_units(columns: Columns, layout: Layout) -> tuple[Int[np.ndarray, " n"], list[str | None]]:
    """The index of each event's unit in the labels that follow, of which None is a unit that is missing."""
    if layout.unit is None:
        return np.zeros(len(_column(columns, layout.time)), np.int64), [""]
    cells = _column(columns, layout.unit)
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "iufb":
        found, index = np.unique(cells, return_inverse=True)
        return index, [None if is_missing(one) else label(one) for one in found.tolist()]
    codes: dict[str | None, int] = {}
    index = [codes.setdefault(None if is_missing(one) else label(one), len(codes)) for one in cells]
    return np.array(index, np.int64), list(codes)


def as_values(columns: Columns, layout: Layout) -> Float[np.ndarray, "n k"]:
    """NaN where missing. Raises Unreadable where one is no number."""
    found = np.empty((len(_column(columns, layout.time)), len(layout.values)))
    for place, name in enumerate(layout.values):
        column = _column(columns, name)
        try:
            found[:, place] = column
        except (ValueError, TypeError):
            found[:, place] = [_number(one, name, i) for i, one in enumerate(column)]
    if (bad := np.flatnonzero(np.isinf(found).any(1))).size:
        raise Unreadable(f"event {bad[0] + 1}: infinity came, expected finite values: leave it empty")
    return found


def _number(one: Any, name: str, place: int) -> float:
    try:
        return float("nan") if is_missing(one) else float(one)
    except (ValueError, TypeError) as error:
        raise Unreadable(
            f"event {place + 1}: its value {name!r} is {str(one)[:40]!r}, expected a number: mend it, or leave it empty"
        ) from error


def _is_number(one: Any) -> bool:
    try:
        float(one)
    except (ValueError, TypeError):
        return False
    return True


def _kind(column: Any) -> str:
    """Whether what a column holds is numbers, words or nothing."""
    if isinstance(column, np.ndarray) and column.dtype != object:
        return "numbers" if column.dtype.kind in "iufb" else "words"
    there = [one for one in column if not is_missing(one)]
    try:
        np.asarray(there, dtype=np.float64)
    except (ValueError, TypeError):
        return "words"
    return "numbers" if there else "nothing"


def _usual(kinds: Sequence[str]) -> str:
    """What a column holds in most of the rows in which it holds something: words, where there are as many."""
    numbers, words = kinds.count("numbers"), kinds.count("words")
    return "numbers" if numbers > words else "words" if words else "nothing"


def _column(columns: Columns, name: str) -> Any:
    if name not in columns:
        raise Unreadable(f"no {name!r} came among {', '.join(columns)}, {EXPECTED}, as in training")
    return columns[name]


def _checked(columns: Columns) -> Columns:
    for name, column in columns.items():
        if not isinstance(column, list | tuple | np.ndarray):
            raise Unreadable(f"{name}: {str(column)[:60]} came, expected a list with an entry for each event")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise Unreadable(f"columns of different lengths came: {', '.join(f'{n} in {k}' for k, n in lengths.items())}")
    return columns


def _of_rows(rows: list[Any]) -> Columns:
    """Events one by one: dicts, lists, or times alone."""
    if not rows:
        return {}
    if all(isinstance(row, Mapping) for row in rows):
        names = dict.fromkeys(str(name) for row in rows for name in row)
        return {name: [row.get(name) for row in rows] for name in names}
    if all(isinstance(row, list | tuple | np.ndarray) for row in rows):
        return {str(i): list(column) for i, column in enumerate(zip_longest(*rows))}
    if any(isinstance(row, Mapping | list | tuple | np.ndarray) for row in rows):
        raise Unreadable(f"events of several forms came, {EXPECTED} or of dicts or of times, not a mixture")
    return {"0": rows}


def _of_array(array: np.ndarray) -> Columns:
    if array.dtype.names:
        return {name: array[name] for name in array.dtype.names}
    if array.ndim == 1:
        return {"0": array}
    if array.ndim != 2:
        raise Unreadable(f"an array of rank {array.ndim} came, expected (n, 2 + k): time, unit, and k values")
    return {str(i): column for i, column in enumerate(array.T)}


def _of_file(path: Path) -> Columns:
    """Tables (csv, tsv) with a line of names, parquet, npy (also with named fields), npz of one array or of several."""
    try:
        if path.suffix.lower() in TABLES:
            return _of_table(path)
        if path.suffix.lower() == ".npz" and len(names := array_names(path)) > 1:
            return {name: read_array(path, name) for name in names}
        return _of_array(read_array(path))
    except (OSError, ValueError, TypeError, NotImplementedError) as error:
        if isinstance(error, Unreadable):
            raise
        reason = str(error).strip().split("\n")[0]
        raise Unreadable(f"{path}: cannot be read as a table or array of events: {reason}") from error


def _of_table(path: Path) -> Columns:
    from pyarrow import csv, parquet

    delimiter = TABLES[path.suffix.lower()]
    if delimiter is None:
        if (rows := parquet.read_metadata(path).num_rows) > MOST:
            raise Unreadable(f"{path}: {rows:,} events, over {MOST:,}: cut it into several rows")
        table = parquet.read_table(path)
    else:
        table = csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=delimiter))
    return {name: table[name].to_numpy() for name in table.column_names}


def _parsed(cell: Any) -> Any:
    if not isinstance(cell, str) or not cell.strip():
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f'{cell[:60]!r} came, {EXPECTED}, such as [[0.5, "a", 1.2], [0.7, "b", null]]') from error


def _dates(cells: Any) -> Float[np.ndarray, " n"] | None:
    """Dates as seconds since 1970, NaN where missing; None where they are no dates."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
        seconds = cells.astype("datetime64[us]").astype(np.int64) / 1e6
        return np.where(np.isnat(cells), np.nan, seconds)
    if not any(isinstance(one, date) for one in cells[:1]):
        return None
    return as_times(list(cells))
