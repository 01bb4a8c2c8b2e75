"""Shares against a brute-force Shapley value and planted fields; attention against a plain product of matrices."""

from itertools import permutations

import numpy as np
import polars as pl
import pytest
import torch

import perceivers as pv
from perceivers.core.attention import record_attention
from perceivers.core.perceiver import PerceiverIOConfig, build
from perceivers.core.rollout import rollout
from perceivers.data.loading import dropped_fields
from perceivers.data.schema import Field, Schema
from perceivers.explain import READ, Explanation, FieldExplanation, average, coalitions, scope, shares
from perceivers.training.config import Config, Training


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_shapley_values_are_the_mean_over_all_orders(count):
    present, weights = coalitions(count)
    values = np.random.default_rng(count).normal(size=len(present))
    value = {frozenset(np.flatnonzero(row)): v for row, v in zip(present, values, strict=True)}
    expected = np.zeros(count)
    orders = list(permutations(range(count)))
    for order in orders:
        for place, field in enumerate(order):
            expected[field] += (value[frozenset(order[: place + 1])] - value[frozenset(order[:place])]) / len(orders)
    assert len(present) == 2**count
    np.testing.assert_allclose(weights @ values, expected)


def test_sampled_values_add_up_and_are_exact_for_pairs():
    """Orders with their reverses are exact where fields interact in pairs at most."""
    random = np.random.default_rng(0)
    present, weights = coalitions(17)
    assert len(present) < 700
    alone, pairs = random.normal(size=17), np.triu(random.normal(size=(17, 17)), 1)
    values = present @ alone + np.einsum("si, ij, sj -> s", present, pairs, present)
    np.testing.assert_allclose(weights @ values, alone + (pairs.sum(0) + pairs.sum(1)) / 2)


@pytest.mark.parametrize(("count", "examined"), [(1, 1), (6, 6), (17, 17), (100, 100), (2_000, 100), (10_000, 26)])
def test_what_is_read_for_a_row_is_bounded_where_fields_are_thousands(count, examined):
    present, _ = coalitions(*scope(count))
    assert present.shape[1] == scope(count)[0] == examined
    assert len(present) * count < 1.5 * READ


def test_rollout_is_the_product_of_mean_weights():
    torch.manual_seed(0)
    config = PerceiverIOConfig(16, 16, 5, 16, self_attends_per_block=2, num_blocks=2, self_heads=4)
    perceiver = build(config)
    inputs, queries = torch.randn(3, 11, 16), torch.randn(3, 2, 16)
    mask = torch.rand(3, 11) < 0.7
    mask[1] = False
    found = rollout(perceiver, inputs, queries, mask)
    with record_attention(perceiver) as w:
        perceiver(inputs, queries, mask)
    half = [
        (np.eye(5) + w[f"block.{i}.attention"][call].mean(1).detach().numpy()) / 2 for call in (0, 1) for i in (0, 1)
    ]
    expected = w["decoder.attention"][0].mean(1).detach().numpy()
    for s in half[::-1]:
        expected = expected @ s
    expected = expected @ w["encoder.attention"][0].mean(1).detach().numpy()
    np.testing.assert_allclose(found.detach(), expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(-1).detach(), [[1, 1], [0, 0], [1, 1]], atol=1e-5)
    assert (found[~mask.unsqueeze(1).expand_as(found)] == 0).all()


def planted(n, seed=0):
    """Generated rows: `decides` gives the answer away, `noise` and `colour` say nothing."""
    random = np.random.default_rng(seed)
    decides = random.normal(size=n)
    return pl.DataFrame(
        {
            "decides": decides,
            "noise": random.normal(size=n),
            "colour": random.choice(["red", "green", "blue"], n),
            "side": np.where(decides > 0, "above", "below"),
            "value": 3 * decides + 10,
        }
    )


@pytest.fixture(scope="module")
def model():
    training = Training(batch_size=64, precision="float32", average=0.95, validations=1)
    config = Config(size="tiny", steps=250, training=training)
    return pv.fit(planted(600), ["side", "value"], config=config)


@pytest.mark.parametrize("target", ["side", "value"])
def test_a_planted_irrelevant_field_gets_about_0_and_a_decisive_one_about_1(model, target):
    explanations = model.explain(planted(40, seed=1).drop("side", "value"))
    found = average([e for e in explanations if e.target.name == target])
    share = dict(zip((f.name for f in found.fields), found.share, strict=True))
    assert share["decides"] > 0.9
    assert share["noise"] < 0.08
    assert share["colour"] < 0.08
    assert sum(share.values()) == pytest.approx(1)
    assert found.attention.sum() == pytest.approx(1, abs=1e-5)
    assert ((found.low <= found.share) & (found.share <= found.high)).all()
    assert found.low[0] > found.high[1:].max()  # the decisive one is told from those that say nothing


def test_shares_of_a_row_add_up_to_the_change_of_its_answer(model):
    row = planted(1, seed=2).drop("side", "value")
    side, value = model.explain(row)
    nothing = row.with_columns(pl.lit(None).cast(row.schema[name]).alias(name) for name in row.columns)
    there, gone = model.predict(row), model.predict(nothing)
    assert value.answer["value"] == pytest.approx(there["value"][0], rel=1e-5)
    assert sum(f.change[0] for f in value.fields) == pytest.approx(there["value"][0] - gone["value"][0], rel=1e-4)
    assert sum(f.share for f in side.fields) == pytest.approx(1)
    assert side.to_dict()["fields"]["decides"]["share"] == side.fields[0].share


def test_a_field_that_is_missing_has_no_share(model):
    row = planted(1, seed=2).drop("side", "value").with_columns(decides=pl.lit(None, pl.Float64))
    assert model.explain(row)[0].fields[0].share == pytest.approx(0, abs=1e-4)


def test_sets_of_fields_in_many_passes_or_in_one_are_the_same(model, monkeypatch):
    row = planted(1, seed=3).drop("side", "value")
    at_once = model.explain(row)
    monkeypatch.setattr("perceivers.explain.TOKENS", 3 * 3)  # 8 sets, 3 in a pass
    for one, other in zip(at_once, model.explain(row), strict=True):
        for field, again in zip(one.fields, other.fields, strict=True):
            np.testing.assert_allclose(field.change, again.change, atol=1e-5)


def test_the_interval_of_a_share_is_that_of_rows_drawn_again():
    field = Field("a", "number", "input", ("a",)), Field("b", "number", "input", ("b",))
    changes = np.random.default_rng(0).exponential(size=(30, 2, 1))

    def row(change):
        fields = [
            FieldExplanation(f, None, c.tolist(), 0.5, np.ones((1, 1)), None)
            for f, c in zip(field, change, strict=True)
        ]
        return Explanation(0, field[0], {}, fields)

    found = average([row(change) for change in changes])
    random = np.random.default_rng(1)
    loop = [shares(changes[random.integers(30, size=30)].mean(0)) for _ in range(2_000)]
    np.testing.assert_allclose(found.low, np.percentile(loop, 2.5, axis=0), atol=0.02)
    np.testing.assert_allclose(found.high, np.percentile(loop, 97.5, axis=0), atol=0.02)
    alike = average([row(changes[0])] * 5)
    np.testing.assert_allclose(alike.low, alike.share)


def test_shares_of_nothing_are_undefined():
    assert np.isnan(shares(np.zeros((3, 1)))).all()
    np.testing.assert_allclose(shares(np.array([[3.0, 0.0], [1.0, 0.0]])), [0.75, 0.25])


def test_training_drops_fields_and_shows_every_number_of_them():
    rows = np.arange(20_000)
    dropped = dropped_fields(3, 1, rows, 4, 0.1)
    missing = dropped.sum(1)
    assert dropped.mean() == pytest.approx(0.95 * 0.1 * 3 / 4 + 0.05 * 2.5 / 4, abs=0.005)  # one of four fields is kept
    assert (missing == 4).mean() == pytest.approx(
        0.05 / 4, abs=0.003
    )  # a thinned row keeps none of four, one, two, three
    assert (missing == 3).mean() > 0.01
    assert np.array_equal(dropped_fields(3, 1, rows[[7, 5]], 4, 0.1), dropped[[7, 5]])
    assert not dropped_fields(3, 1, rows, 1, 0.0).any()


def test_windows_are_explained_some_at_a_time_as_all_at_once(monkeypatch):
    words = [f"{number} good days and bad nights" for number in range(40)]
    frame = pl.DataFrame({"words": words, "more": words[::-1], "y": ["a", "b"] * 20})
    fields = [Field(name, "text", "input", (name,), {"max_bytes": 16}) for name in ("words", "more")]
    model = pv.fit(
        frame,
        schema=Schema((*fields, Field("y", "category", "target", ("y",)))),
        config=Config(size="tiny", steps=2, training=Training(batch_size=8)),
    )
    asked = frame[:1].with_columns(pl.lit("one long text. " * 13).alias("words"))
    found = []
    for most in (1_000, 3):
        monkeypatch.setattr("perceivers.explain.WINDOWS", most)
        found.append(model.explain(asked)[0])
    for whole, pieces in zip(*(one.fields for one in found), strict=True):
        assert len(whole.weights) == 14
        np.testing.assert_allclose(pieces.weights, whole.weights, atol=1e-6)
        np.testing.assert_allclose(pieces.change, whole.change, atol=1e-6)
