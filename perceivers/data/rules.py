"""How a column is read, by rules: the first one that fits wins.

Not concerned with what stands in files (`file_kinds.py`), nor with the table around it: targets, groups and splits are
chosen in `infer.py`.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from os.path import splitext
from pathlib import Path
from typing import Any

import polars as pl

from perceivers.data.dates import find_dates, unlike_dates
from perceivers.data.file_kinds import FILES, Reading
from perceivers.data.folders import MODALITY_OF
from perceivers.data.infer_events import are_events
from perceivers.data.sources import Table, resolve
from perceivers.errors import Unreadable

SAMPLE_CELLS, SAMPLE_FILES = 10_000, 1_000
FILES_SHARE = 0.9
OPENED, SAMPLES = 100, 1_000  # lists that are looked at; as long ones may be samples of sound
LONG_WORDS = 3  # strings with a median of more words are text
TEXT_DISTINCT = 0.5  # strings of which more are distinct are text
CLASSES, ROWS_PER_CLASS = 20, 10  # integers with at most so many values of at least so many rows are classes
ID_NAME = re.compile(r"(?i:(^|[\W_])(id|uuid|guid)$)|[a-z](Id|ID)$")
WRITTEN_ARRAY = r"^\s*\[\s*\[\s*\["
WRITTEN_LIST = r"^\s*\[(?:[\s\d\[\],.eE+-]|null|NaN)*\]\s*$"


@dataclass(frozen=True)
class Column:
    """A column and what the rules ask of it. `cells` are the ones that are not missing."""

    name: str
    cells: pl.Series
    rows: int
    root: Path | None
    known: str | None  # the modality, where the source knows it
    target: bool

    @property
    def is_string(self) -> bool:
        return self.cells.dtype == pl.String

    @cached_property
    def distinct(self) -> int:
        return self.cells.n_unique()

    @property
    def is_constant(self) -> bool:
        if self.missing or self.cells.dtype in (pl.Object, pl.Array, pl.Struct):
            return False
        if isinstance(self.cells.dtype, pl.List):
            return self.cells.hash().n_unique() == 1
        return bool((self.cells == self.cells[0]).all())

    @property
    def missing(self) -> int:
        return self.rows - len(self.cells)

    def sample(self, count: int) -> pl.Series:
        """At most `count` cells, evenly spaced."""
        return self.cells.gather_every(max(1, -(-len(self.cells) // count)))


def present(cells: pl.Series) -> pl.Series:
    """The cells that are not missing: null, NaN and white space alone are."""
    cells = cells.drop_nulls() if cells.has_nulls() else cells
    if cells.dtype.is_float():
        return cells.drop_nans() if isnan(cells.sum()) else cells  # asking is quick where columns are many
    if cells.dtype == pl.String and (blank := cells.str.strip_chars() == "").any():
        return cells.filter(~blank)
    return cells


def columns(table: Table, targets: tuple[str, ...] = ()) -> list[Column]:
    """What the rules ask of every column of a table."""
    frame, known = table.frame, table.modalities
    return [
        Column(name, present(frame[name]), frame.height, table.root, known.get(name), name in targets)
        for name in frame.columns
    ]


def read_column(column: Column) -> Reading:
    """The first rule that fits."""
    return next(reading for rule in RULES if (reading := rule(column)))


def _known(column: Column) -> Reading | None:
    if column.known is None:
        return None
    return Reading(column.known, {}, "its source says so")


def _constant(column: Column) -> Reading | None:
    if not len(column.cells):
        return Reading(None, {}, "every cell is empty")
    if column.is_constant and not column.target:
        return Reading(None, {}, f"constant: {str(column.cells.head(1).to_list()[0])[:30]!r} in every row")
    return None


def _files(column: Column) -> Reading | None:
    if not column.is_string:
        return None
    names = column.sample(SAMPLE_FILES).to_list()
    kinds = Counter(MODALITY_OF[e] for name in names if (e := splitext(name[-20:])[1].lower()) in MODALITY_OF)
    if kinds.total() < FILES_SHARE * len(names):
        return None
    paths = [path for name in names if (path := _found(column.root, name))]
    kind = kinds.most_common(1)[0][0]
    if len(paths) < FILES_SHARE * len(names):
        where = (column.root or Path.cwd()).resolve()
        return Reading(None, {}, f"names of {kind} files, but only {len(paths)} of {len(names)} are in {where}")
    return FILES[kind](paths)


def _found(root: Path | None, name: str) -> Path | None:
    try:
        return resolve(root, name)
    except Unreadable:
        return None


def _events(column: Column) -> Reading | None:
    reason = are_events(column.cells)
    return Reading("events", {}, reason) if reason else None


def _nested(column: Column) -> Reading | None:
    dtype: Any = column.cells.dtype
    if dtype in (pl.List, pl.Array):
        if dtype.inner == pl.String:
            return Reading("category", {"labels": "many"}, "lists of strings: several labels at once")
        if dtype.inner.is_numeric():
            return Reading("series", {}, f"lists of numbers{_as_sound(column)}")
        if dtype.inner in (pl.List, pl.Array) and dtype.inner.inner.is_numeric():
            return Reading("series", {}, f"lists of lists of numbers: channels{_as_cloud(column)}")
        if (rank := _rank(dtype)) > 2:
            return Reading("array", {}, f"nested lists of numbers: arrays of rank {rank}")
    if dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Date, pl.Datetime):
        return None
    return Reading(None, {}, f"cells of type {dtype} are not read: store numbers or strings")


def _as_sound(column: Column) -> str:
    """How to read long lists of numbers, which may be samples: nothing in them says so."""
    long = min(_lengths(column.sample(OPENED))) >= SAMPLES
    return "; sounds with `modality: audio` and their `rate`" if long else ""


def _as_cloud(column: Column) -> str:
    """How to read lists of triples, of which there are now more, now fewer, so that they may be points."""
    cells = column.sample(OPENED)
    points = len(_lengths(cells)) > 1 and _lengths(cells.explode()) == {3}
    return "; clouds with `modality: points`" if points else ""


def _lengths(lists: pl.Series) -> set[int]:
    dtype: Any = lists.dtype
    return {dtype.size} if dtype == pl.Array else {*lists.drop_nulls().list.len()}


def _rank(dtype: Any) -> int:
    """How deep lists of numbers are nested; 0 where they hold something else."""
    rank = 0
    while dtype in (pl.List, pl.Array):
        dtype, rank = dtype.inner, rank + 1
    return rank if dtype.is_numeric() or dtype == pl.Boolean else 0


def _written_lists(column: Column) -> Reading | None:
    if not column.is_string or not (cells := column.sample(SAMPLE_CELLS)).str.contains(WRITTEN_LIST).all():
        return None
    if cells.str.contains(WRITTEN_ARRAY).all():
        return Reading("array", {}, "nested lists of numbers, written in strings: arrays")
    return Reading("series", {}, "lists of numbers, written in strings")


def _dates(column: Column) -> Reading | None:
    how = find_dates(column.cells)
    if how is False:
        unlike = unlike_dates(column.cells)
        reason = "dates, but not all in one form: {!r:.30} and {!r:.30}; write them alike, such as 2026-11-23"
        return Reading(None, {}, reason.format(*unlike)) if unlike else None
    return Reading("number", {"date": how}, f"dates{read_as(how)}")


def read_as(date: bool | str) -> str:
    """How dates are read, where it is not the usual one: the end of a reason."""
    return f", read as {date}" if isinstance(date, str) else ""


def _long_text(column: Column) -> Reading | None:
    if not column.is_string or (column.target and column.distinct <= TEXT_DISTINCT * len(column.cells)):
        return None
    words: Any = column.sample(SAMPLE_CELLS).str.count_matches(r"\S+").median()
    return Reading("text", {}, f"a median of {words:g} words") if words > LONG_WORDS else None


def _identifier(column: Column) -> Reading | None:
    if column.target:
        return None
    if ID_NAME.search(column.name):
        return Reading(None, {}, "named like an identifier")
    if column.is_string and column.distinct == len(column.cells) and not column.cells.str.contains(r"\s").any():
        return Reading(None, {}, f"an identifier: {column.distinct:,} distinct one-word strings, none twice")
    return counter(column)


def counter(column: Column) -> Reading | None:
    """Unique consecutive integers number the rows and say nothing of them."""
    if not column.cells.dtype.is_integer() or not len(column.cells):
        return None
    ends: Any = (column.cells.min(), column.cells.max())
    first, last = ends
    if last - first + 1 == column.rows == column.distinct:
        return Reading(None, {}, f"counts the rows from {first} to {last}")
    return None


def _digits(column: Column) -> Reading | None:
    if column.is_string and column.cells.str.contains(r"^\d+$").all():
        return Reading("category", _labels(column), f"digits stored as strings, {_of(column)}")
    return None


def _strings(column: Column) -> Reading | None:
    if not column.is_string:
        return None
    if not column.cells.str.strip_chars().cast(pl.Float64, strict=False).has_nulls():
        return Reading("number", {}, "numbers stored as strings")
    if column.distinct > TEXT_DISTINCT * len(column.cells):
        return Reading("text", {}, f"{_of(column)}: more than half are distinct")
    return Reading("category", _labels(column), f"{_of(column)}")


def _classes(column: Column) -> Reading | None:
    if column.cells.dtype == pl.Boolean:
        return Reading("category", _labels(column), "true or false")
    if not column.target or column.distinct > CLASSES or (column.cells != column.cells.round()).any():
        return None
    fewest: Any = column.cells.value_counts()["count"].min()
    if fewest < ROWS_PER_CLASS:
        return None
    return Reading("category", _labels(column), f"{column.distinct} integers, each in at least {fewest} rows")


def _numbers(column: Column) -> Reading:
    return Reading("number", {}, "integers" if column.cells.dtype.is_integer() else "decimal numbers")


def _labels(column: Column) -> dict[str, Any]:
    return {"labels": "one"} if column.target else {}


def _of(column: Column) -> str:
    return f"{column.distinct:,} distinct strings in {len(column.cells):,} rows"


RULES = (
    _known,
    _constant,
    _files,
    _events,
    _nested,
    _written_lists,
    _dates,
    _long_text,
    _identifier,
    _digits,
    _strings,
    _classes,
    _numbers,
)
