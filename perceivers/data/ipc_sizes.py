"""What the messages of an Arrow stream unpack to, as they themselves declare it: read before memory is asked for.

A message's metadata is a flatbuffer (https://flatbuffers.dev/internals); its tables are those of Arrow's
`Message.fbs`. Of a compressed buffer, the first eight bytes are its length when unpacked.
Not concerned with whether the declarations are true: Arrow refuses a buffer that unpacks to another length.
"""

from collections.abc import Iterator

import pyarrow as pa
from pyarrow import ipc

HEADER = 2  # places of fields in the tables of Message.fbs and File.fbs: of a Message,
DATA = 1  # of a DictionaryBatch,
ROWS, BUFFERS, COMPRESSION = 0, 2, 3  # of a RecordBatch,
DICTIONARIES, BATCHES = 2, 3  # and of a Footer
BUFFER, BLOCK = 16, 24  # bytes of an entry: where it begins, and how long it is
MARK = b"ARROW1"


def messages(file: pa.NativeFile) -> Iterator[ipc.Message]:
    """Those of an IPC file that its footer names, or all of a stream."""
    if file.read(len(MARK)) != MARK:
        file.seek(0)
        yield from ipc.MessageReader.open_stream(file)
        return
    end = file.size() - len(MARK) - 4
    file.seek(max(end, 0))
    length = int.from_bytes(file.read(4), "little")
    file.seek(max(end - length, 0))
    footer = memoryview(file.read(length))
    for field in (DICTIONARIES, BATCHES):
        for entry in _entries(footer, _table(footer, 0, None), field, BLOCK):
            file.seek(min(_int(footer, entry, 8), end))
            yield ipc.read_message(file)


def unpacked_size(message: ipc.Message) -> int:
    """Bytes in memory of a message's batch, at least one for each of its rows; 0 where it holds none."""
    if message.type not in ("record batch", "dictionary"):
        return 0
    metadata, body = memoryview(message.metadata), memoryview(message.body)
    batch = _table(metadata, _table(metadata, 0, None), HEADER)
    if message.type == "dictionary":
        batch = _table(metadata, batch, DATA)
    rows, compressed = _place(metadata, batch, ROWS), _place(metadata, batch, COMPRESSION)
    size = 0
    for entry in _entries(metadata, batch, BUFFERS, BUFFER):
        begins, length = _int(metadata, entry, 8), _int(metadata, entry + 8, 8)
        declared = _int(body, begins, 8, signed=True) if compressed and length else -1
        size += length if declared < 0 else declared  # -1: not compressed, as that would have saved nothing
    return max(size, _int(metadata, rows, 8) if rows else 0)


def _table(data: memoryview, table: int, field: int | None) -> int:
    """Where the table begins that a field of another one points at; the root has no field."""
    place = table if field is None else _place(data, table, field)
    return place + _int(data, place, 4)


def _entries(data: memoryview, table: int, field: int, width: int) -> range:
    """Where the entries of a field that is a vector stand."""
    place = _place(data, table, field)
    if not place:
        return range(0)
    vector = place + _int(data, place, 4)
    return range(vector + 4, vector + 4 + width * min(_int(data, vector, 4), len(data) // width), width)


def _place(data: memoryview, table: int, field: int) -> int:
    """Where a field's value stands; 0 where the table lacks it."""
    vtable = table - _int(data, table, 4, signed=True)
    entry = 4 + 2 * field
    offset = _int(data, vtable + entry, 2) if entry < _int(data, vtable, 2) else 0
    return table + offset if offset else 0


def _int(data: memoryview, place: int, width: int, *, signed: bool = False) -> int:
    return int.from_bytes(data[place : place + width], "little", signed=signed)
