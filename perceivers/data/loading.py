"""Rows on their way to a model: read, counted where they cannot be read, collated and augmented.

Not concerned with where rows come from (`sources.py`), which of them are for training (`splits.py`), in which order and
batches they come (`batches.py`), nor with what a modality does: readers are given from outside.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, Protocol

import numpy as np
import polars as pl
import torch

from perceivers.data.randomness import permutation, uniform
from perceivers.data.schema import Field
from perceivers.data.sources import Table, opened
from perceivers.errors import BadInput, Unreadable
from perceivers.stored import Stored
from perceivers.terminal import counted

CACHE_BYTES = 2**30  # decoded pictures and the like are kept up to this much
FILE_BYTES = 2**34  # and what is too large for memory, in temporary files, up to this much
SAMPLE = 1_000
THINNED = 0.05  # of the rows
MAX_FAILED, MIN_COUNTED = 0.05, 200
MOST_REMARKS = 5
FIRST = 3  # rows that a line names


Batch = dict[str, dict[str, torch.Tensor]]


class Reader(Protocol):
    """What loading needs of a modality (`perceivers.modalities.base.Modality`)."""

    def read(self, field: Field, cell: Any) -> Any: ...
    def read_all(self, field: Field, cells: Sequence[Any]) -> Sequence[Any] | np.ndarray | None: ...
    def remarks(self, field: Field, cell: Any, example: Any) -> Sequence[str]: ...

    def remarks_on_all(self, field: Field, cells: Sequence[Any], examples: Any) -> Iterable[tuple[int, str]]: ...
    def mismatch(self, field: Field, example: Any, examples: Mapping[str, Any]) -> str | None: ...
    def windows(self, field: Field, example: Any) -> list[Any]: ...
    def crop(self, field: Field, example: Any, uniform: float) -> Any: ...
    def size(self, field: Field, cell: Any) -> int: ...
    def collate(self, field: Field, examples: Sequence[Any] | np.ndarray) -> dict[str, Any]: ...
    def augment(self, field: Field, part: dict[str, Any], uniform: Callable[[str, int], Any]) -> dict[str, Any]: ...
    def drop(self, field: Field, part: dict[str, Any], rows: torch.Tensor) -> dict[str, Any]: ...


def cells(table: Table, field: Field) -> Sequence[Any]:
    """The cells of a field: values, or tuples of values where it has several columns."""
    if field.name in table.views:
        return table.views[field.name]
    columns = [_values(table.frame[name]) for name in field.columns]
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def _values(column: pl.Series) -> list[Any]:
    """Arrays stay arrays: as nested lists they would take ten times the memory."""
    if not isinstance(column.dtype, pl.Array) or column.null_count():
        return column.to_list()
    array = column.to_numpy()
    return list(array) if array.dtype.kind in "iuf" else column.to_list()


def with_value(table: Table, fields: Sequence[Field]) -> np.ndarray:
    """(n) True where a row has a value in at least one of the fields."""
    has = np.zeros(len(table.frame), dtype=bool)
    for field in fields:
        present = np.ones(len(table.frame), dtype=bool)
        for name in field.columns:
            column = table.frame[name]
            missing = column.is_null()
            if column.dtype.is_float():
                missing |= column.is_nan().fill_null(True)
            elif column.dtype == pl.String:
                missing |= (column.str.strip_chars() == "").fill_null(True)
            present &= ~missing.to_numpy()
        has |= present
    return has


class Column:
    """The examples of one field, by row id. Read all at once where that is cheap, else one by one and kept."""

    def __init__(self, table: Table, field: Field, reader: Reader):
        self.table, self.field, self.reader = table, field, reader
        self.cells = cells(table, field)
        self.kept: dict[int, Any] = {}
        self.remarks: dict[str, set[int]] = {}  # the first few of each kind, each with its rows;
        self.remarkable: set[int] = set()  # the rows of all others
        self.room, self.room_in_files = CACHE_BYTES, FILE_BYTES
        self.all = None
        if not field.names_files:
            try:
                self.all = reader.read_all(field, self.cells)
            except Unreadable:
                self.all = None  # some cell is at fault: reading one by one finds which
        if self.all is not None:
            for row, remark in reader.remarks_on_all(field, self.cells, self.all):
                self._note(row, remark)

    def cell(self, row: int) -> Any:
        """A value, or a path inside the table's folder. Raises Unreadable."""
        value = self.cells[row]
        return opened(self.table.root, value) if self.field.names_files else value

    def given(self, rows: np.ndarray) -> list[Any]:
        """The cells of `rows` as `read` takes them; those whose path leads nowhere are left out."""
        found = []
        for row in rows:
            with suppress(Unreadable):
                found.append(self.cell(int(row)))
        return found

    def __getitem__(self, row: int) -> Any:
        """One example. Raises Unreadable with the table, the row and the field."""
        if self.all is not None:
            return self.all[row]
        if row in self.kept:
            return self.kept[row]
        try:
            cell = self.cell(row)
            example = self.reader.read(self.field, cell)
        except Unreadable as error:
            raise Unreadable(self._at(row, str(error))) from error
        for remark in self.reader.remarks(self.field, cell, example):
            self._note(row, remark)
        self._keep(row, example)
        return example

    def _keep(self, row: int, example: Any) -> None:
        size = getattr(example, "nbytes", 64)
        if isinstance(example, Stored):
            if self.room_in_files >= size:
                self.room_in_files -= size
                self.kept[row] = example
        elif self.room >= size:
            self.room -= size
            self.kept[row] = example

    def _note(self, row: int, remark: str) -> None:
        if remark in self.remarks or len(self.remarks) < MOST_REMARKS:
            self.remarks.setdefault(remark, set()).add(row)
        else:
            self.remarkable.add(row)

    def match(self, row: int, examples: Mapping[str, Any]) -> None:
        """Raises Unreadable, with the same, where the example does not go with the others of its row."""
        if wrong := self.reader.mismatch(self.field, examples[self.field.name], examples):
            raise Unreadable(self._at(row, wrong))

    def _at(self, row: int, message: str) -> str:
        """Where it is: the table, the row, the field, and the file where the message does not name it."""
        cell = self.cells[row]
        unnamed = self.field.names_files and isinstance(cell, str) and PurePath(cell).name not in message
        file = f"{(self.table.root or Path()) / cell}: " if unnamed else ""
        return f"{self.table.name}, row {row + 1}, {self.field.name}: {file}{message}"

    def size(self, row: int) -> int:
        try:
            return self.reader.size(self.field, self.cell(row))
        except Unreadable:
            return 0


class Rows:
    """A table read by the modalities of its fields. Rows that cannot be read are left out and kept in `failed`."""

    def __init__(self, table: Table, fields: Sequence[Field], reader: Callable[[Field], Reader]):
        self.table = table
        self.columns = {field.name: Column(table, field, reader(field)) for field in fields}
        self.one_by_one = [column for column in self.columns.values() if column.all is None]
        self.failed: dict[int, str] = {}
        self.tried: set[int] = set()

    def __len__(self) -> int:
        return len(self.table.frame)

    def readable(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Those of `rows` that can be read. The others are noted in `failed`, with the reason."""
        if not self.one_by_one:
            return np.asarray(rows, dtype=np.int64)
        return np.array([int(row) for row in rows if self._read(int(row)) is not None], dtype=np.int64)

    def examples(self, rows: np.ndarray) -> tuple[np.ndarray, dict[str, list[Any]]]:
        """The same, and the examples of the columns that are read one by one, by name: what is kept nowhere, as there
        is no room for it, is then read only once.
        """
        if not self.one_by_one:
            return np.asarray(rows, dtype=np.int64), {}
        found = {int(row): examples for row in rows if (examples := self._read(int(row))) is not None}
        names = [column.field.name for column in self.one_by_one]
        return np.array(list(found), dtype=np.int64), {n: [one[n] for one in found.values()] for n in names}

    def _read(self, row: int) -> dict[str, Any] | None:
        """What the columns that are read one by one hold in a row; None, and the reason in `failed`, where one cannot
        be read.
        """
        self.tried.add(row)
        try:
            examples = {column.field.name: column[row] for column in self.one_by_one}
            for column in self.one_by_one:
                column.match(row, examples)
        except Unreadable as error:
            self.failed[row] = str(error)
            return None
        return examples

    def check(self) -> None:
        """Raises BadInput when over 5 % of at least 200 rows tried could not be read."""
        if len(self.tried) >= MIN_COUNTED and len(self.failed) > MAX_FAILED * len(self.tried):
            raise BadInput(
                f"{self.table.name}: {len(self.failed)} of {len(self.tried)} rows cannot be read, more than "
                f"{MAX_FAILED:.0%}; the first: {next(iter(self.failed.values()))}"
            )

    def without(self) -> str:
        """How many rows could not be read so far, and the first of them with the reason: the end of another line."""
        lines = [self.failed[row] for row in sorted(self.failed)]
        more = " …" if len(lines) > FIRST else ""
        return f"; {counted(len(lines), 'row')} could not be read: {'; '.join(lines[:FIRST])}{more}" if lines else ""

    def remarks(self) -> list[str]:
        """What a person should know of how the rows so far were read, a line each; of one field at most five."""
        lines = []
        for name, column in self.columns.items():
            for remark, rows in column.remarks.items():
                count = f"{counted(len(rows), 'row')}, such as row {min(rows) + 1}"
                lines.append(f"{name}: {remark} ({count})")
            if column.remarkable:
                lines.append(f"{name}: and more remarks of this kind ({counted(len(column.remarkable), 'row')})")
        return lines

    def read_sample(self, rows: np.ndarray, seed: int) -> None:
        """Reads a seeded sample before anything begins. Raises BadInput when most of it cannot be read."""
        sample = np.sort(permutation(seed, 0, rows)[:SAMPLE])
        if not len(self.readable(sample)):
            raise BadInput(f"no row can be read; the first: {next(iter(self.failed.values()))}")
        self.check()

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """How many input elements each row takes."""
        return sum(
            (np.array([column.size(int(row)) for row in rows]) for column in self.columns.values()),
            start=np.zeros(len(rows), dtype=np.int64),
        )

    def batch(self, rows: np.ndarray) -> Batch:
        """Readable rows → the parts of their fields."""
        return {name: self._collate(column, rows) for name, column in self.columns.items()}

    def windowed(self, rows: np.ndarray, most: int | None = None) -> Iterator[tuple[np.ndarray, Batch]]:
        """Batches in which a row stands as often as its longest field has windows, each with its row ids: a single
        one, or several of at most `most`. Fewer windows of another field stand several times each, evenly.
        """
        pieces = {
            name: [column.reader.windows(column.field, column[int(row)]) for row in rows]
            for name, column in self.columns.items()
            if column.field.role == "input" and not isinstance(column.all, np.ndarray)
        }
        counts = np.array([[len(windows) for windows in p] for p in pieces.values()] + [[1] * len(rows)]).max(axis=0)
        places = [(row, i) for row, count in enumerate(counts) for i in range(count)]
        most = most or len(places)
        for start in range(0, len(places), most):
            of_batch = places[start : start + most]
            owners = rows[[row for row, _ in of_batch]]
            batch = {}
            for name, column in self.columns.items():
                if name in pieces:
                    found = pieces[name]
                    examples = [found[row][i * len(found[row]) // counts[row]] for row, i in of_batch]
                    batch[name] = column.reader.collate(column.field, examples)
                else:
                    batch[name] = self._collate(column, owners)
            yield owners, batch

    def _collate(self, column: Column, rows: np.ndarray) -> dict[str, Any]:
        return column.reader.collate(column.field, self._of(column, rows, {}))

    def _of(self, column: Column, rows: np.ndarray, read: Mapping[str, list[Any]]) -> Any:
        """The examples of a column, those in `read` as they are."""
        if isinstance(column.all, np.ndarray):
            return column.all[rows]
        return read.get(column.field.name) or [column[int(row)] for row in rows]

    def training_batch(
        self, rows: np.ndarray, read: Mapping[str, list[Any]], *, seed: int, epoch: int, field_drop: float
    ) -> Batch:
        """The parts of readable rows, changed at random: cropped, fields dropped, augmented. A pure function of `rows`,
        whose `examples` are `read`, and the seed, epoch and rate.
        """
        inputs = [column for column in self.columns.values() if column.field.role == "input"]
        dropped = dropped_fields(seed, epoch, rows, len(inputs), field_drop)
        batch = {}
        for name, column in self.columns.items():
            if column.field.role == "target":
                batch[name] = column.reader.collate(column.field, self._of(column, rows, read))
        for column, drop in zip(inputs, dropped.T, strict=True):
            batch[column.field.name] = self._changed(column, rows, self._of(column, rows, read), drop, seed, epoch)
        return batch

    def _changed(
        self, column: Column, rows: np.ndarray, examples: Any, drop: np.ndarray, seed: int, epoch: int
    ) -> dict[str, Any]:
        field, reader = column.field, column.reader

        def draw(purpose: str, count: int) -> torch.Tensor:
            return torch.from_numpy(uniform(seed, epoch, rows, f"{field.name}/{purpose}", count)).float()

        if not isinstance(examples, np.ndarray):
            where = uniform(seed, epoch, rows, f"{field.name}/crop", 1)[:, 0]
            examples = [e if e is None else reader.crop(field, e, w) for e, w in zip(examples, where, strict=True)]
        part = reader.augment(field, reader.collate(field, examples), draw)
        return reader.drop(field, part, torch.from_numpy(drop)) if drop.any() else part


def dropped_fields(seed: int, epoch: int, rows: np.ndarray, count: int, rate: float) -> np.ndarray:
    """Which of `count` fields are dropped in each row (n count), at `rate`; one field of a row is kept.

    But one row in twenty keeps a random number of fields from none to all but one, so that answers to any set of
    fields are learned: removal asks for them (Covert, Lundberg and Lee 2021, "Explaining by removing").
    """
    if not rate:
        return np.zeros((len(rows), count), dtype=bool)
    dropped = uniform(seed, epoch, rows, "fields", count) < rate
    kept = (uniform(seed, epoch, rows, "kept field", 1)[:, 0] * count).astype(np.int64)
    dropped[np.arange(len(rows)), kept] = False
    thinned, left = uniform(seed, epoch, rows, "thinned", 2).T
    ranks = uniform(seed, epoch, rows, "thinned fields", count).argsort(1).argsort(1)
    return np.where((thinned < THINNED)[:, None], ranks >= np.floor(left * count)[:, None], dropped)
