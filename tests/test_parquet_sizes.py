"""What page headers declare, against the footers that pyarrow writes; and footers that say something else."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from perceivers.data.parquet_sizes import unpacked
from perceivers.data.sources import read
from perceivers.errors import BadInput


@pytest.fixture
def megabyte(monkeypatch):
    """A machine of a megabyte."""
    monkeypatch.setattr("os.sysconf", lambda name: 1_000)


def chunks(path):
    metadata = parquet.ParquetFile(path).metadata
    return [
        metadata.row_group(i).column(j) for i in range(metadata.num_row_groups) for j in range(metadata.num_columns)
    ]


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("encoding", [{}, {"use_dictionary": False}, {"column_encoding": "DELTA_BYTE_ARRAY"}])
def test_honest_footers_say_the_same(tmp_path, version, encoding):
    random = np.random.default_rng(0)
    words = [f"word {i}" if i else None for i in random.integers(0, 50, 1_997)]
    table = {"words": words}
    if "column_encoding" in encoding:
        encoding = {"use_dictionary": False, "column_encoding": dict.fromkeys(table, "DELTA_BYTE_ARRAY")}
    else:
        table |= {"numbers": random.normal(size=1_997), "lists": [[w, w] for w in words]}
    path = tmp_path / "a.parquet"
    parquet.write_table(
        pa.table(table), path, compression="zstd", data_page_version=version, data_page_size=1_000, row_group_size=700,
        **encoding,
    )  # fmt: skip
    with path.open("rb") as file:
        for chunk in chunks(path):
            found = unpacked(file, chunk)
            assert found.values == chunk.num_values
            assert 0.6 * chunk.total_uncompressed_size < found.size <= chunk.total_uncompressed_size
            assert (found.repeated > 0) == any("DICT" in e or e == "DELTA_BYTE_ARRAY" for e in chunk.encodings)


def varint(number):
    """Zigzag, as Thrift's compact protocol writes it."""
    number, found = 2 * number, []
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def refused(path):
    with pytest.raises(BadInput) as error:
        read(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_footer_that_lies_about_the_size_of_strings_is_not_believed(tmp_path, megabyte):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"a": ["x" * 100_000, "y"] * 500}), path)
    (chunk,) = chunks(path)
    size = b"\x16" + varint(chunk.total_uncompressed_size)  # field 6 of ColumnMetaData
    content = path.read_bytes()
    assert size in content
    lie = b"\x16" + b"\x80" * (len(size) - 2) + b"\x00"  # 0, in as many bytes
    path.write_bytes(content.replace(size, lie))
    assert chunks(path)[0].total_uncompressed_size == 0
    assert "more than half of this machine's memory" in refused(path)


HIDDEN = {
    "missing lists of fixed size": pa.nulls(300, pa.list_(pa.float64(), 10_000)),
    "missing lists of lists": pa.nulls(300, pa.list_(pa.list_(pa.float64(), 100), 100)),
    "long values that repeat": pa.array([b"x" * 10_000] * 300, pa.binary(10_000)),
    "maps of strings": pa.array([[("a", "x" * 10_000)]] * 300, pa.map_(pa.string(), pa.string())),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_small_file_of_much_memory_is_refused(tmp_path, megabyte, name):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"a": HIDDEN[name], "b": range(300)}), path)
    assert path.stat().st_size < 50_000
    assert "more than half of this machine's memory" in refused(path)


def test_nested_columns_are_read_or_refused_in_one_line(tmp_path):
    path = tmp_path / "a.parquet"
    columns = {
        "structures": [{"x": 1.5, "y": "a"}, None],
        "lists": [[[1], [2, 3]], []],
        "fixed": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64(), 2)),
        "maps": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
        "large": pa.array(["a", "b"], pa.large_string()),
        "bytes": [b"\xff", b""],
        "times": pa.array([1, None], pa.time64("us")),
    }
    for name, values in columns.items():
        parquet.write_table(pa.table({name: values, "b": [1, 2]}), path)
        assert read(path).frame.height == 2


def test_pages_that_are_none_are_damage(tmp_path):
    path = tmp_path / "a.parquet"
    pl.DataFrame({"a": np.arange(9_973)}).write_parquet(path)
    content = path.read_bytes()
    for byte in (b"\x00", b"\x19", b"\x1c", b"\xff"):
        path.write_bytes(b"PAR1" + byte * 400 + content[404:])
        assert "damaged" in refused(path)
