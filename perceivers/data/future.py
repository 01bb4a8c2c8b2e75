"""The future of a long table: the windows that end at each series' last step, and the times that follow.

Not concerned with the answers.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from perceivers.data.dates import find_times, to_seconds
from perceivers.data.long import Steps, Windows, check_numbers, of_windows, sort
from perceivers.data.schema import Long, Schema
from perceivers.data.sources import Table
from perceivers.data.splits import PARTS
from perceivers.errors import BadInput

MONTHS, DAYS = 12, 7
MOST_DAYS = 0.8  # of the days of the week that come at all: the others are holidays
CLOCK = re.compile(r".\d{2}:\d{2}(?P<seconds>:\d{2})?((?P<point>[.,])(?P<digits>\d+))?(?P<zone>Z|[+-].*)?")


def future(table: Table, schema: Schema) -> tuple[Table, pl.DataFrame]:
    """The windows to forecast, one a series, and the rows (series × H) of the answer: series and time.

    A series' last step is the last one with a value of a target; rows after it give what is known in advance. Raises
    BadInput where no series has a value, or where what is known does not reach H steps.
    """
    long = schema.long
    assert long is not None
    assert long.horizon is not None
    check_numbers(table, schema)
    for name in {field.columns[-1] for field in schema.targets} - set(table.frame.columns):
        table = Table(table.frame.with_columns(pl.lit(None, pl.Float64).alias(name)), table.name, table.root)
    steps = sort(table, long, date=schema.date(long.time))
    series, origins = last(steps, [field.columns[-1] for field in schema.targets])
    if not len(series):
        names = ", ".join(repr(field.columns[-1]) for field in schema.targets)
        raise BadInput(f"{table.name}: no value of {names}: a forecast goes on from the last one")
    if left := sorted(set(range(len(steps.starts) - 1)) - set(series.tolist())):
        name = "" if long.series is None else f", such as {steps.frame[long.series][int(steps.starts[left[0]])]!r}"
        note = f"{len(left):,} of {len(steps.starts) - 1:,} series have no value to go on from{name}: not forecast"
        table = replace(table, notes=(*table.notes, note))
    first = np.maximum(steps.starts[series], origins + 1 - (long.read or 1))
    windows = Windows(series, first, origins, np.full(len(series), PARTS.index("test")))
    _check_known(table, steps, schema, windows)
    date = find_times(steps.frame[long.time], schema.date(long.time))
    times = [_times(steps, long, i, o, date) for i, o in zip(series, origins, strict=True)]
    columns = [pl.concat(times).alias(long.time)]
    if long.series is not None:
        names = steps.frame[long.series].gather(origins)
        columns.insert(0, names.gather(np.repeat(np.arange(len(series)), long.horizon)))
    return of_windows(table, steps, schema, windows), pl.DataFrame(columns)


def last(steps: Steps, targets: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The series that have a value of a target, and the last step of each that has."""
    there = steps.there(targets)
    found = [(i, one.start + int(np.flatnonzero(there[one])[-1])) for i, one in enumerate(steps) if there[one].any()]
    series, origins = np.array(found, dtype=np.int64).reshape(-1, 2).T
    return series, origins


def _check_known(table: Table, steps: Steps, schema: Schema, windows: Windows) -> None:
    assert schema.long is not None
    horizon = schema.long.horizon or 0
    for field in schema.inputs:
        if field.options.get("known"):
            left = steps.starts[windows.series + 1] - windows.origin - 1
            if (short := np.flatnonzero(left < horizon)).size:
                last = int(windows.origin[short[0]])
                name = f" of {steps.frame[schema.long.series][last]!r}" if schema.long.series else ""
                raise BadInput(
                    f"{table.name}: {field.name!r} is known in advance: expected {horizon} rows with it after the last "
                    f"value of the target{name}, got {left[short[0]]}: add them, without the target"
                )


def _times(steps: Steps, long: Long, series: int, origin: int, date: bool | str) -> pl.Series:
    """The H times after a step: those of the rows that follow, then at the usual distance, in the column's own type."""
    horizon = long.horizon or 0
    rows = steps.frame[long.time][origin + 1 : min(origin + 1 + horizon, int(steps.starts[series + 1]))]
    past = steps.frame[long.time][int(steps.starts[series]) : origin + 1 + len(rows)]
    return pl.concat([rows, continued(past, horizon - len(rows), date)]) if len(rows) < horizon else rows


def continued(cells: pl.Series, count: int, date: bool | str) -> pl.Series:
    """`count` more times after `cells`, dates as `find_times` says: by months where all lie on the same day of a month,
    on the days of the week that came where others never do, else by the usual gap.
    """
    if date is False:
        values = cells.cast(pl.Float64).to_numpy()
        step = float(np.median(np.diff(values))) if len(values) > 1 else 1.0
        return pl.Series(cells.name, values[-1] + step * np.arange(1, count + 1)).cast(cells.dtype)
    last = cells[-1].strip() if cells.dtype == pl.String and date is True else None
    moments = ((to_seconds(cells, date) + _offset(last)) * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us"))
    months = _months(moments)
    if months:
        dates = [moments[-1:].dt.offset_by(f"{months * i}mo") for i in range(1, count + 1)]
        found = pl.concat(dates) if dates else moments[:0]
        found = found.dt.month_end() if (moments.dt.month_end() == moments).all() else found
    elif days := _weekdays(moments):
        weeks = [moments[-1] + timedelta(days=i) for i in range(1, DAYS * (count + 1))]
        found = pl.Series([day for day in weeks if day.isoweekday() in days][:count], dtype=pl.Datetime("us"))
    else:
        gaps = moments.diff().drop_nulls()
        step: Any = gaps.median() if len(gaps) else pl.Series([86_400_000_000]).cast(pl.Duration("us"))[0]
        found = pl.Series([moments[-1] + step * i for i in range(1, count + 1)], dtype=pl.Datetime("us"))
    if last is not None:
        return _written(found, last).alias(cells.name)
    return (found.dt.strftime(date) if isinstance(date, str) else found.cast(cells.dtype)).alias(cells.name)


def _months(moments: pl.Series) -> int:
    """The usual number of months between moments on the same day, or the last day, of a month; 0 where they are not."""
    same = moments.dt.day().n_unique() == 1 or bool((moments.dt.month_end() == moments).all())
    if not same or len(moments) < 2 or moments.dt.time().n_unique() > 1:
        return 0
    number = moments.dt.year().cast(pl.Int64) * MONTHS + moments.dt.month().cast(pl.Int64)
    return int(np.median(number.diff().drop_nulls().to_numpy()))


def _weekdays(moments: pl.Series) -> set[int]:
    """The days of the week, from 1 for Monday, of days that follow each other but for the others; else none."""
    found = set(moments.dt.weekday().to_list())
    span = (moments[-1] - moments[0]).days + 1
    if len(found) in (1, DAYS) or span < 2 * DAYS or moments.dt.time().n_unique() > 1:
        return set()
    expected = sum((moments[0] + timedelta(days=i)).isoweekday() in found for i in range(span))
    return found if moments.n_unique() > MOST_DAYS * expected else set()


def _offset(last: str | None) -> float:
    """By how many seconds the clock of a time of ISO 8601 is ahead of UTC; 0 where it does not say."""
    offset = None if last is None else datetime.fromisoformat(last).utcoffset()
    return 0.0 if offset is None else offset.total_seconds()


def _written(moments: pl.Series, last: str) -> pl.Series:
    """Moments by the clock of `last`, a time of ISO 8601, written as that is: as exact, and with its offset."""
    if (found := CLOCK.fullmatch(last[10:])) is None:
        return moments.dt.strftime("%Y-%m-%d")
    texts = moments.dt.strftime(f"%Y-%m-%d{last[10]}%H:%M{'' if found['seconds'] is None else ':%S'}")
    if found["point"]:
        texts += found["point"] + moments.dt.strftime("%6f").str.head(len(found["digits"]))
    return texts + (found["zone"] or "")
