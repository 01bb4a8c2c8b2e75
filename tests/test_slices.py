"""Slices against counting by hand."""

import numpy as np
import polars as pl
import pytest

from perceivers.data.loading import Rows
from perceivers.data.schema import Field
from perceivers.data.sources import Table
from perceivers.modalities import MODALITIES, modality
from perceivers.slices import MISSING, UNSEEN, slices

N = 400


def field(name, kind, role="input", **options):
    return Field(name, kind, role, (name,), {**MODALITIES[kind].options, **options})


@pytest.fixture
def rows():
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "plan": random.choice(["basic", "gold", "new", None], N, p=[0.4, 0.4, 0.1, 0.1]).tolist(),
            "age": [None if x < 25 else x for x in random.uniform(20, 60, N)],
            "note": [None if x < 0.3 else "a note" for x in random.random(N)],
        }
    )
    fields = (
        field("plan", "category", categories=["basic", "gold"]),
        field("age", "number", mean=[0.0], std=[1.0], quantiles=[[0.0] * 17]),
        field("note", "text", max_bytes=99),
    )
    return Rows(Table(frame, "t", None), fields, modality), fields


def test_the_worst_slice_comes_first_with_its_count_and_interval(rows):
    rows, fields = rows
    plan = rows.table.frame["plan"].to_list()
    truth = np.zeros(N, int)
    wrong = np.array([p == "basic" and i % 2 == 0 for i, p in enumerate(plan)])
    answers = np.where(wrong[:, None], [0.1, 0.9], [0.9, 0.1])
    found = slices(field("y", "category", "target", categories=["a", "b"]), fields, rows, np.arange(N), answers, truth)
    first = found.worst[0]
    basic = np.array([p == "basic" for p in plan])
    assert (first.field, first.value, first.n, first.clear) == ("plan", "basic", basic.sum(), True)
    assert first.score["value"] == pytest.approx(1 - wrong[basic].mean())
    assert first.score["low"] < first.score["value"] < first.score["high"] < found.overall == 1 - wrong.mean()
    assert [s.score["value"] for s in found.worst] == sorted(s.score["value"] for s in found.worst)
    assert all(s.score["value"] < found.overall for s in found.worst)
    assert found.looked_at == 4 + 4 + 2 + 2


def test_categories_that_are_missing_or_unseen_are_slices_and_so_are_missing_cells(rows):
    rows, fields = rows
    for member, name in ((None, ("plan", MISSING)), ("new", ("plan", UNSEEN))):
        wrong = np.array([p == member for p in rows.table.frame["plan"].to_list()])
        answers = np.where(wrong, 10.0, 0.0)[:, None]
        found = slices(field("y", "number", "target"), fields, rows, np.arange(N), answers, np.zeros((N, 1)))
        assert (found.worst[0].field, found.worst[0].value) == name
    wrong = rows.table.frame["note"].is_null().to_numpy()
    answers = np.where(wrong, 10.0, 0.0)[:, None]
    found = slices(field("y", "number", "target"), fields, rows, np.arange(N), answers, np.zeros((N, 1)))
    assert (found.worst[0].field, found.worst[0].value, found.worst[0].n) == ("note", MISSING, wrong.sum())


def test_numbers_are_worst_where_they_are_farthest_off(rows):
    rows, fields = rows
    ids = np.flatnonzero(rows.table.frame["age"].is_not_null().to_numpy())
    age = rows.table.frame["age"].to_numpy()[ids]
    answers = age[:, None] + np.where(age > np.quantile(age, 0.75), 10.0, 1.0)[:, None]
    found = slices(field("y", "number", "target"), fields, rows, ids, answers, age[:, None])
    first = found.worst[0]
    assert (found.name, first.field, first.clear) == ("mae", "age", True)
    assert first.score["value"] > 9.5
    assert first.n == pytest.approx(len(ids) / 4, abs=2)


def test_few_rows_make_no_slice(rows):
    rows, fields = rows
    found = slices(field("y", "number", "target"), fields, rows, np.arange(12), np.ones((12, 1)), np.ones((12, 1)))
    assert all(10 <= s.n < 12 for s in found.worst)
