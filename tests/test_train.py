"""Training that is disturbed, and goes on to the same weights and the same `metrics.csv` as if it had not been."""

import errno
import json
import math
import os
import signal
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import tiny
import torch
import yaml

from perceivers import files
from perceivers.core import kernels, trials
from perceivers.data import infer, sources
from perceivers.data.batches import TrainingBatches
from perceivers.errors import BadInput, Failed, Stopped
from perceivers.training import callbacks, fitting
from perceivers.training.checkpoints import saved
from perceivers.training.folder import RunFolder
from perceivers.training.module import LearningModel
from perceivers.training.train import open_schema, train


@pytest.fixture(scope="module")
def through(tmp_path_factory):
    """The result of a run that nothing disturbs."""
    return tiny.result(tiny.run(tmp_path_factory.mktemp("through") / "run"))


def test_no_kernel_is_chosen_by_the_clock(tmp_path, monkeypatch, through):
    """Validation and test compute as the steps do, however large they are."""
    monkeypatch.setattr(kernels, "SMALL_PRODUCT", 0)
    monkeypatch.setattr(kernels, "SMALL_ATTENTION", 0)
    before = kernels.record()
    assert tiny.result(tiny.run(tmp_path / "run")) == through
    assert kernels.record() == before


def test_kernels_of_a_probe_are_in_the_run_and_taken_again_when_it_goes_on(tmp_path, monkeypatch):
    """With minutes, the probe decides once: a run that is stopped ends with the bits of one that is not."""
    monkeypatch.setattr(kernels, "SMALL_PRODUCT", 0)
    monkeypatch.setattr(trials, "_seconds", lambda kernel, _: float(kernel is not kernels.PRODUCTS["onednn"]))
    plans = []

    def plan(model, data, config, deadline):
        plans.append(fitting.measure(model, data, config, 2, math.inf))
        return replace(config, steps=tiny.STEPS)

    def run(out):
        return train(tiny.FRAME, out=out, targets=["answer"], config=replace(tiny.CONFIG, steps=None, minutes=9.0))

    monkeypatch.setattr(fitting, "plan", plan)
    through = tiny.result(run(tmp_path / "through"))
    with monkeypatch.context() as patch:
        at_step(patch, 5, kill(signal.SIGTERM))
        with pytest.raises(Stopped):
            run(tmp_path / "stopped")
    assert tiny.result(run(tmp_path / "stopped")) == through
    assert len(plans) == 2
    one, other = (
        yaml.safe_load((tmp_path / name / "config.yaml").read_text())["kernels"] for name in ("through", "stopped")
    )
    assert one == other
    assert {shape.rsplit(" ", 1)[0] for shape in one} == {"product float32"}
    assert set(one.values()) == {"onednn"}


def test_a_run_whose_kernels_are_not_here_says_so_when_it_goes_on(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        at_step(patch, 5, kill(signal.SIGTERM))
        with pytest.raises(Stopped):
            tiny.run(tmp_path / "run")
    config = tmp_path / "run/config.yaml"
    config.write_text(config.read_text().replace("kernels: {}", "kernels: {product float32 1×2→3: onednn}"))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(BadInput, match=r"'onednn' of 'product float32 1×2→3' is not to be had.*choose another --out"):
        tiny.run(tmp_path / "run")


def at_step(monkeypatch, step, act):
    """`act` is called with the module and the loss of this step (from 0), and gives the loss."""
    original = LearningModel.training_step

    def training_step(self, batch, batch_idx):
        loss = original(self, batch, batch_idx)
        if self.global_step == step:
            self.latest = act(self, loss)
        return self.latest

    monkeypatch.setattr(LearningModel, "training_step", training_step)


def kill(number):
    def act(module, loss):
        os.kill(os.getpid(), number)
        return loss

    return act


@pytest.mark.parametrize("workers", [0, 2])
def test_the_number_of_workers_changes_nothing(tmp_path, through, workers):
    assert tiny.result(tiny.run(tmp_path / "run", workers=workers)) == through


@pytest.mark.parametrize(("number", "step"), [(signal.SIGINT, tiny.EVERY - 1), (signal.SIGTERM, tiny.EVERY)])
def test_a_signal_is_followed_by_a_checkpoint_from_which_all_goes_on(tmp_path, monkeypatch, through, number, step):
    """Once after a step with its validation, once after one without."""
    with monkeypatch.context() as patched:
        at_step(patched, step, kill(number))
        with pytest.raises(Stopped) as stopped:
            tiny.run(tmp_path / "run")
    assert stopped.value.signal == number
    assert [path.stem for path in saved(tmp_path / "run/checkpoints")] == [f"step-{step + 1:09d}"]
    assert tiny.result(tiny.run(tmp_path / "run", workers=2)) == through


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, monkeypatch, capsys, through):
    with monkeypatch.context() as patched:
        patched.setattr(callbacks, "CHECKPOINT_SECONDS", 0.0)
        at_step(patched, 6, kill(signal.SIGTERM))
        with pytest.raises(Stopped):
            tiny.run(tmp_path / "run")
    before, newest = saved(tmp_path / "run/checkpoints")
    whole = {path: path.read_bytes() for path in (before, newest)}
    for path in whole:
        path.write_bytes(whole[path][:-1] + b"?")
    with pytest.raises(BadInput, match=r"no checkpoint is whole .* another --out"):
        tiny.run(tmp_path / "run")
    before.write_bytes(whole[before])
    capsys.readouterr()
    assert tiny.result(tiny.run(tmp_path / "run")) == through
    assert f"{newest.name}: damaged" in capsys.readouterr().err


def test_a_loss_that_is_not_a_number_stops_before_it_changes_a_weight(tmp_path, monkeypatch, through):
    rows = []
    ids = TrainingBatches.row_ids
    monkeypatch.setattr(
        TrainingBatches, "row_ids", lambda self, step: rows.append((step, ids(self, step))) or rows[-1][1]
    )
    with monkeypatch.context() as patched:
        patched.setattr(callbacks, "CHECKPOINT_SECONDS", 0.0)
        at_step(patched, 7, lambda module, loss: loss * torch.nan)
        with pytest.raises(Failed, match=r"loss of step 8 .* 17 rows .* --training\.lr"):
            tiny.run(tmp_path / "run")
    content = json.loads((tmp_path / "run/failed-batch.json").read_text())
    assert content == {"step": 8, "loss": "nan", "rows": sorted(int(row) + 1 for row in dict(rows)[7])}
    assert [path.stem for path in saved(tmp_path / "run/checkpoints")] == ["step-000000006", "step-000000007"]
    assert tiny.result(tiny.run(tmp_path / "run")) == through


@pytest.mark.parametrize("name", ["step-000000004.ckpt", "metrics.csv", "model.safetensors", "report.html"])
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path, monkeypatch, through, name):
    naming, left = files.naming, [2 if name == "metrics.csv" else 1]

    @contextmanager
    def full(path):
        with naming(path):
            left[0] -= path.name == name
            if path.name == name and left[0] == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            yield

    with monkeypatch.context() as patched:
        patched.setattr(callbacks, "CHECKPOINT_SECONDS", 0.0)
        patched.setattr(files, "naming", full)
        with pytest.raises(Failed, match=f"{name}: No space left on device; mend that"):
            tiny.run(tmp_path / "run")
    if name == "report.html":  # all steps were taken: none is taken again
        monkeypatch.setattr(fitting, "fit", None)
    assert tiny.result(tiny.run(tmp_path / "run")) == through
    assert not list(tmp_path.glob("run/**/.writing-*"))


def test_two_runs_at_once_in_a_folder(tmp_path):
    with RunFolder(tmp_path / "run", {}, 0.0), pytest.raises(BadInput, match=f"process {os.getpid()} on "):
        tiny.run(tmp_path / "run")


def test_a_finished_run_says_so_and_touches_nothing(tmp_path, capsys):
    """As it must be in a read-only folder: a file that is made, even for a moment, changes its folder's time."""
    out = tiny.run(tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (out, *out.rglob("*"))}
    capsys.readouterr()
    assert tiny.run(out) == out
    assert f"{out}: finished before; its report is {out / 'report.html'}" in capsys.readouterr().err
    with pytest.raises(BadInput, match=r"holds another run .*training\.batch_size"):
        tiny.run(out, batch_size=3)
    assert {path: path.stat().st_mtime_ns for path in (out, *out.rglob("*"))} == before


def test_steps_are_planned_once_and_a_slow_machine_stops_in_time(tmp_path, monkeypatch, capsys):
    """The plan of a machine that was fast once: it stands, the run stops in time and keeps the best."""
    config = replace(tiny.CONFIG, steps=None, minutes=0.1)
    with monkeypatch.context() as patched:
        patched.setattr(fitting, "plan", lambda model, data, resolved, deadline: replace(resolved, steps=10**6))
        at_step(patched, 0, kill(signal.SIGTERM))
        with pytest.raises(Stopped):
            train(tiny.FRAME, out=tmp_path / "run", targets=["answer"], config=config)
    monkeypatch.setattr(fitting, "plan", None)
    assert train(tiny.FRAME, out=tmp_path / "run", targets=["answer"], config=config) == tmp_path / "run"
    assert "of 1,000,000 steps" in capsys.readouterr().err
    assert "Stopped in time" in (tmp_path / "run/report.html").read_text()
    assert json.loads((tmp_path / "run/metrics.json").read_text())["answer"]["n"] > 0


def test_a_signal_while_steps_are_measured_stops_at_once_and_leaves_no_plan(tmp_path, monkeypatch):
    config = replace(tiny.CONFIG, steps=None, minutes=0.05)
    with monkeypatch.context() as patched:
        at_step(patched, 1, kill(signal.SIGTERM))
        with pytest.raises(Stopped):
            train(tiny.FRAME, out=tmp_path / "run", targets=["answer"], config=config)
    assert not (tmp_path / "run/config.yaml").exists()
    assert train(tiny.FRAME, out=tmp_path / "run", targets=["answer"], config=config) == tmp_path / "run"


def test_rows_that_fail_too_often_on_the_way_are_a_failure_and_not_a_refusal(tmp_path, monkeypatch):
    def fail(module, loss):
        raise BadInput("pictures: 30 of 200 rows cannot be read")

    at_step(monkeypatch, 3, fail)
    with pytest.raises(Failed, match="30 of 200 rows"):
        tiny.run(tmp_path / "run")


def test_where_all_files_of_one_class_are_damaged_they_are_named(tmp_path):
    for kind in ("high", "low"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for i in range(9):
            np.save(tmp_path / "data" / kind / f"{i}.npy", np.full((2, 3, 4), float(i)))
    for path in (tmp_path / "data/low").iterdir():
        path.write_bytes(b"cut")
    line = r"of one class: .*; \d+ rows could not be read: .*data/low/0\.npy: .*; .*data/low/1\.npy: .* …$"
    with pytest.raises(BadInput, match=line):
        train(tmp_path / "data", out=tmp_path / "run", config=tiny.CONFIG)


@pytest.mark.parametrize(("option", "place"), [("group", 0), ("time", 1), ("series", 3), ("horizon", 4)])
def test_an_option_that_says_other_than_the_given_schema_is_refused(option, place):
    table = sources.read(
        pl.DataFrame(
            {
                "when": [1, 2, 3] * 4,
                "shop": list("aabb") * 3,
                "price": [i * i % 7 for i in range(12)],
                "sold": range(12),
            }
        )
    )
    schema = infer.infer(table, ("sold",), group="shop", time="when")
    given: list[Any] = [None, None, schema, None, None]
    given[place] = 3 if option == "horizon" else "sold"
    with pytest.raises(BadInput, match=f"--{option} {given[place]} disagrees with the schema, which says "):
        open_schema(table, (), *given)
    assert open_schema(table, ("sold",), "shop", "when", schema).split == schema.split
