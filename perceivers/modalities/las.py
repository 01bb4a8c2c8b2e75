"""Laser scans: las files and their compressed form, laz (ASPRS LAS 1.0 to 1.4), by laspy and lazrs.

The libraries trust a header: what it declares is held against the size of the file first.
Not concerned with what the columns mean.
"""

import struct
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from perceivers.errors import Damaged, Unreadable

HEADER = 375  # bytes, of LAS 1.4; older ones are shorter
LASZIP = 22_204  # the record that says how the points are compressed
LAYERS, EXTRA = {10: 9, 11: 1, 12: 2, 13: 1}, 14  # of an item of LAS 1.4, by its kind; one for each extra byte
VLR, EVLR = 54, 60  # bytes that a record beside the points has at least


def read_las(path: Path, laspy: Any, names: Sequence[str], most: int) -> dict[str, np.ndarray]:
    """x, y, z and those of `names` that there are, (n) each. Raises Unreadable; laspy's and lazrs's errors pass."""
    _check(path, most)
    with laspy.open(path, laz_backend=laspy.LazBackend.Lazrs) as file:
        header = file.header
        there = (path.stat().st_size - header.offset_to_point_data) // header.point_format.size
        if not header.are_points_compressed and there < header.point_count:
            raise Damaged(f"cut short: {header.point_count:,} points are declared, {max(0, there):,} are there")
        if header.are_points_compressed:
            _check_compressed(path, header)
        points = file.read()
    known = [name for name in names if name in points.point_format.dimension_names]
    with np.errstate(over="ignore"):  # what comes of a damaged scale is seen to be infinite
        return {name: np.asarray(points[name]) for name in ("x", "y", "z", *known)}


def _check(path: Path, most: int) -> None:
    """Raises Unreadable where the header cannot be true: a record too many would be looked for without end."""
    with path.open("rb") as file:
        start = file.read(HEADER)
    if start[:4] != b"LASF" or len(start) < 227:
        raise Damaged("not las, or its header is cut short")
    end, minor = path.stat().st_size, start[25]
    size, points_at, records = struct.unpack_from("<HII", start, 94)
    if minor >= 4 and len(start) < HEADER:
        raise Damaged("its header is cut short")
    more_at, more, count = struct.unpack_from("<QIQ", start, 235) if minor >= 4 else (0, 0, 0)
    count = max(count, struct.unpack_from("<I", start, 107)[0])
    if points_at > end:
        raise Damaged(f"cut short: its points begin at byte {points_at:,}, and it has {end:,}")
    if size + VLR * records > points_at or (more and more_at + EVLR * more > end):
        raise Damaged(f"damaged: its header declares {records + more:,} records beside the points")
    if count > most:
        raise Unreadable(f"its header declares {count:,} points, more than {most:,}: thin it out first")


def _check_compressed(path: Path, header: Any) -> None:
    """Raises Unreadable where the compressed points do not fit the header: lazrs would end the process."""
    end, at = path.stat().st_size, header.offset_to_point_data
    packed = b"".join(record.record_data_bytes() for record in header.vlrs if record.record_id == LASZIP)
    count = struct.unpack_from("<H", packed, 32)[0] if len(packed) >= 34 else 0
    items = [struct.unpack_from("<HH", packed, 34 + 6 * i) for i in range(min(count, (len(packed) - 34) // 6))]
    if (unpacked := sum(size for _, size in items)) != header.point_format.size:
        raise Damaged(f"damaged: its points take {header.point_format.size} bytes each, unpacked {unpacked}")
    layers = sum(size if kind == EXTRA else LAYERS.get(kind, 0) for kind, size in items)
    with path.open("rb") as file:
        table = _table_at(file, at, end)
        file.seek(table + 4)
        chunks = int.from_bytes(file.read(4), "little")
        if chunks > end:
            raise Damaged(f"damaged: its {end:,} bytes cannot hold {chunks:,} chunks")
        if layers:
            _check_layers(file, at, packed, header.point_format.size, layers)


def _table_at(file: BinaryIO, at: int, end: int) -> int:
    """Where the table of chunks stands; of what was written to a pipe the end of the file says it."""
    file.seek(at)
    table = int.from_bytes(file.read(8), "little", signed=True)
    if table == -1:
        file.seek(max(at, end - 8))
        table = int.from_bytes(file.read(8), "little", signed=True)
    if not at < table <= end - 8:
        raise Damaged("cut short: the table of its chunks is not there")
    return table


def _check_layers(file: BinaryIO, at: int, packed: bytes, size: int, layers: int) -> None:
    """Raises Unreadable where the layers of a chunk are larger than the chunk, which lazrs makes room for."""
    lazrs: Any = import_module("lazrs")  # it says nothing of its types
    file.seek(at)
    start = at + 8
    for _, there in lazrs.read_chunk_table(file, lazrs.LazVlr(packed)):
        file.seek(start + size + 4)
        declared = sum(struct.unpack(f"<{layers}I", file.read(4 * layers).ljust(4 * layers, b"\0")))
        if declared > there:
            raise Damaged(f"damaged: a chunk of {there:,} bytes declares {declared:,}")
        start += there
