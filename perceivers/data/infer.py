"""From a table to a schema, with the reason for each choice, and how it is shown.

Not concerned with how one column is read (`rules.py`) nor with whether a schema can be used (`checks.py`).
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from perceivers.data.checks import check, check_rows, check_target, likely_targets, unclear_dates, warnings
from perceivers.data.dates import MOSTLY, find_times
from perceivers.data.file_kinds import TIME_NAMES
from perceivers.data.folders import SPLITS
from perceivers.data.infer_events import with_events
from perceivers.data.infer_given import property_of, with_given
from perceivers.data.infer_long import infer_long
from perceivers.data.rules import LONG_WORDS, SAMPLE_CELLS, Column, Reading, columns, present, read_as, read_column
from perceivers.data.schema import Field, Long, Schema, Split, free
from perceivers.data.sources import Table
from perceivers.errors import BadInput, nearest
from perceivers.terminal import counted, natural, printable

__all__ = ["check", "describe", "infer", "nearest", "unclear_dates", "warnings"]

WIDTH = 120
ASKED_NAMES = frozenset({"asked", "at", "when"})


def infer(
    table: Table,
    targets: Sequence[str] = (),
    *,
    group: str | None = None,
    time: str | None = None,
    series: str | None = None,
    horizon: int | None = None,
) -> Schema:
    """How the table is read. `targets` are those that the source brings, by default; there may be none yet.

    With `series` or `horizon` it is a long table, a row a step, in the order of `time`.

    Raises BadInput for an unknown column, a target that cannot be asked for or has one value, and a single row.
    """
    targets = tuple(dict.fromkeys(targets)) or table.targets
    properties = [p for name in targets if (p := property_of(table, name)) is not None]
    targets = tuple(name for name in targets if name not in {p.target for p in properties})
    for what, names in (("target", targets), ("group", (group,)), ("time", (time,))):
        for name in names:
            if name is not None and name not in table.frame.columns:
                raise BadInput(f"{table.name}: no {what} column {name!r}{nearest(name, table.frame.columns)}")
    check_rows(table)
    if series is not None or horizon is not None:
        if time is None:
            raise BadInput(f"{table.name}: --series and --horizon need --time: the column with the time of each step")
        if horizon is not None and horizon < 1:
            raise BadInput(f"--horizon {horizon}: expected the number of steps to forecast, at least 1")
        return infer_long(table, targets, Long(time, series, horizon), group=group, split=_split_column(table, targets))
    split = Split(column=_split_column(table, targets), group=group, time=time)
    fields = tuple(field for column in columns(table, targets) for field in _fields(column, split))
    fields = with_events(table, fields, TIME_NAMES)
    fields = with_given(table, fields, properties)
    fields = _with_masked(table, _with_pasts(table, _with_times(table, fields)))
    for field in fields:
        if field.role == "target":
            check_target(table, field)
    return Schema(fields, split)


def with_split(table: Table, schema: Schema) -> Schema:
    """A given schema, split by the column `split` where there is one of which it said nothing. Raises BadInput."""
    if not schema.split.unsaid or (schema.long is not None and schema.long.horizon is not None):
        return schema
    used = [name for field in (*schema.inputs, *schema.targets) for name in field.columns]
    return replace(schema, split=replace(schema.split, column=_split_column(table, used), unsaid=False))


def _split_column(table: Table, targets: Sequence[str]) -> str | None:
    """The column named `split`, where it holds names of parts. Raises BadInput where it holds others beside them."""
    for name in table.frame.columns:
        if name.lower() == "split" and name not in targets and table.frame[name].dtype == pl.String:
            values = present(table.frame[name]).str.strip_chars().str.to_lowercase().unique()
            others = sorted(set(values) - SPLITS.keys())
            if len(values) and not others:
                return name
            if len(others) < len(values):
                raise BadInput(
                    f"{table.name}: column {name!r} holds {others[0]!r} beside train, validation or test: "
                    "name it one of these, or rename the column"
                )
    return None


def _with_times(table: Table, fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """A column of lists that is named like times, and as long as another in nearly each row, gives that one's times."""
    series = {f.name: f for f in fields if f.modality == "series" and f.role == "input" and not f.names_files}
    times = next((name for name in series if name.lower() in TIME_NAMES), None)
    if times is None or table.frame[times].dtype == pl.String:
        return fields
    lengths = table.frame[times].list.len()
    paired = {
        name: replace(field, columns=(times, name), options={"time": times}, reason=f"{field.reason}, at {times!r}")
        for name, field in series.items()
        if name != times and _mostly(_steps(table.frame[name]) == lengths)
    }
    if not paired:
        return fields
    paired[times] = Field(times, None, "ignore", (times,), reason="the times of the steps of other columns")
    return tuple(paired.get(f.name, f) for f in fields)


def _with_pasts(table: Table, fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """A target of lists goes on from the only input of lists, where both are of about the same level and spread."""
    inputs = [f for f in fields if f.modality == "series" and f.role == "input"]
    targets = [f for f in fields if f.modality == "series" and f.role == "target"]
    if not targets:
        return fields
    if (asked := _asked(table, inputs, targets)) is not None:
        time = next((name for f in inputs if (name := f.options.get("time")) is not None), None)
        columns = (asked.name,) if time is None else (asked.name, time)
        new = Field(asked.name, "asked", "input", columns, {}, f"the times of the values of {targets[0].name!r}")
        target = targets[0].with_options(asked=asked.name)
        others = {f.name: f.with_options(warp=False) for f in inputs} | {new.name: new, target.name: target}
        return tuple(others.get(f.name, f) for f in fields)
    changed = {f.name: f.with_options(warp=False) for f in inputs}
    if len(inputs) == len(targets) == 1 and _alike(*(table.frame[f.columns[-1]] for f in (*inputs, *targets))):
        (past,), (target,) = inputs, targets
        reason = f"{target.reason}; goes on from {past.name!r}"
        changed[past.name] = changed[past.name].with_options(own_scale=True)
        changed[target.name] = replace(target.with_options(past=past.name), reason=reason)
    return tuple(changed.get(f.name, f) for f in fields)


def _asked(table: Table, inputs: list[Field], targets: list[Field]) -> Field | None:
    """The input that is named like asked times, and in nearly each row is as long as the only target."""
    named = [f for f in inputs if f.name.lower() in ASKED_NAMES and isinstance(table.frame[f.name].dtype, pl.List)]
    if len(named) != 1 or len(targets) != 1:
        return None
    lengths = [_steps(table.frame[f.name]) for f in (*named, *targets)]
    return named[0] if _mostly(lengths[0] == lengths[1]) else None


def _mostly(fits: pl.Series) -> bool:
    """Whether nearly all rows that have both fit: a row that does not is a fault, which is told when it is read."""
    there = fits.drop_nulls()
    return len(there) > 0 and there.sum() > MOSTLY * len(there)


def _with_masked(table: Table, fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """A text that is a target, of more than a few words, is read with bytes masked, and these are asked."""
    found = []
    for field in fields:
        if field.modality == "text" and field.role == "target" and _words(table.frame[field.columns[0]]) > LONG_WORDS:
            source = Field(
                free(f"{field.name}.masked", fields),
                "masked",
                "input",
                field.columns,
                {},
                "the text without the bytes that are asked",
            )
            found += [replace(field, modality="masked", reason=f"{field.reason}: its masked bytes"), source]
        else:
            found.append(field)
    return tuple(found)


def _words(cells: pl.Series) -> Any:
    return present(cells).head(SAMPLE_CELLS).str.count_matches(r"\S+").median()


def _alike(one: pl.Series, other: pl.Series) -> bool:
    """Whether the medians of two columns of lists are nearer than their spreads, and these within a factor of three."""
    if not all(isinstance(cells.dtype, pl.List) and cells.dtype.inner.is_numeric() for cells in (one, other)):
        return False
    low, median, high = zip(
        *(np.nanquantile(cells.explode().drop_nulls().to_numpy(), [0.25, 0.5, 0.75]) for cells in (one, other)),
        strict=True,
    )
    spreads = np.array(high) - np.array(low)
    return bool(abs(median[0] - median[1]) <= spreads.max() <= 3 * spreads.min())


def _steps(cells: pl.Series) -> pl.Series:
    """How many steps each cell has: of lists of lists, those of the first channel."""
    nested = isinstance(cells.dtype, pl.List) and isinstance(cells.dtype.inner, pl.List)
    return (cells.list.first() if nested else cells).list.len()


def _fields(column: Column, split: Split) -> list[Field]:
    """The field of a column, and those that are derived from it."""
    if column.target:
        return [_as_field(column, read_column(column), "target")]
    if column.name in (split.column, split.group, split.time):
        return [_of_split(column, split)]
    reading = read_column(column)
    found = [_as_field(column, reading, "input" if reading.modality else "ignore")]
    for name, other in reading.derived.items():
        found.append(replace(_as_field(column, other, "input"), name=f"{column.name}.{name}"))
    return found


def _of_split(column: Column, split: Split) -> Field:
    if column.name == split.column:
        return Field(column.name, None, "ignore", (column.name,), reason="says train, validation or test")
    if column.name == split.group:
        reason = (
            f"groups the rows; {split.column!r} says the side"
            if split.column
            else "groups the rows: a group is on one side"
        )
        return Field(column.name, None, "ignore", (column.name,), reason=reason)
    date = find_times(column.cells)
    if not date and not column.cells.dtype.is_numeric():
        raise BadInput(f"time column {column.name!r}: expected numbers or dates, got {column.cells[0]!r}")
    reason = f"orders the rows{read_as(date)}: the last ones are test"
    reading = Reading("number", {"date": date} if date else {}, reason)
    return _as_field(column, reading, "ignore")


def _as_field(column: Column, reading: Reading, role: str) -> Field:
    return Field(column.name, reading.modality, role, (column.name,), reading.options, reading.reason)


def describe(table: Table, schema: Schema) -> str:
    """What `inspect` prints: the fields with reasons, the split, and what to look out for. At most 120 columns."""
    rows = [("name", "modality", "role", "values", "read so because")]
    rows += [(f.name, f.modality or "–", f.role, _values(table, f), f.reason) for f in schema.fields]
    widths = [min(limit, max(len(row[i]) for row in rows)) for i, limit in enumerate((26, 11, 6, 38))]
    height, width = table.frame.shape
    lines = [f"{table.name}: {counted(height, 'row')} × {counted(width, 'column')}", ""]
    for row in rows:
        lines += _line(row, widths)
    lines += ["", *_wrapped("split", _split(schema))]
    if not schema.targets:
        likely = ", ".join(likely_targets(table, schema))
        lines += _wrapped("target", f"none yet: say --target NAME{f'; likely ones: {likely}' if likely else ''}")
    for warning in (*unclear_dates(table, schema), *warnings(table, schema)):
        lines += _wrapped("note", warning)
    return "\n".join(printable(line) for line in lines)


def _line(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    cells = [_short(cell, width).ljust(width) for cell, width in zip(row, widths, strict=False)]
    start = "  " + "  ".join(cells) + "  "
    reasons = textwrap.wrap(row[-1], WIDTH - len(start)) or [""]
    yield (start + reasons[0]).rstrip()
    for rest in reasons[1:]:
        yield " " * len(start) + rest


def _wrapped(title: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"  {title}: ", subsequent_indent=" " * (len(title) + 4))


def _values(table: Table, field: Field) -> str:
    """The range, the categories or an example; and how many are missing."""
    cells = present(table.frame[field.columns[-1]])
    if not len(cells):
        return "all missing"
    missing = (table.frame.height - len(cells)) / table.frame.height
    suffix = f" ({missing:.1%} missing)" if missing else ""
    return _short(_shown(cells, field), 38 - len(suffix)) + suffix


def _shown(cells: pl.Series, field: Field) -> str:
    if isinstance(cells.dtype, pl.Array):
        return f"{' × '.join(str(n) for n in cells.dtype.shape)} arrays"
    if field.modality == "series" and isinstance(cells.dtype, pl.List):
        return _shown_series(cells)
    if field.modality == "events" and isinstance(cells.dtype, pl.List):
        return f"{_span(cells.list.len())} events"
    if field.modality == "array" and isinstance(cells.dtype, pl.List):
        return f"e.g. {' × '.join(map(str, _sizes(cells.head(1).to_list()[0])))}"
    if field.modality == "number" and (cells.dtype != pl.String or field.options.get("date") is True):
        return f"{_number(cells.min())} … {_number(cells.max())}"
    if field.modality == "category" and not cells.dtype.is_nested():
        names = sorted(map(str, cells.unique().to_list()), key=natural)
        return f"{len(names):,}: {', '.join(map(_category, names[:8]))}"
    return f"e.g. {' '.join(str(cells.head(1).to_list()[0]).split())}"


def _sizes(cell: Any) -> list[int]:
    """How long nested lists are, by the first one of each."""
    sizes = []
    while isinstance(cell, list):
        sizes.append(len(cell))
        cell = cell[0] if cell else None
    return sizes


def _shown_series(cells: pl.Series) -> str:
    """The lengths; of lists of lists both sides: either may be the channels'."""
    if isinstance(cells.dtype, pl.List) and isinstance(cells.dtype.inner, pl.List):
        return f"lists of {_span(cells.list.len())} × {_span(cells.list.first().list.len())}"
    return f"{_span(cells.list.len())} steps"


def _span(lengths: pl.Series) -> str:
    low, high = lengths.min(), lengths.max()
    return f"{low}" if low == high else f"{low} … {high}"


def _category(name: str) -> str:
    """As it is, in quotes where blanks around it would not be seen."""
    return repr(name) if name != name.strip() else name


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _split(schema: Schema) -> str:
    split = schema.split
    if schema.long is not None and schema.long.horizon is not None:
        _, validation, test = split.fractions
        return (
            f"by {schema.long.time!r}: the last {test:.0%} of the times is test, {validation:.0%} before it "
            f"validation; {schema.long.horizon} steps are forecast from at most {schema.long.read}"
        )
    if split.column:
        return f"by the column {split.column!r}{f', not by {split.group!r}' if split.group else ''}"
    shares = ", ".join(f"{f:.0%} {p}" for f, p in zip(split.fractions, ("train", "validation", "test"), strict=True))
    if split.group:
        return f"{shares}, whole groups of {split.group!r}, seed {split.seed}"
    if split.time:
        return f"{shares}, the last by {split.time!r}"
    labels = [f.name for f in schema.targets if f.modality == "category" and f.options.get("labels") == "one"]
    return f"{shares}, drawn with seed {split.seed}{f', stratified by {labels[0]!r}' if labels else ''}"
