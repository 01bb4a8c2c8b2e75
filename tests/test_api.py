"""The Python side: fit, evaluate, predict, save, load, on frames of both kinds."""

import warnings

import polars as pl
import pytest
import torch
from sklearn.datasets import load_breast_cancer

import perceivers as pv
from perceivers.model import FORMAT


@pytest.fixture(scope="module")
def frame():
    return load_breast_cancer(as_frame=True).frame.iloc[:160, -6:]


@pytest.fixture(scope="module")
def model(frame):
    return pv.fit(frame, "target", steps=10)


def test_a_saved_model_is_the_same_bit_for_bit(model, tmp_path):
    again = pv.load(model.save(tmp_path / "copy"))
    one, two = model.model.state_dict(), again.model.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert again.schema == model.schema
    assert again.metrics == model.metrics


def test_polars_and_pandas_get_the_same_answers(model, frame):
    one, two = model.predict(frame), model.predict(pl.from_pandas(frame))
    assert one["target_predicted"].to_list() == two["target_predicted"].to_list()
    assert one.height == len(frame)


def test_evaluation_of_the_training_data_is_of_the_test_rows(model, frame):
    assert model.evaluate(frame) == model.metrics
    assert model.evaluate(frame.iloc[:100])["target"]["n"] == 100


def test_rows_of_training_in_another_form_are_noticed(model, frame, tmp_path):
    frame.sample(frac=1, random_state=0).to_parquet(tmp_path / "again.parquet")  # with the index that pandas adds
    assert "__index_level_0__" not in {f.name for f in pv.inspect(tmp_path / "again.parquet", "target").inputs}
    with pytest.warns(UserWarning, match=r"136 of the 160 rows were there in training"):
        model.evaluate(str(tmp_path / "again.parquet"))
    changed = frame.assign(**{frame.columns[0]: frame[frame.columns[0]] + 1})
    with warnings.catch_warnings(action="error"):
        assert model.evaluate(changed)["target"]["n"] == 160


def test_an_edited_schema_is_obeyed(frame):
    schema = pv.inspect(frame, "target")
    dropped = schema.inputs[0]
    edited = type(schema)(tuple(f for f in schema.fields if f.name != dropped.name), schema.split)
    model = pv.fit(frame, schema=edited, steps=2)
    assert dropped.name not in {f.name for f in model.schema.inputs}
    assert model.predict(frame.drop(columns=dropped.name)).height == len(frame)


def test_a_damaged_model_is_refused_in_one_line(model, tmp_path):
    folder = model.save(tmp_path / "copy")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(pv.BadInput, match=r"model\.safetensors"):
        pv.load(folder)


def test_a_newer_format_is_refused(model, tmp_path):
    folder = model.save(tmp_path / "copy")
    config = folder / "config.json"
    config.write_text(config.read_text().replace(f'"format": {FORMAT}', '"format": 9', 1))
    with pytest.raises(pv.BadInput, match="format 9"):
        pv.load(folder)


def test_a_stopped_fit_raises_from_its_own_line(frame, monkeypatch, tmp_path):
    def stop(*_, **__):
        raise pv.Stopped(2, "stopped; started again, the same command goes on")

    monkeypatch.setattr("perceivers.training.fitting.fit", stop)
    with pytest.raises(pv.Stopped, match="goes on") as caught:
        pv.fit(frame, "target", steps=1, out=tmp_path / "run")
    names = [entry.name for entry in caught.traceback]
    assert names[-1] == "fit"
    assert len(names) == 2


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="nonsense"):
        pv.nonsense  # noqa: B018


def test_a_run_that_ends_before_its_first_checkpoint_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("perceivers.training.folder.NOTE_SECONDS", 1e6)
    rows = [{"x": float(i % 5), "y": float(i % 5)} for i in range(40)]
    assert pv.fit(rows, target="y", steps=1, out=tmp_path / "run").metrics["y"]["n"] > 0
