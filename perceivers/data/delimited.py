"""CSV and TSV files, exactly: nothing is guessed from a sample that the rest of the file contradicts.

Every cell is read as a string first. A column becomes numbers only where all of its cells are, and where nothing is
lost: leading zeros, integers beyond 64 bits, and digits in quotes (where other numbers have none) stay strings, and so
do dates.
Not concerned with what a column means (`infer.py`).
"""

import codecs
import csv
import io
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from pyarrow import csv as arrow_csv

from perceivers.errors import BadInput

SEPARATORS = (",", "\t", ";", "|")
MISSING = ("", "NA", "NaN", "nan", "null", "None", "N/A")  # in a column of numbers; elsewhere only "" is missing
HEAD_BYTES, HEAD_ROWS = 2**16, 1_000
WIDE_BYTES, WIDE_ROWS = 2**22, 20  # where rows are long; at least the header and one row
CHUNK, LARGEST_CHUNK = 2**22, 2**31 - 1


def read_delimited(path: Path) -> pl.DataFrame:
    """The table. The separator is found among comma, tab, semicolon and bar.

    Raises BadInput with the row where the file is not a rectangle of UTF-8 cells under distinct names.
    """
    head = _head(path)
    separator = find_separator(head)
    names = _header(path, head, separator)
    if not re.search(r"[\r\n]+[^\r\n]", head.lstrip()):
        raise BadInput(f"{path}: a header without rows: nothing to read")
    blank = len(head[: len(head) - len(head.lstrip("\r\n"))].splitlines())
    quotes = _count_quotes(path)
    if quotes % 2:
        _check_rows(path, separator, len(names))
    table = _read_strings(path, separator, names, skipped=blank, newlines=quotes > 0)
    if not table.num_rows:
        raise BadInput(f"{path}: a header without rows: nothing to read")
    kept = _quoted_digits(head, separator, names) if quotes else frozenset()
    arrow = dict(zip(names, table.columns, strict=True))
    del table

    def typed(name: str) -> pl.Series:
        cells = pl.Series(name, arrow.pop(name))  # frees one column after the other
        return cells if name in kept else numbers_or_strings(cells, decimal_comma=separator == ";")

    with ThreadPoolExecutor(2) as pool:
        return pl.DataFrame(list(pool.map(typed, names)))


def _read_strings(path: Path, separator: str, names: list[str], *, skipped: int, newlines: bool) -> pa.Table:
    """Every cell as a string, null where empty; `skipped` blank lines stand before the header. Raises BadInput."""

    def read(block: int) -> pa.Table:
        return arrow_csv.read_csv(
            path,
            read_options=arrow_csv.ReadOptions(
                column_names=names, skip_rows=skipped, skip_rows_after_names=1, block_size=block
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=newlines),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )

    try:
        try:
            return read(CHUNK)
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error):
                raise
            return read(min(path.stat().st_size + 1, LARGEST_CHUNK))  # some row is longer than a chunk
    except pa.ArrowInvalid as error:
        _check_encoding(path)
        _check_rows(path, separator, len(names))
        raise BadInput(f"{path}: cannot be read as a table: {error}") from error


def find_separator(head: str) -> str:
    """The separator that gives most rows the width of the header, and then the widest one; a comma by default."""

    def fit(separator: str) -> tuple[float, int]:
        widths = [len(row) for row in _records(head, separator)]
        if not widths or widths[0] == 1:
            return 0.0, 0
        return sum(width == widths[0] for width in widths) / len(widths), widths[0]

    return max(SEPARATORS, key=fit)


def numbers_or_strings(cells: pl.Series, decimal_comma: bool = False) -> pl.Series:
    """Int64 or Float64 where every cell is a number or missing and nothing is lost by it; else `cells` unchanged."""
    if cells.null_count() == len(cells):
        return cells
    head = cells.head(HEAD_ROWS)  # spares most long columns of words the rest
    if len(head) < len(cells) and _as_numbers(_plain(head, decimal_comma)) is None:
        return cells
    numbers = _as_numbers(cells)
    if numbers is None:
        numbers = _as_numbers(_plain(cells, decimal_comma))
    if numbers is None or numbers.null_count() == len(cells):
        return cells
    return numbers


def _as_numbers(cells: pl.Series) -> pl.Series | None:
    """Int64 or Float64, or None where a cell is no number, or would lose its leading zeros or last digits."""
    whole = cells.cast(pl.Int64, strict=False)
    if whole.null_count() == cells.null_count():
        if not (whole.cast(pl.String) != cells).any():
            return whole
        return None if _has_leading_zeros(cells) else whole
    values = cells.cast(pl.Float64, strict=False)
    if values.null_count() != cells.null_count() or _has_leading_zeros(cells):
        return None
    if not _within(values, 2.0**53):
        beyond = values.is_finite() & (values.abs() >= 2.0**53)
        if cells.filter(beyond).str.contains(r"^[+-]?\d+$").any():
            return None
    return values.fill_nan(None) if isnan(values.sum()) else values


def _within(values: pl.Series, limit: float) -> bool:
    """Whether all are closer to 0 than `limit`. Asked first, because it is quick where columns are many."""
    low: Any = values.min()
    high: Any = values.max()
    return low is None or -limit < low <= high < limit


def _has_leading_zeros(cells: pl.Series) -> bool:
    return bool(cells.str.contains(r"^[+-]?0\d").any())


def _plain(cells: pl.Series, decimal_comma: bool) -> pl.Series:
    """Without surrounding spaces and words for a missing number, and with a decimal point."""
    plain = cells.str.strip_chars()
    if decimal_comma:
        plain = plain.str.replace(r"^([+-]?\d+),(\d+)$", "$1.$2")
    missing = plain.is_in(MISSING)
    return plain.set(missing, None) if missing.any() else plain


def _head(path: Path) -> str:
    """The first whole lines as text. Raises BadInput for an empty file."""
    with path.open("rb") as file:
        raw = file.read(HEAD_BYTES)
        while (lines := raw.count(b"\n")) < 2 or (lines < WIDE_ROWS and len(raw) < WIDE_BYTES):  # many columns
            if not (line := file.readline()):
                break
            raw += line
        cut = bool(file.read(1))
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BadInput(f"{path}: not UTF-8 but UTF-16: save it as UTF-8, by: {_iconv('utf16', path)}")
    text = raw.decode("utf-8-sig", errors="replace")
    if not text.strip():
        raise BadInput(f"{path}: an empty file: expected a header and rows")
    end = text.rfind("\n")
    return text[: end + 1] if cut and end > 0 else text


def _records(head: str, separator: str) -> list[list[str]]:
    """The rows of the head, without blank ones."""
    with _any_length():
        return [row for row in csv.reader(io.StringIO(head, newline=""), delimiter=separator) if row]


@contextmanager
def _any_length() -> Iterator[None]:
    """The csv module refuses long cells, by a limit that is global."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _header(path: Path, head: str, separator: str) -> list[str]:
    """The column names. Raises BadInput where two are the same."""
    if "�" in head:
        _check_encoding(path)
    names = [name.strip() or f"column_{i + 1}" for i, name in enumerate(_records(head, separator)[0])]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        mend = "write a first line with a name for each column" if are_numbers(names) else "rename one"
        raise BadInput(f"{path}: two columns are named {twice[0]!r}: {mend}")
    return names


def are_numbers(names: Sequence[str]) -> bool:
    """Whether most names of columns are numbers, as where the first line holds data."""
    return 2 * pl.Series(names).cast(pl.Float64, strict=False).is_not_null().sum() > len(names)


def _count_quotes(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b'"') for chunk in iter(lambda: file.read(CHUNK), b""))


def _quoted_digits(head: str, separator: str, names: list[str]) -> frozenset[str]:
    """Columns whose cells all are quoted digits, where another column holds numbers without quotes."""
    with _any_length():
        rows = list(csv.reader(io.StringIO(head, newline=""), delimiter=separator, quoting=csv.QUOTE_NONE))
    columns = list(zip(*[row for row in rows[1 : HEAD_ROWS + 1] if len(row) == len(names)], strict=True))
    kinds = [{_quoting(cell.strip()) for cell in column if cell.strip()} for column in columns]
    if not any(kind == {"number"} for kind in kinds):
        return frozenset()
    return frozenset(name for name, kind in zip(names, kinds, strict=False) if kind == {"quoted digits"})


def _quoting(cell: str) -> str:
    if re.fullmatch(r'"\d+"', cell):
        return "quoted digits"
    return "number" if re.fullmatch(r"[+-]?\d*\.?\d+([eE][+-]?\d+)?", cell) else "other"


def _check_encoding(path: Path) -> None:
    """Raises BadInput with the first byte that is not UTF-8."""
    lines, offset = 1, 0
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            waiting = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                at = offset - waiting + error.start
                lines += chunk.count(b"\n", 0, max(0, error.start - waiting))
                byte = error.object[error.start]
                raise BadInput(
                    f"{path}, line {lines}: byte {at} (0x{byte:02x}) is not UTF-8: save the file as UTF-8; if "
                    f"it is Latin-1, by: {_iconv('latin1', path)}"
                ) from error
            lines += chunk.count(b"\n")
            offset += len(chunk)


def _iconv(encoding: str, path: Path) -> str:
    """The command that writes the file anew."""
    return f"iconv -f {encoding} -t utf8 {shlex.quote(str(path))} > utf8{path.suffix}"


def _check_rows(path: Path, separator: str, width: int) -> None:
    """Raises BadInput with the first row that has another number of cells than the header, or never ends."""
    with _any_length(), path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file, delimiter=separator, strict=True)
        try:
            for number, row in enumerate(row for row in reader if row):
                if len(row) != width:
                    raise BadInput(
                        f"{path}, row {number} (line {reader.line_num}): {len(row)} cells where the header has {width}"
                        f"; the separator is {separator!r}: quote a cell that contains it"
                    )
        except csv.Error as error:
            message = f"{path}, line {reader.line_num}: {error}: a quote must be closed, and doubled within quotes"
            raise BadInput(message) from error
