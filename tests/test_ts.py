"""`.ts` files, against files written here by hand."""

import polars as pl
import pytest

from perceivers.data import infer, sources, ts
from perceivers.errors import BadInput

HEADER = "# a comment\n@problemName X\n@timeStamps false\n@univariate true\n@classLabel true a b\n@data\n"

TWO = HEADER.replace("@univariate true", "@univariate false\n@dimensions 2")
STAMPED = HEADER.replace("@timeStamps false", "@timeStamps true")


def write(folder, name, text):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_one_channel_with_missing_values_and_uneven_lengths(tmp_path):
    path = write(tmp_path, "x.ts", HEADER + "1,2.5,?:a\n\n-3e1:b\n:a\n4,NaN,6,7:?\n")
    frame = ts.read_ts(path)
    assert frame["series"].to_list() == [[1.0, 2.5, None], [-30.0], [], [4.0, None, 6.0, 7.0]]
    assert frame["class"].to_list() == ["a", "b", "a", None]


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path):
    assert ts.read_ts(write(tmp_path, "x.ts", "\ufeff" + HEADER + "1,2:a\n"))["series"].to_list() == [[1.0, 2.0]]


def test_channels_are_lists_of_lists_even_where_one_case_has_several(tmp_path):
    frame = ts.read_ts(write(tmp_path, "x.ts", TWO + "1,2:3,4:a\n5:6:b\n"))
    assert frame["series"].to_list() == [[[1.0, 2.0], [3.0, 4.0]], [[5.0], [6.0]]]


def test_regression_labels_are_numbers_and_a_file_may_have_none(tmp_path):
    header = HEADER.replace("@classLabel true a b", "@targetlabel true")
    table = sources.read(write(tmp_path, "x.ts", header + "1,2:0.5\n3,4:7\n5,6:1\n"))
    assert table.frame["class"].to_list() == [0.5, 7.0, 1.0]
    assert infer.infer(table).targets[0].modality == "number"
    frame = ts.read_ts(write(tmp_path, "y.ts", HEADER.replace("@classLabel true a b", "@classLabel false") + "1,2\n"))
    assert frame.columns == ["series"]


def test_labels_that_look_like_numbers_are_classes(tmp_path):
    table = sources.read(write(tmp_path, "x.ts", HEADER.replace("true a b", "true -1 1") + "1,2:-1\n3,4:1\n"))
    assert infer.infer(table).targets[0].modality == "category"


def test_time_stamps_are_read_and_channels_share_one_axis(tmp_path):
    header = STAMPED
    dates = "(2007-01-01 00:00:00,2.5),(2007-01-01 00:01:00,?):a\n"
    frame = ts.read_ts(write(tmp_path, "x.ts", header + dates + "(0,1),(5,2):b\n"))
    assert frame["time"].to_list() == [[1167609600.0, 1167609660.0], [0.0, 5.0]]
    assert frame["series"].to_list() == [[2.5, None], [1.0, 2.0]]
    header = header.replace("@univariate true", "@univariate false\n@equalLength true")  # on the axis that they share
    frame = ts.read_ts(write(tmp_path, "y.ts", header + "(0,1),(2,2):(1,3),(2,4):a\n"))
    assert frame["time"].to_list() == [[0.0, 1.0, 2.0]]
    assert frame["series"].to_list() == [[[1.0, None, 2.0], [None, 3.0, 4.0]]]
    schema = infer.infer(sources.read(tmp_path / "x.ts"), ["class"])
    assert schema["series"].columns == ("time", "series")
    assert schema["series"].options == {"time": "time"}
    assert schema["time"].role == "ignore"


def test_a_pair_is_one_data_set_with_its_split(tmp_path):
    folder = tmp_path / "X"
    write(folder, "X_TRAIN.ts", HEADER + "1,2:a\n3,4:b\n")
    write(folder, "X_TEST.ts", HEADER + "5,6:a\n")
    write(folder, "X_TRAIN.tsv", "a\tb\n1\t2\n")  # the archive has other forms beside it
    write(folder, "X_eq_TRAIN.ts", HEADER + "1,2:a\n")
    write(folder, "X_eq_TEST.ts", HEADER + "1,2:a\n")
    table = sources.read(folder)
    assert table.targets == ("class",)
    assert table.frame["split"].to_list() == ["train", "train", "test"]
    assert table.frame["series"].dtype == pl.List(pl.Float64)
    assert infer.infer(table).split.column == "split"
    folder.rename(tmp_path / "Y")
    with pytest.raises(BadInput, match=r"holds 2 pairs \(X, X_eq\)"):
        sources.read(tmp_path / "Y")


def test_parts_that_do_not_fit_together_are_refused(tmp_path):
    write(tmp_path, "X_TRAIN.ts", HEADER + "1,2:a\n")
    write(tmp_path, "X_TEST.ts", HEADER.replace("@univariate true", "@univariate false") + "5,6:7,8:a\n")
    with pytest.raises(BadInput, match="do not fit together"):
        sources.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2:a\n", r"line 1: '1,2:a': expected `@key value` lines"),
        ("@problemName X\n", "no @data line"),
        (HEADER, "no case after @data"),
        (HEADER + "1,2:a\n1,x:b\n", "line 8: 'x' is no number"),
        (HEADER + "1,2:c\n", "line 7: class 'c' is none of @classLabel: a, b"),
        (
            HEADER + "1,2:a\n1,2:3,4:b\n",
            "line 8: 2 channels came, but the header says @univariate true: give 1, then :",
        ),
        (
            HEADER + "1,2\n",
            "line 7: 0 channels came, but the header says @univariate true: give 1, then : and the label",
        ),
        (TWO + "1,2:3,4:5,6:a\n", "line 8: 3 channels came, but the header says @dimensions 2: give 2, then :"),
        (STAMPED + "(0,1):(0,2):a\n", "line 7: 2 channels came, but the header says @univariate true"),
        (TWO.replace("@data", "@equalLength true\n@data") + "1,2:3:a\n", "line 9: channels of 2, 1 steps .* write ?"),
        (STAMPED + "1,2:a\n", r"expected \(time,value\)"),
        (STAMPED + "(0,1),junk,(2,3):a\n", r"line 7: 'junk': expected \(time,value\)"),
        (STAMPED + "(0,1),(2,3),(0.0,4):a\n", "line 7: time '0.0' is there twice in a channel: keep one"),
        (STAMPED + "(noon,2):a\n", "'noon': expected numbers or times"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(BadInput, match=message):
        ts.read_ts(write(tmp_path, "x.ts", text))
