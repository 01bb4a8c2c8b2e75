"""From a long table to a schema: which columns are steps of a series, and which hold for all of it.

Not concerned with tables of a row an example (`infer.py`), nor with cutting (`long.py`).
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from perceivers.data import long as cutting
from perceivers.data.dates import find_times
from perceivers.data.future import last
from perceivers.data.infer_events import NAMES, layout
from perceivers.data.rules import CLASSES, Column, counter, present, read_as, read_column
from perceivers.data.schema import Field, Long, Schema, Split
from perceivers.data.sources import Table
from perceivers.errors import BadInput, nearest


def infer_long(
    table: Table, targets: Sequence[str], long: Long, *, group: str | None = None, split: str | None = None
) -> Schema:
    """The schema of the series of a long table, or of forecasts where there is a horizon. `split`: the column that says
    the part of each series. Raises BadInput.
    """
    for name in targets:
        if name not in table.frame.columns:
            raise BadInput(f"{table.name}: no target column {name!r}{nearest(name, table.frame.columns)}")
        if name in (long.time, long.series):
            what = "orders the steps" if name == long.time else "tells the series apart"
            raise BadInput(f"{table.name}: target {name!r} is the column that {what}: ask for another one")
    repeated = cutting.repeated(table, long) if long.horizon is None else None
    steps = cutting.sort(table, long, again=repeated is not None)
    fields, channels = [], []
    for name in table.frame.columns:
        if name in (long.time, long.series):
            fields.append(_axis(table, name, long))
        elif name == group:
            side = "a group is on one side" if long.horizon is None else "the time says the side"
            fields.append(Field(name, None, "ignore", (name,), reason=f"groups the series: {side}"))
        elif name == split:
            reason = (
                "says train, validation or test" if long.horizon is None else "the time says the part of a forecast"
            )
            fields.append(Field(name, None, "ignore", (name,), reason=reason))
        elif name in targets and long.horizon is not None:
            fields.append(_forecast(table, name, long))
        elif cutting.changes(steps, name) is None or name in targets:
            fields.append(_of_whole(table, steps, name, name in targets))
        elif counts := counter(_column(table, name)):
            fields.append(Field(name, None, "ignore", (name,), reason=counts.reason))
        elif _numbers(table.frame[name]) or _are_words(_column(table, name), long, repeated is not None):
            channels.append(name)
        else:
            fields.append(Field(name, None, "ignore", (name,), reason="changes within a series, and is no number"))
    taken = {f.name for f in fields}
    if repeated:
        fields += _events(table, channels, long, taken, repeated)
    elif long.horizon is None:
        fields += _channels(channels, long, taken)
    else:
        known = _known(steps, targets, channels, long.horizon) if targets else []
        fields += [_channel(table, name, long, name in known) for name in channels]
    if long.horizon is None:
        schema = Schema(tuple(fields), Split(column=split, group=group), long)
        cutting.check_constant(table, steps, schema)
        return schema
    return cutting.fitted(table, Schema(tuple(fields), Split(time=long.time), long))


def _axis(table: Table, name: str, long: Long) -> Field:
    if name == long.series:
        return Field(name, None, "ignore", (name,), reason="tells the series apart")
    date = find_times(table.frame[name].drop_nulls())
    reason = f"orders the steps of a series{read_as(date)}"
    return Field(name, "number", "ignore", (name,), {"date": date} if date else {}, reason)


def _forecast(table: Table, name: str, long: Long) -> Field:
    """A target that is to be continued."""
    cells = table.frame[name]
    if not len(present(cells)):
        raise BadInput(f"{table.name}: target {name!r} has no value: nothing to learn from")
    if not _numbers(cells):
        where, what = table.name, f"holds {cells.dtype}, no numbers"
        if (
            cells.dtype == pl.String
            and (words := cells.cast(pl.Float64, strict=False).is_null() & ~cells.is_null()).any()
        ):
            row = int(words.arg_max() or 0)
            where, what = f"{where}, row {row + 1}", f"is {cells[row]!r}, no number"
        raise BadInput(f"{where}: target {name!r} {what}: with --horizon numbers are forecast")
    return Field(name, "series", "target", (name,), {}, f"the {long.horizon} steps after the origin")


def _of_whole(table: Table, steps: cutting.Steps, name: str, target: bool) -> Field:
    """A column that has one value a series is read as in any table of as many rows."""
    cells = steps.frame[name].gather(steps.starts[:-1])
    reading = read_column(Column(name, present(cells), len(cells), table.root, None, target))
    role = "target" if target else "input" if reading.modality else "ignore"
    return Field(name, reading.modality, role, (name,), reading.options, f"{reading.reason}; one a series")


def _column(table: Table, name: str) -> Column:
    return Column(name, present(table.frame[name]), table.frame.height, table.root, None, False)


def _there(cells: pl.Series) -> np.ndarray:
    """Which cells are not missing."""
    return (cells.is_not_null() & cells.is_not_nan() if cells.dtype.is_float() else cells.is_not_null()).to_numpy()


def _numbers(cells: pl.Series) -> bool:
    return cells.dtype.is_numeric() or cells.dtype == pl.Boolean


def _events(table: Table, names: list[str], long: Long, taken: set[str], repeated: tuple[int, int]) -> list[Field]:
    """Rows are events: one of the columns says in which unit, those of numbers are its values."""
    options = layout([(name, table.frame[name].dtype) for name in names])
    unit, values = options["unit"], options["values"]
    others = [name for name in names if name not in (unit, *values)]
    name = next(n for n in NAMES if n not in taken)
    first, second = repeated
    which = f"the unit is {unit!r}" if unit else "they have no unit"
    reason = f"times repeat within a series, as in rows {first} and {second}: each row is an event, and {which}"
    columns = (long.time, *((unit,) if unit else ()), *values)
    known = {"time": long.time, **options} if len(columns) > 1 else {"unit": False}
    fields = [
        Field(n, None, "ignore", (n,), reason=f"changes within a series, and {unit!r} is the unit") for n in others
    ]
    return [*fields, Field(name, "events", "input", columns, known, reason)]


def _are_words(column: Column, long: Long, events: bool) -> bool:
    """Whether a column that changes holds words that are read: any of events, a few of forecasts."""
    few = column.distinct <= CLASSES and long.horizon is not None
    return column.is_string and (events or (few and read_column(column).modality == "category"))


def _known(steps: cutting.Steps, targets: Sequence[str], names: Sequence[str], horizon: int) -> list[str]:
    """The columns that go on for `horizon` steps after the last value of a target, in every series: numbers at each of
    them; words, of which there may be none, at any.
    """
    series, origins = last(steps, targets)
    if not len(series) or (origins + horizon >= steps.starts[series + 1]).any():
        return []
    ahead = origins[:, None] + 1 + np.arange(horizon)
    there = {name: _there(steps.frame[name])[ahead] for name in names}
    return [n for n in names if (there[n].all() if _numbers(steps.frame[n]) else there[n].any())]


def _channel(table: Table, name: str, long: Long, known: bool) -> Field:
    """Each by itself where there is a horizon, so that some may be marked as known. Words are channels of 0 and 1."""
    reason = "a step's value; `known: true` where it is known in advance"
    if known:
        reason = "known in advance: it goes on after the last value of the target"
    options = {"time": long.time, "warp": False, "known": known}
    if not _numbers(table.frame[name]):
        options, reason = {**options, "words": True}, f"{reason}; a channel for each word"
    return Field(name, "series", "input", (long.time, name), options, reason)


def _channels(names: list[str], long: Long, taken: set[str]) -> list[Field]:
    """Side by side in one field."""
    if not names:
        return []
    name = names[0] if len(names) == 1 else next(n for n in ("series", "steps", "channels") if n not in taken)
    reason = "changes from step to step" if len(names) == 1 else f"{len(names)} columns change from step to step"
    return [Field(name, "series", "input", (long.time, *names), {"time": long.time}, reason)]
