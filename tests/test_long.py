"""Long tables: cut into series and windows, and continued; against slices of plain arrays."""

import datetime as dt
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from perceivers.data import future, infer, long, sources, splits
from perceivers.data.dates import find_times
from perceivers.data.loading import with_value
from perceivers.data.schema import Long, Schema
from perceivers.errors import BadInput

RNG = np.random.default_rng(0)


def table(lengths=(40, 53), *, shuffled=False, **columns):
    """Series a, b, … of those lengths; x of series i at step t is 1000 · i + t."""
    rows = [(chr(97 + i), t, 1_000.0 * i + t) for i, n in enumerate(lengths) for t in range(n)]
    frame = pl.DataFrame(rows, schema=["id", "t", "x"], orient="row").with_columns(**columns)
    return sources.read(frame.sample(fraction=1, shuffle=True, seed=1) if shuffled else frame)


def forecast(data, horizon=3, targets=("x",), **options):
    schema = infer.infer(data, targets, time="t", series="id", horizon=horizon)
    known = [f.with_options(known=True) for f in schema.inputs if f.name in options.get("known", ())]
    return schema.replace(*known) if known else schema


# Series -----------------------------------------------------------------------------------------------------------
def test_each_series_is_a_row_in_the_order_of_time():
    label = pl.col("id").replace_strict({"a": "yes", "b": "no"})
    data = table((3, 2), label=label, shuffled=True)
    schema = infer.infer(data, ["label"], time="t", series="id")
    assert schema["x"].columns == ("t", "x")
    assert schema["x"].options == {"time": "t"}
    assert schema.long == Long("t", "id")
    found = long.arrange(data, schema)
    rows = {row["id"]: row for row in found.frame.to_dicts()}
    assert rows["a"] == {"id": "a", "t": [0.0, 1.0, 2.0], "x": [0.0, 1.0, 2.0], "label": "yes"}
    assert rows["b"]["x"] == [1000.0, 1001.0]
    assert "of 2 series were not in the order of time, those of 'b', 'a'" in found.notes[0]
    assert not long.arrange(table((3, 2), label=label), schema).notes


def test_series_of_one_length_are_lists_too():
    data = table((3, 3), label=pl.col("id"), z=pl.when(pl.col("t") != 1).then("x"))
    found = long.arrange(data, infer.infer(data, ["label"], time="t", series="id")).frame
    assert found["t"].to_list() == [[0.0, 1.0, 2.0]] * 2
    assert found["z"].to_list() == [[0.0, None, 2.0], [1000.0, None, 1002.0]]


def test_columns_that_change_are_channels_and_the_others_hold_for_the_whole():
    data = table(
        (5, 6, 7), z=pl.col("t") * 2, age=pl.col("id").replace_strict({"a": 3.5, "b": 4.0, "c": 9.0}), w=pl.lit("u")
    )
    data.frame.replace_column(5, pl.Series("w", RNG.choice(["sun", "rain"], 18)))
    schema = infer.infer(data, ["age"], time="t", series="id")
    assert [(f.name, f.role) for f in schema.fields] == [
        ("id", "ignore"),
        ("t", "ignore"),
        ("age", "target"),
        ("w", "ignore"),
        ("series", "input"),
    ]
    assert schema["series"].columns == ("t", "x", "z")
    assert "changes within a series" in schema["w"].reason
    assert Schema.from_dict(schema.to_dict(), "here") == schema


def test_a_target_that_changes_within_a_series_needs_a_horizon():
    data = table()
    with pytest.raises(BadInput, match="column 'x' changes within the series 'a': to forecast it say --horizon"):
        infer.infer(data, ["x"], time="t", series="id")  # as `inspect` does
    schema = infer.infer(data, time="t", series="id")
    asked = schema.replace(replace(schema["x"], modality="number", role="target", columns=("x",), options={}))
    with pytest.raises(BadInput, match="column 'x' changes within the series 'a': to forecast it say --horizon"):
        long.arrange(data, asked)


def test_series_are_answered_without_their_target():
    data = table((3, 2), label=pl.col("id").replace_strict({"a": "yes", "b": "no"}))
    schema = infer.infer(data, ["label"], time="t", series="id")
    found = long.arrange(replace(data, frame=data.frame.drop("label")), schema)
    assert found.frame["x"].to_list() == long.arrange(data, schema).frame["x"].to_list()


@pytest.mark.parametrize("horizon", [None, 2])
def test_a_word_among_the_numbers_of_a_series_is_named_and_not_read_as_missing(horizon):
    data = table((9,) * 9)
    schema = infer.infer(data, ["x"] if horizon else [], time="t", series="id", horizon=horizon)
    text = data.frame["x"].cast(pl.String)
    frame = data.frame.with_columns(x=pl.when(pl.int_range(pl.len()) == 4).then(pl.lit("oops")).otherwise(text))
    for read in (long.arrange, *([future.future] if horizon else [])):
        with pytest.raises(BadInput, match="row 5: 'x' is 'oops', no number: empty the cell"):
            read(replace(data, frame=frame), schema)
        empty = frame.with_columns(x=pl.col("x").replace("oops", " "))
        read(replace(data, frame=empty), schema)


def parted(**columns):
    """Twelve series of a label; the last three are for test."""
    part = pl.when(pl.col("id") > "i").then(pl.lit("Test")).otherwise(pl.lit("train"))
    label = pl.when(pl.col("id").is_in(["a", "d", "g", "k"])).then(pl.lit("yes")).otherwise(pl.lit("no"))
    return table((5,) * 12, **{"split": part, "label": label, **columns})


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_column_split_says_the_part_of_each_series(by_hand):
    data = parted()
    schema = infer.infer(data, ["label"], time="t", series="id")
    if by_hand:
        content = schema.to_dict()
        del content["split"]["column"]
        schema = infer.with_split(data, Schema.from_dict(content, "here"))
    assert schema.split.column == "split"
    assert (schema["split"].role, schema["split"].reason) == ("ignore", "says train, validation or test") or by_hand
    parts = splits.split(long.arrange(data, schema), schema, np.arange(12))
    assert parts["test"].tolist() == [9, 10, 11]
    assert len(parts["train"]) + len(parts["validation"]) == 9
    changing = parted(split=pl.when(pl.col("t") > 3).then(pl.lit("test")).otherwise(pl.lit("train")))
    with pytest.raises(BadInput, match="column 'split' changes within the series 'a': a series is in one part"):
        long.arrange(changing, infer.infer(changing, ["label"], time="t", series="id"))


def test_with_a_horizon_the_time_says_the_part():
    schema = forecast(parted(), horizon=1)
    assert (schema["split"].role, schema["split"].reason) == ("ignore", "the time says the part of a forecast")
    assert schema.split.column is None


# Windows ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("horizon", [1, 3, 7])
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_window_belongs_to_the_part_that_holds_all_its_steps(horizon, shuffled):
    data = table((100, 61, 100), shuffled=shuffled)
    schema = forecast(data, horizon)
    found = long.arrange(data, schema)
    n = max(horizon, 15)
    bounds = {"train": (0, 100 - 2 * n), "validation": (100 - 2 * n, 100 - n), "test": (100 - n, 100)}
    asked = found.views["x"]
    for part, (begin, end) in bounds.items():
        first = np.array([asked[i][0] % 1000 for i in found.parts[part]])
        assert (first >= begin).all()
        assert (first + horizon <= end).all()
        complete = {
            (i, t) for i, size in enumerate((100, 61, 100)) for t in range(max(begin, 1), min(end, size) - horizon + 1)
        }
        got = {(int(asked[i][0] // 1000), int(asked[i][0] % 1000)) for i in found.parts[part]}
        assert got == {(i, t) for i, t in complete if part != "test" or (t - begin) % horizon == 0}
    for past, future_ in zip(found.views["x.past"], asked, strict=True):
        times, values = past
        assert values[-1] + 1 == future_[0]
        assert times[-1] == values[-1] % 1000
        np.testing.assert_array_equal(np.diff(values), 1)
        assert len(values) == min(schema.long.read, values[-1] % 1000 + 1)
        assert len(future_) == horizon


def test_nothing_of_the_future_is_read_but_what_is_known():
    data = table((60,), promo=pl.col("t") * 10.0, other=pl.col("t") * 100.0)
    schema = forecast(data, 4, known=("promo",))
    assert schema["other"].options["known"] is False
    found = long.arrange(data, schema)
    for i in range(len(found.frame)):
        origin = found.views["x"][i][0] - 1
        assert found.views["x.past"][i][1][-1] == origin
        assert found.views["other"][i][1][-1] == 100 * origin
        assert found.views["promo"][i][1][-1] == 10 * (origin + 4)
        assert found.views["promo"][i][0][-1] == origin + 4


def test_test_rows_change_no_train_window():
    data, changed = table((80,)), table((80,))
    changed.frame.replace_column(2, pl.Series("x", np.where(np.arange(80) < 68, np.arange(80.0), -1e6)))
    schema = forecast(data)
    assert forecast(changed) == schema
    one, two = (long.arrange(t, schema) for t in (data, changed))
    for row in one.parts["train"]:
        np.testing.assert_array_equal(one.views["x.past"][row][1], two.views["x.past"][row][1])
        np.testing.assert_array_equal(one.views["x"][row], two.views["x"][row])


def test_a_schema_by_hand_needs_no_field_for_the_past_nor_times():
    content = {
        "format": 1,
        "fields": [
            {"name": "x", "modality": "series", "role": "target"},
            {"name": "promo", "modality": "series", "role": "input", "known": True},
        ],
        "long": {"time": "t", "series": "id", "horizon": 5},
    }
    data = table(promo=pl.col("t") * 10.0)
    schema = long.fitted(data, Schema.from_dict(content, "here"))
    assert schema["x.past"].columns == ("t", "x")
    assert schema["x"].options == {"past": "x.past", "horizon": 5}
    assert long.fitted(data, schema) == schema
    assert (
        len(long.arrange(data, schema).views["promo"][9]) == len(long.arrange(data, schema).views["x.past"][9][1]) + 5
    )


def test_another_table_is_tested_whole_in_windows_that_follow_each_other():
    schema = forecast(table())
    found = long.arrange(table((11, 2, 4)), schema, split=False)
    assert [cell.tolist() for cell in found.views["x"]] == [[2, 3, 4], [5, 6, 7], [8, 9, 10], [2001, 2002, 2003]]
    with pytest.raises(BadInput, match="no series has a step and 3 more after it"):
        long.arrange(table((3, 2)), schema, split=False)


def ahead(steps=10, **columns):
    """Series whose x ends ten steps before their promotion does."""
    x = pl.when(pl.col("t") < pl.col("t").max().over("id") - steps + 1).then("x")
    return table((60, 60), **{"promo": pl.col("t") % 3, "other": x * 2, "x": x, **columns})


def test_what_goes_on_after_the_last_value_of_the_target_is_known_in_advance():
    schema = forecast(ahead(), 10)
    assert schema["promo"].options["known"] is True
    assert schema["promo"].reason == "known in advance: it goes on after the last value of the target"
    assert schema["other"].options["known"] is False
    assert forecast(ahead(9), 10)["promo"].options["known"] is False
    gap = ahead(promo=pl.when(pl.col("t") != 55).then(pl.col("t") % 3))
    assert forecast(gap, 10)["promo"].options["known"] is False
    assert forecast(table((60, 60), promo=pl.col("t") % 3), 10)["promo"].options["known"] is False
    found = long.arrange(ahead(), schema)  # what is tested is the end of the values, not of the table
    assert [found.views["x"][i].tolist() for i in found.parts["test"]] == [
        [float(1_000 * i + t) for t in range(40, 50)] for i in (0, 1)
    ]


def test_words_that_change_are_a_channel_for_each_word_of_train():
    kinds = pl.col("t").replace_strict({t: ("late" if t > 45 else "sale" if t % 7 == 1 else "fair") for t in range(60)})
    data = ahead(kind=pl.when(pl.col("t") % 3 > 0).then(kinds), note=pl.concat_str(pl.lit("n"), pl.col("t")))
    schema = forecast(data, 10)
    assert schema["note"].role == "ignore"
    assert schema["kind"].reason.endswith("of the target; a channel for each word")
    assert schema["kind"].options | {"words": ["fair", "sale"], "known": True} == schema["kind"].options
    found = long.arrange(data, schema)
    for (times, values), target in zip(found.views["kind"], found.views["x"], strict=True):
        expected = [[t % 3 > 0 and t % 7 != 1 and t < 46, t % 3 > 0 and t % 7 == 1 and t < 46] for t in times]
        np.testing.assert_array_equal(values, expected)
        assert times[-1] == target[0] % 1000 + 9
    assert long.fitted(data, schema) == schema
    assert Schema.from_dict(schema.to_dict(), "here") == schema


# Bad input --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("horizon", [14, 50, 1_000])
def test_a_horizon_longer_than_the_past_is_refused_with_what_would_do(horizon):
    with pytest.raises(BadInput, match=rf"a horizon of {horizon} is too long for 40 times: .* horizon of at most 13"):
        forecast(table((40, 40)), horizon)
    assert forecast(table((40, 40)), 13).long.horizon == 13


@pytest.mark.parametrize("times", [1, 2, 3])
def test_where_no_horizon_fits_it_is_said_how_many_times_are_needed(times):
    with pytest.raises(BadInput, match=rf"too long for {times} times: .*; give 4 times or more$"):
        forecast(table((times, times)), 1)


def test_validation_may_be_left_out():
    schema = forecast(table((60,)))
    shares = replace(schema, split=replace(schema.split, fractions=(0.85, 0.0, 0.15)))
    parts = long.arrange(table((60,)), shares).parts
    assert len(parts["train"]) == 51 - 3
    assert not len(parts["validation"])
    with pytest.raises(BadInput, match="a horizon of at most 19"):
        long.arrange(table((40,)), replace(shares, long=replace(shares.long, horizon=20)))


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_window_whose_origin_has_no_value_has_a_target(missing):
    data = table((60,), x=pl.when(pl.col("t") % 5 == 2).then(missing).otherwise(pl.col("x")))
    found = long.arrange(data, forecast(data))
    assert with_value(found, forecast(data).targets).all()


def test_the_past_has_a_name_of_its_own():
    data = table((60,)).frame.with_columns((pl.col("x") * 2).alias("x.past"))
    schema = forecast(sources.read(data))
    assert schema["x"].options["past"] == "x.past.2"
    assert schema["x.past"].columns == ("t", "x.past")
    assert Schema.from_dict(schema.to_dict(), "here") == schema


def test_one_doubled_time_makes_events_and_is_told():
    frame = table((8, 8), label=pl.col("id")).frame
    data = sources.read(pl.concat([frame, frame[3:4]]))
    notes = long.arrange(data, infer.infer(data, ["label"], time="t", series="id")).notes
    assert notes[0] == "rows 4 and 17 have the same time, so each row is read as an event; for steps keep one of them"


def test_doubled_and_missing_times_are_named():
    frame = table((4, 4)).frame
    with pytest.raises(BadInput, match="rows 2 and 9: time 1 is there twice: keep one of them"):
        forecast(sources.read(pl.concat([frame, frame[1:2]])), 1)
    with pytest.raises(BadInput, match="is there twice: keep one of them, or say which column tells series apart"):
        infer.infer(sources.read(frame), ["x"], time="t", horizon=1)
    holes = frame.with_columns(t=pl.when(pl.col("t") == 2).then(None).otherwise("t"))
    with pytest.raises(BadInput, match="row 3: 't' is no time: None"):
        forecast(sources.read(holes), 1)
    nameless = frame.with_columns(id=pl.when(pl.col("t") == 2).then(None).otherwise("id"))
    with pytest.raises(BadInput, match="row 3: 'id' is empty"):
        forecast(sources.read(nameless), 1)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"series": "id"}, "--series and --horizon need --time"),
        ({"time": "t", "horizon": 0}, "--horizon 0: expected"),
        ({"time": "T", "series": "id"}, "no time column 'T'; did you mean 't'"),
        ({"time": "t", "series": "ID"}, "no series column 'ID'; did you mean 'id'"),
        ({"time": "t", "series": "id", "horizon": 3, "targets": ["y"]}, "no target column 'y'"),
        ({"time": "t", "series": "id", "horizon": 3, "targets": ["w"]}, "row 1: target 'w' is .*, no number"),
        ({"time": "t", "series": "id", "horizon": 3, "targets": ["id"]}, "'id' is the column that tells the series"),
        ({"time": "t", "series": "id", "targets": ["t"]}, "'t' is the column that orders the steps"),
    ],
)
def test_questions_that_cannot_be_asked(question, message):
    with pytest.raises(BadInput, match=message):
        infer.infer(table(w=pl.lit("u")), **{"targets": ["x"], **question})


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1", "2", None, "x", "y"], "row 4: target 'w' is 'x', no number"),
        (["1", "2", "3", "4", "5"], "target 'w' holds String, no numbers"),
        ([[1.0], [2.0], [3.0], [4.0], [5.0]], r"target 'w' holds List\(Float64\), no numbers"),
        ([timedelta(1)] * 5, "target 'w' holds Duration.*, no numbers"),
    ],
)
def test_a_forecast_says_where_its_target_is_no_number(cells, message):
    frame = pl.DataFrame({"t": range(5), "w": cells})
    with pytest.raises(BadInput, match=message):
        infer.infer(sources.read(frame), targets=["w"], time="t", horizon=1)


def test_all_missing_values_leave_no_window():
    data = table((40,), x=pl.lit(None, pl.Float64))
    with pytest.raises(BadInput, match="target 'x' has no value: nothing to learn from"):
        long.arrange(data, forecast(data))


@pytest.mark.parametrize(
    "row", [{"time": 3}, {"time": "t", "horizon": 0}, {"time": "t", "past": 1}, "t", {"time": "t", "series": 3}]
)
def test_a_schema_says_what_is_wrong_with_its_long_table(row):
    with pytest.raises(BadInput, match="here: long "):
        Schema.from_dict({"format": 1, "fields": [], "long": row}, "here")


# Future -----------------------------------------------------------------------------------------------------------
def test_a_forecast_starts_after_each_series_last_value():
    data = table((8, 5), promo=pl.col("t") * 10.0)
    schema = forecast(table((50, 50), promo=pl.col("t") * 10.0), 2, known=("promo",))
    blank = data.frame.with_columns(x=pl.when(pl.col("t") < 6).then("x"))
    blank = blank.with_columns(x=pl.when((pl.col("id") == "a") | (pl.col("t") < 3)).then("x"))
    windows, frame = future.future(sources.read(blank), schema)
    assert frame.to_dicts() == [{"id": i, "t": t} for i, t in (("a", 6), ("a", 7), ("b", 3), ("b", 4))]
    assert windows.views["x.past"][0][1].tolist() == [0, 1, 2, 3, 4, 5]
    assert windows.views["promo"][1][1].tolist() == [0, 10, 20, 30, 40]
    with pytest.raises(BadInput, match=r"'promo' is known in advance: expected 2 rows .* of 'a', got 0"):
        future.future(data, schema)
    with pytest.raises(BadInput, match="no value of 'x'"):
        future.future(sources.read(blank.drop("x")), schema)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([1, 2, 3], [4, 5]),
        ([10, 20, 25, 35], [45, 55]),
        ([1749.0, 1749.5], [1750.0, 1750.5]),
        (["2025-11-01", "2025-12-01"], ["2026-01-01", "2026-02-01"]),
        (["2023-10-31", "2023-11-30", "2023-12-31"], ["2024-01-31", "2024-02-29"]),
        (["2025-12-15", "2026-03-15"], ["2026-06-15", "2026-09-15"]),
        (["2026-02-27", "2026-02-28"], ["2026-03-01", "2026-03-02"]),
        (["2026-02-28 22:00", "2026-02-28 23:00"], ["2026-03-01 00:00", "2026-03-01 01:00"]),
        (["2026-02-28T22:30:15", "2026-02-28T22:30:30"], ["2026-02-28T22:30:45", "2026-02-28T22:31:00"]),
        (
            ["2026-01-01T00:00:00+02:00", "2026-01-01T01:00:00+02:00"],
            ["2026-01-01T02:00:00+02:00", "2026-01-01T03:00:00+02:00"],
        ),
        (["2026-01-01T00:00-0330", "2026-02-01T00:00-0330"], ["2026-03-01T00:00-0330", "2026-04-01T00:00-0330"]),
        (["2026-01-01 23:00Z", "2026-01-01 23:30Z"], ["2026-01-02 00:00Z", "2026-01-02 00:30Z"]),
        (["2026-01-01T00:00:00.25", "2026-01-01T00:00:00.50"], ["2026-01-01T00:00:00.75", "2026-01-01T00:00:01.00"]),
        (
            ["2026-01-01T00:00:59,998Z", "2026-01-01T00:00:59,999Z"],
            ["2026-01-01T00:01:00,000Z", "2026-01-01T00:01:00,001Z"],
        ),
        (["2001-11", "2001-12"], ["2002-01", "2002-02"]),
        (["30.11.2026", "01.12.2026"], ["02.12.2026", "03.12.2026"]),
        ([dt.date(2026, 11, 30), dt.date(2026, 12, 7)], [dt.date(2026, 12, 14), dt.date(2026, 12, 21)]),
        ([dt.datetime(2026, 1, 1), dt.datetime(2027, 1, 1)], [dt.datetime(2028, 1, 1), dt.datetime(2029, 1, 1)]),
    ],
)
def test_times_go_on_as_they_were_written(cells, expected):
    times = pl.Series("t", cells)
    assert future.continued(times, 2, find_times(times)).to_list() == expected


def monthly(years=4, form="%d/%m/%Y"):
    """A value on the first of each month."""
    months = pl.date_range(pl.date(1990, 1, 1), pl.date(1989 + years, 12, 1), "1mo", eager=True)
    return sources.read(pl.DataFrame({"t": months.dt.strftime(form), "x": np.arange(float(len(months)))}))


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%m.%d.%Y"])
def test_day_and_month_are_told_apart_by_steps_that_are_regular_and_stay_so(form):
    schema = infer.infer(monthly(form=form), ["x"], time="t", horizon=2)
    assert schema["t"].options == {"date": form}
    assert schema["t"].reason == f"orders the steps of a series, read as {form}"
    assert long.arrange(monthly(form=form), schema).views["x"][0][0] == 1
    few = sources.read(monthly(form=form).frame[3:6])  # by themselves either order is regular
    _, frame = future.future(few, schema)
    assert frame["t"].to_list() == [dt.date(1990, month, 1).strftime(form) for month in (7, 8)]
    written = few.frame.with_columns(pl.col("t").str.to_date(form).dt.strftime("%Y-%m-%d"))
    assert future.future(sources.read(written), schema)[1]["t"].to_list() == ["1990-07-01", "1990-08-01"]


@pytest.mark.parametrize(
    ("form", "count", "read", "day"),
    [
        ("%d/%m/%Y", 12, "%d/%m/%Y", "1990-02-01"),  # a year of months, or twelve days of January
        ("%d/%m/%Y", 6, "%m/%d/%Y", "1990-01-02"),
        ("%d.%m.%Y", 12, "%d.%m.%Y", "1990-02-01"),
    ],
)
def test_times_that_are_regular_in_either_order_are_told_as_they_are_read(form, count, read, day):
    data = sources.read(monthly(1, form).frame.head(count))
    schema = infer.infer(data, ["x"], time="t", horizon=1)
    assert schema["t"].options == {"date": read}
    (line,) = infer.unclear_dates(data, schema)
    other = next(how for how in (form, form.replace("%d", "%_").replace("%m", "%d").replace("%_", "%m")) if how != read)
    assert f"'t': days could be months, as nothing says otherwise: {data.frame['t'][1]!r} is read as {day}" in line
    assert line.endswith(f"write `date: '{other}'` in the schema")
    assert line in " ".join(infer.describe(data, schema).split())
    changed = schema.replace(schema["t"].with_options(date=other))
    assert long.sort(data, schema.long, date=changed.date("t")).times[1] != long.sort(data, schema.long).times[1]
    assert infer.unclear_dates(monthly(4, form), infer.infer(monthly(4, form), ["x"], time="t", horizon=1)) == []


def test_rows_ordered_by_time_are_split_by_the_order_that_is_regular():
    schema = infer.infer(monthly(), ["x"], time="t")
    assert schema["t"].options == {"date": "%d/%m/%Y"}
    assert schema["t"].reason == "orders the rows, read as %d/%m/%Y: the last ones are test"


def test_months_are_times():
    data = monthly(form="%Y-%m")
    schema = infer.infer(data, ["x"], time="t", horizon=2)
    assert future.future(data, schema)[1]["t"].to_list() == ["1994-01", "1994-02"]


@pytest.mark.parametrize("horizon", [None, 3])
def test_a_column_that_numbers_the_rows_of_the_whole_table_is_no_channel(horizon):
    target = ["x"] if horizon else []
    counted = {"rownames": pl.int_range(1, 94), "z": 93 - pl.int_range(0, 93) // 2}
    schema = infer.infer(table(**counted), target, time="t", series="id", horizon=horizon)
    assert (schema["rownames"].role, schema["rownames"].reason) == ("ignore", "counts the rows from 1 to 93")
    assert any("z" in f.columns for f in schema.inputs)
    assert not any("rownames" in f.columns for f in schema.inputs)


@pytest.mark.parametrize("without", [(6, 7), (5, 6), (7,)])
def test_days_of_the_week_that_never_come_are_not_foretold(without):
    days = [dt.date(2023, 1, 2) + timedelta(days=i) for i in range(90)]
    came = [day for day in days if day.isoweekday() not in without]
    seen = [day for day in came[:40] if day != dt.date(2023, 1, 17)]  # a holiday
    cells = pl.Series("day", [str(day) for day in seen])
    assert future.continued(cells, 12, True).to_list() == [str(day) for day in came[40:52]]


def test_days_that_come_now_and_then_go_on_by_the_usual_gap():
    days = [dt.date(2023, 1, 2) + timedelta(days=3 * i) for i in range(40)]
    found = future.continued(pl.Series("day", days[:30]), 10, True)
    assert found.to_list() == days[30:]


def test_the_row_that_is_no_time_is_named():
    days = [f"{day:02d}/01/2023" for day in range(13, 29)]
    table = sources.read({"day": [*days[:5], "soon", *days[6:]], "y": list(range(16))})
    with pytest.raises(BadInput, match="row 6: 'day' is no time: 'soon': write it as '13/01/2023' is, or leave"):
        infer.infer(table, ("y",), time="day", horizon=2)
    words = sources.read({"day": ["a", "b"] * 8, "y": list(range(16))})
    with pytest.raises(BadInput, match="'day' is no time: 'a': nor are the others: name the column with the times"):
        infer.infer(words, ("y",), time="day", horizon=2)


def test_a_series_without_a_value_is_told_where_the_others_are_forecast():
    frame = pl.DataFrame({"s": ["a"] * 30 + ["b"] * 30, "t": [*range(30)] * 2, "y": [1.0 * i for i in range(60)]})
    schema = infer.infer(sources.read(frame), ("y",), time="t", series="s", horizon=2)
    missing = frame.with_columns(y=pl.when(pl.col("s") == "b").then(None).otherwise(pl.col("y")))
    windows, asked = future.future(sources.read(missing), schema)
    assert asked["s"].unique().to_list() == ["a"]
    assert windows.notes[-1] == "1 of 2 series have no value to go on from, such as 'b': not forecast"
