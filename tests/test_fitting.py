"""How many steps a run takes, and which rows it sees."""

import gc
import math
import time
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch

from perceivers.data import infer, sources
from perceivers.data.schema import Field, Schema
from perceivers.model import Model
from perceivers.training import callbacks, defaults, fitting
from perceivers.training.module import LearningModel
from perceivers.training.train import prepare


@pytest.fixture(scope="module")
def data():
    table = sources.read(tiny.FRAME)
    return prepare(table, infer.infer(table, ["answer"]))


def resolved(data, **options):
    sizes = [len(data.parts[part]) for part in ("train", "validation")]
    return defaults.resolve(replace(tiny.CONFIG, steps=None, **options), data.schema, *sizes)


def planned(data, config, deadline, monkeypatch, seconds):
    """The plan where a step takes `seconds` in each precision, and a row of validation or test 0.01."""
    calls = []
    monkeypatch.setattr(
        fitting, "measure", lambda model, data, config, *most: calls.append(most) or seconds[config.training.precision]
    )
    monkeypatch.setattr(fitting, "evaluation_seconds", lambda *_: 0.01)
    return fitting.plan(None, data, config, deadline), calls


def test_neither_the_first_step_nor_one_that_is_slow_spoils_the_measure():
    assert fitting.typical([100.0, 101.0, 102.0, 103.0, 133.0, 134.0]) == 1.0
    assert fitting.typical([100.0, 103.0]) == 3.0
    assert fitting.typical([0.0, 1.0, 4.0]) == 2.0


def test_steps_fill_the_minutes_less_what_comes_after(data, monkeypatch):
    config = replace(resolved(data), training=replace(resolved(data).training, precision="auto"))
    deadline = time.monotonic() + 112
    plan, calls = planned(data, config, deadline, monkeypatch, {"float32": 0.5, "bf16": 0.25})
    assert plan.training.precision == "bf16"
    rows = len(data.parts["test"]) + config.training.validations * len(data.parts["validation"])
    assert plan.steps == pytest.approx(0.95 * (112 - 0.01 * rows) / 0.25, abs=8)
    assert plan.training.validation_rows is None
    assert [most for most, _ in calls] == [15, 15]
    assert sum(seconds for _, seconds in calls) == pytest.approx(0.1 * 112, rel=0.05)


def test_validations_take_a_tenth_of_the_time_at_most(data, monkeypatch):
    config = resolved(data)
    data = replace(data, parts={**data.parts, "validation": np.arange(10_000) % len(data.rows)})
    plan, _ = planned(data, config, time.monotonic() + 112, monkeypatch, {"float32": 0.5})
    count, each = config.training.validations, plan.training.validation_rows
    assert 0.01 * count * each == pytest.approx(0.1 * 0.95 * 112, rel=0.05)
    assert plan.steps == pytest.approx(0.9 * 0.95 * 112 / 0.5, rel=0.05)
    read = fitting.validation_rows(data, plan)
    assert len(read) == each
    assert (read == fitting.validation_rows(data, plan)).all()
    hurried, _ = planned(data, config, time.monotonic() + 1, monkeypatch, {"float32": 0.5})
    assert (hurried.training.validations, hurried.training.validation_rows) == (1, fitting.LEAST_VALIDATED)
    given = replace(config, training=replace(config.training, validation_rows=7))
    assert planned(data, given, time.monotonic() + 1, monkeypatch, {"float32": 0.5})[0].training.validation_rows == 7
    batches = list(fitting.ValidationBatches(data, given))
    assert [len(next(iter(batch["answer"].values()))) for batch in batches] == [7]


def test_validations_are_paid_by_the_steps_that_are_taken_not_by_those_there_is_time_for(data, monkeypatch):
    data = replace(data, parts={**data.parts, "validation": np.arange(10_000) % len(data.rows)})
    plan, _ = planned(data, resolved(data), time.monotonic() + 1e5, monkeypatch, {"float32": 0.5})
    assert plan.steps == 2_000
    assert plan.training.validation_rows == int(0.1 * 2_000 * 0.5 / 0.01 / 3)


def test_threads_are_those_that_are_faster(data, monkeypatch):
    monkeypatch.setattr(fitting.torch, "get_num_threads", lambda: 6)
    config = replace(resolved(data), training=replace(resolved(data).training, precision="auto", threads=None))
    monkeypatch.setattr(fitting, "fast_bf16", lambda: True)
    assert fitting.kernels(config) == [("bf16", 6), ("bf16", 1), ("float32", 6), ("float32", 1)]
    monkeypatch.setattr(fitting, "fast_bf16", lambda: False)
    assert fitting.kernels(config) == [("float32", 6), ("float32", 1), ("bf16", 6), ("bf16", 1)]
    monkeypatch.setattr(fitting, "evaluation_seconds", lambda *_: 0.0)
    for fastest in fitting.kernels(config):
        monkeypatch.setattr(
            fitting,
            "measure",
            lambda model, data, c, *_, f=fastest: 2 - ((c.training.precision, c.training.threads) == f),
        )
        chosen = fitting.plan(None, data, config, time.monotonic() + 60).training
        assert (chosen.precision, chosen.threads) == fastest


@pytest.mark.parametrize("supported", [False, True])
def test_where_steps_take_long_the_likely_one_alone_is_measured(data, monkeypatch, supported):
    monkeypatch.setattr(fitting, "fast_bf16", lambda: supported)
    config = replace(resolved(data), training=replace(resolved(data).training, precision="auto"))
    plan, calls = planned(data, config, time.monotonic(), monkeypatch, {"float32": 9.0, "bf16": 9.0})
    assert len(calls) == 1
    assert plan.training.precision == ("bf16" if supported else "float32")


def test_steps_are_taken_with_the_threads_of_the_plan_and_others_are_put_back(data, monkeypatch):
    before, seen, original = torch.get_num_threads(), [], LearningModel.training_step
    monkeypatch.setattr(
        LearningModel, "training_step", lambda self, *a: seen.append(torch.get_num_threads()) or original(self, *a)
    )
    config = fitting.with_kernels(resolved(data), "float32", before + 1)
    fitting.measure(Model(data.schema, defaults.perceiver(config)), data, config, 3, math.inf)
    assert seen == [before + 1] * 3
    assert torch.get_num_threads() == before


def test_at_least_one_step_and_no_more_than_teach(data, monkeypatch):
    assert planned(data, resolved(data), time.monotonic() - 5, monkeypatch, {"float32": 1.0})[0].steps == 1
    plan, _ = planned(data, resolved(data), time.monotonic() + 1e5, monkeypatch, {"float32": 0.01})
    assert plan.steps == defaults.max_steps(resolved(data), 62, data.schema)


def test_texts_take_few_epochs_but_not_too_few_steps(data):
    fields = [
        Field(name, kind, role, (name,))
        for name, kind, role in (
            ("review", "text", "input"),
            ("price", "number", "input"),
            ("liked", "category", "target"),
        )
    ]
    texts = Schema(tuple(fields))
    pictures = Schema((*fields, Field("photo", "image", "input", ("photo",))))
    config = replace(resolved(data), training=replace(resolved(data).training, small=False, batch_size=128))
    assert defaults.max_steps(config, 12_800, texts) == 800
    assert defaults.max_steps(config, 1_000, texts) == 200
    assert defaults.max_steps(config, 12_800, pictures) == 30_000


@pytest.mark.parametrize("supported", [False, True])
def test_with_steps_nothing_is_measured_so_that_they_can_be_repeated(data, monkeypatch, supported):
    monkeypatch.setattr(fitting, "fast_bf16", lambda: supported)
    auto = replace(resolved(data), steps=7, training=replace(resolved(data).training, precision="auto", threads=None))
    plan, calls = planned(data, auto, None, monkeypatch, {})
    assert calls == []
    precision = "bf16" if supported else "float32"
    assert plan == fitting.with_kernels(auto, precision, torch.get_num_threads())


def test_measuring_ends_with_its_share_of_the_time(data, monkeypatch):
    counted, original = [], LearningModel.training_step
    monkeypatch.setattr(LearningModel, "training_step", lambda self, *a: counted.append(1) or original(self, *a))
    model = Model(data.schema, defaults.perceiver(resolved(data)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for seconds, steps in ((0.0, 2), (math.inf, 5)):
        counted.clear()
        assert fitting.measure(model, data, resolved(data), 5, seconds) > 0
        assert len(counted) == steps
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_nothing_is_left_of_the_copy_that_was_measured(data, monkeypatch):
    seen, original = [], LearningModel.training_step
    monkeypatch.setattr(
        LearningModel, "training_step", lambda self, *a: seen.append(weakref.ref(self)) or original(self, *a)
    )
    gc.disable()  # it could come by itself
    try:
        fitting.measure(Model(data.schema, defaults.perceiver(resolved(data))), data, resolved(data), 4, math.inf)
        assert [one() for one in seen] == 4 * [None]
    finally:
        gc.enable()


@pytest.mark.parametrize(("steps", "decay"), [(1, None), (3, None), (30, 0.9), (3_000, 0.95)])
def test_the_average_reaches_back_over_a_third_of_the_steps(data, steps, decay):
    config = replace(resolved(data), training=replace(resolved(data).training, average=0.95))
    found = fitting.averaging(config, steps)
    assert len(found) == (decay is not None)
    if found:
        average, current = [torch.zeros(2)], [torch.ones(2)]
        found[0]._kwargs["multi_avg_fn"](average, current, 1)
        torch.testing.assert_close(average[0], torch.full((2,), 1 - decay))


@pytest.mark.parametrize(("taken", "end"), [(3, "done"), (2, "stopped")])
def test_progress_ends_with_the_last_step_of_a_short_run_too(taken, end, capsys):
    progress, trainer = callbacks.Progress(3, None), SimpleNamespace(global_step=0)
    progress.on_train_start(trainer, None)
    for step in range(1, taken + 1):
        trainer.global_step = step
        progress.on_train_batch_end(trainer, None, {"loss": torch.tensor(0.25)}, None, step)
    progress.on_train_end(trainer, None)
    assert capsys.readouterr().err == f"step {taken} of 3  loss 0.2500  {end}\n"
