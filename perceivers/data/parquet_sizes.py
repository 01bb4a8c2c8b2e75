"""What the pages of a Parquet file unpack to, as their own headers declare it: read before memory is asked for.

Page headers are structures of Thrift's compact protocol (`parquet.thrift`, PageHeader; thrift-compact-protocol.md). The
file's footer says the same sums, but nothing holds it to them.
Not concerned with whether the headers are true: Arrow refuses a page that unpacks to another size.
"""

from dataclasses import dataclass
from typing import IO, Any

from pyarrow import parquet

KIND, UNPACKED, PACKED, DATA, DICTIONARY, DATA_2 = 1, 2, 3, 5, 7, 8  # fields of a PageHeader
VALUES = 1  # of both headers of data
ENCODING = {DATA: 2, DATA_2: 4}
DICTIONARY_PAGE, DELTA_STRINGS = 2, 7  # a kind of page; the encoding of strings by what each shares with the last one
DEEPEST = 8  # structures in structures


@dataclass(frozen=True)
class Unpacked:
    """A column of a row group: how many values, how many bytes in its pages, and in those whose bytes may stand for
    many values.
    """

    values: int
    size: int
    repeated: int


def unpacked(file: IO[bytes], chunk: parquet.ColumnChunkMetaData) -> Unpacked:
    """What the pages of a column chunk declare, as far as Arrow reads them. Raises ValueError where they are none."""
    place = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < place:
        place = chunk.dictionary_page_offset
    end = place + chunk.total_compressed_size
    values = size = repeated = 0
    while values < chunk.num_values and place < end:
        file.seek(place)
        header = _structure(file)
        data = DATA if DATA in header else DATA_2
        content = header.get(data, {})
        if not isinstance(content, dict) or not all(isinstance(header.get(i), int) for i in (KIND, UNPACKED, PACKED)):
            raise ValueError("a page without a header")
        values += max(0, content.get(VALUES, 0))
        size += max(0, header[UNPACKED])
        if header[KIND] == DICTIONARY_PAGE or content.get(ENCODING[data]) == DELTA_STRINGS:
            repeated += max(0, header[UNPACKED])
        place = file.tell() + max(0, header[PACKED])
    return Unpacked(max(values, chunk.num_values), size, repeated)


def _structure(file: IO[bytes], depth: int = 0) -> dict[int, Any]:
    """{number of a field: its value}: integers, booleans, structures; None for what else it may hold."""
    if depth > DEEPEST:
        raise ValueError("a page header of too many levels")
    found, number = {}, 0
    while byte := _bytes(file, 1)[0]:
        number = number + (byte >> 4) if byte >> 4 else _integer(file)
        found[number] = _value(file, byte & 15, depth)
    return found


def _value(file: IO[bytes], kind: int, depth: int) -> Any:
    if kind in (1, 2):
        return kind == 1
    if kind in (3, 7):
        _bytes(file, 1 if kind == 3 else 8)
        return None
    if kind in (4, 5, 6):
        return _integer(file)
    if kind == 8:
        file.seek(_natural(file), 1)
        return None
    if kind == 12:
        return _structure(file, depth + 1)
    raise ValueError(f"a page header with a value of type {kind}")  # lists and maps: no version has them


def _integer(file: IO[bytes]) -> int:
    """Zigzag: the lowest bit is the sign."""
    n = _natural(file)
    return (n >> 1) ^ -(n & 1)


def _natural(file: IO[bytes]) -> int:
    """Seven bits a byte, the lowest first, while the highest bit is set."""
    found = 0
    for place in range(0, 70, 7):
        byte = _bytes(file, 1)[0]
        found |= (byte & 127) << place
        if byte < 128:
            return found
    raise ValueError("a number of more than 64 bits in a page header")


def _bytes(file: IO[bytes], count: int) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise ValueError("a page header beyond the end of the file")
    return found
