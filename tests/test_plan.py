"""What a plan counts, against runs with values; its seconds are no test."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import perceivers as pv
from perceivers import published
from perceivers.cli import main
from perceivers.core import kernels, trials
from perceivers.core.cost import decode_flops, encode_flops, process_flops
from perceivers.errors import Failed
from perceivers.plan import check, page, prediction, probe, training
from perceivers.plan.trace import Trace, bytes_of, hollow
from perceivers.published import PRESETS
from perceivers.published.untrained import example
from perceivers.training.config import Config, Training
from perceivers.training.module import LearningModel

FLOAT = 4  # bytes
B, C, D, E = 3, 5, 7, 11
OPTIONS = {"targets": (), "schema": None, "group": None, "time": None, "series": None, "horizon": None, "start": None}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No seconds are tried."""
    monkeypatch.setattr(probe, "_seconds", lambda _: 1e-6)
    monkeypatch.setattr(training, "seconds", lambda _, choice: {"float32": 2.0, "bf16": 1.0}[choice[0]])
    monkeypatch.setattr(trials, "_chosen", {})


def asked(config):
    return training.asked(data="sample:wine", config=config, **OPTIONS)


def test_bytes_and_flops_of_two_layers():
    model, x = nn.Sequential(nn.Linear(C, D), nn.Linear(D, E)), torch.randn(B, C)
    hollow(model)
    with torch.no_grad(), Trace() as traced:
        traced.ignore([list(model.parameters()), x])
        y = model(x)
    assert traced.peak == FLOAT * B * (D + E)
    assert traced.held == FLOAT * B * E
    assert traced.flops == 2 * B * D * (C + E)
    assert tuple(y.shape) == (B, E)


def test_hollow_weights_stay_shared_and_trainable():
    model = nn.ModuleList([nn.Linear(C, C), nn.Linear(C, C)])
    model[1].weight = model[0].weight
    model[0].bias.requires_grad_(False)
    size = bytes_of(list(model.parameters()))
    hollow(model)
    assert model[1].weight is model[0].weight
    assert [p.requires_grad for p in model[0].parameters()] == [True, False]
    assert bytes_of(list(model.parameters())) == size


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_step_without_values_is_the_step_with_them(precision):
    found = asked(Config(training=Training(precision=precision, threads=1)))
    batch = training.fitting.batches(found.data, found.config).batch(0)
    seen = []
    for empty in (False, True):
        model = found.model()
        if empty:
            hollow(model)
        with kernels.plain(), Trace() as traced:
            traced.ignore([list(model.parameters()), list(model.buffers()), batch])
            step = training.Step(LearningModel(model.train(), found.config.training, 1))
            step(batch)
            traced.begin()
            step(batch)
            seen.append((traced.flops, traced.held, traced.peak, traced.operations.total()))
    assert seen[0] == seen[1]


def test_a_plan_of_a_step_takes_the_faster_precision_and_counts_what_torch_counts():
    found = asked(Config(training=Training(threads=1)))
    plan = training.plan(found)
    assert (plan.precision, plan.seconds) == ("bf16", 1.0)
    model = found.model()
    batch = training.fitting.batches(found.data, found.config).batch(0)
    with kernels.plain(), FlopCounterMode(display=False) as counter:
        model.losses(*batch)
    forward = {name: flop for name, flop in plan.flop.items() if name != "backward and optimiser"}
    assert sum(forward.values()) == counter.get_total_flops()
    assert plan.parameters == sum(p.numel() for p in model.parameters())
    assert plan.bytes["their average"] == plan.bytes["weights"] + 8  # it counts its updates
    assert {decision.kernel for decision in plan.decisions} <= {"plain", "joined", "apart", "fused", "onednn"}
    assert set(plan.choices) == {decision.shape for decision in plan.decisions if "tried" in decision.why}


def test_a_plan_of_a_plain_step_takes_plain_kernels(monkeypatch):
    monkeypatch.setattr(kernels, "SMALL_PRODUCT", 0)
    monkeypatch.setattr(kernels, "SMALL_ATTENTION", 0)
    plan = training.plan(asked(Config(training=Training(threads=1, kernels="plain"))))
    assert plan.choices == {}
    assert {decision.kernel for decision in plan.decisions} <= {"plain", "fused"}
    assert all("plain products are asked for" in decision.why for decision in plan.decisions)


@pytest.mark.parametrize("name", PRESETS)
def test_a_prediction_is_counted_by_stage_whatever_kernels_are_taken(name):
    model = published.untrained(name)
    given, numbers = example(model.sizes), model.sizes.perceiver
    chunks = {"chunks": 1} if "multimodal" in name else {}  # of pixels
    with FlopCounterMode(display=False) as counter, kernels.plain():
        model(*given, **chunks)
    call = prediction.Asked(name, model, numbers, given, 1, lambda model, given: model(*given, **chunks))
    plan = prediction.plan(call, "float32", plain=False)
    assert sum(plan.flop.values()) == counter.get_total_flops()
    assert plan.flop["encode"] == encode_flops(numbers, 1, plan.inputs)
    assert plan.flop["process"] == process_flops(numbers, 1)
    calls = 2 if chunks else 1  # pixels, then sound and the label: each projects the latents
    assert plan.flop["decode"] == decode_flops(numbers, 1, plan.queries) + (calls - 1) * decode_flops(numbers, 1, 0)
    assert plan.flop["inputs and heads"] >= 0
    assert plan.decisions


def test_why_a_kernel_is_taken(monkeypatch):
    layer, x = nn.Linear(C, D), torch.randn(B, C)
    with kernels.decisions() as found, torch.no_grad():
        kernels.linear(x, layer)
        monkeypatch.setattr(kernels, "SMALL_PRODUCT", 1)
        with kernels.plain():
            kernels.linear(x, layer)
        with torch.autocast("cpu", torch.bfloat16):
            kernels.linear(x, layer)
        with torch.enable_grad():
            kernels.linear(x, layer)
        kernels.linear(x.double(), layer.double())
        kernels.linear(x, layer.float())
        kernels.linear(x, layer)
    assert [(d.why, count) for d, count in found.items()] == [
        ("small", 1),
        ("plain products are asked for", 1),
        ("autocast", 1),
        ("gradients", 1),
        ("oneDNN has none here", 1),
        ("fastest of those tried", 2),
    ]


def run(*arguments, monkeypatch):
    monkeypatch.setattr("sys.argv", ["perceivers", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_the_command_prints_json(monkeypatch, capsys):
    assert run("plan", "sample:wine", "--json", monkeypatch=monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 32
    assert found["peak_gb"] == pytest.approx(sum(found["memory_gb"].values()))
    assert found["own_gb"] == pytest.approx(found["peak_gb"] - found["memory_gb"]["libraries and data"])
    assert 0.1 < found["memory_gb"]["libraries and data"] < 10
    assert "measured" not in found


def test_rows_for_a_run_folder_are_planned_as_they_are_predicted(tmp_path, monkeypatch, capsys):
    folder = str(pv.fit("sample:wine", steps=2, size="tiny", out=tmp_path / "run").save(tmp_path / "model"))
    assert run("plan", folder, "sample:wine", "--kernels", "plain", "--json", monkeypatch=monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["inputs"]) == (89, 13)  # 178 rows in two batches
    assert {one["kernel"] for one in found["kernels"]} <= {"plain", "joined"}
    assert len(found["notes"]) == 1
    assert run("plan", folder, monkeypatch=monkeypatch) == 2
    assert "give some, as to predict" in capsys.readouterr().err


def test_what_was_measured_stands_beside_the_plan():
    plan = training.plan(asked(Config(training=Training(threads=1))))
    found = check.Measured(plan.seconds / 2, plan.peak, 2 * plan.own)
    beside = found.as_json(plan)
    assert (beside["seconds_off"], beside["peak_off"], beside["own_off"]) == (1.0, 0.0, -0.5)
    lines = page.lines(plan, found)
    assert any(re.match(r"time +1 s; measured 500 ms", line) for line in lines)
    assert any("measured" in line and line.startswith("memory") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample:wine", "row.csv"], "inputs"),
        (["sample:wine", "--kernels", "plain"], "kernels"),
        (["deepmind/language-perceiver", "--size", "tiny"], "config"),
        (["deepmind/language-perceiver", "a text"], "leave 'a text' out"),
        (["deepmind/launguage"], "no published model"),
        (["nowhere.csv"], "nowhere.csv"),
    ],
)
def test_what_cannot_be_planned_is_one_line(arguments, message, monkeypatch, capsys):
    assert run("plan", *arguments, monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


def test_a_torch_without_onednn_plans():
    program = """
from types import SimpleNamespace
import torch
torch.backends.mkldnn.is_available = lambda: False
torch.ops.mkldnn = SimpleNamespace()
from perceivers.plan import trace
print(len(trace.FORMULAS) > 2)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


def _killed():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_check_that_is_killed_ends_in_a_line():
    with pytest.raises(Failed, match="was killed, likely for memory"):
        check.apart(_killed)
