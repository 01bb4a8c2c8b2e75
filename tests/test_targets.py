"""A kind of target from outside of the package: trained, measured, compared, explained and shown like all others."""

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import perceivers as pv
from perceivers.data.schema import Field, Schema
from perceivers.errors import BadInput
from perceivers.modalities import MODALITIES, check_targets, metrics
from perceivers.modalities.base import Modality, Target, is_missing


class Direction(Modality):
    """Degrees; an answer is a point on the unit circle, and its score an angle."""

    name = "direction"

    def fit(self, field, cells):
        return {}

    def read(self, field, cell):
        return None if is_missing(cell) else np.array([np.cos(np.deg2rad(cell)), np.sin(np.deg2rad(cell))])

    def collate(self, field, examples):
        return {"circle": torch.tensor(np.stack([np.zeros(2) if e is None else e for e in examples])).float()}

    def draw(self, field, cell):
        return f"{cell}°"

    def target(self, field, channels):
        return DirectionTarget(channels)

    def columns(self, field, answer, proba):
        return {field.name: np.rad2deg(np.arctan2(answer[:, 1], answer[:, 0])).tolist()}

    def metrics(self, field, answer, truth, groups):
        return {"n": len(answer), "mae": metrics.mean(self.row_scores(field, answer, np.array(truth))[1], groups)}

    def row_scores(self, field, answer, truth):
        cosine = (answer * truth).sum(1) / np.maximum(np.linalg.norm(answer, axis=1), 1e-9)
        return "mae", np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))


class DirectionTarget(Target):
    def __init__(self, channels):
        super().__init__(1, channels)
        self.head = nn.Linear(channels, 2)

    def forward(self, outputs, batch):
        return self.head(outputs[:, 0])

    def loss(self, prediction, part):
        return (prediction - part["circle"]).square().sum(1)

    def answer(self, prediction, batch):
        return prediction


def test_a_target_from_outside(tmp_path, monkeypatch):
    monkeypatch.setitem(MODALITIES, "direction", Direction())
    degrees = np.random.default_rng(0).uniform(-180, 180, 90)
    frame = pl.DataFrame({"x": np.cos(np.deg2rad(degrees)), "y": np.sin(np.deg2rad(degrees)), "to": degrees})
    fields = [Field(name, "number", "input", (name,), {}) for name in "xy"]
    schema = Schema((*fields, Field("to", "direction", "target", ("to",), {})))
    model = pv.fit(frame, schema=schema, size="tiny", steps=60, out=tmp_path / "run")
    found = model.metrics["to"]
    assert found["mae"]["value"] < 45
    rivals = (tmp_path / "run" / "baselines.json").read_text(encoding="utf-8")
    assert all(name in rivals for name in ('"mean"', '"ridge"', '"random forest"'))
    answers = model.predict(frame)["to_predicted"].to_numpy()
    assert np.cos(np.deg2rad(answers - degrees)).mean() > 0.8
    report = model.report.read_text(encoding="utf-8")
    assert "answered worst, by mean absolute error" in report
    assert "(true: [" in report
    (explanation,) = model.explain(frame.head(1))
    assert {f.field.name for f in explanation.fields} == {"x", "y"}
    assert pv.load(tmp_path / "run").predict(frame).equals(model.predict(frame))


@pytest.mark.parametrize("kind", ["image", "text"])
def test_a_kind_without_a_target_is_refused(kind):
    schema = Schema((Field("it", kind, "target", ("it",), {}),))
    with pytest.raises(BadInput, match=rf"target 'it' reads as {kind}, which cannot be asked for: there are .*number"):
        check_targets(schema, "t")
