import csv
import io
import json
import os
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc, parquet

from perceivers.data.ipc_sizes import unpacked_size
from perceivers.data.sources import Table, read, resolve
from perceivers.errors import BadInput, Unreadable


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def frame(folder, content, name="a.csv"):
    return read(write(folder, name, content)).frame


def refused(data):
    """The message, which is one line."""
    with pytest.raises(BadInput) as caught:
        read(data)
    message = str(caught.value)
    assert "\n" not in message
    return message


# CSV --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(tmp_path, separator):
    rows = [["a", "b, c", "d"], ["1", "x; y", "2.5"], ["2", "x | y", "3.5"], ["3", "u\tv, w", "4.5"]]
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=separator).writerows(rows)
    got = frame(tmp_path, buffer.getvalue())
    assert got.columns == ["a", "b, c", "d"]
    assert got.rows() == [(1, "x; y", 2.5), (2, "x | y", 3.5), (3, "u\tv, w", 4.5)]


def test_numbers_only_where_nothing_is_lost(tmp_path):
    got = frame(
        tmp_path,
        "int,float,zip,big,mixed,spaced,infinite\n"
        "1,1.5,01234,12345678901234567890,1, 7,inf\n-2,2e3,98765,2,x, 8 ,-inf\n3,.5,00001,3,3,+9,1\n",
    )
    assert got["int"].to_list() == [1, -2, 3]
    assert got["float"].to_list() == [1.5, 2000.0, 0.5]
    assert got["zip"].to_list() == ["01234", "98765", "00001"]
    assert got["big"].to_list() == ["12345678901234567890", "2", "3"]
    assert got["mixed"].to_list() == ["1", "x", "3"]
    assert got["spaced"].to_list() == [7, 8, 9]
    assert got["infinite"].to_list() == [np.inf, -np.inf, 1.0]


def test_a_late_word_makes_a_whole_column_strings(tmp_path):
    cells = ["7"] * 5_000 + ["x"]
    assert frame(tmp_path, "a,b\n" + "".join(f"{c},1\n" for c in cells))["a"].to_list() == cells


def test_missing_spellings_count_in_columns_of_numbers_alone(tmp_path):
    got = frame(tmp_path, "n,f,s\n1,0.5,NA\nNA,nan,x\n,N/A,\nnull,NaN,None\nNone,1.5,y\n")
    assert got["n"].to_list() == [1, None, None, None, None]
    assert got["f"].to_list() == [0.5, None, None, None, 1.5]
    assert got["s"].to_list() == ["NA", "x", None, "None", "y"]


def test_decimal_commas_between_semicolons(tmp_path):
    assert frame(tmp_path, "a;b\n1,5;x\n2;y\n-0,25;z\n")["a"].to_list() == [1.5, 2.0, -0.25]


def test_quoted_digits_stay_strings_where_other_numbers_are_not_quoted(tmp_path):
    assert frame(tmp_path, 'code,n\n"12",1\n"7",2\n')["code"].to_list() == ["12", "7"]
    assert frame(tmp_path, '"code","n"\n"12","1"\n"7","2"\n', "b.csv")["code"].to_list() == [12, 7]


def test_quotes_newlines_bom_and_blank_lines(tmp_path):
    got = frame(tmp_path, '\ufeff"first\nname",b\r\n"two\nlines, and ""more""",1\r\n\r\n5" disk,2\r\n')
    assert got.columns == ["first\nname", "b"]
    assert got.rows() == [('two\nlines, and "more"', 1), ('5" disk', 2)]
    assert frame(tmp_path, "\n\na,b\n1,2\n", "b.csv").rows() == [(1, 2)]


@given(
    st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1)] * 2),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_strings_come_back_as_they_were(tmp_path_factory, rows):
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("a", "b"), *rows, ("word", "word")])
    got = frame(tmp_path_factory.mktemp("csv"), buffer.getvalue())
    assert got.rows() == [*rows, ("word", "word")]


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
@settings(max_examples=60, deadline=None)
def test_any_numbers_come_back_as_they_were(tmp_path_factory, floats, integers):
    folder = tmp_path_factory.mktemp("csv")
    got = frame(folder, "a,b\n" + "".join(f"{x!r},0\n" for x in [*floats, 0.5]))
    assert got["a"].to_list() == [*floats, 0.5]
    assert frame(folder, "a,b\n" + "".join(f"{i},0\n" for i in integers))["a"].to_list() == integers


@pytest.mark.parametrize(
    ("row", "count"), [("3\n", "1 cells where the header has 2"), ("3,4,5\n", "3 cells where the header has 2")]
)
def test_ragged_rows_are_refused(tmp_path, row, count):
    message = refused(write(tmp_path, "a.csv", 'a,b\n1,"x\ny"\n' + row + "5,6\n"))
    assert "a.csv, row 2 (line 4)" in message
    assert count in message


def test_a_late_ragged_row_is_found(tmp_path):
    content = "a,b\n" + "1,2\n" * 70_000 + "1\n" + "1,2\n" * 70_000
    assert "row 70001 (line 70002)" in refused(write(tmp_path, "a.csv", content))


@pytest.mark.parametrize("head", ["a,b\n1,2\n", "a,b\n" + "1,2\n" * 1_500_000, "a,b\n" + "1,é\n" * 1_500_000])
def test_another_encoding_is_refused_with_its_place(tmp_path, head):
    line, byte = head.count("\n") + 1, len(head.encode()) + 2
    message = refused(write(tmp_path, "a.csv", head.encode() + "3,é\n".encode("latin-1")))
    assert f"line {line}: byte {byte} (0xe9) is not UTF-8: save the file as UTF-8" in message
    command = shlex.split(message.split("by: ")[1])
    assert command[:5] == ["iconv", "-f", "latin1", "-t", "utf8"]
    assert Path(command[5]) == tmp_path / "a.csv"


def test_utf16_and_a_bad_header_are_refused(tmp_path):
    assert "UTF-16" in refused(write(tmp_path, "a.csv", "a,b\n1,2\n".encode("utf-16")))
    assert "line 1: byte 1 (0xe9)" in refused(write(tmp_path, "b.csv", "xé,b\n1,2\n".encode("latin-1")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "an empty file"),
        ("\n \n", "an empty file"),
        ("a,b\n", "a header without rows"),
        ("a,b,a\n1,2,3\n", "two columns are named 'a': rename one"),
        ("0,0,5\n0,1,7\n", "two columns are named '0': write a first line with a name for each column"),
        ('a,b\n1,"never closed\n2,3\n', "a quote must be closed"),
    ],
)
def test_unusable_csv(tmp_path, content, message):
    assert message in refused(write(tmp_path, "a.csv", content))


def test_columns_without_names_get_one(tmp_path):
    assert frame(tmp_path, ",b\n1,2\n").columns == ["column_1", "b"]


# Other files ------------------------------------------------------------------------------------------------------
ROWS = pl.DataFrame({"n": [1, None, 3], "s": ["x", "y", None], "l": [["a"], [], ["b", "c"]]})


def test_parquet_arrow_and_jsonl_give_the_same(tmp_path):
    ROWS.write_parquet(tmp_path / "a.parquet")
    ROWS.write_ipc(tmp_path / "a.feather", compression="lz4")
    ROWS.write_ipc_stream(tmp_path / "a.arrow")
    ROWS.write_ndjson(tmp_path / "a.jsonl")
    for name in ("a.parquet", "a.feather", "a.arrow", "a.jsonl"):
        table = read(tmp_path / name)
        assert table.frame.equals(ROWS), name
        assert table.root == tmp_path


def test_jsonl_with_keys_that_differ(tmp_path):
    rows = [{"a": 1}, {"b": "x"}, {"a": 2.5, "b": None}]
    got = frame(tmp_path, "\n".join(json.dumps(row) for row in rows), "a.jsonl")
    assert got.rows() == [(1.0, None), (None, "x"), (2.5, None)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": \n', "line 2: not JSON"),
        ("a.jsonl", '{"a": 1}\n[1]\n', "line 2: not a JSON object"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xe9"}\n', "line 2: not UTF-8"),
        ("a.jsonl", "", "an empty file"),
        ("a.parquet", "no parquet", "damaged, or not parquet"),
        ("a.arrow", "no arrow", "damaged, or not arrow"),
        ("a.xlsx", "", "unknown ending '.xlsx'"),
    ],
)
def test_unusable_files(tmp_path, name, content, message):
    assert message in refused(write(tmp_path, name, content))


def test_categorical_and_decimal_columns_become_strings_and_numbers(tmp_path):
    pl.DataFrame(
        {"c": pl.Series(["x", "y"], dtype=pl.Categorical), "d": pl.Series([1, 2], dtype=pl.Decimal(10, 2))}
    ).write_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").frame.dtypes == [pl.String, pl.Float64]


# In memory --------------------------------------------------------------------------------------------------------
def test_all_tables_in_memory_give_the_same():
    columns = {"n": [1.5, None], "s": ["x", "y"]}
    expected = pl.DataFrame(columns)
    rows = [{"n": 1.5, "s": "x"}, {"n": None, "s": "y"}]
    for data in (expected, expected.lazy(), pd.DataFrame(columns), pa.table(columns), columns, rows):
        assert read(data).frame.equals(expected), type(data)
    table = Table(expected, "mine", None)
    assert read(table) is table


def test_pandas_columns_that_are_no_strings_and_an_index_that_is_left_out():
    got = read(pd.DataFrame({0: [1, 2], "x": pd.Categorical(["a", "b"])}, index=[5, 6])).frame
    assert got.columns == ["0", "x"]
    assert got.dtypes == [pl.Int64, pl.String]


def test_arrays_as_columns():
    got = read({"x": np.arange(3), "y": np.array(["a", "b", "c"])}).frame
    assert got.rows() == [(0, "a"), (1, "b"), (2, "c")]


def test_lists_beside_something_else_are_text_as_in_json_lines(tmp_path):
    rows = [{"s": [1, 2, "x"], "n": 1}, {"s": [1, 2, 3]}, {"s": "w"}, {"s": None}, {"s": {"a": 0.5}}]
    got = read(rows).frame
    assert got["s"].to_list() == ['[1, 2, "x"]', "[1, 2, 3]", "w", None, '{"a": 0.5}']
    assert got["n"].to_list() == [1, None, None, None, None]
    file = write(tmp_path, "rows.jsonl", "\n".join(map(json.dumps, rows)))
    expected = read(file).frame["s"].to_list()
    for cell, text in zip(got["s"], expected, strict=True):
        assert cell == text or json.loads(cell) == json.loads(text)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "int is no source of rows"),
        ([1, 2], "list is no source of rows"),
        ([], "no rows"),
        ({"a": []}, "no rows"),
        (pl.DataFrame({"a": []}), "no rows"),
        ({"a": [1, 2], "b": [1]}, "not a table"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "not a table"),
        (pd.DataFrame({"a": [1, "x"]}, dtype=object), "not a table"),
        ("nowhere.csv", "no such file or folder"),
        ("hub:someone/some", "unknown source 'hub'"),
    ],
)
def test_unusable_data(data, message):
    assert message in refused(data)


# Folders ----------------------------------------------------------------------------------------------------------
def files(folder, *names):
    for name in names:
        write(folder, name, name)
    return folder


def test_a_folder_of_classes(tmp_path):
    files(tmp_path, "cat/2.png", "cat/1.JPG", "dog/a/3.png", "dog/.hidden.png", ".git/x.png", "dog/notes.xyzzy")
    table = read(tmp_path)
    assert table.frame.columns == ["path", "class"]
    assert sorted(table.frame.rows()) == [("cat/1.JPG", "cat"), ("cat/2.png", "cat"), ("dog/a/3.png", "dog")]
    assert table.targets == ("class",)
    assert table.root == tmp_path
    assert len(table.notes) == 1
    assert ".xyzzy" in table.notes[0]


def test_a_folder_of_splits(tmp_path):
    files(tmp_path, "train/a/1.txt", "train/b/2.txt", "val/a/3.txt", "test/b/4.txt")
    assert set(read(tmp_path).frame.rows()) == {
        ("train/a/1.txt", "a", "train"),
        ("train/b/2.txt", "b", "train"),
        ("val/a/3.txt", "a", "validation"),
        ("test/b/4.txt", "b", "test"),
    }


def test_classes_that_are_called_like_splits(tmp_path):
    assert set(read(files(tmp_path, "train/1.png", "test/2.png")).frame["class"]) == {"train", "test"}


def test_a_flat_folder_has_no_classes(tmp_path):
    table = read(files(tmp_path, "1.png", "2.png"))
    assert table.frame.rows() == [("1.png",), ("2.png",)]
    assert table.targets == ()


def test_a_folder_with_a_table(tmp_path):
    write(tmp_path, "list.csv", "path,y\nimages/1.png,a\n")
    table = read(files(tmp_path, "images/1.png"))
    assert table.frame.rows() == [("images/1.png", "a")]
    assert resolve(table.root, "images/1.png") == (tmp_path / "images/1.png").resolve()
    write(tmp_path, "other.csv", "path,y\n")
    assert "holds 2 tables (list.csv, other.csv)" in refused(tmp_path)


def test_unusable_folders(tmp_path):
    assert "an empty folder" in refused(tmp_path)
    assert "only files that end with .xyzzy" in refused(files(tmp_path, "a/1.xyzzy"))


# Paths in cells ---------------------------------------------------------------------------------------------------
def test_paths_stay_in_the_folder(tmp_path):
    root = tmp_path / "data"
    files(tmp_path, "data/in.txt", "data/sub/in.txt", "secret.txt")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "inner.txt").symlink_to(root / "in.txt")
    (root / "loop.txt").symlink_to(root / "loop.txt")
    assert resolve(root, "sub/in.txt") == root / "sub/in.txt"
    assert resolve(root, str(root / "in.txt")) == root / "in.txt"
    assert resolve(root, "sub/../in.txt").resolve() == root / "in.txt"
    assert resolve(root, "inner.txt").resolve() == root / "in.txt"
    for cell, message in {
        "../secret.txt": "leads out of",
        "../nothing.txt": "leads out of",
        str(tmp_path / "secret.txt"): "leads out of",
        "/etc/passwd": "leads out of",
        "link.txt": "leads out of",
        "gone.txt": "no such file",
        "sub": "not a file",
        "loop.txt": "cannot be opened",
        "x" * 5_000: "cannot be opened",
        "a\0b": "cannot be opened",
    }.items():
        with pytest.raises(Unreadable, match=message):
            resolve(root, cell)


def test_a_folder_that_is_itself_a_link(tmp_path):
    files(tmp_path, "real/in.txt")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert resolve(tmp_path / "link", "in.txt").resolve() == tmp_path / "real/in.txt"


# Bad input --------------------------------------------------------------------------------------------------------
def test_mixed_line_ends_are_all_line_ends(tmp_path):
    assert frame(tmp_path, 'x,y\r\n1,a\n2,b\r3,"c\nd"\r\n')["y"].to_list() == ["a", "b", "c\nd"]


def test_a_cell_and_a_row_may_be_longer_than_what_is_read_at_once(tmp_path):
    long = "word " * 2_000_000
    assert frame(tmp_path, f"x,t\n1,a\n2,{long}\n3,b\n")["t"].str.len_bytes().to_list() == [1, 10_000_000, 1]


def test_a_header_may_be_longer_than_the_head(tmp_path):
    names = [f"a long name of column number {i}" for i in range(4_000)]
    rows = "\n".join(",".join(str(i * row) for i in range(4_000)) for row in range(3))
    got = frame(tmp_path, ",".join(names) + "\n" + rows + "\n")
    assert got.columns == names
    assert got[names[7]].to_list() == [0, 7, 14]


@pytest.mark.parametrize("content", ["hello", "a,b\n", "a,b\r", '"a\nb",c\r\n'])
def test_a_header_alone(tmp_path, content):
    assert "a header without rows" in refused(write(tmp_path, "a.csv", content))


def test_nesting_too_deep_for_json_is_named_with_its_line(tmp_path):
    assert "line 2: not JSON" in refused(write(tmp_path, "a.jsonl", '{"a": 1}\n{"a": ' + "[" * 100_000))


def test_a_frame_with_a_column_of_several_types_names_it():
    data = pd.DataFrame({"fine": [1, 2], "mixed": ["x", 3]})
    assert "column 'mixed' holds str and int: make it one type" in refused(data)


def test_parquet_that_unpacks_to_more_than_memory_is_refused_from_its_footer(tmp_path):
    repeated = pa.table({"a": pa.array(np.zeros(10_000_000, np.int64))})
    path = tmp_path / "a.parquet"
    parquet.write_table(repeated, path, compression="zstd")
    assert path.stat().st_size < 200_000
    assert read(path).frame.height == 10_000_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.sysconf", lambda name: 1_000)  # a machine of a megabyte
        assert "more than half of this machine's memory" in refused(path)


@pytest.mark.parametrize("write_it", [pl.DataFrame.write_ipc, pl.DataFrame.write_ipc_stream])
def test_arrow_that_claims_more_than_memory_is_refused(tmp_path, write_it):
    path = tmp_path / "a.arrow"
    write_it(pl.DataFrame({"a": np.arange(997)}), path, compression="zstd")
    content = path.read_bytes()
    at = content.index(b"\x28\xb5\x2f\xfd") - 8  # before a zstd frame stands how long it is unpacked
    assert int.from_bytes(content[at : at + 8], "little") >= 997 * 8
    path.write_bytes(content[:at] + (2**61).to_bytes(8, "little") + content[at + 8 :])
    assert "memory" in refused(path)


def test_an_arrow_message_that_claims_to_be_longer_than_memory_is_refused(tmp_path):
    path = tmp_path / "a.arrow"
    pl.DataFrame({"a": np.arange(997)}).write_ipc_stream(path)
    content = path.read_bytes()
    at = content.index((997 * 8).to_bytes(8, "little"))
    path.write_bytes(content[:at] + (2**61).to_bytes(8, "little") + content[at + 8 :])
    refused(path)


@pytest.fixture
def megabyte(monkeypatch):
    """A machine of a megabyte."""
    monkeypatch.setattr("os.sysconf", lambda name: 1_000)


@pytest.mark.parametrize("write_it", [pl.DataFrame.write_ipc, pl.DataFrame.write_ipc_stream])
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_arrow_that_honestly_unpacks_to_more_than_half_of_the_memory_is_refused(
    tmp_path, megabyte, monkeypatch, write_it, compression
):
    path = tmp_path / "a.arrow"
    write_it(pl.DataFrame({"a": np.zeros(1_000_000, np.int64)}), path, compression=compression)
    assert path.stat().st_size < 100_000
    for opens in ("open_file", "open_stream"):
        monkeypatch.setattr(f"pyarrow.ipc.{opens}", None)  # nothing is unpacked
    assert "more than half of this machine's memory" in refused(path)


def test_a_dictionary_of_arrow_that_unpacks_to_more_than_half_of_the_memory_is_refused(tmp_path, megabyte):
    table = pa.table({"a": pa.array(["x" * 2_000_000, None] * 3).dictionary_encode()})
    with ipc.new_stream(tmp_path / "a.arrow", table.schema, options=ipc.IpcWriteOptions(compression="zstd")) as file:
        file.write_table(table)
    assert "more than half" in refused(tmp_path / "a.arrow")


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_what_arrow_messages_say_is_what_they_take(tmp_path, compression):
    """Held against the batches that Arrow unpacks."""
    numbers = np.random.default_rng(0).integers(0, 5, 997)
    table = pa.table({"a": numbers, "s": [f"some {i}" for i in numbers], "n": [None, 2.5] * 498 + [1.0]})
    with ipc.new_stream(tmp_path / "a.arrow", table.schema, options=ipc.IpcWriteOptions(compression=compression)) as f:
        f.write_table(table, max_chunksize=300)
    sizes = [unpacked_size(message) for message in ipc.MessageReader.open_stream(tmp_path / "a.arrow")]
    taken = [batch.get_total_buffer_size() for batch in ipc.open_stream(tmp_path / "a.arrow")]
    assert sizes[0] == 0
    assert len(sizes) == len(taken) + 1 == 5
    assert all(0.9 * b <= a <= b + 64 * 7 for a, b in zip(sizes[1:], taken, strict=True))


def test_an_arrow_file_without_its_end_is_damaged(tmp_path):
    path = tmp_path / "a.arrow"
    pl.DataFrame({"a": np.arange(997)}).write_ipc(path)
    path.write_bytes(path.read_bytes()[:-7])
    assert "damaged" in refused(path)


STRINGS = {
    "strings": lambda rows: rows,
    "lists": lambda rows: [[r] for r in rows],
    "structures": lambda rows: [{"s": r} for r in rows],
}


@pytest.mark.parametrize("nested", STRINGS)
def test_parquet_of_few_huge_strings_that_repeat_is_refused(tmp_path, megabyte, nested):
    path = tmp_path / "a.parquet"
    values = STRINGS[nested](["x" * 10_000, "y" * 10_000, None] * 1_000)
    parquet.write_table(pa.table({"a": values, "b": range(3_000)}), path)
    assert path.stat().st_size < 100_000
    assert "3,000 rows take at least 0 GB" in refused(path)
    parquet.write_table(pa.table({"a": values[:9], "b": range(9)}), path)
    assert read(path).frame.height == 9


def test_links_in_circles_and_out_of_the_folder(tmp_path):
    root = tmp_path / "data"
    files(tmp_path, "data/a/1.txt", "data/b/2.txt", "other/3.txt")
    (root / "a/up").symlink_to(root)
    (root / "b/loop.txt").symlink_to("loop.txt")
    (root / "b/out.txt").symlink_to(tmp_path / "other/3.txt")
    (root / "c").symlink_to(tmp_path / "other")
    table = read(root)
    assert table.frame["path"].to_list() == ["a/1.txt", "b/2.txt"]
    assert table.notes == ("links that lead out of the folder are left out: 2, 'out.txt' among them",)
    (tmp_path / "circle").symlink_to("circle")
    assert "circle" in refused(tmp_path / "circle")


def test_names_of_files_with_line_ends_and_pictograms(tmp_path):
    files(tmp_path, "one\nline/1\n.txt", "two 😀/2 😀.txt", "\x1b[31mred/3.txt")
    assert set(read(tmp_path).frame["class"]) == {"one\nline", "two 😀", "\x1b[31mred"}


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_names_that_are_not_utf8_are_left_out_and_named(tmp_path):
    files(tmp_path, "a/1.txt", "b/2.txt")
    (tmp_path / "b" / os.fsdecode(b"\xff.txt")).touch()
    table = read(tmp_path)
    assert table.frame.height == 2
    assert "not UTF-8" in table.notes[0]


def test_many_unknown_endings_are_named_in_a_short_line(tmp_path):
    files(tmp_path, "a/1.txt", "b/1.txt", *(f"a/file.x{i}" for i in range(100)))
    (note,) = read(tmp_path).notes
    assert note.startswith("100 files are left out")
    assert len(note) < 200


@pytest.mark.parametrize(
    "columns", [12_000, 9_000]
)  # a header longer than what is looked at first, and one just shorter
def test_very_many_columns(tmp_path, columns):
    cells = ",".join(f"{i % 97}.5" for i in range(columns))
    (tmp_path / "a.csv").write_text(",".join(f"c{i:05}" for i in range(columns)) + "\n" + f"{cells}\n" * 3)
    frame = read(tmp_path / "a.csv").frame
    assert frame.shape == (3, columns)
    assert set(frame.dtypes) == {pl.Float64}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_cell_of_ten_megabytes(tmp_path, end):
    long = "word and " * 1_200_000
    (tmp_path / "a.csv").write_text(f'a,b{end}1,"{long}"{end}2,x{end}', newline="")
    assert read(tmp_path / "a.csv").frame.to_dicts() == [{"a": 1, "b": long}, {"a": 2, "b": "x"}]


def test_files_beside_the_folders_of_classes_are_left_out_and_said(tmp_path):
    for name in ("readme.txt", "train/notes.txt", "train/cat/a.txt", "train/dog/b.txt", "test/cat/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("some words")
    table = read(tmp_path)
    assert table.frame["class"].to_list() == ["cat", "cat", "dog"]
    assert table.notes == ("files beside the folders of classes are left out: 2: 'readme.txt', 'notes.txt'",)


def test_a_file_of_another_kind_inside_a_class_is_left_out_and_named(tmp_path):
    for name in ("cat/a.png", "cat/b.png", "cat/readme.txt", "dog/c.jpg", "dog/notes.mp3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("not opened")
    table = read(tmp_path)
    assert table.frame["path"].to_list() == ["cat/a.png", "cat/b.png", "dog/c.jpg"]
    assert table.notes == (
        "files of another kind than most, image, are left out: 2: 'cat/readme.txt', 'dog/notes.mp3'",
    )


def test_a_table_beside_folders_that_it_does_not_name_is_read_and_said(tmp_path):
    for name in ("cat/a.txt", "dog/b.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("some words")
    (tmp_path / "list.csv").write_text("a,b\n1,x\n2,y\n")
    (note,) = read(tmp_path).notes
    assert note.startswith(
        "list.csv is read, not the folders beside it ('cat', 'dog'): to read these as classes, move "
    )
    (tmp_path / "list.csv").write_text("words,kind\ncat/a.txt,x\ndog/b.txt,y\n")
    assert read(tmp_path).notes == ()


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, **content)
    else:
        path.write_text(content)


def test_files_of_arrays_go_with_the_kind_of_what_they_hold(tmp_path):
    events = {"time": np.arange(3.0), "unit": np.arange(3)}
    for name in ("a/1.npz", "b/2.npz", "b/3.npz"):
        save(tmp_path / "spikes" / name, events)
    save(tmp_path / "spikes/a/4.csv", "time,unit\n0.5,x\n")
    assert read(tmp_path / "spikes").frame["path"].to_list() == ["a/1.npz", "a/4.csv", "b/2.npz", "b/3.npz"]
    for name in ("a/1.npz", "b/2.npz"):
        save(tmp_path / "volumes" / name, {"scan": np.zeros((3, 4, 5))})
    save(tmp_path / "volumes/a/notes.csv", "time,unit\n0.5,x\n")
    table = read(tmp_path / "volumes")
    assert table.frame["path"].to_list() == ["a/1.npz", "b/2.npz"]
    assert table.notes == ("files of another kind than most, array, are left out: 1: 'a/notes.csv'",)


def test_json_lines_of_several_shapes_are_rows_all_the_same(tmp_path):
    file = tmp_path / "mixed.jsonl"
    file.write_text('{"a": [[1, 2], [3, 4]], "b": 1}\n\n{"a": [1, 2], "b": 2}\n{"a": null, "b": null}\n')
    frame = read(file).frame
    assert frame["a"].to_list() == ["[[1, 2], [3, 4]]", "[1, 2]", None]
    assert frame["b"].to_list() == [1, 2, None]
