import datetime
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import soundfile
from PIL import Image

import perceivers as pv
from perceivers.data.dates import find_dates, to_seconds
from perceivers.data.infer import check, describe, infer, nearest, unclear_dates, warnings, with_split
from perceivers.data.schema import Schema
from perceivers.data.sources import Table, read
from perceivers.errors import BadInput

N = 60
RNG = np.random.default_rng(0)


def table(**columns):
    return Table(pl.DataFrame(columns), "rows.csv", None)


def field(cells, target=False, name="x"):
    """How a column is read, beside an ordinary number and an ordinary target."""
    rows = {name: cells, "other": [0.5 * i for i in range(len(cells))], "goal": ["a", "b"] * (len(cells) // 2)}
    return infer(table(**rows), [name if target else "goal"])[name]


def modality(cells, **options):
    found = field(cells, **options)
    assert found.reason
    assert found.role == ("target" if options.get("target") else "input" if found.modality else "ignore")
    return found.modality


def one_line(error):
    message = str(error.value)
    assert "\n" not in message
    return message


# One column -------------------------------------------------------------------------------------------------------
WORDS = ["red", "green", "blue"] * 20


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["x"] * N, None),  # constant
        ([None] * N, None),  # empty
        (["", " "] * 30, None),
        ([float("nan")] * N, None),
        ([[0.1, 0.2], [0.1]] * (N // 2), "series"),
        ([[0.1, 0.2]] * N, None),  # constant
        ([["a"], ["a", "b"]] * 30, "category"),
        ([f"2024-01-{d:02}" for d in range(1, 31)] * 2, "number"),
        ([datetime.date(2024, 1, d) for d in range(1, 31)] * 2, "number"),
        ([f"{d}.12.2024" for d in range(1, 31)] * 2, "number"),
        (["it is so good", "it is not so good"] * 30, "text"),  # median over 3 words
        ([f"it is thing {i}" for i in range(N)], "text"),
        ([f"name{i}" for i in range(N)], None),  # unique one-word strings
        ([f"thing {i}" for i in range(N)], "text"),  # over half are distinct
        ([f"t{i}" for i in range(31)] + ["t0"] * 29, "text"),
        ([f"t{i}" for i in range(30)] + ["t0"] * 30, "category"),
        (list(range(5, 5 + N)), None),  # unique consecutive integers
        (list(range(0, 2 * N, 2)), "number"),
        (list(RNG.permutation(N)), None),
        ([0, *range(N - 1)], "number"),
        (["01", "02", "17"] * 20, "category"),  # digits stored as strings
        ([f"0{i}" for i in range(30)] * 2, "category"),
        (WORDS, "category"),
        ([True, False] * 30, "category"),
        ([1, 2] * 30, "number"),  # integers, as an input
        ([0.5, 1.5, None] * 20, "number"),
        (["0.5", "1.5", "-2"] * 20, "number"),  # numbers in a source with types
        ([datetime.timedelta(1)] * 30 + [datetime.timedelta(2)] * 30, None),
        ([{"a": i} for i in range(N)], None),
    ],
)
def test_inputs(cells, expected):
    assert modality(cells) == expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([1, 2] * 30, "category"),
        ([1.0, 2.0] * 30, "category"),
        ([1] * 10 + [2] * 50, "category"),
        ([1] * 9 + [2] * 51, "number"),  # under 10 rows of a class
        ([i % 20 for i in range(400)], "category"),
        ([i % 21 for i in range(420)], "number"),  # over 20 values
        ([0.5, 1.5] * 30, "number"),
        (list(range(N)), "number"),  # asked for, though it counts the rows
        (WORDS, "category"),
        (["a very long name of a class", "another very long name of a class"] * 30, "category"),
        (["01", "02"] * 30, "category"),
        ([True, False] * 30, "category"),
        ([["a"], ["a", "b"], []] * 20, "category"),
    ],
)
def test_targets(cells, expected):
    assert modality(cells, target=True) == expected


def test_labels_of_targets():
    assert field([["a"], ["a", "b"]] * 30, target=True).options == {"labels": "many"}
    assert field(WORDS, target=True).options == {"labels": "one"}


@pytest.mark.parametrize("name", ["id", "ID", "user_id", "userId", "customerID", "row id", "uuid", "x.guid"])
def test_names_of_identifiers(name):
    assert modality([1, 2] * 30, name=name) is None


@pytest.mark.parametrize("name", ["paid", "valid", "grid", "idle", "SOLID"])
def test_names_that_only_look_like_it(name):
    assert modality([1, 2] * 30, name=name) == "number"


@pytest.mark.parametrize("write", [list, str])
def test_lists_in_lists_are_series_and_deeper_ones_arrays(write):
    for depth, expected in ((1, "series"), (2, "series"), (3, "array"), (4, "array")):
        cells = [write(np.full(depth * [2], x).tolist()) for x in range(N)]
        assert modality(cells) == expected
    assert field(cells).reason.startswith("nested lists of numbers")


def test_the_sizes_of_nested_lists_are_shown_also_where_they_differ():
    data = table(a=[[[[0.5, x]], [[1.0]], []] for x in range(N)])
    assert "e.g. 3 × 1 × 2 " in describe(data, infer(data))


def test_a_derived_field_has_a_name_of_its_own():
    words = [f"the {i} th of many words" for i in range(N)]
    schema = infer(table(**{"story": words, "story.masked": RNG.normal(size=N)}), ["story"])
    assert schema["story.masked.2"].modality == "masked"
    assert schema["story.masked"].modality != "masked"


def test_two_fields_of_one_name_are_refused():
    data = table(x=range(N), y=range(N))
    schema = infer(data, ["y"])
    with pytest.raises(BadInput, match="two fields are named 'x': rename the column"):
        check(data, replace(schema, fields=(*schema.fields, schema["x"])))


# Dates ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cells", "how"),
    [
        (["2024-01-31", "2024-01-31T10:20:30Z", "2024-01-31 10:20"], True),
        (["31.12.2024", "1.2.2024"], "%d.%m.%Y"),
        (["31.12.2024 10:20", "01.02.2024 9:05"], "%d.%m.%Y %H:%M"),
        (["12/31/2024", "1/2/2024"], "%m/%d/%Y"),
        (["31/12/2024", "1/2/2024"], "%d/%m/%Y"),
        (["3/4/2026", "5/6/2026"], "%m/%d/%Y"),
        (["12-31-2024"], "%m-%d-%Y"),
        (["2024/12/31", "2024/1/2"], "%Y/%m/%d"),
        (["2024.12.31 10:20"], "%Y.%m.%d %H:%M"),
        (["31 Dec 2024", "1 May 2024"], "%d %b %Y"),
        (["31-Dec-2024"], "%d-%b-%Y"),
        (["1 May 2024", "31 December 2024"], "%d %B %Y"),
        (["Dec 31, 2024", "May 1, 2024"], "%b %d, %Y"),
        (["December 31, 2024 10:20:30"], "%B %d, %Y %H:%M:%S"),
        (["2001-01", "1999-12"], "%Y-%m"),
        (["2001-13"], False),
        (["0999-12"], False),
        (["Nov 31, 2024"], False),
        (["2024-13-01"], False),
        (["31.12.2024", "31.31.2024"], False),
        (["1.2.3"], False),
        (["2024-01-31", "soon"], False),
        (["31.12.2024", "soon"], False),
        ([], False),
    ],
)
def test_dates(cells, how):
    assert find_dates(pl.Series(cells, dtype=pl.String)) == how


def test_seconds():
    expected = datetime.datetime(2024, 12, 31, 10, 20, tzinfo=datetime.UTC).timestamp()
    assert to_seconds(pl.Series(["2024-12-31T11:20+01:00", None, "?"]), True).to_list() == [expected, None, None]
    assert to_seconds(pl.Series(["31.12.2024 10:20"]), "%d.%m.%Y %H:%M").to_list() == [expected]
    assert to_seconds(pl.Series([datetime.datetime(2024, 12, 31, 10, 20)]), False).to_list() == [expected]
    assert to_seconds(pl.Series([1, None]), False).to_list() == [1.0, None]


# Files ------------------------------------------------------------------------------------------------------------
def pictures(folder, count, size):
    for i in range(count):
        Image.fromarray(RNG.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return [f"{i}.png" for i in range(count)]


def rooted(folder, cells):
    return Table(pl.DataFrame({"path": cells, "goal": ["a", "b"] * (len(cells) // 2)}), "t", folder, ("goal",))


@pytest.mark.parametrize(("size", "resize"), [((20, 128), None), ((20, 130), 128)])
def test_large_pictures_are_scaled_down(tmp_path, size, resize):
    found = infer(rooted(tmp_path, pictures(tmp_path, 10, size)))["path"]
    assert (found.modality, found.role, found.options["resize"]) == ("image", "input", resize)
    assert found.names_files
    assert str(size[1]) in found.reason


def test_most_cells_must_be_files(tmp_path):
    names = pictures(tmp_path, 9, (5, 5))
    assert infer(rooted(tmp_path, [*names, "gone.png"]))["path"].modality == "image"
    found = infer(rooted(tmp_path, [*names[:8], "gone.png", "far.png"]))["path"]
    assert found.modality is None
    assert "only 8 of 10 are in" in found.reason


def test_files_outside_of_the_folder_are_not_read(tmp_path):
    (tmp_path / "in").mkdir()
    names = [f"../{name}" for name in pictures(tmp_path, 10, (5, 5))]
    assert "only 0 of 10" in infer(rooted(tmp_path / "in", names))["path"].reason


def test_text_files_and_clips_that_are_all_damaged(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.txt").write_text(f"text {i}")
        (tmp_path / f"{i}.mp4").write_bytes(b"")
    found = infer(rooted(tmp_path, [f"{i}.txt" for i in range(4)]))["path"]
    assert (found.modality, found.options, found.names_files) == ("text", {"files": True}, True)
    found = infer(rooted(tmp_path, [f"{i}.mp4" for i in range(4)]))["path"]
    assert (found.modality, found.reason) == (
        "video",
        "names of clips; 4 of 4 that were tried are damaged, '0.mp4' among them",
    )


def test_sound_files(tmp_path):
    for i in range(4):
        soundfile.write(tmp_path / f"{i}.flac", np.zeros(4_000 * (i + 1)), 8_000)
    (tmp_path / "3.flac").write_bytes(b"damaged")
    found = infer(rooted(tmp_path, [f"{i}.flac" for i in range(4)]))["path"]
    assert (found.modality, found.role, found.names_files) == ("audio", "input", True)
    assert found.reason == (
        "names of sound files, the median 1.0 s at 8,000 Hz; 1 of 4 that were tried are damaged, '3.flac' among them"
    )


def test_pictures_that_are_damaged_do_not_matter_yet(tmp_path):
    names = pictures(tmp_path, 10, (5, 5))
    (tmp_path / "0.png").write_text("no picture")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:30])
    assert infer(rooted(tmp_path, names))["path"].modality == "image"


# The table --------------------------------------------------------------------------------------------------------
def plain(**more):
    return table(height=[0.5 * i for i in range(N)], colour=WORDS, age=[i % 7 for i in range(N)], **more)


def test_roles():
    schema = infer(plain(), ["colour", "age"])
    assert [f.name for f in schema.targets] == ["colour", "age"]
    assert [f.name for f in schema.inputs] == ["height"]


def test_the_source_brings_its_target():
    assert [f.name for f in infer(read("sample:wine")).targets] == ["class"]
    assert [f.name for f in infer(read("sample:wine"), ["ash"]).targets] == ["ash"]


def test_an_unknown_target_gets_the_nearest_name():
    with pytest.raises(BadInput, match="no target column 'Color'; did you mean 'colour'") as error:
        infer(plain(), ["Color"])
    one_line(error)
    assert nearest("zzz", ["a", "b"]) == "; there are a, b"


@pytest.mark.parametrize("what", ["group", "time"])
def test_an_unknown_group_or_time(what):
    with pytest.raises(BadInput, match=f"no {what} column 'heigth'; did you mean 'height'"):
        infer(plain(), ["colour"], **{what: "heigth"})


def test_no_target_lists_likely_ones():
    schema = infer(plain(score=[0.1 * i for i in range(N)]))
    assert not schema.targets
    with pytest.raises(BadInput, match="likely ones are score, age, colour, height") as error:
        check(plain(score=[0.1 * i for i in range(N)]), schema)
    one_line(error)


def test_split_group_and_time_are_no_inputs():
    schema = infer(
        plain(split=["train", "test", "Valid"] * 20, who=WORDS, day=[f"2024-03-{i % 30 + 1:02}" for i in range(N)]),
        ["colour"],
        group="who",
        time="day",
    )
    assert (schema.split.column, schema.split.group, schema.split.time) == ("split", "who", "day")
    assert {schema[name].role for name in ("split", "who", "day")} == {"ignore"}


def test_a_column_split_decides_against_groups_and_says_which_are_on_several_sides():
    def shown(sides):
        rows = plain(split=sides, who=["a", "b", "c", "d", "e", "f"] * 10)
        return " ".join(describe(rows, infer(rows, ["colour"], group="who")).split())

    parted = shown(["train"] * 48 + [" Valid", "validation", "TEST", "test", "train", "train"] * 2)
    assert "groups the rows; 'split' says the side" in parted
    assert "one side" not in parted
    assert "split: by the column 'split', not by 'who'" in parted
    assert "puts rows of 4 of 6 groups of 'who' on several sides: 'a', 'b', 'c', 'd'; rename 'split'" in parted
    whole = shown(["train", "TEST", "test ", "train", "val", "train"] * 10)
    assert "'split' says the side" in whole
    assert "several sides" not in whole


def test_a_column_split_with_other_values_is_ordinary():
    schema = infer(plain(split=["left", "right"] * 30), ["colour"])
    assert schema.split.column is None
    assert schema["split"].role == "input"


def test_a_time_that_is_none():
    with pytest.raises(BadInput, match="time column 'colour': expected numbers or dates, got 'red'"):
        infer(plain(), ["age"], time="colour")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["x"] * N, "has one class only, 'x'"),
        (["x", None] * 30, "has one class only, 'x'"),
        ([1.5] * N, "has one value only, 1.5"),
        ([None] * N, "is empty in every row"),
        ([[0.5, 1.5]] * N, "has one value only"),
    ],
)
def test_targets_that_cannot_be_asked(cells, message):
    with pytest.raises(BadInput, match=message) as error:
        infer(plain(goal=cells), ["goal"])
    one_line(error)


@pytest.mark.parametrize(
    ("cells", "kind"), [([f"answer {i}" for i in range(N)], "text"), ([[[[0.5]]], [[[1.5]]]] * (N // 2), "array")]
)
def test_a_kind_that_cannot_be_asked_for(cells, kind):
    with pytest.raises(BadInput, match=rf"reads as {kind} .*: there are .*category.*series") as error:
        pv.inspect(plain(goal=cells), "goal")
    one_line(error)


def test_one_row():
    with pytest.raises(BadInput, match="one row"):
        infer(table(a=[1], b=["x"]), ["b"])


def test_nothing_to_predict_from():
    rows = table(id=list(range(N)), colour=WORDS)
    with pytest.raises(BadInput, match="no column is left to predict from: id: named like an identifier"):
        check(rows, infer(rows, ["colour"]))


# A schema against the data ----------------------------------------------------------------------------------------
def edited(schema, name, **changes):
    content = schema.to_dict()
    for row in content["fields"]:
        if row["name"] == name:
            row.update(changes)
    return Schema.from_dict(content, "schema.yaml")


def test_an_inferred_schema_fits_and_comes_back_from_yaml(tmp_path):
    schema = infer(plain(), ["colour"])
    check(plain(), schema)
    (tmp_path / "schema.yaml").write_text(schema.to_yaml())
    assert Schema.read(tmp_path / "schema.yaml") == schema


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("height", {"columns": ["hight"]}, "no column 'hight', the input 'height'; did you mean 'height'"),
        ("colour", {"columns": ["color"]}, "no column 'color', the target 'colour'; did you mean 'colour'"),
        ("colour", {"modality": "number"}, "reads column 'colour' as number, but its cells are like 'red'"),
        ("height", {"modality": "image"}, "reads column 'height' as image, but its cells are like '0.0'"),
        ("height", {"modality": "text"}, "reads column 'height' as text"),
    ],
)
def test_schemas_that_disagree_with_the_data(name, changes, message):
    with pytest.raises(BadInput, match=message) as error:
        check(plain(), edited(infer(plain(), ["colour"]), name, **changes))
    one_line(error)


def test_a_split_by_a_column_that_is_gone():
    schema = infer(plain(split=["train", "test", "train"] * 20), ["colour"])
    with pytest.raises(BadInput, match="no column 'split' to split by"):
        check(plain(), schema)


def test_a_target_with_one_value_under_a_saved_schema():
    schema = infer(plain(), ["colour"])
    with pytest.raises(BadInput, match="one class only"):
        check(Table(plain().frame.with_columns(colour=pl.lit("red")), "t", None), schema)


def test_labels_in_strings_when_the_schema_says_so():
    rows = plain(tags=["a|b", "b", "a"] * 20)
    check(rows, edited(infer(rows, ["tags"]), "tags", labels="many"))


# What a person should know ----------------------------------------------------------------------------------------
def notes(rows, *targets):
    return "\n".join(warnings(rows, infer(rows, targets)))


def test_a_column_that_gives_the_target_away():
    codes = ["r", "g", "b"] * 20
    assert "'code' gives the target 'colour' away" in notes(plain(code=codes), "colour")
    assert "away" not in notes(plain(), "colour")
    y = RNG.normal(size=N)
    assert "'twin' gives the target 'y' away" in notes(plain(y=y, twin=3 * y + 1 + 1e-4 * RNG.normal(size=N)), "y")
    assert "away" not in notes(plain(y=y, cousin=y + RNG.normal(size=N)), "y")


def test_missing_targets_and_imbalance():
    found = notes(plain(goal=["x"] * 55 + ["y"] * 3 + [None, ""]), "goal")
    assert "2 of 60 rows have no 'goal' and are left out" in found
    assert "unbalanced: 94.8% of 'goal' is 'x'" in found


def test_repeated_rows():
    assert "40 of 60 rows repeat" in notes(table(x=[0.5 * (i % 20) for i in range(N)], y=WORDS), "y")


def test_notes_of_the_source():
    assert "left out" in notes(Table(plain().frame, "t", None, notes=("3 files are left out",)), "colour")


@pytest.mark.parametrize("count", [1, 30])
def test_inspect_fits_into_120_columns_and_names_everything(count):
    columns = {f"a_rather_long_name_of_column_{i}": [f"{'word ' * 9}{j}" for j in range(N)] for i in range(count)}
    rows = table(**columns, colour=[*WORDS[:-1], None], dates=["2024-01-31", "2024-02-01"] * 30)
    text = describe(rows, infer(rows, ["colour"]))
    assert max(map(len, text.splitlines())) <= 120
    assert f"60 rows × {count + 2} columns" in text
    assert text.count("a median of 10 words") == count
    assert "3: blue, green, red (1.7% missing)" in text
    assert "2024-01-31 … 2024-02-01" in text
    assert "stratified by 'colour'" in text


def test_inspect_without_a_target():
    assert "none yet: say --target NAME; likely ones: age, colour, height" in describe(plain(), infer(plain()))


def test_categories_that_differ_by_case_or_blanks_are_said_and_kept_apart():
    cells = ["Yes", "yes", " no", "no", "may be", "may  be", "rest"] * 10
    found = notes(table(a=cells, y=["u", "v"] * 35), "y")
    assert "categories of 'a' differ by case or blanks alone and are kept apart" in found
    for pair in ("' no' and 'no'", "'Yes' and 'yes'", "'may  be' and 'may be'"):
        assert pair in found
    assert "rest" not in found
    assert "case or blanks" not in notes(table(a=["u", "v"] * 35, y=["p", "q", "r", "s", "t"] * 14), "y")


@pytest.mark.parametrize(
    "cells", [["2026-01-02", "03.02.2026"], ["2026-01-02", "2026-02-30"], ["3/4/2026", "3.4.2026"]]
)
def test_dates_in_several_forms_are_not_guessed(cells):
    reading = field(cells * 20)
    assert reading.role == "ignore"
    assert repr(cells[0]) in reading.reason
    assert repr(cells[1]) in reading.reason


def test_far_names_are_not_suggested():
    known = ["income", "age", "colour"]
    assert "did you mean" not in nearest("nope", known)
    assert "income, age, colour" in nearest("nope", known)
    assert "'colour'" in nearest("Color", known)


def test_a_number_whose_values_each_go_with_one_class_gives_it_away():
    affairs = np.repeat(np.arange(N // 5), 5)
    answer = np.where(affairs > 0, "yes", "no")
    assert "'affairs' gives the target 'affair' away" in notes(plain(affairs=affairs, affair=answer), "affair")
    answer[3] = "yes"
    assert "gives the target" not in notes(plain(affairs=affairs, affair=answer), "affair")


def test_a_first_line_of_data_is_noticed():
    frame = pl.DataFrame({"6.32e-03": RNG.normal(size=60), "18.0": RNG.normal(size=60), "name": ["a", "b"] * 30})
    assert "does the first line hold data" in notes(read(frame), "name")
    assert "first line" not in notes(read(frame.rename({"18.0": "age"})), "name")


def test_classes_are_shown_in_the_order_that_people_expect():
    table = read({"size": [3.5, 4.1, 2.2, 9.9] * 5, "kind": ["10", "9", "b 2", "b 10"] * 4 + ["b 10"] * 4})
    assert "4: 9, 10, b 2, b 10" in describe(table, infer(table, ["kind"]))


def test_lists_that_may_be_sounds_or_clouds_are_read_as_series_and_how_to_change_that_is_said():
    random = np.random.default_rng(0)
    table = read(
        {
            "heard": [random.normal(size=1_200).tolist() for _ in range(4)],
            "scan": [random.normal(size=(n, 3)).tolist() for n in (5, 7, 7, 11)],
            "moved": [random.normal(size=(2, n)).tolist() for n in (5, 7, 7, 11)],
        }
    )
    reasons = {field.name: field.reason for field in infer(table).fields}
    assert reasons["heard"] == "lists of numbers; sounds with `modality: audio` and their `rate`"
    assert reasons["scan"] == "lists of lists of numbers: channels; clouds with `modality: points`"
    assert reasons["moved"] == "lists of lists of numbers: channels"


def test_a_given_schema_that_says_nothing_of_a_column_is_split_by_the_one_named_split():
    rows = plain(split=["train", "test", "Valid"] * 20)
    fields = [{"name": "age", "modality": "number", "role": "input"}, {"name": "colour", "role": "target"}]
    fields[1]["modality"] = "category"

    def column(split, more=()):
        return with_split(rows, Schema.from_dict({"format": 1, "fields": [*fields, *more], **split}, "s")).split.column

    assert column({}) == column({"split": {"seed": 3}}) == "split"
    assert column({"split": {"column": None}}) is None
    assert column({}, [{"name": "split", "modality": "category", "role": "input"}]) is None
    assert with_split(plain(), Schema.from_dict({"format": 1, "fields": fields}, "s")).split.column is None


def test_a_schema_without_its_format_says_which_line_to_add():
    with pytest.raises(BadInput, match="add the line `format: 1` at the top"):
        Schema.from_dict({"fields": []}, "schema.yaml")


def test_a_word_in_a_list_of_numbers_is_said():
    lists = [["1.5", "2"], ["3", None], *[[str(i), "4"] for i in range(20)]]
    targets = ["a", "b"] * 11
    mixed = pl.DataFrame({"s": [*lists[:3], ["1", "oops"], *lists[4:]], "y": targets})
    assert "row 4: 's' has 'oops' among numbers" in "\n".join(warnings(read(mixed), infer(read(mixed), ["y"])))
    labels = pl.DataFrame({"s": [["red", "blue"], ["7"]] * 11, "y": targets})
    assert "among numbers" not in "\n".join(warnings(read(labels), infer(read(labels), ["y"])))


@pytest.mark.parametrize("written", [False, True])
def test_channels_of_unlike_length_are_told(written):
    cells = [[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], None, [[1.0, 2.0, 3.5], [4.0]], [[0.5], []]]
    cells = [json.dumps(cell) if written and cell else cell for cell in cells]
    rows = {"s": cells * 2, "y": ["a", "b", "b", "a"] * 2}
    assert (
        "channels of unlike length in 4 rows of 's', such as row 3 with 1 to 3 steps: what the shorter lack at their "
        "end is read as missing"
    ) in "\n".join(warnings(read(rows), infer(read(rows), ["y"])))
    rows["s"] = [cells[0], None] * 4
    assert "unlike length" not in "\n".join(warnings(read(rows), infer(read(rows), ["y"])))


def test_dates_whose_days_could_be_months_are_told(tmp_path, capsys):
    rows = {"when": [f"{i % 11 + 1:02}/{i % 7 + 1:02}/2026" for i in range(40)], "y": [float(i) for i in range(40)]}
    data = read(rows)
    (line,) = unclear_dates(data, infer(data, ["y"]))
    assert "'08/01/2026' is read as 2026-08-01; if it is 2026-01-08, write `date: '%d/%m/%Y'` in the schema" in line
    clear = read(rows | {"when": [*rows["when"][1:], "31/12/2026"]})
    assert unclear_dates(clear, infer(clear, ["y"])) == []
    pv.fit(data.frame, "y", steps=1, size="tiny", out=tmp_path / "guessed")
    assert line in capsys.readouterr().err
    pv.fit(data.frame, steps=1, size="tiny", out=tmp_path / "said", schema=infer(data, ["y"]))
    assert line not in capsys.readouterr().err


def test_infinities_are_told_before_their_rows_are_left_out():
    rows = {"x": [1.0, float("inf"), None, float("nan")] * 5, "z": ["1", "2", "-inf", "0.5"] * 5, "y": [1.5, 2.0] * 10}
    told = "\n".join(warnings(read(rows), infer(read(rows), ["y"])))
    assert "infinity in 5 rows of 'x', such as row 2, which cannot be read" in told
    assert "infinity in 5 rows of 'z', such as row 3" in told
    assert "of 'y'" not in told
