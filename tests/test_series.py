"""Series: what is read, what a model gets of it, and what never matters."""

import numpy as np
import polars as pl
import pytest
import torch

import perceivers as pv
from perceivers.data import infer, sources
from perceivers.data.randomness import uniform
from perceivers.data.schema import Field
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import modality, steps
from perceivers.modalities.lines import lines

RNG = np.random.default_rng(0)
CHANNELS = 12


def fitted(cells, columns=("x",), **options):
    field = Field("x", "series", "input", tuple(columns), options)
    field = field.with_options(**{**modality(field).options, **options})
    return field.with_options(**modality(field).fit(field, cells))


def collated(field, cells):
    kind = modality(field)
    return kind.collate(field, [kind.read(field, cell) for cell in cells])


def draw(rows=4, seed=0):
    ids = np.arange(rows)
    return lambda purpose, count: torch.from_numpy(uniform(seed, 0, ids, purpose, count)).float()


# Reading ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "cell", [[1, 2.5, None], (1, 2.5, np.nan), np.array([1, 2.5, np.nan]), "[1, 2.5, null]", " [1,2.5,NaN] "]
)
def test_one_channel_in_every_form(cell):
    example = modality(fitted([[1.0]])).read(fitted([[1.0]]), cell)
    np.testing.assert_array_equal(example, [[0, 1], [1, 2.5], [2, np.nan]])


def test_npy_and_npz_files(tmp_path):
    values = RNG.normal(size=(3, 7))
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", values)
    np.savez(tmp_path / "two.npz", values, values)
    np.save(tmp_path / "deep.npy", np.zeros((2, 2, 2)))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    field = fitted([tmp_path / "a.npy"], files=True)
    for name in ("a.npy", "a.npz"):
        np.testing.assert_array_equal(modality(field).read(field, tmp_path / name)[:, 1:], values.T)
    assert modality(field).size(field, tmp_path / "a.npy") == 7
    for name, message in (
        ("two.npz", "holds 2 arrays"),
        ("deep.npy", "rank 3"),
        ("objects.npy", "cannot be read"),
        ("broken.npy", "cannot be read"),
        ("none.npy", "cannot be read"),
    ):
        with pytest.raises(Unreadable, match=message):
            modality(field).read(field, tmp_path / name)


@pytest.mark.parametrize(
    ("shapes", "steps_first"),
    [([(3, 9), (3, 5)], False), ([(9, 3), (5, 3)], True), ([(2, 9)], False), ([(9, 2)], True), ([(4, 4)], False)],
)
def test_the_axis_that_varies_or_is_longer_is_time(shapes, steps_first):
    cells = [RNG.normal(size=shape).tolist() for shape in shapes]
    field = fitted(cells)
    assert field.options["steps_first"] is steps_first
    steps = np.array(cells[0]) if steps_first else np.array(cells[0]).T
    np.testing.assert_array_equal(modality(field).read(field, cells[0])[:, 1:], steps)
    assert fitted(cells, steps_first=not steps_first).options["channels"] == np.array(cells[0]).shape[not steps_first]


def test_channels_of_uneven_lengths_are_filled_up_with_missing_values():
    cell = [[1.0, 2.0, 3.0], [4.0]]
    field = fitted([cell])
    assert (field.options["channels"], field.options["steps_first"]) == (2, False)
    np.testing.assert_array_equal(modality(field).read(field, cell)[:, 1:], [[1, 4], [2, np.nan], [3, np.nan]])


def test_times_are_positions_in_usual_steps():
    times, values = [10.0, 12.0, 14.0, 20.0], [1.0, 2.0, 3.0, 4.0]
    field = fitted([(times, values)] * 3, columns=("t", "x"), time="t")
    assert (field.options["step"], field.options["length"]) == (2.0, 6.0)
    np.testing.assert_array_equal(modality(field).read(field, (times, values))[:, 0], [0, 1, 2, 5])
    dates = ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-06"]
    np.testing.assert_allclose(modality(field).read(field, (dates, values))[:, 0] * 2, np.array([0, 1, 2, 5]) * 86400)
    again = field.with_options(**modality(field).fit(field, [(times, values)]))
    assert again == field  # what is known is kept


@pytest.mark.parametrize("empty", [None, []])
def test_of_several_columns_one_may_be_missing(empty):
    field = fitted([([1, 2], [3, 4]), ([5, 6], [7, 9])], columns=("x", "y"))
    found = modality(field).read(field, ([1, 2, 4], empty))
    np.testing.assert_array_equal(found, [[0, 1, np.nan], [1, 2, np.nan], [2, 4, np.nan]])
    assert modality(field).read(field, (empty, None)) is None


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (([1, 2, 2], [1, 2, 3]), "step 3: time 2 came twice"),
        (([1, 3, 2], [1, 2, 3]), "step 3: time 2 came before it: sort"),
        (([1, 2], [1, 2, 3]), "2 times came for 3 steps"),
        (([1, None, 3], [1, 2, 3]), "a time is missing"),
        ((["noon", "one"], [1, 2]), "expected numbers, or times such as"),
    ],
)
def test_times_that_cannot_be_are_refused(cell, message):
    field = fitted([([1, 2], [3, 4])], columns=("t", "x"), time="t")
    with pytest.raises(Unreadable, match=message):
        modality(field).read(field, cell)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (["a", "b"], "expected numbers"),
        ([1, np.inf], "infinity"),
        ([[1, 2], [3, 4], [5, 6]], "3 channels came, expected 1"),
        ([[[1]]], "rank 3"),
        (3.5, "expected a list of numbers"),
        ("[1, 2", "expected a list such as"),
        (f"[1{'0' * 400}]", "expected numbers below 1e308"),
        (f"[[1{'0' * 400}], [1, 2]]", "expected numbers"),
        (f"[1{'0' * 5000}]", "expected a list such as"),
        ("[" * 100_000 + "]" * 100_000, "expected a list such as"),
    ],
)
def test_what_is_no_series_is_refused_with_what_was_expected(cell, message):
    field = fitted([[1.0, 2.0]], steps_first=False)
    with pytest.raises(Unreadable, match=message):
        modality(field).read(field, cell)


def test_a_time_option_must_name_one_of_several_columns():
    with pytest.raises(BadInput, match="x: time must be null, got 'when'"):
        fitted([[1.0]], time="when")
    with pytest.raises(BadInput, match="no series can be read"):
        fitted([None, []])


# What a model gets ------------------------------------------------------------------------------------------------
def test_values_are_standardised_by_train_alone_and_missing_ones_are_marked():
    train = [RNG.normal(50, 7, size=(2, 11)) for _ in range(5)]
    train[0][0, 3] = np.nan
    field = fitted(train)
    flat = np.concatenate(train, axis=1)
    np.testing.assert_allclose(field.options["mean"], np.nanmean(flat, axis=1))
    np.testing.assert_allclose(field.options["std"], np.nanstd(flat, axis=1))
    part = collated(field, [train[0], None, train[1][:, :4]])
    expected = (train[0].T - np.nanmean(flat, 1)) / np.nanstd(flat, 1)
    np.testing.assert_allclose(part["values"][0], np.nan_to_num(expected), rtol=1e-5, atol=1e-6)
    assert part["length"].tolist() == [11, 0, 4]
    assert part["present"].sum((1, 2)).tolist() == [21, 0, 8]
    assert part["values"][2, 4:].abs().max() == 0


def test_a_series_standardised_by_itself_does_not_know_its_level_or_scale():
    cell = RNG.normal(size=29)
    field = fitted([cell, 5 * cell], own_scale=True)
    part = collated(field, [cell, 1000 + 300 * cell])
    torch.testing.assert_close(part["values"][0], part["values"][1], rtol=2e-2, atol=2e-2)
    std, mean = field.options["std"][0], field.options["mean"][0]
    np.testing.assert_allclose(part["mean"][1] * std + mean, 1000 + 300 * cell.mean(), rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 7.25, -1e12])
def test_constant_series_are_finite(value):
    field = fitted([[value] * 9] * 2, own_scale=True)
    part = collated(field, [[value] * 9, [value]])
    module = modality(field).inputs([field], CHANNELS)
    assert part["values"].abs().max() == 0
    assert module({"x": part})[0].isfinite().all()


@pytest.mark.parametrize("cell", [[], None, [None, None, None], [2.0], ""])
def test_no_step_one_step_and_all_missing_are_read_and_learned_from(cell):
    field = fitted([[1.0, 2.0, 4.0]] * 2)
    part = collated(field, [cell, [1.0, 2.0, 3.0]])
    part = modality(field).augment(field, part, draw(2))
    array, mask = modality(field).inputs([field], CHANNELS)({"x": part})
    assert array.isfinite().all()
    assert mask[:, 0].all()  # the token for the whole is always there
    array.square().sum().backward()


@pytest.mark.parametrize(("length", "patch", "tokens"), [(64, 1, 65), (65, 2, 34), (1_000, 16, 64), (5_000, 128, 41)])
def test_long_series_come_in_patches(length, patch, tokens):
    cells = [RNG.normal(size=length)]
    field = fitted(cells)
    assert field.options["patch"] == patch
    array, mask = modality(field).inputs([field], CHANNELS)({"x": collated(field, cells)})
    assert array.shape == (1, tokens, CHANNELS)
    assert mask.all()


@pytest.mark.parametrize("length", [5, 37, 101])
def test_a_longer_neighbour_in_the_batch_changes_nothing(length):
    short, long = RNG.normal(size=(2, length)), RNG.normal(size=(2, 331))
    field = fitted([short, long])
    module = modality(field).inputs([field], CHANNELS).eval()
    alone, mask = module({"x": collated(field, [short])})
    beside, mask_beside = module({"x": collated(field, [short, long])})
    assert mask_beside[0].sum() == mask.sum()
    torch.testing.assert_close(beside[0][mask_beside[0]], alone[0][mask[0]])


def test_what_is_missing_does_not_matter():
    field = fitted([[1.0, 2.0, 3.0, 5.0]])
    part = collated(field, [[1.0, None, 3.0, 4.0]])
    other = {**part, "values": part["values"].clone()}
    assert other["values"][0, 1] == 0
    module = modality(field).inputs([field], CHANNELS)
    known, _ = module({"x": collated(field, [[1.0, field.options["mean"][0], 3.0, 4.0]])})
    unknown, _ = module({"x": part})
    assert (known - unknown).abs().max() > 1e-4  # a missing value is not the mean


# Augmentation -----------------------------------------------------------------------------------------------------
def test_augmentation_is_a_function_of_its_draws_and_of_each_row_alone():
    cells = [RNG.normal(size=(3, n)) for n in (17, 40, 1, 29)]
    field = fitted(cells)
    kind, part = modality(field), collated(field, cells)
    one, two, other = (kind.augment(field, part, draw(seed=seed)) for seed in (1, 1, 2))
    assert all(torch.equal(one[key], two[key]) for key in part)
    assert not torch.equal(one["values"], other["values"])
    alone = kind.augment(field, collated(field, cells[:1]), draw(rows=1, seed=1))
    inside = alone["present"][0]
    assert torch.equal(one["present"][0, :17], inside)
    for key in ("times", "length"):
        assert torch.equal(one[key], part[key])
    beyond = torch.arange(40) >= part["length"][:, None]
    assert not one["present"][beyond].any()
    assert one["values"][~one["present"]].abs().max() == 0
    assert kind.augment(field.with_options(augment=False), part, draw()) is part


def test_augmentation_stays_near_a_smooth_series():
    smooth = np.sin(np.linspace(0, 4, 101))
    field = fitted([smooth])
    part = collated(field, [smooth] * 64)
    changed = modality(field).augment(field, part, draw(64))
    there = changed["present"]
    off = (changed["values"] - part["values"])[there].abs()
    assert 0.02 < off.mean() < 0.5
    assert 0.9 < there.float().mean() < 1.0


# Schema, drawing, training ------------------------------------------------------------------------------------------
def test_inference_finds_lists_of_every_form(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(5))
    np.save(tmp_path / "b.npy", np.zeros((5, 2)))
    frame = pl.DataFrame(
        {
            "flat": [[1.0, 2.0], [3.0]],
            "channels": [[[1, 2], [3, 4]], [[5], [6]]],
            "written": ["[1, 2, null]", "[3.5]"],
            "file": ["a.npy", "b.npy"],
            "y": [1.5, 2.5],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    schema = infer.infer(sources.read(tmp_path / "t.parquet"), ["y"])
    assert [f.modality for f in schema.fields] == ["series"] * 4 + ["number"]
    assert schema["file"].options == {"files": True}
    np.save(tmp_path / "b.npy", np.zeros((5, 2, 2)))
    assert infer.infer(sources.read(tmp_path / "t.parquet"), ["y"])["file"].modality == "array"


def test_lists_named_like_times_give_the_times_of_lists_as_long():
    frame = pl.DataFrame({"t": [[1, 2], [1, 2, 4]], "x": [[5, 6], [7, 8, 9]], "z": [[1], [2]], "y": [1.5, 2.5]})
    schema = infer.infer(sources.read(frame), ["y"])
    assert schema["x"].columns == ("t", "x")
    assert schema["z"].columns == ("z",)
    assert schema["t"].role == "ignore"


def test_drawings_are_small_and_break_where_values_are_missing():
    drawn = lines(np.arange(5), [np.array([1, 2, np.nan, 4, 5]), np.zeros(5)])
    assert drawn.count("<path") == 2
    assert drawn.count("M") == 3
    assert "from 0 to 5" in drawn
    assert [drawn.count(f">{end}</text>") for end in (0, 5)] == [1, 1]
    assert "nan" not in drawn
    assert len(lines(np.arange(10**5), RNG.normal(size=(20, 10**5)))) < 30_000
    assert lines(np.arange(2), [np.array([np.nan, np.nan])]) == "–"
    field = fitted([[1.0, 2.0]])
    assert modality(field).draw(field, None) == "–"
    assert modality(field).draw(field, [3.0]).startswith("<svg")


def test_a_patchs_weight_is_drawn_on_its_steps():
    field = fitted([RNG.normal(size=100)])
    assert field.options["patch"] == 2
    weights = np.zeros((2, 51))
    weights[:, 0], weights[0, 3], weights[1, 50] = 9, 1, 2
    shaded = modality(field).shaded(field, list(range(100)), weights)
    assert (np.flatnonzero(shaded.weights) == [4, 5, 98, 99]).all()
    assert shaded.weights[4] == shaded.weights[99] / 2 == 0.5
    assert "<svg" in shaded.html()
    assert modality(field).shaded(field, [None], weights).html() == "–"
    long = fitted([RNG.normal(size=10_000)])
    assert len(modality(long).shaded(long, RNG.normal(size=10_000), np.ones((1, 80))).html()) < 60_000


def waves(rows, classes=2, length=24):
    random = np.random.default_rng(rows)
    y, t = random.integers(classes, size=rows), np.arange(length)
    clean = np.sin(t * (0.3 + 0.6 * y[:, None]) + random.uniform(0, 6, (rows, 1)))
    series = clean + 0.1 * random.normal(size=clean.shape)
    return pl.DataFrame({"x": series.tolist(), "y": [f"class {i}" for i in y]})


def test_a_model_learns_from_series_reports_and_predicts(tmp_path):
    model = pv.fit(waves(160), "y", steps=60, size="tiny", out=tmp_path / "run")
    assert model.metrics["y"]["accuracy"]["value"] > 0.75
    assert "<svg" in model.report.read_text()
    new = waves(5)
    answers = model.predict(new)
    assert answers["y_predicted"].to_list() == model.predict(new["x"].to_list())["y"].to_list()
    again = pv.load(model.save(tmp_path / "copy"))
    assert again.predict(new).equals(answers)


def test_rows_that_are_no_series_are_named_and_left_out(tmp_path):
    rows = waves(40).to_dicts()
    for row in rows[3:6]:
        row["x"] = [[1.0], [2.0]]
    frame = pl.DataFrame({"x": [str(row["x"]) for row in rows], "y": [row["y"] for row in rows]})
    model = pv.fit(frame, "y", steps=2, size="tiny", out=tmp_path / "run")
    assert "row 4, x: 2 channels came, expected 1" in model.report.read_text()


# Bad input --------------------------------------------------------------------------------------------------------
def few(series, y, **more):
    return pl.DataFrame({"x": pl.Series(series, dtype=pl.List(pl.Float64)), "y": y, **more})


@pytest.mark.parametrize("cell", [[], [2.0], [3.0] * 5, [None] * 5])
def test_a_column_of_one_series_alone_is_no_input(cell):
    with pytest.raises(BadInput, match="no column is left to predict from: x: "):
        pv.fit(few([cell] * 30, ["a", "b"] * 15), "y", steps=1)


def test_short_constant_and_missing_series_among_others_are_learned_from(tmp_path):
    odd = [[], [1.0], None, [None, None], [3.0] * 12, [-1e9] * 12]
    frame = few([*waves(40)["x"].to_list(), *odd * 2], ["a", "b"] * 26)
    model = pv.fit(frame, "y", steps=2, size="tiny", out=tmp_path / "run")
    assert model.metrics["y"]["n"] >= 6
    assert model.predict(few(odd, ["a"] * 6))["y_predicted"].null_count() == 0


def test_one_row_a_class_is_refused():
    with pytest.raises(BadInput, match="target 'y' reads as text"):
        pv.fit(few(waves(6)["x"].to_list(), list("abcdef")), "y", steps=1)


def test_a_thousand_classes(tmp_path):
    frame = waves(2_000).with_columns(y=pl.Series([f"c{i % 1000}" for i in range(2_000)]))
    model = pv.fit(frame, "y", steps=1, size="tiny", out=tmp_path / "run")
    assert len(model.schema["y"].options["categories"]) == 1_000
    assert model.predict(frame.head(3), proba=True).width == 2 + 2 + 1_000


def test_classes_that_train_lacks_count_as_wrong_and_those_that_test_lacks_are_scored_as_absent(tmp_path):
    split = ["train"] * 20 + ["test"] * 10
    both = few(waves(30)["x"].to_list(), ["a", "b"] * 14 + ["c"] * 2, split=split)
    model = pv.fit(both, "y", steps=1, size="tiny", out=tmp_path / "one")
    note = "2 rows of classes of 'y' that the model does not know, 'c': counted as wrong"
    assert note in model.report.read_text().replace("&#39;", "'")
    assert model.metrics["y"]["n"] == 10
    assert model.metrics["y"]["accuracy"]["value"] <= 0.8
    assert model.metrics["y"]["per_class"]["c"]["recall"]["value"] == 0
    with pytest.warns(UserWarning, match="2 rows of classes"):
        assert model.evaluate(both) == model.metrics
    lacking = few(waves(30)["x"].to_list(), ["a", "b"] * 10 + ["a"] * 10, split=split)
    model = pv.fit(lacking, "y", steps=1, size="tiny", out=tmp_path / "two")
    assert model.metrics["y"]["per_class"]["b"]["n"] == 0
    all_new = few(waves(30)["x"].to_list(), ["a", "b"] * 10 + ["c"] * 10, split=split)
    model = pv.fit(all_new, "y", steps=1, size="tiny", out=tmp_path / "three")
    assert model.metrics["y"]["accuracy"]["value"] == 0


def test_times_may_be_written_as_strings():
    """A file of JSON lines gives strings where another row holds a word."""
    assert steps.as_times(["2.5", "3"]).tolist() == [2.5, 3.0]
    assert steps.as_times(["1970-01-01", "1970-01-02"]).tolist() == [0.0, 86_400.0]
    for cell in (["2.5", "soon"], ["2.5", None], ["nan", "1"]):
        with pytest.raises(Unreadable):
            steps.as_times(cell)
