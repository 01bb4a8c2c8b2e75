"""Series as targets: forecasts of long tables, and lists that follow lists."""

import json
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeCV

import perceivers as pv
from perceivers.cli import app
from perceivers.data import infer, sources
from perceivers.data.batches import evaluation_batches
from perceivers.data.schema import Field, Schema
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import forecast, metrics, modality, naive
from perceivers.model import Model, load_model
from perceivers.training import defaults
from perceivers.training.callbacks import read_metrics
from perceivers.training.config import Config, Training
from perceivers.training.train import prepare, train

RNG = np.random.default_rng(0)
LATEST = Config(training=Training(average=0.0))  # few steps have no average


def fitted(cells, **options):
    field = Field("y", "series", "target", ("y",), options)
    field = field.with_options(**{**modality(field).options, **options})
    return field.with_options(**modality(field).fit(field, cells))


# The target -------------------------------------------------------------------------------------------------------
def test_targets_are_filled_up_to_the_longest_of_train():
    field = fitted([[1.0, 2.0, 6.0], [3.0]])
    kind = modality(field)
    assert field.options["horizon"] == 3
    np.testing.assert_array_equal(kind.read(field, [5.0]), [5, np.nan, np.nan])
    assert kind.read(field, None) is None
    with pytest.raises(Unreadable, match="4 steps came, the longest in train has 3"):
        kind.read(field, [1, 2, 3, 4])
    part = kind.collate(field, [kind.read(field, [5.0, None, 3.0]), None])
    np.testing.assert_allclose(part["values"][0], [2 / np.std([1, 2, 6, 3]), 0, 0], rtol=1e-6)
    assert part["present"].tolist() == [[True, False, True], [False] * 3]


def test_channels_are_kept_apart():
    cells = [RNG.normal(size=(2, 5)) for _ in range(9)]
    field = fitted(cells)
    kind = modality(field)
    examples = np.stack([kind.read(field, cell) for cell in cells])
    assert kind.columns(field, examples, False)["y"] == [cell.tolist() for cell in cells]
    target = kind.target(field.with_options(given={}), 8)
    part = kind.collate(field, examples)
    np.testing.assert_allclose(target.answer(part["values"], {}), examples, rtol=1e-4, atol=1e-5)


def test_the_loss_is_the_mean_over_steps_that_have_a_value():
    field = fitted([[1.0, 2.0, 6.0]])
    kind = modality(field)
    target = kind.target(field.with_options(given={}), 8)
    part = kind.collate(field, [np.array([1.0, np.nan, 6.0]), None])
    guess = torch.tensor([[1.0, 50.0, 2.0], [9.0, 9.0, 9.0]])
    expected = ((guess[0, [0, 2]] - part["values"][0, [0, 2]]) ** 2).mean()
    torch.testing.assert_close(target.loss(guess, part), torch.stack([expected, torch.tensor(0.0)]))


def test_a_past_must_be_an_input_of_as_many_channels():
    field = fitted([[1.0, 2.0]], past="x")
    with pytest.raises(BadInput, match="past: x is no input series; there are none"):
        modality(field).agree(field, {})
    two = Field("x", "series", "input", ("x",), {**modality(field).options, "channels": 2})
    with pytest.raises(BadInput, match="has 1 channels, x, its past, 2"):
        modality(field).agree(field, {"x": two})


# Metrics and simple forecasts -------------------------------------------------------------------------------------
def test_errors_are_measured_on_standardised_values_and_in_their_own_units():
    values, truth = RNG.normal(size=(2, 31, 5))
    truth[3, 1:] = np.nan
    scale = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = metrics.forecast(values, truth, scale)
    assert found["n"] == 31
    np.testing.assert_allclose(found["mse_raw"]["value"], np.nanmean((values - truth) ** 2, axis=1).mean())
    np.testing.assert_allclose(found["mse"]["value"], np.nanmean(((values - truth) / scale) ** 2, axis=1).mean())
    np.testing.assert_allclose(found["mae"]["value"], np.nanmean(np.abs(values - truth), axis=1).mean())
    assert found["mse"]["low"] < found["mse"]["value"] < found["mse"]["high"]
    truth[3] = np.nan
    with pytest.raises(ValueError, match="no value at any step"):
        metrics.forecast(values, truth, scale)


def past(values):
    return np.column_stack([np.arange(len(values)), values])


@pytest.mark.parametrize("period", [4, 7, 12])
def test_seasons_are_found_and_repeated(period):
    cycle = RNG.normal(size=period)
    train = [past(np.tile(cycle, 9) + 0.05 * RNG.normal(size=9 * period)) for _ in range(5)]
    assert naive.season([p[:, 1:] for p in train]) == period
    test = past(np.tile(cycle, 3)[: 2 * period + 3])
    found = naive.forecasts(train, np.zeros((5, 10)), [test], 10, 20)
    np.testing.assert_allclose(found["seasonal naive"][0], np.tile(cycle, 5)[3 : 3 + 10])
    np.testing.assert_allclose(found["last value"][0], [test[-1, 1]] * 10)
    assert naive.season([RNG.normal(size=(500, 1))]) == 1


def test_the_linear_forecast_is_a_ridge_on_standardised_pasts():
    walks = RNG.normal(size=(60, 17)).cumsum(1)
    train, goals, test = walks[:50, :12], walks[:50, 12:], walks[50:, :12]
    found = naive.forecasts([past(w) for w in train], goals, [past(w) for w in test], 5, 12)["linear"]
    mean, std = train.mean(1, keepdims=True), train.std(1, keepdims=True)
    ridge = RidgeCV(np.logspace(-2, 4, 13)).fit((train - mean) / std, (goals - mean) / std)
    mean, std, x = test.mean(1, keepdims=True), test.std(1, keepdims=True), test
    np.testing.assert_allclose(found, ridge.predict((x - mean) / std) * std + mean, rtol=1e-6)


def test_the_linear_part_is_a_ridge_with_the_steps_and_the_penalty_that_err_least_in_blocks_of_rows():
    rng = np.random.default_rng(0)
    inputs, weights = rng.normal(size=(80, 24)), rng.uniform(0.1, 2, 80)
    inputs[:, 23] = inputs[:, 22]  # without a penalty there is no answer
    goals = inputs[:, 16:] @ rng.normal(size=(8, 3)) + 5 * rng.normal(size=(80, 3))  # steps before say nothing
    found, held = (x.numpy() for x in forecast.ridge(*(torch.from_numpy(x) for x in (inputs, goals, weights))))

    def fit(rows, count, penalty):
        return Ridge(penalty, fit_intercept=False, solver="cholesky").fit(inputs[rows, -count:], goals[rows])

    def error(choice):
        total = 0.0
        for start in range(0, 80, 16):
            block = np.arange(start, start + 16)
            others = np.setdiff1d(np.arange(80), np.arange(start - 3, start + 19))  # nor those that overlap it
            answers = fit(others, *choice).predict(inputs[block, -choice[0] :])
            total += np.log(weights[block] @ ((answers - goals[block]) ** 2).mean(1))
        return total

    count, penalty = min(((c, p) for c in (24, 12, 6, 3) for p in forecast.PENALTIES), key=error)
    assert count == 12
    assert penalty not in forecast.PENALTIES[[0, -1]]
    np.testing.assert_allclose(found[-count:], fit(slice(None), count, penalty).coef_.T, atol=1e-9)
    assert not found[:-count].any()
    others = np.setdiff1d(np.arange(80), np.arange(13, 35))
    np.testing.assert_allclose(
        held[16:32], fit(others, count, penalty).predict(inputs[16:32, -count:]), atol=1e-9, err_msg="the second block"
    )


def test_of_one_row_the_linear_part_is_cautious():
    ones = torch.ones(1, 4, dtype=torch.float64)
    assert forecast.ridge(ones, ones, ones[:, 0])[0].abs().max() < 1e-3


def begun(level, seed=0):
    """A model of a series after its linear part is found, the test rows as a batch, and the model's target."""
    table = sources.read(pl.DataFrame({"time": np.arange(float(len(level))), "level": level}))
    data = prepare(table, infer.infer(table, ("level",), time="time", horizon=4))
    torch.manual_seed(seed)
    model = Model(data.schema, defaults.perceiver(defaults.resolve(Config(), data.schema, 100, 20))).eval()
    model.begin(lambda: (b for _, b in evaluation_batches(data.rows, data.parts["train"], 32)))
    (_, batch), *_ = evaluation_batches(data.rows, data.parts["test"], 1_000)
    return model, batch, model.targets[0]


def autoregression(n=1_200):
    """Steps that go on by three quarters, and noise."""
    rng, level = np.random.default_rng(3), np.zeros(n)
    for i in range(1, n):
        level[i] = 0.75 * level[i - 1] + rng.normal()
    return level


@torch.no_grad()
def test_of_squares_the_linear_part_reads_roots():
    roots = autoregression() + 6
    model, batch, target = begun(roots**2)
    assert target.roots
    assert target.rooted
    with_roots = model.losses(batch)["level"].mean()
    # the variance of what an autoregression says s steps ahead is the sum of 0.75^2k, k < s
    expected = np.cumsum(0.75 ** (2 * np.arange(4)))
    spread = (target.spread * target.std).numpy()
    np.testing.assert_allclose(spread, expected, rtol=0.15)
    target.spread.zero_()  # without it the answers are too low
    assert model.losses(batch)["level"].mean() > with_roots


@torch.no_grad()
@pytest.mark.parametrize(("level", "may"), [(autoregression() + 100, True), (autoregression(), False)])
def test_values_are_read_as_they_are_where_roots_say_no_more_or_there_are_none(level, may):
    _, _, target = begun(level)
    assert target.roots == may
    assert not (may and target.rooted)


def test_a_forecast_from_before_roots_has_none():
    field = fitted([[1.0, 2.0]], past=None)
    assert field.options["roots"] is True
    options = {**field.options, "roots": None, "past": "x", "read": 3, "given": {}}
    assert not {"rooted", "spread"} & forecast.SeriesTarget(options, 8).state_dict().keys()


def test_what_a_linear_map_can_say_is_there_before_the_first_step():
    time = np.arange(200.0)
    waves = pl.DataFrame({"time": time, "level": np.sin(time / 3) + 0.5 * np.cos(time / 7)})
    data = prepare(sources.read(waves), infer.infer(sources.read(waves), ("level",), time="time", horizon=5))
    torch.manual_seed(0)
    model = Model(data.schema, defaults.perceiver(defaults.resolve(Config(), data.schema, 100, 20))).eval()
    (_, batch), *_ = evaluation_batches(data.rows, data.parts["test"], 100)
    error = model.losses(batch)["level"].mean()
    model.begin(lambda: (b for _, b in evaluation_batches(data.rows, data.parts["train"], 32)))
    assert model.losses(batch)["level"].mean() < 1e-4 < 1e-2 < error


def test_what_has_a_closed_form_may_be_kept_as_it_is(tmp_path):
    time = np.arange(900.0)
    waves = pl.DataFrame({"time": time, "level": np.sin(time / 3)})
    out = train(waves, targets=("level",), time_column="time", horizon=5, config=Config(steps=3), out=tmp_path / "run")
    first, *later = [row for row in read_metrics(out / "metrics.csv") if row["validation_loss"] is not None]
    assert first["step"] == 0
    assert first["validation_loss"] < min(row["validation_loss"] for row in later)
    kept = load_model(out)
    assert kept.targets[0].head.weight.abs().max() == 0  # as it began


def test_without_rows_of_validation_no_step_is_the_best(tmp_path):
    waves = pl.DataFrame({"time": np.arange(700.0), "level": np.sin(np.arange(700.0) / 3)})
    schema = pv.inspect(waves, "level", time="time", horizon=5)
    schema = replace(schema, split=replace(schema.split, fractions=(0.85, 0.0, 0.15)))
    out = train(waves, schema=schema, config=Config(steps=3), out=tmp_path / "run")
    assert all(row["validation_loss"] is None for row in read_metrics(out / "metrics.csv"))
    assert load_model(out).targets[0].head.weight.abs().max() > 0


def test_missing_values_of_a_past_are_filled_from_both_sides():
    values = np.array([np.nan, 1, np.nan, 3, np.nan])
    found = naive.forecasts([past(values)] * 3, np.zeros((3, 2)), [past(values), past(np.full(4, np.nan))], 2, 5)
    assert found["last value"].tolist() == [[3, 3], [0, 0]]


def test_where_every_row_of_train_has_gaps_these_are_filled_by_straight_lines():
    lines = RNG.normal(size=(40, 1)) + RNG.normal(size=(40, 1)) * np.arange(9)  # a straight line goes on
    goals = lines[:, 5:].copy()
    goals[:, 1] = np.nan
    goals[3] = np.nan
    pasts = [past(line[:5]) for line in lines]
    found = naive.forecasts(pasts[:30], goals[:30], pasts[30:], 4, 5)["linear"]
    np.testing.assert_allclose(found, lines[30:, 5:], atol=0.1)
    assert "linear" not in naive.forecasts(pasts[:30], np.full((30, 4), np.nan), pasts[30:], 4, 5)


def test_a_past_that_is_missing_is_the_mean_of_those_of_train():
    found = naive.forecasts([past(np.array([1.0, 5.0])), None], np.ones((2, 3)), [None, past(np.zeros(2))], 3, 2)
    assert found["last value"].tolist() == [[3, 3, 3], [0, 0, 0]]
    assert np.isfinite(found["linear"]).all()


def weekdays(n=400):
    """A wave every day; on every sixth and seventh there is no value."""
    day = np.arange(n)
    return pl.DataFrame({"t": day, "x": np.where(day % 7 > 4, np.nan, np.sin(day / 3))})


@torch.no_grad()
def test_a_horizon_that_always_has_gaps_has_a_linear_part():
    table = sources.read(weekdays())
    data = prepare(table, infer.infer(table, ("x",), time="t", horizon=7))
    torch.manual_seed(0)
    model = Model(data.schema, defaults.perceiver(defaults.resolve(Config(), data.schema, 100, 20))).eval()
    (_, batch), *_ = evaluation_batches(data.rows, data.parts["test"], 100)
    error = model.losses(batch)["x"].mean()
    model.begin(lambda: (b for _, b in evaluation_batches(data.rows, data.parts["train"], 32)))
    assert model.begun
    assert model.losses(batch)["x"].mean() < 0.1 * error


# From end to end --------------------------------------------------------------------------------------------------
def shops(months=96, known=True):
    """Two shops; what they sell has a season, a level of its own and, for each promotion, five more."""
    time = pl.date_range(pl.date(2010, 1, 1), pl.date(2040, 1, 1), "1mo", eager=True)[:months].dt.strftime("%Y-%m-%d")
    frames = []
    for shop, level in (("north", 100.0), ("south", 20.0)):
        random = np.random.default_rng(int(level))
        promo = (random.random(months) < 0.3).astype(float)
        sales = level + 3 * np.sin(np.arange(months) * np.pi / 6) + 5 * promo + 0.2 * random.normal(size=months)
        frames.append(pl.DataFrame({"shop": shop, "month": time, "sold": sales, "promo": promo}))
    return pl.concat(frames)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forecast")
    shops().write_csv(folder / "shops.csv")
    schema = pv.inspect(folder / "shops.csv", "sold", time="month", series="shop", horizon=4)
    known = schema.replace(schema["promo"].with_options(known=True))
    (folder / "schema.yaml").write_text(known.to_yaml())
    model = pv.fit(
        folder / "shops.csv", schema=folder / "schema.yaml", steps=60, size="tiny", out=folder / "run", config=LATEST
    )
    return folder, model


def test_a_forecast_learns_is_measured_again_and_reported(run):
    folder, model = run
    found, simple = model.metrics["sold"], json.loads((folder / "run/baselines.json").read_text())["sold"]
    assert found["n"] == 2 * (14 // 4)
    assert {"last value", "seasonal naive", "linear"} == simple.keys()
    assert found["mse"]["value"] < simple["last value"]["mse"]["value"]
    rows = json.loads((folder / "run/baseline_scores.json").read_text())["sold"]
    linear = np.array(rows["scores"]["linear"])
    assert len(rows["rows"]) == len(linear) == found["n"]
    np.testing.assert_allclose(linear.mean(), simple["linear"]["mse"]["value"])
    assert simple["linear"]["paired"]["metric"] == "mse"  # as the headline
    assert simple["linear"]["paired"]["value"] == pytest.approx(found["mse"]["value"] - linear.mean())
    std = model.schema["sold"].options["std"][0]
    np.testing.assert_allclose(found["mse_raw"]["value"], found["mse"]["value"] * std**2)
    train = shops().filter(pl.col("month") < "2015-09")["sold"]  # 96 - 2 · 14 months
    assert abs(std - train.std()) < 0.2 * train.std()
    assert model.evaluate(folder / "shops.csv") == model.metrics
    report = model.report.read_text()
    assert "3 lines of 16 steps" in report  # the answer, the truth, and three horizons before
    assert report.index("the worst</small>") < report.index("All metrics")
    assert "seasonal naive" in report
    assert "paired over the same test rows" in report
    assert Schema.read(folder / "run/schema.yaml").long == model.schema.long


def test_predictions_go_on_from_the_last_steps_in_the_columns_of_the_input(run):
    folder, model = run
    ahead = shops().with_columns(sold=pl.when(pl.col("month") < "2017-09-01").then("sold"))
    answers = model.predict(ahead)
    assert answers.columns == ["shop", "month", "sold"]
    assert answers["shop"].to_list() == ["north"] * 4 + ["south"] * 4
    assert answers["month"][:4].to_list() == ["2017-09-01", "2017-10-01", "2017-11-01", "2017-12-01"]
    truth = shops().filter(pl.col("month") >= "2017-09-01")["sold"]
    assert (answers["sold"] - truth).abs().mean() < 6
    assert pv.load(model.save(folder / "copy")).predict(ahead).equals(answers)
    with pytest.raises(BadInput, match="'promo' is known in advance"):
        model.predict(shops())


def test_what_is_known_in_advance_changes_the_answer_and_what_is_not_does_not(run):
    _, model = run
    ahead = shops().with_columns(sold=pl.when(pl.col("month") < "2017-09-01").then("sold"))
    other = ahead.with_columns(
        promo=pl.when(pl.col("month") >= "2017-09-01").then(1 - pl.col("promo")).otherwise("promo")
    )
    assert (model.predict(ahead)["sold"] - model.predict(other)["sold"]).abs().max() > 1e-3


def test_words_that_are_known_in_advance_change_the_answer(tmp_path, capsys):
    day = np.arange(200)
    deal = np.where(day % 5 == 0, "half price", np.where(day % 7 == 0, "two for one", None))
    level = np.sin(day / 3) + 2 * (day % 5 == 0) + (day % 7 == 0)
    frame = pl.DataFrame({"day": day, "deal": deal, "sold": [*level[:190], *[None] * 10]}, strict=False)
    model = pv.fit(frame, "sold", time="day", horizon=10, steps=60, size="tiny", out=tmp_path / "run", config=LATEST)
    assert model.schema["deal"].options["words"] == ["half price", "two for one"]
    answers = pv.load(model.save(tmp_path / "copy")).predict(frame)
    assert answers["day"].to_list() == list(range(190, 200))
    other = frame.with_columns(deal=pl.when(pl.col("day") < 190).then("deal").otherwise(pl.lit("new")))
    capsys.readouterr()
    assert (model.predict(other)["sold"] - answers["sold"]).abs().max() > 1e-3
    told = "'new' (10 steps) is none of those of training: read as no word at all"
    assert f"note: deal: {told}" in capsys.readouterr().err
    many = frame.with_columns(deal=pl.when(pl.col("day") < 196).then("deal").otherwise(pl.col("day").cast(pl.String)))
    with pytest.warns(UserWarning, match=r"'196' \(1 step\), .* and 1 other word are none of those of training"):
        model.evaluate(many.with_columns(pl.col("sold").fill_null(0.0)))


def call(*arguments):
    return app(list(map(str, arguments)), exit_on_error=False, print_error=False, result_action="return_value")


def test_the_command_line_forecasts(tmp_path, capsys):
    data, run = tmp_path / "s.csv", tmp_path / "run"
    shops().drop("promo").write_csv(data)
    asked = ["--target", "sold", "--time", "month", "--series", "shop", "--horizon"]
    assert call("inspect", data, *asked, 5) == 0
    assert "5 steps are forecast from at most" in capsys.readouterr().out
    assert call("train", data, *asked, 5, "--steps", 2, "--size", "tiny", "--out", run) == 0
    capsys.readouterr()
    assert call("evaluate", run, data, "--json") == 0
    assert json.loads(capsys.readouterr().out)["sold"]["n"] == 4
    assert call("predict", run, data, "--out", tmp_path / "out.csv") == 0
    out = pl.read_csv(tmp_path / "out.csv")
    assert out.columns == ["shop", "month", "sold"]
    assert out["month"][4] == "2018-05-01"
    with pytest.raises(BadInput, match="too long for 96 times"):
        call("train", data, *asked, 40, "--out", tmp_path / "other")


@pytest.mark.parametrize("dtype", [pl.Date, pl.Datetime("us", "UTC"), pl.Datetime("ns")])
def test_times_may_be_of_a_type_of_their_own(dtype, tmp_path):
    frame, days = shops().drop("promo").filter(pl.col("shop") == shops()["shop"][0]), pl.date_range
    first = date(2020, 1, 1)
    times = days(first, first + timedelta(len(frame) - 1), eager=True).cast(dtype)
    frame.drop("shop").with_columns(month=times).write_parquet(tmp_path / "s.parquet")
    asked = [tmp_path / "s.parquet", "--target", "sold", "--time", "month", "--horizon", 3]
    assert call("train", *asked, "--steps", 1, "--size", "tiny", "--out", tmp_path / "run") == 0
    assert call("predict", tmp_path / "run", asked[0], "--out", tmp_path / "out.csv") == 0
    assert pl.read_csv(tmp_path / "out.csv").height == 3


def test_a_forecast_of_what_is_never_negative_can_be_planned(tmp_path, capsys):
    data = tmp_path / "s.csv"
    shops().drop("promo").with_columns(pl.col("sold").abs()).write_csv(data)
    assert call("plan", data, "--target", "sold", "--time", "month", "--series", "shop", "--horizon", 5) == 0
    assert "memory" in capsys.readouterr().out


def test_values_may_be_missing_in_every_horizon_and_pasts_altogether(tmp_path):
    model = pv.fit(weekdays(), "x", time="t", horizon=7, steps=2, size="tiny", out=tmp_path / "run", config=LATEST)
    assert np.isfinite(model.metrics["x"]["mse"]["value"])
    waves = 5 + np.sin(0.7 * np.arange(16) + RNG.uniform(0, 6, (60, 1)))
    frame = pl.DataFrame({"past": [[], None, *waves[2:, :12].tolist()], "next": waves[:, 12:].tolist()})
    model = pv.fit(frame, "next", steps=2, size="tiny", out=tmp_path / "lists", config=LATEST)
    assert "linear" in json.loads((tmp_path / "lists/baselines.json").read_text())["next"]


def test_a_list_that_follows_a_list(tmp_path):
    t, shift = np.arange(16), RNG.uniform(0, 6, (120, 1))
    waves = 5 + np.sin(0.7 * t + shift)
    frame = pl.DataFrame({"past": waves[:, :12].tolist(), "next": waves[:, 12:].tolist()})
    model = pv.fit(frame, "next", steps=50, size="tiny", out=tmp_path / "run", config=LATEST)
    assert model.schema["next"].options["past"] == "past"
    assert model.metrics["next"]["mse"]["value"] < 0.5
    answers = model.predict(frame.select("past").head(3))
    assert answers["next"].list.len().to_list() == [4, 4, 4]
    other = frame.with_columns(next=pl.Series((waves[:, 12:] * 1e4).tolist()))
    assert infer.infer(sources.read(other), ["next"])["next"].options.get("past") is None


def curves(rows=800):
    """Values at uneven times of a wave, and others of them asked."""
    random = np.random.default_rng(5)
    out = []
    for _ in range(rows):
        start, shift, count = random.uniform(0, 1e6), random.uniform(0, 6), int(random.integers(2, 6))
        seen, asked = np.sort(random.uniform(0, 10, 30)), random.uniform(0, 10, count)
        values = [np.sin(t + shift) for t in (seen, asked)]
        out.append({"t": start + seen - seen[0], "x": values[0], "when": start + asked - seen[0], "y": values[1]})
    return pl.DataFrame([{name: cell.tolist() for name, cell in row.items()} for row in out])


def test_values_at_asked_times(tmp_path):
    frame = curves()
    schema = infer.infer(sources.read(frame), ["y"])
    assert (schema["when"].modality, schema["when"].columns) == ("asked", ("when", "t"))
    assert schema["y"].options == {"asked": "when"}
    assert schema["x"].columns == ("t", "x")
    model = pv.fit(frame, "y", steps=250, size="tiny", out=tmp_path / "run", config=LATEST)
    assert model.metrics["y"]["mse"]["value"] < 0.6
    answers = model.predict(frame.drop("y").head(20))
    assert answers["y"].list.len().to_list() == frame["when"].head(20).list.len().to_list()
    shuffled = frame.drop("y").head(20).with_columns(pl.col("when").list.reverse())
    for one, other in zip(answers["y"], model.predict(shuffled)["y"], strict=True):
        np.testing.assert_allclose(one, other[::-1], atol=1e-4)  # an answer is its own time's alone


def test_more_times_than_in_train_are_answered_and_values_without_a_time_are_refused(tmp_path):
    frame = curves(60)
    broken = frame.with_columns(when=pl.Series([None] * 9 + frame["when"][9:].to_list()))
    model = pv.fit(broken, "y", steps=2, size="tiny", out=tmp_path / "run", config=LATEST)
    assert np.isfinite(model.metrics["y"]["mse"]["value"])
    short = frame.head(4).with_columns(
        pl.when(pl.col("y").list.len() > 3).then(pl.col("when").list.head(1)).otherwise("when")
    )
    _, failed, _ = model.evaluations(short)
    assert list(failed) == [row for row, cell in enumerate(frame["y"].head(4)) if len(cell) > 3]
    assert failed[1].endswith("y: 4 values came for 1 time in 'when': expected a time for each value")
    _, failed, _ = model.evaluations(broken[8:12])
    assert list(failed) == [0]
    asked = frame.drop("y").head(3).with_columns(when=pl.Series([[float(i) for i in range(17)], [2.5], None]))
    answers = model.predict(asked)["y"].to_list()
    assert [len(answer) for answer in answers] == [17, 1, 0]
    few = model.predict(asked.with_columns(pl.col("when").list.head(2)))["y"]
    np.testing.assert_allclose(few[0], answers[0][:2], atol=1e-5)


def test_asked_times_must_be_an_input():
    field = fitted([[1.0, 2.0]], asked="when")
    with pytest.raises(BadInput, match="asked: when is no input of asked times; there are none"):
        modality(field).agree(field, {})


def test_one_row_with_too_few_times_is_a_fault_and_changes_no_reading():
    frame = curves(60)
    bad = frame.with_columns(
        when=pl.Series([cell[:-1] if i == 6 else cell for i, cell in enumerate(frame["when"].to_list())]),
        t=pl.Series([cell[:-1] if i == 9 else cell for i, cell in enumerate(frame["t"].to_list())]),
    )
    for schema in (infer.infer(sources.read(table), ("y",)) for table in (frame, bad)):
        assert schema["when"].modality == "asked"
        assert schema["x"].options["time"] == "t"
