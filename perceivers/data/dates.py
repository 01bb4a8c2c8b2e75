"""Dates in strings: found, and turned into seconds.

Not concerned with what is done with them.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import polars as pl

ISO = r"^\s*\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?\s*$"
CLOCK = r"(?P<time> \d{1,2}:\d{2}(?P<seconds>:\d{2})?)?"
# What a date looks like, and how strptime may read it; S is the separator.
FORMS = {
    rf"\s*\d{{1,2}}(?P<separator>/)\d{{1,2}}/\d{{4}}{CLOCK}\s*": ("%mS%dS%Y", "%dS%mS%Y"),
    rf"\s*\d{{1,2}}(?P<separator>[.-])\d{{1,2}}[.-]\d{{4}}{CLOCK}\s*": ("%dS%mS%Y", "%mS%dS%Y"),
    rf"\s*\d{{4}}(?P<separator>[./])\d{{1,2}}[./]\d{{1,2}}{CLOCK}\s*": ("%YS%mS%d",),
    rf"\s*\d{{1,2}}(?P<separator>[ -])[A-Za-z]{{3,9}}[ -]\d{{4}}{CLOCK}\s*": ("%dS%bS%Y", "%dS%BS%Y"),
    rf"\s*[A-Za-z]{{3,9}}(?P<separator> )\d{{1,2}}, \d{{4}}{CLOCK}\s*": ("%bS%d, %Y", "%BS%d, %Y"),
    r"\s*[12]\d{3}(?P<separator>-)(0[1-9]|1[0-2])\s*": ("%YS%m",),  # the first of the month
}
DATE = "|".join([ISO, *(f"^{re.sub('[?]P<[a-z]+>', '', form)}$" for form in FORMS)])
MOSTLY = 0.9
SAMPLE = 1_000
MONTHS = 12


def find_dates(cells: pl.Series) -> bool | str:
    """How all of `cells` (none missing) are dates: True (date types, ISO 8601), the format of `strptime`, or False.

    Where day and month could be either, 3/4/2026 is taken as March 4, and 3.4.2026 and 3-4-2026 as April 3.
    """
    if cells.dtype in (pl.Date, pl.Datetime):
        return True
    if cells.dtype != pl.String or not len(cells):
        return False
    for part in (cells.head(SAMPLE), cells):  # the first one spares columns of words the second
        if not (found := next(_readings(part), False)):
            return False
    return found


def find_times(cells: pl.Series, known: bool | str = False) -> bool | str:
    """How the times of an axis are dates: as `known`, where all of `cells` (none missing) are written so; else as
    `find_dates`, or, where day and month could be either, the other order if the steps are regular in that one alone,
    or are the twelve months of a year, the day first: twelve days of a January are rarer.
    """
    if isinstance(known, str) and cells.dtype == pl.String and not to_seconds(cells, known).has_nulls():
        return known
    if not isinstance(found := find_dates(cells), str):
        return found
    regular = _regular(cells)
    if len(regular) == 1:
        return regular[0]
    day_first = (how for how in regular if isinstance(how, str) and how.startswith("%d"))
    return next((how for how in day_first if _moments(to_seconds(cells, how)).dt.month().n_unique() == MONTHS), found)


def other_order(cells: pl.Series, date: str, axis: bool) -> tuple[str, str, str, str] | None:
    """The format of the other order of day and month, in which `cells` (none missing) could be read as well as by
    `date`, and the first cell that is then another day, with both days; of an `axis` of times, only where its steps do
    not tell the two apart.
    """
    if cells.dtype != pl.String or not len(cells) or (axis and len(_regular(cells)) == 1):
        return None
    days = _moments(to_seconds(cells, date)).dt.date()
    for how in _readings(cells):
        if isinstance(how, str) and (unlike := (others := _moments(to_seconds(cells, how)).dt.date()) != days).any():
            first = int(unlike.arg_max() or 0)
            return how, cells[first], str(days[first]), str(others[first])
    return None


def _regular(cells: pl.Series) -> list[bool | str]:
    """The ways to read `cells` in which they are regular."""
    return [how for how in _readings(cells) if _is_regular(to_seconds(cells, how))]


def _is_regular(seconds: pl.Series) -> bool:
    """Whether times are equally far apart, or all on the same day of a month."""
    times = _moments(seconds.unique().sort())
    return len(times) > 2 and 1 in (times.diff().drop_nulls().n_unique(), times.dt.day().n_unique())


def _moments(seconds: pl.Series) -> pl.Series:
    return (seconds * 1e6).cast(pl.Int64).cast(pl.Datetime("us"))


def unlike_dates(cells: pl.Series) -> tuple[str, str] | None:
    """Two of `cells` (none missing) that are written unlike, where most look like dates and `find_dates` is False."""
    head = cells.head(SAMPLE)
    if cells.dtype != pl.String or not len(cells) or head.str.contains(DATE).sum() < MOSTLY * len(head):
        return None
    first = cells.filter(cells.str.contains(DATE))[0]
    how = next(_readings(pl.Series([first])), False)
    other = cells.filter(to_seconds(cells, how).is_null()) if how else cells.filter(cells != first)
    return (first, other[0]) if len(other) else None


def to_seconds(cells: pl.Series, date: bool | str) -> pl.Series:
    """Float64: numbers as they are, dates as seconds since 1970 (UTC); null where missing or neither."""
    if cells.dtype in (pl.Date, pl.Datetime):
        return cells.cast(pl.Datetime("us")).dt.epoch("us") / 1e6
    if cells.dtype != pl.String:
        return cells.cast(pl.Float64, strict=False).fill_nan(None)
    if isinstance(date, str) and "%d" not in date:
        cells, date = cells.str.strip_chars() + "-01", f"{date}-%d"
    if isinstance(date, str):
        return cells.str.strip_chars().str.to_datetime(date, strict=False, time_unit="us").dt.epoch("us") / 1e6
    return pl.Series(cells.name, [_iso_seconds(cell) for cell in cells], dtype=pl.Float64)


def _readings(cells: pl.Series) -> Iterator[bool | str]:
    """Each way to read all of `cells` as dates, the usual one first."""
    if cells.str.contains(ISO).all():
        if all(_iso_seconds(cell) is not None for cell in cells.head(SAMPLE)):
            yield True
        return
    for form, orders in FORMS.items():
        if not (first := re.fullmatch(form, cells[0])):
            continue
        parts = first.groupdict()
        clock = " %H:%M:%S" if parts.get("seconds") else " %H:%M" if parts.get("time") else ""
        for order in orders:
            how = order.replace("S", first["separator"]) + clock
            if not to_seconds(cells, how).has_nulls() and cells.str.contains(r"\b\d{4}\b").all():
                yield how


def _iso_seconds(cell: str | None) -> float | None:
    try:
        moment = datetime.fromisoformat((cell or "").strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
