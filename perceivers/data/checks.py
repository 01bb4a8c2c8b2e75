"""A schema against the data: what makes it unusable, and what a person should know.

Not concerned with how a schema is inferred (`infer.py`).
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import polars as pl

from perceivers.data.dates import other_order, to_seconds
from perceivers.data.delimited import are_numbers
from perceivers.data.folders import SPLITS
from perceivers.data.rules import CLASSES, present
from perceivers.data.schema import Field, Schema
from perceivers.data.sources import Table
from perceivers.errors import BadInput, nearest
from perceivers.terminal import counted

SAMPLE = 10_000
REPEATED = 5  # rows a value, at least, where a value that always goes with one target is no chance
CORRELATED = 0.999
FEW_WORDS = 0.1  # of the items of lists of numbers
UNBALANCED = 0.9
TARGET_NAMES = ("target", "class", "label", "y", "score", "rating", "outcome", "output", "price", "result")
LIKELY = 5


def likely_targets(table: Table, schema: Schema) -> list[str]:
    """The columns that could be asked for, the likeliest first: by name, then few distinct values, then the last."""
    ranked = []
    for place, field in enumerate(schema.inputs):
        if field.modality in ("category", "number") and not field.options.get("date"):
            many = table.frame[field.columns[0]].head(SAMPLE).n_unique() > CLASSES
            ranked.append(((field.name.lower() not in TARGET_NAMES, many, -place), field.name))
    return [name for _, name in sorted(ranked)[:LIKELY]]


def check(table: Table, schema: Schema) -> None:
    """Raises BadInput where the schema cannot be used with the table, or has no inputs or targets."""
    names = [field.name for field in schema.fields]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInput(f"{table.name}: two fields are named {twice[0]!r}: rename the column")
    known = dict.fromkeys(table.frame.columns)
    for field in (*schema.targets, *schema.inputs):
        for name in field.columns:
            if name not in known:
                raise BadInput(
                    f"{table.name}: no column {name!r}, the {field.role} {field.name!r}{nearest(name, known)}"
                )
    for what in ("column", "group", "time"):
        name = getattr(schema.split, what)
        if name is not None and name not in known:
            raise BadInput(f"{table.name}: no column {name!r} to split by{nearest(name, known)}")
    if not schema.targets:
        likely = ", ".join(likely_targets(table, schema))
        hint = f"likely ones are {likely}" if likely else "a folder needs subfolders for its classes: class/name.ext"
        raise BadInput(f"{table.name}: no target: say what to predict with --target NAME; {hint}")
    if not schema.inputs:
        ignored = [f"{f.name}: {f.reason}" for f in schema.fields if f.role == "ignore" and f.reason]
        raise BadInput(f"{table.name}: no column is left to predict from{': ' if ignored else ''}{'; '.join(ignored)}")
    check_rows(table)
    for field in (*schema.targets, *schema.inputs):
        _check_cells(table, field)
    for field in schema.targets:
        check_target(table, field)


def check_rows(table: Table) -> None:
    """Raises BadInput where there is a single row."""
    if table.frame.height < 2:
        raise BadInput(f"{table.name}: one row: nothing can be learned and tested from it; give more rows")


def check_target(table: Table, field: Field) -> None:
    """Raises BadInput where a target is not read, or has a single value."""
    columns = [present(table.frame[name]) for name in field.columns]
    if empty := [cells.name for cells in columns if not len(cells)]:
        raise BadInput(f"{table.name}: target {empty[0]!r} is empty in every row: nothing to learn from")
    if field.modality is None:
        raise BadInput(f"{table.name}: target {field.name!r} is not read: {field.reason}")
    for cells in columns:
        if cells.hash().n_unique() == 1:
            value = cells.head(1).to_list()[0]
            what = "one class" if field.modality == "category" else "one value"
            raise BadInput(f"{table.name}: target {cells.name!r} has {what} only, {value!r}: nothing to tell apart")


def _check_cells(table: Table, field: Field) -> None:
    """Raises BadInput where the type of a column cannot be what the schema says."""
    for name in field.columns:
        cells = present(table.frame[name])
        if not len(cells) or _fits(cells, field):
            continue
        example = str(cells.head(1).to_list()[0])[:40]
        raise BadInput(
            f"{table.name}: the schema reads column {name!r} as {field.modality}, but its cells are like {example!r} "
            f"({cells.dtype}): change the modality of {field.name!r}"
        )


def _fits(cells: pl.Series, field: Field) -> bool:
    dtype: Any = cells.dtype
    if field.modality == "number":
        if dtype.is_numeric():
            return True
        return not dtype.is_nested() and bool(to_seconds_or_numbers(cells.head(SAMPLE), field).is_not_null().any())
    if field.modality in ("image", "audio", "video", "points", "array", "given", "point_class", "point_value"):
        return dtype == pl.String or dtype.is_nested()
    if field.modality == "series":
        times = dtype.is_temporal() and cells.name == field.options.get("time")
        return times or dtype == pl.String or dtype.is_nested() or dtype.is_numeric()
    if field.modality in ("text", "masked"):
        return dtype == pl.String
    if field.modality == "category" and field.options.get("labels") != "many":
        return not dtype.is_nested()
    return True


def to_seconds_or_numbers(cells: pl.Series, field: Field) -> pl.Series:
    """Float64: numbers, or dates as seconds; null where missing or neither."""
    if cells.dtype == pl.String and not field.options.get("date"):
        return cells.str.strip_chars().cast(pl.Float64, strict=False).fill_nan(None)
    return to_seconds(cells, field.options.get("date", False))


def warnings(table: Table, schema: Schema) -> list[str]:
    """What a person should know before training, one line each."""
    found = (
        _header,
        _about_targets,
        _several_labels,
        _words,
        _infinite,
        _uneven,
        _look_alikes,
        _give_aways,
        _duplicates,
        _parted,
    )
    return [*table.notes, *(line for find in found for line in find(table, schema))]


def unclear_dates(table: Table, schema: Schema) -> list[str]:
    """A line for each column whose days could be months, of the table as it came."""
    axes = {schema.split.time, None if schema.long is None else schema.long.time}
    lines = []
    for field in schema.fields:
        date, name = field.options.get("date"), field.columns[0]
        if isinstance(date, str) and (found := other_order(present(table.frame[name]), date, name in axes)):
            other, cell, ours, theirs = found
            lines.append(
                f"{name!r}: days could be months, as nothing says otherwise: {cell!r} is read as {ours}; if it is "
                f"{theirs}, write `date: '{other}'` in the schema"
            )
    return lines


def _header(table: Table, schema: Schema) -> Iterator[str]:
    """A first row of data that was taken for the names."""
    if are_numbers(names := table.frame.columns):
        yield f"most columns are named by numbers, such as {names[0]!r}: does the first line hold data, and no names?"


def _about_targets(table: Table, schema: Schema) -> Iterator[str]:
    for field in schema.targets:
        for name in field.columns:
            cells = present(table.frame[name])
            missing = table.frame.height - len(cells)
            if missing and (schema.long is None or schema.long.horizon is None):  # a step without a value is read
                yield f"{missing:,} of {table.frame.height:,} rows have no {name!r} and are left out"
            if field.modality == "category" and not cells.dtype.is_nested() and len(cells):
                largest = cells.value_counts(sort=True).row(0)
                if largest[1] > UNBALANCED * len(cells):
                    share = largest[1] / len(cells)
                    yield f"unbalanced: {share:.1%} of {name!r} is {largest[0]!r}; look at f1 beside accuracy"


def _several_labels(table: Table, schema: Schema) -> Iterator[str]:
    """Categories that look like several labels at once."""
    for field in (*schema.inputs, *schema.targets):
        cells = table.frame[field.columns[0]]
        if field.modality == "category" and cells.dtype == pl.String and field.options.get("labels") != "many":
            several = present(cells).str.contains(r"[^|\s]\s*\|\s*[^|\s]")
            if several.any():
                yield (
                    f"{int(several.sum()):,} cells of {field.name!r} have a |: several labels in one cell are "
                    "`labels: many` in the schema"
                )


def _words(table: Table, schema: Schema) -> Iterator[str]:
    """Lists of labels that would be series of numbers, but for a few words."""
    for field in schema.inputs:
        cells = table.frame[field.columns[0]]
        if field.modality != "category" or cells.dtype != pl.List(pl.String):
            continue
        word = pl.element().is_not_null() & pl.element().cast(pl.Float64, strict=False).is_null()
        words = cells.list.eval(pl.element().filter(word))
        counts = words.list.len().fill_null(0)
        if 0 < int(counts.sum()) <= FEW_WORDS * int(cells.list.len().sum()):
            row = int((counts > 0).arg_max() or 0)
            yield (
                f"row {row + 1}: {field.name!r} has {words[row][0]!r} among numbers: so all of its lists are read as "
                "labels, not as series; write a number or nothing there"
            )


def _infinite(table: Table, schema: Schema) -> Iterator[str]:
    """Numbers that are none: the rows will be left out."""
    for field in (*schema.inputs, *schema.targets):
        for name in field.columns if field.modality == "number" else ():
            infinite = to_seconds_or_numbers(table.frame[name], field).is_infinite().fill_null(False)
            if infinite.any():
                yield (
                    f"infinity in {counted(int(infinite.sum()), 'row')} of {name!r}, such as row "
                    f"{int(infinite.arg_max() or 0) + 1}, which cannot be read: empty the cell if its value is missing"
                )


def _uneven(table: Table, schema: Schema) -> Iterator[str]:
    """Channels of one series that are not equally long."""
    for field in (*schema.inputs, *schema.targets):
        for name in field.columns if field.modality == "series" else ():
            lengths = _channels(table.frame[name]).list.eval(pl.element().list.len())
            uneven = (lengths.list.min() < lengths.list.max()).fill_null(False)
            if uneven.any():
                row = int(uneven.arg_max() or 0)
                yield (
                    f"channels of unlike length in {counted(int(uneven.sum()), 'row')} of {name!r}, such as row "
                    f"{row + 1} with {lengths[row].min()} to {lengths[row].max()} steps: what the shorter lack at "
                    "their end is read as missing"
                )


def _channels(cells: pl.Series) -> pl.Series:
    """Cells that are, or are written as, lists of lists; null where they are not."""
    dtype, lists = cells.dtype, pl.List(pl.List(pl.Float64))
    if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.List):
        return cells
    if dtype == pl.String:
        with suppress(pl.exceptions.PolarsError):
            return cells.set(~cells.str.contains(r"^\s*\[\s*\[").fill_null(False), None).str.json_decode(lists)
    return pl.Series(cells.name, [None], dtype=lists)


def _look_alikes(table: Table, schema: Schema) -> Iterator[str]:
    """Categories that differ by case or blanks alone."""
    for field in (*schema.inputs, *schema.targets):
        cells = table.frame[field.columns[0]]
        if field.modality != "category" or cells.dtype != pl.String:
            continue
        found = pl.DataFrame({"cell": present(cells).unique()})
        plain = pl.col("cell").str.strip_chars().str.replace_all(r"\s+", " ").str.to_lowercase()
        alike = found.group_by(plain.alias("plain")).agg(pl.col("cell").sort()).filter(pl.col("cell").list.len() > 1)
        if alike.height:
            shown = alike.sort("plain")["cell"].head(LIKELY).to_list()
            words = "; ".join(" and ".join(map(repr, group)) for group in shown)
            more = f"; and {alike.height - LIKELY} more" if alike.height > LIKELY else ""
            yield (
                f"categories of {field.name!r} differ by case or blanks alone and are kept apart: {words}{more}; "
                "write them alike if they are the same"
            )


def _give_aways(table: Table, schema: Schema) -> Iterator[str]:
    """Columns from which the target can be read off."""
    rows = np.random.default_rng(0).permutation(table.frame.height)[:SAMPLE]
    frame = table.frame[np.sort(rows)]
    for target in schema.targets:
        for field in schema.inputs:
            if len(target.columns) > 1 or len(field.columns) > 1 or not {*field.columns}.isdisjoint(target.columns):
                continue
            x, y = frame[field.columns[0]], frame[target.columns[0]]
            if x.dtype.is_nested() or y.dtype.is_nested():
                continue
            if x.has_nulls() or y.has_nulls():
                x, y = pl.DataFrame({"x": x, "y": y}).drop_nulls().get_columns()
            if len(x) < 3:
                continue
            how = _given_away(x, y)
            if how is None and field.modality == target.modality == "number":
                how = _correlated(to_seconds_or_numbers(x, field), to_seconds_or_numbers(y, target))
            if how is not None:
                yield f"{field.name!r} gives the target {target.name!r} away: {how}"


def _given_away(x: pl.Series, y: pl.Series) -> str | None:
    """How y follows from x, where x repeats so often that this is no chance."""
    values, asked = x.n_unique(), y.n_unique()
    if values == asked:
        how = "one value of it for each of the other"
    elif values <= len(x) / REPEATED and asked > 1:
        how = "each of its values goes with one"
    else:
        return None
    return how if 1 < values < len(x) and pl.DataFrame({"x": x, "y": y}).n_unique() == values else None


def _correlated(one: pl.Series, other: pl.Series) -> str | None:
    numbers = pl.DataFrame({"x": one, "y": other})
    x, y = numbers.filter(pl.all_horizontal(pl.all().is_finite())).to_numpy().T
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # numbers too large to be squared
        found = abs(np.corrcoef(x, y)[0, 1])
    return f"their correlation is over {CORRELATED}" if found > CORRELATED else None


def _duplicates(table: Table, schema: Schema) -> Iterator[str]:
    names = list(dict.fromkeys(name for field in schema.inputs for name in field.columns))
    if not names or schema.long is not None:  # steps repeat
        return
    count = table.frame.height - table.frame.select(names).hash_rows().n_unique()
    if count > 0.01 * table.frame.height:
        where = "by the column that splits them" if schema.split.column else "kept on one side of the split"
        yield f"{count:,} of {table.frame.height:,} rows repeat the inputs of another one: {where}"


def _parted(table: Table, schema: Schema) -> Iterator[str]:
    """Groups whose rows a column puts on several sides: it decides, and the group with it is no longer kept whole."""
    column, group = schema.split.column, schema.split.group
    if column is None or group is None or not {column, group} <= set(table.frame.columns):
        return
    side = pl.col(column).cast(pl.String).str.strip_chars().str.to_lowercase().replace(SPLITS)
    sides = table.frame.select(pl.col(group).alias("group"), side.alias("side")).drop_nulls()
    of_group = sides.group_by("group", maintain_order=True).agg(pl.col("side").n_unique())
    parted = of_group.filter(pl.col("side") > 1)["group"]
    if len(parted):
        shown = ", ".join(map(repr, parted.head(LIKELY).to_list())) + (" …" if len(parted) > LIKELY else "")
        yield (
            f"the column {column!r} decides, and puts rows of {len(parted):,} of {counted(of_group.height, 'group')} "
            f"of {group!r} on several sides: {shown}; rename {column!r} to keep groups whole"
        )
