"""Tables of thousands of columns: what is done for each stage grows with their number, and no faster.

Calls of functions are counted, which no other process disturbs. Not concerned with seconds.
"""

import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import tiny
import torch

from perceivers.data import infer, sources
from perceivers.evaluate import evaluate
from perceivers.explain import explain
from perceivers.model import Model, load_model, save_model
from perceivers.predict import predict
from perceivers.training import defaults
from perceivers.training.train import prepare, train


def wide(columns: int) -> pl.DataFrame:
    """30 rows; the last column is the answer."""
    values = np.random.default_rng(0).normal(size=(30, columns - 1)).round(3)
    frame = pl.DataFrame(values, [f"c{i}" for i in range(columns - 1)], orient="row")
    return frame.with_columns(answer=pl.Series(["yes", "no", "no"] * 10))


def calls_of_stages(columns: int, folder) -> dict[str, int]:
    """How many functions each stage calls, steps of generators counted."""
    frame, counts, stage = wide(columns), Counter(), "read"

    def count(_frame, event, _):
        counts[stage] += event == "call"

    torch.manual_seed(0)
    sys.setprofile(count)
    try:
        table = sources.read(frame)
        schema = infer.infer(table, ["answer"])
        stage = "describe"
        infer.describe(table, schema)
        stage = "prepare"
        data = prepare(table, schema)
        config = defaults.resolve(tiny.CONFIG, data.schema, len(data.parts["train"]), len(data.parts["validation"]))
        model = Model(data.schema, defaults.perceiver(config))
        stage = "save"
        save_model(model, folder)
        stage = "load"
        model = load_model(folder)
        stage = "predict"
        predict(model, table)
        stage = "evaluate"
        evaluate(model, table)
    finally:
        sys.setprofile(None)
    return counts


def test_calls_grow_with_the_number_of_columns_and_no_faster(tmp_path):
    calls_of_stages(50, tmp_path / "warm")
    some, twice = calls_of_stages(600, tmp_path / "some"), calls_of_stages(1_200, tmp_path / "twice")
    assert some.keys() == twice.keys()
    grown = {stage: twice[stage] / some[stage] for stage in some}
    assert max(grown.values()) < 2.2, grown


def test_two_thousand_columns_are_trained_tested_and_reported(tmp_path):
    config = replace(tiny.CONFIG, steps=1)
    folder = train(wide(2_000), out=tmp_path / "run", targets=["answer"], config=config)
    assert (folder / "report.html").exists()
    model = load_model(folder)
    assert len(model.schema.inputs) == 1_999
    frame, failed = predict(model, sources.read(wide(2_000).drop("answer")))
    assert frame["answer"].null_count() == 0
    assert not failed


def test_an_explanation_of_thousands_of_fields_reads_so_many_elements_and_no_more(tmp_path, monkeypatch):
    table = sources.read(wide(5_000))
    data = prepare(table, infer.infer(table, ["answer"]))
    model = Model(data.schema, defaults.perceiver(defaults.resolve(tiny.CONFIG, data.schema, 21, 4)))
    read, answers = [], Model.answers
    monkeypatch.setattr(
        Model,
        "answers",
        lambda self, batch: read.append(len(next(iter(batch.values()))["values"])) or answers(self, batch),
    )
    (explanation,), failed = explain(model, replace(table, frame=table.frame.head(1)))
    assert not failed
    assert sum(read) * 4_999 < 2**20
    shares = [f.share for f in explanation.fields if f.share is not None]
    assert len(shares) == 52
    assert sum(shares) == pytest.approx(1)
