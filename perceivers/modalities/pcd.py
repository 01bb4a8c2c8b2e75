"""Point Cloud Data files (PCD 0.7 of the Point Cloud Library): ascii, binary, and binary compressed.

Not concerned with what the columns mean, but for colours, which the format packs into one.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np

from perceivers.errors import Damaged, Unreadable
from perceivers.modalities.lzf import decompress

TYPES = {"F": "f", "I": "i", "U": "u"}
KEYS = ("FIELDS", "SIZE", "TYPE", "COUNT", "POINTS", "DATA")
LONGEST = 64 * 1024  # of a header, in bytes


def read_pcd(path: Path, most: int) -> dict[str, np.ndarray]:
    """The columns by name, (n) or (n count), of at most `most` points. Raises Unreadable."""
    with path.open("rb") as file:
        header = _header(file.readlines(LONGEST))
        file.seek(header.pop("at"))
        dtype, count, how = _dtype(header), int(header["POINTS"][0]), header["DATA"][0].lower()
        if count < 0:
            raise Damaged(f"its header says POINTS {count}")
        if count > most:
            raise Unreadable(f"its header declares {count:,} points, more than {most:,}: thin it out first")
        if how == "binary":
            content = file.read(count * dtype.itemsize)
            _require(count, len(content) // dtype.itemsize)
            rows = np.frombuffer(content, dtype, count)
        elif how == "binary_compressed":
            rows = _compressed(file.read(), dtype, count)
        elif how == "ascii":
            rows = _ascii(file, dtype, count)
        else:
            raise Unreadable(f"its data is {how}: save it as ascii, binary or binary_compressed")
    columns = {name: rows[name] for name in dtype.names or () if not name.startswith("_")}
    for name in ("rgb", "rgba"):
        if name in columns and columns[name].dtype.itemsize == 4 and columns[name].ndim == 1:
            packed = np.ascontiguousarray(columns.pop(name)).view(np.uint32)
            columns |= {colour: packed >> shift & 255 for colour, shift in (("red", 16), ("green", 8), ("blue", 0))}
    return columns


def _header(lines: list[bytes]) -> dict:
    """{KEY: words}, and `at`: where the data begins."""
    found: dict = {}
    at = 0
    for line in lines:
        at += len(line)
        words = line.decode("ascii", errors="replace").split()
        if words and not words[0].startswith("#"):
            found[words[0].upper()] = words[1:]
        if words and words[0].upper() == "DATA":
            break
    found.setdefault("COUNT", ["1"] * len(found.get("FIELDS", ())))
    if missing := [key for key in KEYS if not found.get(key)]:
        raise Damaged(f"not a pcd file, or its header is cut short: no {missing[0]} in it")
    return found | {"at": at}


def _dtype(header: dict) -> np.dtype:
    columns = [header[key] for key in ("FIELDS", "TYPE", "SIZE", "COUNT")]
    if len({len(words) for words in columns}) != 1:
        raise Damaged("its header has FIELDS, TYPE, SIZE and COUNT of differing lengths")
    fields = []
    for i, (name, kind, size, count) in enumerate(zip(*columns, strict=True)):
        if kind.upper() not in TYPES or size not in ("1", "2", "4", "8") or int(count) < 1:
            raise Damaged(f"its header says that {name} is {kind}{size} × {count}: unknown here")
        shape = () if int(count) == 1 else (int(count),)
        fields.append((name if name != "_" else f"_{i}", f"<{TYPES[kind.upper()]}{size}", shape))
    return np.dtype(fields)


def _ascii(file: BinaryIO, dtype: np.dtype, count: int) -> np.ndarray:
    width = sum(int(np.prod(dtype[name].shape)) for name in dtype.names or ())
    lines = (line for line in file if line.strip())
    numbers = np.loadtxt(lines, ndmin=2, comments=None, max_rows=max(1, count)) if count else np.zeros((0, width))
    _require(count, len(numbers))
    if numbers.shape[1] != width:
        raise Damaged(f"damaged: its header says {width} numbers a point, {numbers.shape[1]} came")
    rows, start = np.zeros(count, dtype), 0
    for name in dtype.names or ():
        size = int(np.prod(dtype[name].shape))
        values = numbers[:, start : start + size]
        rows[name] = values[:, 0] if dtype[name].shape == () else values
        start += size
    return rows


def _compressed(content: bytes, dtype: np.dtype, count: int) -> np.ndarray:
    """The size of what follows, its size when it is unpacked, and all values of each column in turn."""
    packed, size = np.frombuffer(content[:8].ljust(8, b"\0"), "<u4").tolist()
    if packed > len(content) - 8:
        raise Damaged(f"cut short: {packed:,} bytes of points are declared, {max(0, len(content) - 8):,} are there")
    if size != count * dtype.itemsize:
        raise Damaged(f"damaged: {count:,} points take {count * dtype.itemsize:,} bytes, not {size:,}")
    columns, rows, at = decompress(content[8 : 8 + packed], size), np.zeros(count, dtype), 0
    for name in dtype.names or ():
        rows[name] = np.frombuffer(columns, dtype[name].base, rows[name].size, at).reshape(rows[name].shape)
        at += rows[name].nbytes
    return rows


def _require(declared: int, there: int) -> None:
    if there < declared:
        raise Damaged(f"cut short: {declared:,} points are declared, {there:,} are there")
