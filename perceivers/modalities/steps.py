"""Cells of series → steps: lists, nested lists, arrays, JSON in strings, npy and npz files, with or without times.

Not concerned with what a model makes of them (`series.py`).
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from perceivers.arrays import read_array
from perceivers.errors import Unreadable
from perceivers.modalities.base import is_missing

EPOCH = datetime(1970, 1, 1)


def as_array(cell: Any) -> Float[np.ndarray, "..."] | None:
    """A cell as numbers of rank 1 or 2, NaN where missing; channels of uneven lengths are filled up with NaN.

    Raises Unreadable.
    """
    if isinstance(cell, Path):
        return _load(cell)
    if isinstance(cell, str):
        cell = _parse(cell)
    if is_missing(cell):
        return None
    if not isinstance(cell, list | tuple | np.ndarray):
        raise Unreadable(f"{str(cell)[:60]} came, expected a list of numbers, or a list of such lists")
    try:
        array = np.array(cell, dtype=np.float64)
    except OverflowError as error:
        raise Unreadable(f"{str(cell)[:60]} came, expected numbers below 1e308") from error
    except (ValueError, TypeError):
        array = _filled(cell)
    return _checked(array)


def _filled(cell: Any) -> Float[np.ndarray, "k t"]:
    """Channels of different lengths, side by side."""
    try:
        channels = [np.array(channel, dtype=np.float64).reshape(-1) for channel in cell]
    except (ValueError, TypeError, OverflowError) as error:
        raise Unreadable(f"{str(cell)[:60]} came, expected numbers, and nothing (null) where one is missing") from error
    longest = max(len(channel) for channel in channels)
    return np.stack([np.pad(c, (0, longest - len(c)), constant_values=np.nan) for c in channels])


def is_ragged(cell: Any) -> bool:
    """Whether a cell is a list of lists of different lengths: each is then a channel."""
    return isinstance(cell, list) and len({len(c) for c in cell if isinstance(c, list | np.ndarray)}) > 1


def steps_first(cells: Sequence[Any]) -> bool:
    """Whether nested cells list steps, each with its channels: the axis that varies is the steps', else the longer."""
    shapes = []
    for cell in cells:
        for one in cell if isinstance(cell, tuple) else (cell,):
            if is_ragged(one):
                return False
            with suppress(Unreadable):
                array = as_array(one)
                if array is not None and array.ndim == 2:
                    shapes.append(array.shape)
    if not shapes:
        return False
    first, second = (set(sizes) for sizes in zip(*shapes, strict=True))
    if len(first) == len(second) == 1:
        return shapes[0][0] > shapes[0][1]
    return len(first) > len(second)


def filled(values: Float[np.ndarray, "t c"]) -> Float[np.ndarray, "t c"]:
    """Missing values between, before and after those that are there; 0 where none is."""
    columns = []
    for channel in values.T:
        there = np.flatnonzero(~np.isnan(channel))
        columns.append(
            np.interp(np.arange(len(channel)), there, channel[there]) if len(there) else np.zeros(len(channel))
        )
    return np.stack(columns, axis=1)


def whole(goals: Float[np.ndarray, "n t c"]) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, "n t c"]]:
    """The rows in which every step has a value, and the values; where there are none, the rows in which every channel
    has one, and the values `filled`.
    """
    there: Any = ~np.isnan(goals)
    if (rows := there.all((1, 2))).any():
        return rows, goals
    return there.any(1).all(1), np.stack([filled(row) for row in goals])


def as_times(cell: Any) -> Float[np.ndarray, " t"] | None:
    """Times as numbers, dates as seconds since 1970. Raises Unreadable where one is missing or is no time."""
    if isinstance(cell, Sequence) and not isinstance(cell, str) and len(cell):
        if isinstance(cell[0], str):
            cell = _written_times(cell)
        if isinstance(cell[0], date):
            cell = [_seconds(moment) for moment in cell]
    times = as_array(cell)
    if times is not None and (times.ndim != 1 or np.isnan(times).any()):
        raise Unreadable("a time is missing, or there are lists of times: expected one time for each step")
    return times


def _written_times(cell: Sequence[Any]) -> list[Any]:
    """Dates of strings, or numbers, which are strings where another row holds a word. Raises Unreadable."""
    for read in (datetime.fromisoformat, float):
        with suppress(ValueError, TypeError):
            return [read(one) for one in cell]
    raise Unreadable(f"{str(cell)[:60]} came, expected numbers, or times such as 2026-11-23")


def _seconds(moment: Any) -> float:
    if not isinstance(moment, date):
        raise Unreadable(f"{str(moment)[:60]} came among dates")
    moment = moment if isinstance(moment, datetime) else datetime.combine(moment, time())
    return (moment.replace(tzinfo=None) - (moment.utcoffset() or EPOCH - EPOCH) - EPOCH).total_seconds()


def _checked(array: np.ndarray) -> np.ndarray:
    if array.ndim not in (1, 2):
        raise Unreadable(f"an array of rank {array.ndim} came, expected steps, or channels of steps (rank 1 or 2)")
    if np.isinf(array).any():
        raise Unreadable("infinity came, expected finite numbers, and nothing where one is missing")
    return array


def _parse(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else None
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{text[:60]!r} came, expected a list such as [0.5, null, 2]") from error


def _load(path: Path) -> np.ndarray:
    """The array of an npy file, or the only one of an npz file; nothing that is pickled."""
    try:
        return _checked(read_array(path).astype(np.float64))
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"{path}: cannot be read as an array of numbers: {error}") from error
