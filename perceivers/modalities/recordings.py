"""Rows of events as a model knows them: in order, in known units, since a start; and what is read off those of train.

Not concerned with the forms in which events come (`occurrences.py`), nor with batches (`events.py`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from perceivers.errors import BadInput, Unreadable
from perceivers.modalities.base import UNSEEN, is_missing
from perceivers.modalities.occurrences import Columns, Layout, as_columns, as_times_of, as_units, as_values, find_layout
from perceivers.modalities.steps import as_times

SAMPLE, SAMPLE_EVENTS = 1_000, 20_000_000  # rows of train that `fit` reads, and events
MOST_UNITS = 1_000
LEAST_EVENTS, MOST_EVENTS = 64, 4_096  # of a window
MOST_UNKNOWN = 5  # units that are named
FEW = 5  # values: a unit with fewer is standardised as all are
LEAST_SPREAD = 0.1  # of log(1 + n) among rows
COMMON = 0.5  # of the usual length: where rows begin so near to each other, they have a start in common


@dataclass(frozen=True)
class Recording:
    """The events of a row, or of a window of it, in the order of time, then unit, then values.

    `times` since the start; `units`, of u known ones 0 … u - 1, and u for any other; `values`, NaN where missing;
    `counts` of each unit in the whole row, and `length`, from the start to its last event; `remarks` on how it was
    read.
    """

    times: Float[np.ndarray, " n"]
    units: Int[np.ndarray, " n"]
    values: Float[np.ndarray, "n k"]
    counts: Int[np.ndarray, " u+1"]
    length: float
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.times)

    @property
    def nbytes(self) -> int:
        return self.times.nbytes + self.units.nbytes + self.values.nbytes + self.counts.nbytes

    def window(self, start: int, most: int) -> "Recording":
        part = slice(start, start + most)
        return replace(self, times=self.times[part], units=self.units[part], values=self.values[part])


def read(field: Any, cell: Any) -> Recording | None:
    """A cell in the order of time, by what `fit` read off train. Raises Unreadable."""
    names, cell, start = _start(field, cell)
    columns = as_columns(cell, names)
    if columns is None:
        return None
    options = field.options
    known = _indices(tuple(options["units"]))
    u = len(known)
    if not _count(columns):
        nothing = np.zeros(0)
        return Recording(nothing, nothing.astype(int), np.zeros((0, len(options["values"]))), np.zeros(u + 1, int), 0.0)
    layout = Layout(options["time"], options["unit"] or None, tuple(options["values"]))
    times = as_times_of(columns, layout)
    index, labels = as_units(columns, layout)
    units = np.array([u if label is None else known.get(label, u) for label in labels])[index]
    values = as_values(columns, layout)
    unknown = [one for one in labels if one is not None and one not in known]
    remarks = [f"unit {one!r:.60} {UNSEEN}" for one in unknown[:MOST_UNKNOWN]]
    if (np.diff(times) < 0).any():
        remarks.append("events came in no order of time and are sorted")
    order = _order(times, units, values)
    times, units, values = times[order], units[order], values[order]
    times = times - (times[0] if start is None else start)
    counts, length = np.bincount(units, minlength=u + 1), max(float(times[-1]), 0.0)
    return Recording(times, units, values, counts, length, tuple(remarks))


def _order(
    times: Float[np.ndarray, " n"], units: Int[np.ndarray, " n"], values: Float[np.ndarray, "n k"]
) -> Int[np.ndarray, " n"]:
    """By time, then unit, then values; only events at the same time are compared by more than that."""
    order = np.argsort(times, kind="stable")
    same = np.diff(times[order]) == 0
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    among = order[tied]
    order[tied] = among[np.lexsort((*values[among].T[::-1], units[among], times[among]))]
    return order


def _start(field: Any, cell: Any) -> tuple[Sequence[str], Any, float | None]:
    """The columns that have the events, their cells, and the start of the row; None: its first event."""
    start, names = field.options["start"], field.columns
    if start not in names or len(names) == 1:
        return names, cell, None if start in (None, "first") else _moment(start)
    of_column = dict(zip(names, cell, strict=True))
    own = of_column.pop(start)
    if is_missing(own):
        raise Unreadable(f"the start, {start!r}, is missing: give the time from which this row's events count")
    left = list(of_column)
    return left, of_column[left[0]] if len(left) == 1 else tuple(of_column.values()), _moment(own)


@lru_cache(maxsize=1024)
def _moment(start: Any) -> float:
    """A number, or a date as seconds since 1970."""
    try:
        return float(start)
    except (ValueError, TypeError):
        moment = as_times([start])
        assert moment is not None
        return float(moment[0])


@lru_cache(maxsize=64)
def _indices(units: tuple[str, ...]) -> dict[str, int]:
    return {unit: i for i, unit in enumerate(units)}


def _count(columns: Columns) -> int:
    return len(next(iter(columns.values()), ()))


# Train ------------------------------------------------------------------------------------------------------------
def fit(field: Any, cells: Sequence[Any]) -> dict[str, Any]:
    """The options that are None in `field`, off at most 1,000 cells of train. Raises BadInput."""
    given = {name: value for name, value in field.options.items() if value is not None}
    if isinstance(start := given.get("start"), str) and start != "first" and start not in field.columns:
        try:
            _moment(start)
        except Unreadable as error:
            raise BadInput(f"{field.name}: start {start!r} is no number, date, `first` or column: {error}") from error
    rows = _sample(field, cells)
    layout = find_layout(rows, given.get("time"), given.get("unit"), given.get("values"))
    options: dict[str, Any] = {"time": layout.time, "unit": layout.unit or False, "values": list(layout.values)}
    labels: Counter[str] = Counter()
    for columns in rows:
        with suppress(Unreadable):
            index, names = as_units(columns, layout)
            found = zip(names, np.bincount(index, minlength=len(names)).tolist(), strict=True)
            labels.update({name: n for name, n in found if name is not None})
    options["units"] = given.get("units", sorted(name for name, _ in labels.most_common(MOST_UNITS)))
    fitting = field.with_options(**options, start=given.get("start", "first"))
    if "start" not in given:
        options["start"] = _common_start(rows, layout)
        fitting = fitting.with_options(start=options["start"])
    recordings = list(_readable(fitting, cells))
    if not any(len(recording) for recording in recordings):
        raise BadInput(f"{field.name}: no events can be read in the rows of train: {_reason(fitting, cells)}")
    return {name: value for name, value in (options | _statistics(recordings)).items() if name not in given}


def _chosen(cells: Sequence[Any]) -> Iterable[Any]:
    return (cells[i] for i in np.random.default_rng(0).permutation(len(cells))[:SAMPLE])


def _sample(field: Any, cells: Sequence[Any]) -> list[Columns]:
    """The columns of some rows that have events. Raises BadInput where there is none."""
    found, total = [], 0
    for cell in _chosen(cells):
        with suppress(Unreadable):
            names, own, _ = _start(field, cell)
            columns = as_columns(own, names)
            if columns is not None and _count(columns):
                found.append(columns)
                total += _count(columns)
        if total > SAMPLE_EVENTS:
            break
    if not found:
        raise BadInput(f"{field.name}: no events can be read in the rows of train: {_reason(field, cells)}")
    return found


def _readable(field: Any, cells: Sequence[Any]) -> Iterable[Recording]:
    total = 0
    for cell in _chosen(cells):
        with suppress(Unreadable):
            recording = read(field, cell)
            if recording is not None:
                yield recording
                total += len(recording)
        if total > SAMPLE_EVENTS:
            return


def _reason(field: Any, cells: Sequence[Any]) -> str:
    """Why the first cell that is at fault cannot be read."""
    for cell in _chosen(cells):
        try:
            names, own, _ = _start(field, cell)
            columns = as_columns(own, names)
            if columns is not None and _count(columns):
                read(field, cell)
        except Unreadable as error:
            unnamed = isinstance(cell, Path) and str(cell) not in str(error)
            return f"{cell}: {error}" if unnamed else str(error)
    return f"every cell of {', '.join(field.columns)} is empty, or holds no events"


def _common_start(rows: Sequence[Columns], layout: Layout) -> float | str:
    """0, or the earliest time of all, where rows begin at about the same time; else `first`."""
    ends = []
    for columns in rows:
        with suppress(Unreadable):
            times = as_times_of(columns, layout)
            ends.append((float(times.min()), float(times.max())))
    if len(ends) < 2:
        return "first"
    first, last = np.array(ends).T
    usual = float(np.median(last - first))
    if np.percentile(first, 95) - first.min() > COMMON * usual:
        return "first"
    return 0.0 if abs(first.min()) <= usual else float(first.min())


def _statistics(recordings: Sequence[Recording]) -> dict[str, Any]:
    full = [recording for recording in recordings if len(recording)]
    units = np.concatenate([recording.units for recording in full])
    values = np.concatenate([recording.values for recording in full])
    logs = np.log1p(np.array([recording.counts for recording in recordings]))
    gap = _usual_gap(full)
    mean, std = _moments(units, values, logs.shape[1])
    most = int(np.ceil(np.percentile([len(recording) for recording in recordings], 99)))
    return {
        "max_events": int(np.clip(most, LEAST_EVENTS, MOST_EVENTS)),
        "mean": mean.tolist(),
        "std": std.tolist(),
        "counts": np.stack([logs.mean(0), np.maximum(logs.std(0), LEAST_SPREAD)], axis=1).tolist(),
        "span": max(max(recording.length for recording in full), gap),
        "gap": gap,
    }


def _usual_gap(recordings: Sequence[Recording]) -> float:
    """The median time between neighbouring events of one unit; else between any; else 1."""
    within, between = [], []
    for recording in recordings:
        order = np.argsort(recording.units, kind="stable")
        units, gaps = recording.units[order], np.diff(recording.times[order])
        within.append(gaps[(np.diff(units) == 0) & (gaps > 0)])
        gaps = np.diff(recording.times)
        between.append(gaps[gaps > 0])
    for gaps in (np.concatenate(within), np.concatenate(between)):
        if len(gaps):
            return float(np.median(gaps))
    return 1.0


def _moments(
    units: Int[np.ndarray, " n"], values: Float[np.ndarray, "n k"], count: int
) -> tuple[Float[np.ndarray, "u k"], Float[np.ndarray, "u k"]]:
    """The mean and standard deviation of the values of each unit; of all, where a unit has few; 0 and 1 where none."""
    means, stds = np.zeros((count, values.shape[1])), np.ones((count, values.shape[1]))
    for j, column in enumerate(values.T):
        there = ~np.isnan(column)
        x, of = column[there], units[there]
        if not len(x):
            continue
        pooled = float(x.mean())
        n = np.bincount(of, minlength=count)
        mean = pooled + np.bincount(of, x - pooled, count) / np.maximum(n, 1)
        std = np.sqrt(np.bincount(of, (x - mean[of]) ** 2, count) / np.maximum(n, 1))
        means[:, j] = np.where(n < FEW, pooled, mean)
        std = np.where(n < FEW, x.std(), std)
        stds[:, j] = np.where(std > 1e-9 * np.maximum(1e-300, np.abs(means[:, j])), std, 1.0)
    return means, stds


def check_table(field: Any, option: str) -> None:
    """Raises BadInput where an option is not None or lists of finite numbers, for each unit and the unseen."""
    value, units = field.options[option], field.options["units"]
    if value is None:
        return
    try:
        table = np.array(value, dtype=np.float64)
    except (ValueError, TypeError):
        table = np.zeros(0)
    rows = None if units is None else len(units) + 1
    if table.ndim != 2 or not np.isfinite(table).all() or len(table) != (rows or len(table)):
        raise BadInput(
            f"{field.name}: {option} must be a list of numbers for each unit and the unseen, got {value!r:.60}"
        )
