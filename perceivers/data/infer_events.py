"""Which columns are events: lists of records, and of times beside units and values.

Not concerned with long tables (`infer_long.py`), nor with how events are read by a model.
"""

import json
from collections.abc import Collection, Sequence
from typing import Any

import polars as pl

from perceivers.data.dates import find_dates
from perceivers.data.schema import Field
from perceivers.data.sources import Table

SAMPLE = 100  # cells
NAMES = ("events", "happened", "records")  # of fields that are made of several columns


def are_events(cells: pl.Series) -> str | None:
    """Why the cells of a column are events; None where they are not: lists of records, of [time, unit, …] with units
    in words, records of lists, or JSON of these.
    """
    if cells.dtype == pl.String:
        shown = cells.head(SAMPLE)
        found = {_form(cell) for cell in shown} if shown.str.contains(r'^\s*[\[{].*"').all() else {None}
        return f"{found.pop()}, written in strings" if len(found) == 1 and None not in found else None
    dtype: Any = cells.dtype
    if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct):
        return "lists of records: each is an event"
    if isinstance(dtype, pl.Struct) and all(isinstance(field.dtype, pl.List) for field in dtype.fields):
        return "records of lists: times, units, values"
    if isinstance(dtype, pl.List) and dtype.inner == pl.List(pl.String):
        forms = {_form_of(cell) for cell in cells.head(SAMPLE).to_list() if cell}
        return forms.pop() if len(forms) == 1 else None
    return None


def _form(cell: str) -> str | None:
    """What a string of JSON holds; None where it holds no events."""
    try:
        return _form_of(json.loads(cell))
    except (ValueError, RecursionError):
        return None


def _form_of(content: Any) -> str | None:
    if isinstance(content, dict) and content and all(isinstance(one, list) for one in content.values()):
        return "records of lists: times, units, values"
    if not isinstance(content, list) or not content:
        return None
    if all(isinstance(one, dict) and one for one in content):
        return "lists of records: each is an event"
    if all(isinstance(one, list) and len(one) > 1 for one in content) and _is_time(content[0][0]):
        words = any(isinstance(one[1], str) and not _is_number(one[1]) for one in content)
        return "lists of [time, unit, …]: each is an event" if words else None
    return None


def _is_time(cell: Any) -> bool:
    return _is_number(cell) or (isinstance(cell, str) and find_dates(pl.Series([cell])) is not False)


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (ValueError, TypeError):
        return False
    return not isinstance(cell, bool)


def with_events(table: Table, fields: tuple[Field, ...], names: Collection[str]) -> tuple[Field, ...]:
    """Columns of lists side by side are events where one is named like times, by one of `names`, and another, as long
    in each row, holds words, or where a time is twice in a list.
    """
    frame = table.frame
    lists = {
        f.name: frame[f.name]
        for f in fields
        if f.role == "input" and isinstance(frame[f.columns[0]].dtype, pl.List) and len(f.columns) == 1
    }
    times = next((name for name in lists if name.lower() in names), None)
    if times is None:
        return fields
    lengths = lists[times].list.len()
    types: Any = {name: cells.dtype for name, cells in lists.items()}
    inner = {name: dtype.inner for name, dtype in types.items()}
    beside = [
        (name, inner[name])
        for name, cells in lists.items()
        if name != times and not inner[name].is_nested() and (cells.list.len() == lengths).all()
    ]
    words, twice = any(dtype == pl.String for _, dtype in beside), _repeat(lists[times])
    if not words and not twice:
        return fields
    options = layout(beside)
    unit, values = options["unit"], options["values"]
    why = f"{unit!r} says the unit of each" if words else "times repeat within a row"
    columns = (times, *((unit,) if unit else ()), *values)
    known = {"time": times, **options} if len(columns) > 1 else {"unit": False}
    taken = {f.name for f in fields} - {*columns}
    name = next(n for n in (*NAMES, times) if n not in taken)
    event = Field(name, "events", "input", columns, known, f"lists as long as those of {times!r}: {why}")
    place = next(i for i, f in enumerate(fields) if f.name == times)
    return (
        *(f for f in fields[:place] if f.name not in columns),
        event,
        *(f for f in fields[place:] if f.name not in columns),
    )


def _repeat(times: pl.Series) -> bool:
    """Whether a list of times has one twice; what is no time has none."""
    if isinstance(times.dtype, pl.List) and times.dtype.inner.is_nested():
        return False
    return any(len(set(one)) < len(one) for one in times.drop_nulls().head(SAMPLE).to_list())


def unit_of(columns: Sequence[tuple[str, Any]]) -> str | None:
    """The column that names the units, by the types of what it holds: the first of words, else of integers."""
    words = (name for name, dtype in columns if dtype in (pl.String, pl.Boolean))
    return next(words, None) or next((name for name, dtype in columns if dtype.is_integer()), None)


def layout(columns: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The options of events with these columns beside the times: their unit and values."""
    unit = unit_of(columns)
    return {"unit": unit or False, "values": [name for name, dtype in columns if name != unit and dtype.is_numeric()]}
