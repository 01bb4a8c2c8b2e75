"""Events as an input: every form of cells, order, unknown units, what is read off train; against plain numpy."""

import datetime as dt
import json

import numpy as np
import polars as pl
import pytest
import torch

import perceivers as pv
from perceivers.data import infer, sources
from perceivers.data.schema import Field
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities.events import Events
from perceivers.modalities.events_input import in_own_unit, log_gaps
from perceivers.modalities.features import Rates
from perceivers.modalities.occurrences import Layout, as_times_of, as_values, find_layout
from perceivers.modalities.raster import MOST_MARKS, MOST_UNITS, Raster
from perceivers.recipe import EVENTS_TOKENS

RNG = np.random.default_rng(0)
CHANNELS = 13
EVENTS = Events()
ROW = [[0.5, "a", 2.0], [0.75, "b", None], [0.75, "a", 4.0], [3.0, "b", -1.0]]


def many(n, units="abc", seed=0):
    random = np.random.default_rng(seed)
    times, values = np.round(random.uniform(0, 10, n), 1), random.normal(size=n)
    return [[float(t), str(u), float(v)] for t, u, v in zip(times, random.choice(list(units), n), values, strict=True)]


ROWS = [many(n, seed=n) for n in (11, 53, 101, 7)]


def field_of(cells, columns=("e",), **options):
    field = Field("e", "events", "input", columns, {**EVENTS.options, **options})
    return field.with_options(**EVENTS.fit(field, cells))


def tokens(field, cells, seed=0):
    """The tokens and the mask of cells, as evaluation reads them: the first window of each."""
    torch.manual_seed(seed)
    module = EVENTS.inputs([field], CHANNELS).eval()
    examples = [EVENTS.windows(field, EVENTS.read(field, cell))[0] for cell in cells]
    with torch.inference_mode():
        return module({"e": EVENTS.collate(field, examples)})


def uniform(purpose, count, rows=4):
    return torch.rand(rows, count, generator=torch.Generator().manual_seed(len(purpose)))


# Forms ------------------------------------------------------------------------------------------------------------
def forms(folder):
    times, units, values = zip(*ROW, strict=True)
    records = [dict(zip(("time", "unit", "x"), event, strict=True)) for event in ROW]
    frame = pl.DataFrame(records)
    frame.write_csv(folder / "a.csv")
    frame.write_csv(folder / "a.tsv", separator="\t")
    frame.write_parquet(folder / "a.parquet")
    codes = np.array([(t, "ab".index(u), np.nan if x is None else x) for t, u, x in ROW])
    np.save(folder / "a.npy", codes)
    named = np.array([tuple(row) for row in codes], dtype=[("time", "f8"), ("unit", "i2"), ("x", "f4")])
    np.save(folder / "named.npy", named)
    return {
        "lists": ROW,
        "texts": [["0.5", "a", "2"], ["0.75", "b", None], ["0.75", "a", "4.0"], ["3", "b", "-1"]],
        "json": json.dumps(ROW),
        "records": records,
        "record of lists": {"time": list(times), "unit": list(units), "x": list(values)},
        "array": codes,
        **{name: folder / name for name in ("a.csv", "a.tsv", "a.parquet", "a.npy", "named.npy")},
    }


def test_every_form_of_the_same_events_gives_the_same_recording(tmp_path):
    for name, cell in forms(tmp_path).items():
        field = field_of([cell], start="first")
        assert len(field.options["units"]) == 2, name
        found = EVENTS.read(field, cell)
        np.testing.assert_array_equal(found.times, [0, 0.25, 0.25, 2.5], err_msg=name)
        np.testing.assert_array_equal(found.units, [0, 0, 1, 1], err_msg=name)
        np.testing.assert_array_equal(found.values[:, 0], [2, 4, np.nan, -1], err_msg=name)


def test_columns_side_by_side_and_a_start_of_each_row():
    times, units, values = (list(column) for column in zip(*ROW, strict=True))
    field = field_of([(times, units, values)], ("t", "u", "v"), time="t", unit="u", start=0)
    assert field.options["values"] == ["v"]
    np.testing.assert_array_equal(EVENTS.read(field, (times, units, values)).times, [0.5, 0.75, 0.75, 3])
    onset = field_of([(times, units, 0.25), (times, units, 0.5)], ("t", "u", "onset"), time="t", start="onset")
    np.testing.assert_array_equal(EVENTS.read(onset, (times, units, 0.5)).times, [0, 0.25, 0.25, 2.5])
    with pytest.raises(Unreadable, match="the start, 'onset', is missing"):
        EVENTS.read(onset, (times, units, None))
    assert EVENTS.read(field, (None, None, None)) is None


def test_times_alone_are_events_of_one_unit():
    field = field_of([[0.25, 1.0, 0.5], [4.0]], unit=False, start=0)
    assert field.options["units"] == [""]
    assert field.options["values"] == []
    np.testing.assert_array_equal(EVENTS.read(field, [0.25, 1.0, 0.5]).times, [0.25, 0.5, 1])
    array, mask = tokens(field, [[0.25, 1.0, 0.5], []])
    assert mask.sum(1).tolist() == [4, 1]
    assert array.isfinite().all()


@pytest.mark.parametrize("written", [True, False])
def test_dates_are_times_in_seconds(written):
    moments = [dt.datetime(2026, 11, 23, 8, 0), dt.datetime(2026, 11, 23, 8, 1, 30)]
    cell = [[m.isoformat() if written else m, "door"] for m in moments]
    field = field_of([cell], start="2026-11-23")
    np.testing.assert_array_equal(EVENTS.read(field, cell).times, [8 * 3600, 8 * 3600 + 90])


def test_a_start_is_common_where_rows_begin_at_about_the_same():
    near = [[[float(t), "a"] for t in RNG.uniform(0, 10, 40)] for _ in range(9)]
    assert field_of(near).options["start"] == 0
    assert field_of([[[t + 1_000, u] for t, u in row] for row in near]).options["start"] > 999
    apart = [[[t + 1_000 * i, u] for t, u in row] for i, row in enumerate(near)]
    assert field_of(apart).options["start"] == "first"


# What is read off train -------------------------------------------------------------------------------------------
def test_what_is_read_off_train_is_what_numpy_says():
    field = field_of(ROWS)
    events = [event for row in ROWS for event in row]
    assert field.options["units"] == ["a", "b", "c"]
    assert field.options["max_events"] == round(np.ceil(np.percentile([len(row) for row in ROWS], 99)))
    for i, unit in enumerate("abc"):
        own = np.array([x for _, u, x in events if u == unit])
        assert field.options["mean"][i] == pytest.approx([own.mean()])
        assert field.options["std"][i] == pytest.approx([own.std()])
        logs = np.log1p([sum(u == unit for _, u, _ in row) for row in ROWS])
        assert field.options["counts"][i] == pytest.approx([logs.mean(), logs.std()])
    everything = np.array([x for _, _, x in events])
    assert field.options["mean"][3] == pytest.approx([everything.mean()])
    gaps = [np.diff(sorted(t for t, u, _ in row if u == unit)) for row in ROWS for unit in "abc"]
    assert field.options["gap"] == pytest.approx(np.median([g for gap in gaps for g in gap if g > 1e-12]))
    assert field.options["span"] == max(t for t, _, _ in events)


def test_values_that_rows_often_lack_are_values_all_the_same():
    sparse = [[[0.0, "a", None]], [[0.0, "a"], [1.0, "b", 3.5]], [[2.0, "b", None]]]
    assert field_of(sparse).options["values"] == ["2"]
    words = [[[0.0, "a", "said"]], [[1.0, "b", "heard"]]]
    assert field_of(words).options["values"] == []


# The model's side -------------------------------------------------------------------------------------------------
def test_order_changes_nothing_to_the_bit():
    field = field_of(ROWS)
    for seed in range(3):
        shuffled = [[row[i] for i in np.random.default_rng(seed).permutation(len(row))] for row in ROWS]
        assert torch.equal(tokens(field, shuffled)[0], tokens(field, ROWS)[0])


def test_neither_other_rows_nor_padding_change_a_row():
    field = field_of(ROWS)
    together, mask = tokens(field, [*ROWS, [], None])
    for row, cell in enumerate([*ROWS, [], None]):
        alone, own = tokens(field, [cell])
        assert mask[row].sum() == own.sum()
        torch.testing.assert_close(together[row][mask[row]], alone[0][own[0]], atol=1e-5, rtol=1e-5)
    empty, missing = together[-2, 0], together[-1, 0]
    assert not torch.allclose(empty, missing)  # nothing happened; it is not known what happened


def test_an_event_is_seen_with_its_neighbours_of_the_same_unit():
    times = torch.tensor([[0.0, 1.0, 1.5, 3.0, 3.5, 9.0]])
    units = torch.tensor([[0, 1, 0, 0, 1, 0]])
    values = torch.arange(6.0)[None, :, None]
    mask = torch.tensor([[True, True, True, True, True, False]])
    found = in_own_unit(values, times, units, mask)[0].unflatten(1, (8, 2, 3))  # away, before and after, what
    for i in range(5):
        own = [j for j in range(5) if units[0, j] == units[0, i]]
        for away in range(1, 9):
            for side, sign in enumerate((-1, 1)):
                place = own.index(i) + sign * away
                gap, value, there = found[i, away - 1, side]
                assert bool(there) == (0 <= place < len(own))
                if there:
                    assert value == own[place]
                    assert gap == log_gaps((times[0, own[place]] - times[0, i]).abs())


def test_long_rows_are_read_in_windows_and_tokens_are_bounded():
    long = many(1_000)
    field = field_of(ROWS, max_events=101)
    recording = EVENTS.read(field, long)
    pieces = EVENTS.windows(field, recording)
    assert [len(piece) for piece in pieces] == [101] * 10
    assert pieces[0].times[0] == recording.times[0]
    assert pieces[-1].times[-1] == recording.times[-1]
    assert all(piece.counts.sum() == 1_000 for piece in pieces)  # of the whole row
    assert len(EVENTS.windows(field, EVENTS.read(field, many(9_999)))) == 16
    assert tokens(field, [long])[0].shape[1] <= 1 + EVENTS_TOKENS
    for u in (0.0, 0.5, 1 - 1e-9):
        assert len(EVENTS.crop(field, recording, u)) == 101
    assert EVENTS.crop(field, recording, 1 - 1e-9).times[-1] == recording.times[-1]


def test_changes_in_training_keep_the_order_of_time_and_what_is_known():
    field = field_of(ROWS)
    part = EVENTS.collate(field, [EVENTS.read(field, cell) for cell in ROWS])
    changed = EVENTS.augment(field, part, uniform)
    for row in range(4):
        mask = changed["mask"][row]
        count = int(mask.sum())
        assert mask[:count].all()  # the dropped ones are at the end
        assert 0.7 * part["mask"][row].sum() <= count <= part["mask"][row].sum()
        assert (changed["times"][row, :count].diff() >= 0).all()
    assert torch.equal(changed["counts"], part["counts"])
    plain = EVENTS.augment(field.with_options(augment=False), part, uniform)
    assert torch.equal(plain["times"], part["times"])
    bare = field_of([[event[:2] for event in row] for row in ROWS])  # no values
    part = EVENTS.collate(bare, [EVENTS.read(bare, [event[:2] for event in row]) for row in ROWS])
    assert EVENTS.augment(bare, part, uniform)["values"].shape == (4, 101, 0)


def test_unknown_and_missing_units_are_unseen():
    field = field_of(ROWS)
    found = EVENTS.read(field, [[0.0, "zebra", 1.0], [1.0, None, 1.0], [2.0, "b", 1.0]])
    assert found.units.tolist() == [3, 3, 1]
    assert found.counts.tolist() == [0, 1, 0, 2]
    assert EVENTS.remarks(field, None, found) == ("unit 'zebra' is none of those of training: it is read as unseen",)


def test_a_start_takes_over_units_by_their_names():
    def weights(units):
        field = field_of([many(99, units)])
        return EVENTS.inputs([field], CHANNELS).weights({"e": field})["e"][1]

    first, second = weights("abc"), weights("bcd")
    assert set(first) & set(second) >= {"= b", "= c", "unseen", "event.weight"}
    assert not [name for name in set(first) & set(second) if "whole" in name or name in ("= a", "= d")]
    assert [name for name in weights("abc") if name in first and "whole" in name]


def test_what_is_sorted_or_unseen_is_said(capsys):
    cells = [sorted(row) for row in ROWS] * 6
    label = ["x", "y"] * 12
    model = pv.fit(
        {"e": [json.dumps(cell[::-1]) for cell in cells], "label": label},
        "label",
        steps=2,
        size="tiny",
    )
    assert "e: events came in no order of time and are sorted (" in capsys.readouterr().err
    strange = [[0.0, "zebra", 1.0], [1.0, "a", 0.5]]
    model.predict({"e": [json.dumps(cell) for cell in (cells[0], strange, strange)]})
    said = capsys.readouterr().err
    assert "e: unit 'zebra' is none of those of training: it is read as unseen (2 rows, such as row 2)" in said


# Bad input --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ([[0.0, "a", 1.0], [None, "a", 1.0]], "event 2: its time is missing"),
        ([[0.0, "a", 1.0], [float("nan"), "b", 1.0]], "event 2: its time is missing or infinite"),
        ([["soon", "a", 1.0]], "event 1: its time is 'soon', expected a time such as 2026-11-23"),
        ([[0.0, "a", "high"]], "event 1: its value '2' is 'high', expected a number"),
        ([[0.0, "a", float("inf")]], "event 1: infinity came"),
        ([[0.0, "a", 1.0], 3.0], "events of several forms came"),
        ([[0.0, ["a"], 1.0]], "expected one category"),
        ("[[0.0, 'a'", "expected a list of [time, unit, value …]"),
        (3.5, "3.5 came, expected a list of [time, unit, value …]"),
        ({"0": [1.0], "1": ["a", "b"], "2": [1.0]}, "columns of different lengths came: 1 in 0, 2 in 1"),
        ({"when": [1.0]}, "no '0' came among when"),
        (np.zeros((2, 2, 2)), "an array of rank 3 came"),
    ],
)
def test_what_is_no_list_of_events_is_refused_in_one_line(cell, message):
    with pytest.raises(Unreadable) as caught:
        EVENTS.read(field_of(ROWS), cell)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_tables_are_refused_by_name(tmp_path):
    field = field_of(ROWS)
    for name in ("a.csv", "a.parquet", "a.npy"):
        (tmp_path / name).write_bytes(b"\x93NUMPY\x01\x00 no")
        with pytest.raises(Unreadable, match=name):
            EVENTS.read(field, tmp_path / name)


def test_what_cannot_be_fitted_is_refused():
    for cells in ([], [None, ""], [[], []], [[["soon", "a"]]]):
        with pytest.raises(BadInput, match="no events can be read in the rows of train"):
            field_of(cells)
    with pytest.raises(BadInput, match="start 'yesterday' is no number"):
        field_of(ROWS, start="yesterday")


# Inferred ---------------------------------------------------------------------------------------------------------
def test_events_are_recognised_in_cells():
    label = ["x", "y"] * 6
    cells = [many(5 + i, seed=i) for i in range(12)]
    frames = {
        "lists": {"e": cells},
        "json": {"e": [json.dumps(cell) for cell in cells]},
        "records": {"e": [[{"t": t, "u": u} for t, u, _ in cell] for cell in cells]},
        "columns": {n: [[event[i] for event in cell] for cell in cells] for i, n in enumerate(("time", "what", "v"))},
    }
    for name, columns in frames.items():
        table = sources.read({**columns, "label": label})
        schema = infer.infer(table, ["label"])
        (field,) = schema.inputs
        assert field.modality == "events", name
        infer.check(table, schema)
        assert "events" in infer.describe(table, schema)
    assert field.columns == ("time", "what", "v")
    assert field.options == {"time": "time", "unit": "what", "values": ["v"]}


def test_a_long_table_whose_times_repeat_is_events():
    rows = [(s, t, u, x) for s in range(12) for t, u, x in many(9 + s, seed=s)]
    frame = pl.DataFrame(rows, schema=["id", "t", "what", "x"], orient="row").with_columns(
        label=pl.when(pl.col("id") % 2 == 0).then(pl.lit("even")).otherwise(pl.lit("odd"))
    )
    table = sources.read(frame)
    schema = infer.infer(table, ["label"], time="t", series="id")
    field = schema["events"]
    assert (field.modality, field.columns) == ("events", ("t", "what", "x"))
    assert "times repeat within a series, as in rows" in field.reason
    assert "the unit is 'what'" in field.reason
    model = pv.fit(frame, schema=schema, steps=2, size="tiny")
    assert model.schema["events"].options["units"] == ["a", "b", "c"]
    assert model.predict(frame).height == 12


# For a person -----------------------------------------------------------------------------------------------------
def test_rasters_have_a_line_a_unit_and_are_escaped_and_bounded():
    field = field_of([[[0.0, "<b>", 1.0], [1.0, "a", 2.0]]])
    drawn = EVENTS.draw(field, [[0.0, "<b>", 1.0], [1.0, "a", 2.0]])
    assert "&lt;b&gt;" in drawn
    assert drawn.count("<path") == 2 + 1  # the axis
    assert drawn.count(">0</text>") == drawn.count(">1</text>") == 1
    n = 5_000
    raster = Raster.of(np.arange(n), RNG.integers(0, 40, n), np.zeros(n), [str(i) for i in range(40)], np.zeros(n))
    assert len(raster.names) == MOST_UNITS + 1
    assert raster.html().count("<path") == MOST_MARKS + 1
    assert EVENTS.draw(field, []) == "no events"
    assert EVENTS.draw(field, None) == "–"


def test_attention_is_drawn_on_the_events_of_its_tokens():
    field = field_of(ROWS, max_events=128)  # two events a token
    weights = np.zeros((1, 30))
    weights[0, 3] = 0.25  # after the token for the whole: the events 5 and 6
    found = EVENTS.shaded(field, ROWS[1], weights)
    assert np.flatnonzero(found.weights).tolist() == [4, 5]
    assert found.weights.max() == 1


def test_baselines_count_events():
    field = field_of(ROWS)
    examples = [EVENTS.read(field, cell) for cell in [*ROWS, []]] + [None]
    found = Rates(3, 1).fit_transform(examples)
    assert found.shape == (6, 3 + 4 * 5)
    np.testing.assert_array_equal(found[:5, 0], [11, 53, 101, 7, 0])
    own = np.array([[t, x] for t, u, x in sorted(ROWS[1], key=lambda event: event[0]) if u == "a"])
    chosen = found[1, 3:8]
    assert chosen[0] == len(own)
    assert chosen[1] == pytest.approx(np.median(np.diff(own[:, 0])))
    assert chosen[3:5] == pytest.approx([own[:, 1].mean(), own[:, 1].std()])
    assert np.isnan(found[5]).all()


def test_a_row_of_other_columns_does_not_decide_how_all_are_read():
    row = [{"time": 0.5, "unit": "a", "value": 1.0}, {"time": 0.7, "unit": "b", "value": 2.0}]
    odd = [{"speed": 3.0, "weight": 1.0}]
    field = field_of([odd, row, row, row])
    assert (field.options["time"], field.options["unit"], field.options["values"]) == ("time", "unit", ["value"])
    assert len(EVENTS.read(field, row)) == 2
    with pytest.raises(Unreadable, match="no 'time' came among speed, weight"):
        EVENTS.read(field, odd)


def test_where_no_file_of_events_can_be_read_the_first_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("time,unit\nnoon,p\n0.5,q\n")
    with pytest.raises(
        BadInput,
        match=r"no events can be read in the rows of train: .*a\.csv: event 1: its time is 'noon', expected a number",
    ):
        field_of([tmp_path / "a.csv"], files=True)
    (tmp_path / "b.csv").write_text("time,unit\n")
    with pytest.raises(BadInput, match="every cell of e is empty, or holds no events"):
        field_of([tmp_path / "b.csv"], files=True)


@pytest.mark.parametrize(
    ("times", "line"),
    [
        ([0.5, "1.0", "soon"], "event 3: its time is 'soon', expected a number"),
        (["soon", 1, 2.5], "event 1: its time is 'soon', expected a number"),
        (["2026-01-01", " 2026-01-02 ", "soon"], "event 3: its time is 'soon', expected a time such as 2026-11-23"),
        (["0.5", None, "1"], "event 2: its time is missing"),
    ],
)
def test_a_bad_time_is_named_by_its_event(times, line):
    with pytest.raises(Unreadable, match=line):
        as_times_of({"time": times}, Layout("time", None, ()))


def test_a_word_in_one_row_does_not_take_the_values_from_all():
    good = {"time": [0.1, 0.2], "unit": ["a", "b"], "value": [1.0, 2.0]}
    bad = {**good, "value": ["1.5", "high"]}
    assert find_layout([good, bad, good], None, None, None) == Layout("time", "unit", ("value",))
    with pytest.raises(Unreadable, match="event 2: its value 'value' is 'high', expected a number: mend it"):
        as_values(bad, Layout("time", "unit", ("value",)))
