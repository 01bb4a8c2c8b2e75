"""Long tables, a row a step, as tables of series: each series a row, or each window of a forecast.

Not concerned with how columns are read (`infer_long.py`), nor with the future that is asked for (`future.py`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from perceivers import recipe
from perceivers.data.dates import find_times, to_seconds, unlike_dates
from perceivers.data.schema import Field, Long, Schema, free
from perceivers.data.sources import Table
from perceivers.data.splits import PARTS, by_first
from perceivers.errors import BadInput, nearest
from perceivers.terminal import counted

MOST_TRAIN, MOST_VALIDATION = 50_000, 2_000  # windows; of more, every so many-th is taken
FIRST = 3  # series, or words, that a note names
PAST = ".past"  # ends the name of the field in which a target's own past is read


@dataclass(frozen=True)
class Steps:
    """A long table sorted by series, in the order in which they come, and time. `starts` (n + 1): where each begins."""

    frame: pl.DataFrame
    times: Float[np.ndarray, " t"]
    starts: Int[np.ndarray, " n"]
    notes: tuple[str, ...]

    def __iter__(self) -> Iterator[slice]:
        return (slice(a, b) for a, b in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True))

    def values(self, column: str) -> Float[np.ndarray, " t"]:
        """A column as numbers, NaN where missing."""
        return self.frame[column].cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()

    def there(self, columns: Iterable[str]) -> Bool[np.ndarray, " t"]:
        """Whether a step has a value in one of the columns."""
        return np.any([~np.isnan(self.values(name)) for name in columns], axis=0)

    def words(self, column: str, words: Sequence[str]) -> Float[np.ndarray, "t k"]:
        """1 where a step has a word, 0 where it has another one or none."""
        return (self.frame[column].fill_null("").to_numpy()[:, None] == np.array(words, dtype=object)).astype(float)


@dataclass(frozen=True)
class Windows:
    """Forecasts to be made: series i, the steps `first` … `origin` are read, those after are asked."""

    series: Int[np.ndarray, " w"]
    first: Int[np.ndarray, " w"]
    origin: Int[np.ndarray, " w"]
    part: Int[np.ndarray, " w"]  # index in PARTS


def sort(table: Table, long: Long, *, date: bool | str = False, again: bool = False) -> Steps:
    """The steps of every series in order. `date`: how the times were written in train. Raises BadInput where a time is
    missing, none, or, unless `again`, twice.
    """
    cells, times, codes = _axes(table, long, date)
    order = np.lexsort((times, codes))
    times, codes = times[order], codes[order]
    notes = []
    if rows := _twice(times, codes, order):
        hint = "keep one of them" + ("" if long.series else ", or say which column tells series apart with --series")
        a, b = rows
        if not again:
            raise BadInput(f"{table.name}, rows {a} and {b}: time {cells[a - 1]!r} is there twice: {hint}")
        notes.append(f"rows {a} and {b} have the same time, so each row is read as an event; for steps {hint}")
    starts = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
    back = (np.diff(order) < 0) & (np.diff(codes) == 0)
    frame, starts = table.frame[order], np.append(starts, len(codes))
    if back.any():
        notes.append(_unordered(frame, long, starts, np.flatnonzero(back)))
    return Steps(frame, times, starts, tuple(notes))


def _unordered(frame: pl.DataFrame, long: Long, starts: np.ndarray, places: np.ndarray) -> str:
    """That the steps at these places came after later ones, and in which series."""
    if long.series is None:
        return "the steps were not in the order of time: they are read in it"
    found = np.unique(np.searchsorted(starts, places, side="right") - 1)
    names = [str(frame[long.series][int(starts[i])]) for i in found[:FIRST]]
    more = " …" if len(found) > FIRST else ""
    return (
        f"the steps of {len(found):,} of {len(starts) - 1:,} series were not in the order of time, those of "
        f"{', '.join(map(repr, names))}{more}: they are read in it"
    )


def repeated(table: Table, long: Long) -> tuple[int, int] | None:
    """Two rows, from 1, of one series that have the same time; None where there are none. Raises BadInput."""
    _, times, codes = _axes(table, long, False)
    order = np.lexsort((times, codes))
    return _twice(times[order], codes[order], order)


def _axes(
    table: Table, long: Long, date: bool | str
) -> tuple[pl.Series, Float[np.ndarray, " t"], Int[np.ndarray, " t"]]:
    """The times as they stand, as seconds or numbers, and a number for the series of each row. Raises BadInput."""
    frame, known = table.frame, table.frame.columns
    for what, name in (("time", long.time), ("series", long.series)):
        if name is not None and name not in known:
            raise BadInput(f"{table.name}: no {what} column {name!r}{nearest(name, known)}")
    cells = frame[long.time]
    seconds = to_seconds(cells, find_times(cells.drop_nulls(), date))
    if seconds.has_nulls():
        row, mend = _no_time(cells, seconds)
        raise BadInput(f"{table.name}, row {row + 1}: {long.time!r} is no time: {cells[row]!r}: {mend}")
    codes = np.zeros(frame.height, dtype=np.int64)
    if long.series is not None:
        if frame[long.series].has_nulls():
            row = int(frame[long.series].is_null().arg_true()[0])
            raise BadInput(f"{table.name}, row {row + 1}: {long.series!r} is empty: name the series of each step")
        codes = by_first(frame[long.series].hash().to_numpy())
    return cells, seconds.to_numpy(), codes


def _no_time(cells: pl.Series, seconds: pl.Series) -> tuple[int, str]:
    """The first row that has no time, and what would mend it: most are times, or none is."""
    if cells.has_nulls() or seconds.null_count() < len(cells):
        return int(seconds.is_null().arg_true()[0]), "leave the row out"
    if (unlike := unlike_dates(cells)) is not None:
        return int((cells == unlike[1]).arg_true()[0]), f"write it as {unlike[0]!r} is, or leave the row out"
    return 0, "nor are the others: name the column with the times"


def _twice(times: np.ndarray, codes: np.ndarray, order: np.ndarray) -> tuple[int, int] | None:
    again = np.flatnonzero((np.diff(times) == 0) & (np.diff(codes) == 0))
    if not again.size:
        return None
    a, b = sorted(int(order[again[0] + i]) + 1 for i in (0, 1))
    return a, b


def arrange(table: Table, schema: Schema, *, split: bool = True) -> Table:
    """The rows that a schema means: the table itself, or of a long table its series or its windows.

    `split`: windows are parted by time as for training; else all of a table are tested, H apart. Raises BadInput.
    """
    if schema.long is None:
        return table
    check_numbers(table, schema)
    events = any(field.modality == "events" for field in schema.fields)
    steps = sort(table, schema.long, date=schema.date(schema.long.time), again=events)
    if schema.long.horizon is None:
        return of_series(table, steps, schema)
    windows = cut(table, steps, schema) if split else cut_all(table, steps, schema)
    return of_windows(table, steps, schema, windows)


def check_numbers(table: Table, schema: Schema) -> None:
    """Raises BadInput where a column that was numbers in train holds words: they would be read as missing."""
    time = None if schema.long is None else schema.long.time
    numbers = [field for field in schema.fields if field.modality == "series" and not field.options.get("words")]
    asked = {name for field in numbers for name in field.columns} - {time}
    for cells in table.frame:
        if cells.name not in asked or cells.dtype != pl.String:
            continue
        texts = cells.str.strip_chars()
        words = (texts != "") & texts.cast(pl.Float64, strict=False).is_null()
        if words.any():
            row = int(words.arg_max() or 0)
            raise BadInput(
                f"{table.name}, row {row + 1}: {cells.name!r} is {cells[row]!r:.60}, no number: empty the cell, if its "
                "value is missing"
            )


def of_series(table: Table, steps: Steps, schema: Schema) -> Table:
    """One row a series: lists of the columns of `series` fields, and of the others the one value that they have."""
    assert schema.long is not None
    listed = {name for f in schema.fields if f.modality == "series" for name in f.columns}
    of_events = {name for f in schema.fields if f.modality == "events" for name in f.columns}
    columns = []
    for name in table.frame.columns:
        if name == schema.long.time or name in listed:
            values = steps.times if name == schema.long.time else steps.values(name)
            cells = pl.Series(values, nan_to_null=True)
            columns.append(pl.Series(name, [cells[s] for s in steps], dtype=pl.List(pl.Float64)))
        elif name in of_events:
            columns.append(pl.Series(name, [steps.frame[name][s] for s in steps]))
        else:
            columns.append(steps.frame[name].gather(steps.starts[:-1]))
    check_constant(table, steps, schema)
    return replace(table, frame=pl.DataFrame(columns), notes=(*table.notes, *steps.notes))


def check_constant(table: Table, steps: Steps, schema: Schema) -> None:
    """Raises BadInput where a column that is read once for a series changes within one. A target may be absent."""
    once = {
        name: f"to forecast it say --horizon; the {field.role} {field.name!r} must be one value a series"
        for field in (*schema.inputs, *schema.targets)
        if field.modality not in ("series", "events")
        for name in field.columns
    }
    if schema.split.column is not None:
        once[schema.split.column] = "a series is in one part: name the same in all of its rows, or rename the column"
    for name, hint in once.items():
        if name in steps.frame.columns and (place := changes(steps, name)) is not None:
            series = None if schema.long is None else schema.long.series
            which = f" {steps.frame[series][place]!r}" if series else ""
            raise BadInput(f"{table.name}: column {name!r} changes within the series{which}: {hint}")


def changes(steps: Steps, column: str) -> int | None:
    """A step whose value in a column is not that of the step before, in the same series; None where there is none."""
    cells = steps.frame[column]
    differs = cells.ne_missing(cells.shift(1)).to_numpy().copy()
    differs[steps.starts[:-1]] = False
    return int(differs.argmax()) if differs.any() else None


# Windows ----------------------------------------------------------------------------------------------------------
def fitted(table: Table, schema: Schema) -> Schema:
    """The schema with an input for the past of each target that is forecast, and with the number of steps that are
    read: of train's longest series at most half, up to 512.
    """
    long = schema.long
    if long is None or long.horizon is None:
        return schema
    of_words = [f for f in schema.fields if f.modality == "series" and f.options.get("words") is True]
    if long.read is None or of_words:
        steps = sort(table, long, date=schema.date(long.time))
        train = steps.times < boundaries(table, steps, schema)[0]
        longest = max(int(train[s].sum()) for s in steps)
        read = long.read or int(
            np.clip(longest // 2, min(recipe.FORECAST_LEAST_READ, 4 * long.horizon), recipe.FORECAST_MOST_READ)
        )
        schema = replace(schema, long=replace(long, read=max(read, 1)))
        schema = schema.replace(*(_with_words(f, steps.frame[f.columns[-1]].filter(train)) for f in of_words))
    fields = []
    for field in schema.fields:
        if field.modality == "series" and field.role == "target" and field.options.get("past") is None:
            past = _past(field, long, free(field.name + PAST, schema.fields))
            fields += [field.with_options(past=past.name, horizon=long.horizon), past]
        elif field.modality == "series" and field.options.get("known"):
            fields.append(field.with_options(horizon=long.horizon))
        else:
            fields.append(field)
    return replace(schema, fields=tuple(fields))


def _with_words(field: Field, train: pl.Series) -> Field:
    """A channel for each word of train."""
    return field.with_options(words=sorted(train.drop_nulls().unique().to_list()), steps_first=True)


def _past(target: Field, long: Long, name: str) -> Field:
    columns = (long.time, *(name for name in target.columns if name != long.time))
    options = {"time": long.time, "own_scale": True, "warp": False}
    return Field(name, "series", "input", columns, options, "the target up to a forecast's origin")


def boundaries(table: Table, steps: Steps, schema: Schema) -> tuple[float, float]:
    """The first time of validation and of test: the last share of the time axis, at least H steps, is test, and as
    much before it validation. The axis ends with the last value of a target: steps after it are what is known in
    advance. Raises BadInput where nothing is left for train.
    """
    assert schema.long is not None
    assert schema.long.horizon is not None
    there = steps.there(field.columns[-1] for field in schema.targets)
    end = steps.times[there].max() if there.any() else np.inf
    axis, horizon = np.unique(steps.times[steps.times <= end]), schema.long.horizon
    test = max(horizon, round(schema.split.fractions[2] * len(axis)))
    validation = max(horizon, round(schema.split.fractions[1] * len(axis))) if schema.split.fractions[1] else 0
    if len(axis) < test + validation + horizon + 1:
        parts = 3 if validation else 2
        most = (len(axis) - 1) // parts
        raise BadInput(
            f"{table.name}: a horizon of {horizon} is too long for {len(axis)} times: test and validation take "
            f"{test + validation}, and train needs {horizon + 1} at least; give {parts * horizon + 1} times or more"
            + (f", or a horizon of at most {most}" if most else "")
        )
    return float(axis[len(axis) - test - validation]), float(axis[len(axis) - test])


def cut(table: Table, steps: Steps, schema: Schema) -> Windows:
    """All windows whose H steps are within one part; those of test begin H apart. Raises BadInput."""
    assert schema.long is not None
    assert schema.long.horizon is not None
    first, second = boundaries(table, steps, schema)
    horizon, found = schema.long.horizon, []
    for i, one in enumerate(steps):
        times = steps.times[one]
        ends = np.searchsorted(times, [first, second]), len(times)
        validation, test = ends[0]
        for part, (begin, stop, apart) in enumerate(
            ((1, validation, 1), (validation, test, 1), (test, ends[1], horizon))
        ):
            asked = np.arange(max(begin, 1), stop - horizon + 1, apart)  # the first step that is asked
            found.append(np.stack([np.full(len(asked), i), asked - 1 + one.start, np.full(len(asked), part)]))
    windows = _read(np.concatenate(found, axis=1), steps, schema.long)
    windows = _with_truth(windows, steps, schema)
    kept = [_thinned(np.flatnonzero(windows.part == p), most) for p, most in enumerate((MOST_TRAIN, MOST_VALIDATION))]
    kept.append(np.flatnonzero(windows.part == 2))
    for rows, name, share in zip(kept, PARTS, schema.split.fractions, strict=True):
        if not len(rows) and (share or name != "validation"):
            raise BadInput(
                f"{table.name}: no series has a step, and then {horizon} more with values of the target, in the time "
                f"of {name}: give a smaller --horizon, or more steps"
            )
    return _only(windows, np.concatenate(kept))


def cut_all(table: Table, steps: Steps, schema: Schema) -> Windows:
    """Windows H apart up to each series' end, all to be tested. Raises BadInput where there is none."""
    assert schema.long is not None
    assert schema.long.horizon is not None
    horizon, found = schema.long.horizon, []
    for i, one in enumerate(steps):
        asked = np.arange(one.stop - horizon, one.start, -horizon)[::-1]
        found.append(np.stack([np.full(len(asked), i), asked - 1, np.full(len(asked), 2)]))
    windows = _with_truth(_read(np.concatenate(found, axis=1), steps, schema.long), steps, schema)
    if not len(windows.series):
        raise BadInput(f"{table.name}: no series has a step and {horizon} more after it, with values of the target")
    return windows


def _read(found: Int[np.ndarray, "3 w"], steps: Steps, long: Long) -> Windows:
    series, origin, part = found
    return Windows(
        series, np.maximum(steps.starts[series], origin + 1 - (long.read or recipe.FORECAST_MOST_READ)), origin, part
    )


def _only(windows: Windows, rows: np.ndarray) -> Windows:
    return Windows(windows.series[rows], windows.first[rows], windows.origin[rows], windows.part[rows])


def _with_truth(windows: Windows, steps: Steps, schema: Schema) -> Windows:
    """Those in which a step that is read and one that is asked have a value of every target."""
    assert schema.long is not None
    horizon = schema.long.horizon or 0
    kept = np.ones(len(windows.series), dtype=bool)
    for field in schema.targets:
        there = np.concatenate([[0], np.cumsum(~np.isnan(steps.values(field.columns[-1])))])
        kept &= there[windows.origin + 1 + horizon] > there[windows.origin + 1]
        kept &= there[windows.origin + 1] > there[windows.first]
    return _only(windows, np.flatnonzero(kept))


def _thinned(rows: np.ndarray, most: int) -> np.ndarray:
    return rows[:: max(1, -(-len(rows) // most))]


def of_windows(table: Table, steps: Steps, schema: Schema, windows: Windows) -> Table:
    """One row a window. The cells of series are slices of the steps: nothing is copied."""
    assert schema.long is not None
    views = {f.name: view(f, steps, schema.long, windows) for f in schema.fields if f.modality == "series"}
    names = [n for n in table.frame.columns if n in {c for f in schema.fields for c in f.columns}]
    frame = steps.frame.select(names)[windows.origin]
    for field in schema.targets:  # a step without a value may have one in the horizon
        cells = frame[field.columns[-1]]
        cells = cells.fill_nan(None) if cells.dtype.is_float() else cells
        frame = frame.with_columns(cells.fill_null(strategy="backward").fill_null(0))
    parts = {name: np.flatnonzero(windows.part == p) for p, name in enumerate(PARTS)}
    notes = (*table.notes, *steps.notes, *_unseen(steps, schema))
    return replace(table, frame=frame, views=views, parts=parts, notes=notes)


def _unseen(steps: Steps, schema: Schema) -> Iterator[str]:
    """A line for each column with words that train has not."""
    for field in schema.inputs:
        if isinstance(known := field.options.get("words"), list):
            cells = steps.frame[field.columns[-1]].cast(pl.String).drop_nulls()
            counts = cells.filter(~cells.is_in(known) & (cells.str.strip_chars() != "")).value_counts()
            if counts.height:
                rows = counts.sort([pl.col("count"), cells.name], descending=[True, False]).head(FIRST).rows()
                words = ", ".join(f"{word!r:.60} ({counted(count, 'step')})" for word, count in rows)
                more = f" and {counted(counts.height - FIRST, 'other word')}" if counts.height > FIRST else ""
                verb = "is" if counts.height == 1 else "are"
                yield f"{field.name}: {words}{more} {verb} none of those of training: read as no word at all"


def view(field: Field, steps: Steps, long: Long, windows: Windows) -> list[Any]:
    """The cells of a field: of a target the H steps after the origin; of an input those up to it, and what is known
    of the H after it. A tuple where the field has several columns.
    """
    horizon = long.horizon or 0
    if field.role == "target":
        starts, stops = windows.origin + 1, windows.origin + 1 + horizon
    else:
        starts, stops = windows.first, windows.origin + 1 + (horizon if field.options.get("known") else 0)
    pairs = list(zip(starts.tolist(), stops.tolist(), strict=True))
    words = field.options.get("words")
    arrays = [
        steps.times if name == long.time else steps.words(name, words) if words else steps.values(name)
        for name in field.columns
    ]
    cells = [[array[a:b] for a, b in pairs] for array in arrays]
    return cells[0] if len(cells) == 1 else list(zip(*cells, strict=True))
