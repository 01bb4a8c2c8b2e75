"""The bench: what is compared, how rows are kept and summed up, and that sides answer. Never how fast anything is."""

import json
import math
import os
import resource
import subprocess
import sys
import typing
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from perceivers.bench import measure, page, rivals, run, store, summary, works
from perceivers.bench.process import Side, SideFailed
from perceivers.bench.sides import clocks
from perceivers.bench.sides.clocks import CPUClock, CUDAClock
from perceivers.bench.sides.worker import Built, Worker
from perceivers.bench.store import Store
from perceivers.commands.bench import bench
from perceivers.errors import BadInput
from perceivers.published import PRESETS, export_hub
from perceivers.published.models import make
from perceivers.published.sources import HUB

MACHINE = {"processor": "one", "device": "cpu", "threads": 1, "torch": "2", "perceivers": "0"}
TINY = {
    "inputs": 13,
    "channels": 5,
    "latents": 7,
    "latent_channels": 8,
    "layers": 2,
    "blocks": 3,
    "heads": 2,
    "cross_channels": 3,
    "queries": 2,
    "query_channels": 11,
}


def row(ours=(1.0, 2.0, 4.0), theirs=(3.0, 4.0, 4.0), **changes):
    sides = {
        "ours": [{"seconds": s, "peak": 2e9} for s in ours],
        "theirs": [{"seconds": s, "peak": 3e9} for s in theirs],
    }
    about = {"version": "5.0"}
    return {
        "what": "published",
        "model": "deepmind/language-perceiver",
        "precision": "float32",
        "times": 1,
        "rival": "transformers",
        "ours_about": {"version": "0"},
        "theirs_about": about,
        "flop": 100,
        "rates": [80.0, 100.0],
        "error": 3e-7,
        **sides,
        **changes,
    }


def stage(axis, size, seconds):
    alone = {k: v for k, v in row(ours=[seconds]).items() if k not in ("theirs", "rival", "theirs_about", "error")}
    return alone | {"what": "growth", "model": f"{axis} {size}"}


def side(role, tmp_path, python=sys.executable):
    return Side(role, python, (tmp_path / "log").open("wb"), threads=1)


def test_ratios_are_of_pairs_and_the_limit_is_of_the_best_product():
    (found,) = summary.comparisons([row()])
    assert (found.ratio, found.low, found.high) == (2.0, 1.0, 3.0)  # 3/1, 4/2, 4/4
    assert found.ours_s == 2.0
    assert found.share == pytest.approx(100 / 100 / 2)
    assert found.as_json() == {
        "model": "deepmind/language-perceiver",
        "precision": "float32",
        "computed_in": "float32",
        "gflop": 1e-7,
        "ours_s": 2.0,
        "theirs_s": 4.0,
        "ratio": 2.0,
        "share_of_limit": 0.5,
        "max_relative_error": 3e-7,
        "peak_gb": 2.0,
        "theirs_peak_gb": 3.0,
    }


def test_the_limit_is_the_best_that_the_machine_gave():
    exact, fast = summary.comparisons([row(), row(precision="fast", rates=[1000.0])])
    assert (exact.share, fast.share) == (0.5, 0.05)
    calm, busy = summary.comparisons([row(), row(rates=[40.0, 50.0])])
    assert (calm.share, busy.share) == (0.5, 0.5)


def test_what_the_fast_way_was_on_this_machine_is_said(tmp_path):
    """A machine that is no faster in bfloat16 computes in float32, and rows of old do not say."""
    found = [row(precision="fast"), row(precision="fast", ours_about={"version": "0", "precision": "float32"})]
    assert [one.way for one in summary.comparisons(found)] == ["fast, bfloat16", "fast, float32"]
    said = page.lines(summary.comparisons(found))
    assert [line.split(":")[0] for line in said[2:]] == [
        "fast, bfloat16, geometric means",
        "fast, float32, geometric means",
    ]
    assert "fast, float32: 2 s  transformers 4 s  ratio 2.00 (1.00 to 3.00)  0 GFLOP  limit 50%" in said[1]
    kept = Store(tmp_path / "rows", MACHINE)
    for name, one in zip("ab", found, strict=True):
        kept.keep(name, one | {"rates": [8e10, 9e10]})
    page.write(tmp_path / "page.md", kept)
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "Fast, float32:" in text
    assert "90 GFLOP/s in bfloat16, 90 GFLOP/s in float32" in text


def test_the_rate_is_that_of_what_was_computed_in(tmp_path, monkeypatch):
    asked = []

    def ask(side, do, **given):
        asked.append((do, given.get("precision")))
        return {"build": {"precision": "float32"}, "run": {"seconds": 1.0, "peak": 1.0}, "probe": 1.0}.get(do)

    monkeypatch.setattr(Side, "ask", ask)
    (work, *_) = works.works(["clip"], [works.AUTOENCODER], ["fast"])
    setting = measure.Setting({}, "cpu", 1, "auto", 1, (tmp_path / "log").open("wb"))
    measure.measure(replace(work, rival=None), setting, {})
    assert [given for do, given in asked if do == "probe"] == ["float32", "float32"]


def test_a_clip_stands_against_all_its_chunks():
    (found,) = summary.comparisons([row(ours=[2.0], theirs=[1.0], times=128)])
    assert (found.theirs_s, found.ratio) == (128.0, 64.0)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_of_the_sizes_where_fixed_costs_do_not_count(power):
    sizes = [10.0**k for k in range(3, 8)]
    assert summary.exponent(sizes, [1e-9 + s**power for s in sizes]) == pytest.approx(power, abs=1e-3)
    assert math.isnan(summary.exponent([1.0], [1.0]))


def test_outputs_are_compared_by_the_largest_difference_over_the_largest_value():
    truth = {"a": torch.tensor([[4.0, 1.0], [0.0, 0.1]]), "b": torch.tensor([[2.0]])}
    found = {"a": truth["a"] + torch.tensor([[0.0, 0.2], [0.0, 0.0]]), "b": truth["b"] - 0.5}
    assert measure.difference(found, truth) == pytest.approx(0.25)
    swapped, near = torch.tensor([[1.0, 4.0], [0.1, 0.0]]), torch.tensor([[3.9, 1.0], [0.1, 0.0]])
    assert measure.same_top({"a": swapped}, truth, ["a"]) == {"clear": 0, "same": 0}  # margins too small
    assert measure.same_top({"a": near}, truth, ["a"]) == {"clear": 1, "same": 1}
    assert measure.same_top(found, truth, works.CLASSES[works.FLOW]) == {}


def test_nan_is_not_equal(tmp_path):
    nan = torch.tensor([[math.nan]])
    assert math.isnan(measure.difference({"a": torch.ones(1), "b": nan}, {"a": torch.ones(1), "b": torch.ones(1, 1)}))
    (work, *_) = works.works(["published"], [works.FOURIER], ["float32"])
    torch.save({"output": torch.zeros(1)}, tmp_path / "ours.pt")
    torch.save({"output": torch.zeros(1)}, tmp_path / "theirs.pt")
    with pytest.raises(SideFailed, match="outputs differ from transformers's by nan"):
        measure._equal(work, None, tmp_path)
    worker = Worker(lambda spec, device: Built(lambda: {"fine": torch.ones(1), "output": nan}, {}))
    worker.answer({"do": "build", "threads": torch.get_num_threads(), "device": "cpu", "spec": {}})
    with pytest.raises(ValueError, match="output: values that are not finite"):
        worker.answer({"do": "check", "to": str(tmp_path / "out.pt")})


def test_a_cpu_that_onednn_has_no_bfloat16_for_is_probed(tmp_path):
    program = """
import torch
from perceivers.bench.sides import clocks, probe
probe.SHAPES, probe.SECONDS = ((8, 16, 16),), 0
print(probe.best_rate("bfloat16", torch.device("cpu"), clocks.CPUClock()) > 0)
"""
    small = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=small)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize("what", ["kernels", "gains"])
def test_plain_kernels_are_not_compared_with_themselves(what, tmp_path):
    with pytest.raises(BadInput, match=f"nothing to compare in {what}: name other rows"):
        bench(what, kernels="plain", out=tmp_path)


@pytest.mark.parametrize("model", works.SHAPES)
def test_both_widths_of_feed_forwards_have_their_flops(model):
    found = [w for w in works.works(["others"], works.names(None), ["float32"]) if w.model == model]
    assert {w.rival for w in found} == {"perceiver-pytorch", "perceiver-io"}
    gated, plain = (measure.flop(next(w for w in found if w.rival == name)) for name in works.WIDENING)
    assert gated > plain


def test_a_clip_costs_less_than_its_chunks():
    (clip,) = works.works(["clip"], [works.AUTOENCODER], ["float32"])
    (chunk,) = works.works(["published"], [works.AUTOENCODER], ["float32"])
    assert measure.flop(chunk) < measure.flop(clip) < works.CHUNKS * measure.flop(chunk)


def test_all_rows_have_names_of_their_own():
    found = works.works(works.WHATS, works.names(None), works.PRECISIONS)
    assert len({work.key for work in found}) == len(found)
    assert {work.what for work in found} == set(works.WHATS)
    with pytest.raises(BadInput, match="deepmind/languge: no published model"):
        works.names(["languge"])


def test_rows_are_kept_and_another_machine_is_refused(tmp_path):
    Store(tmp_path, MACHINE).keep("one", row())
    assert Store(tmp_path, MACHINE).rows == {"one": json.loads(json.dumps(row()))}
    with pytest.raises(BadInput, match=r"threads 1, now 2.*another --out"):
        Store(tmp_path, MACHINE | {"threads": 2})
    (tmp_path / store.FILE).write_text("{", encoding="utf-8")
    with pytest.raises(BadInput, match=r"rows\.json: not rows"):
        Store(tmp_path, MACHINE)


def test_the_page_has_each_row_the_means_and_a_picture(tmp_path):
    kept = Store(tmp_path / "rows", MACHINE)
    kept.keep("one", row())
    for size in (10, 100, 1000, 10_000):
        kept.keep(f"inputs {size}", stage("inputs", size, size**1.0))
    path = tmp_path / "performance.md"
    page.write(path, kept)
    text = path.read_text(encoding="utf-8")
    assert "| deepmind/language-perceiver, beside transformers 5.0 | 0 | 2 | 4 | 2.00 (1.00 to 3.00) |" in text
    assert "2.00 times as fast as transformers, 50% of the limit" in text
    assert "`encode` takes time as M^1.00" in text
    assert "<svg" in (tmp_path / "figures/performance-growth.svg").read_text(encoding="utf-8")


def test_the_fast_way_is_also_set_beside_the_exact_one_of_the_others():
    fast = row(ours=(0.5, 0.5), theirs=(1, 1), precision="fast")
    of_old = [fast | {"same_top": top} for top in (0.75, 1.0)]
    exact = row(theirs=(4, 4, 4))
    said = page.agreement(summary.comparisons([exact, *of_old]))
    assert "8.00 times as fast as transformers in float32; the same top answer in at least 75.00% of the cases" in said
    said = page.agreement(summary.comparisons([exact, fast | {"clear": 2000, "same": 1999}, fast]))
    assert said.endswith(
        "float32; the same top answer in 1,999 of 2,000 answers whose exact margin exceeds twice the error."
    )
    assert page.agreement(summary.comparisons([exact])) == ""


@pytest.mark.parametrize(("path", "why"), [("page.html", "ends in .md"), ("none/page.md", "is no folder")])
def test_a_page_that_cannot_be_written_is_refused_first(tmp_path, path, why):
    with pytest.raises(BadInput, match=why):
        page.check(tmp_path / path)


@pytest.mark.parametrize("given", ["jax=python", "transformers", "transformers=none/python"])
def test_a_rival_that_is_not_there_is_refused(given):
    with pytest.raises(BadInput, match=f"--rival {given}"):
        rivals.find([given])


def test_ours_runs_alone_where_a_rival_is_not_installed(capsys):
    found = works.works(["published", "others", "kernels"], [works.FOURIER], ["float32"])
    alone, plain = run.available(found, [])
    assert alone.rival is None
    assert plain.rival == works.PLAIN
    assert "--install-rivals" in capsys.readouterr().err
    assert run.available(found, rivals.RIVALS) == found


def test_a_side_builds_checks_and_runs_and_says_what_is_wrong(tmp_path):
    spec = {"kind": "equal", "shape": TINY, "widening": 2, "precision": "float32"}
    with side("plain kernels", tmp_path) as ours:  # which does all of the work, so that it can be counted
        with pytest.raises(SideFailed, match="plain kernels: RuntimeError: nothing was built"):
            ours.ask("run")
        about = ours.ask("build", spec=spec, device="cpu", threads=1)
        assert (about["torch"], about["precision"]) == (torch.__version__, "float32")
        assert ours.ask("check", to=str(tmp_path / "out.pt")) == ["output"]
        turn = ours.ask("run")
        work = works.Work("others", "tiny", "float32", spec, None)
        assert ours.ask("flops") == measure.flop(work)
    assert turn["seconds"] > 0
    assert turn["peak"] > 10 * 2**20
    assert torch.load(tmp_path / "out.pt")["output"].shape == (1, 2, 11)


def test_the_fast_side_and_the_plain_one_answer_alike(tmp_path):
    outputs = {}
    for name, role, precision in (("exact", "plain kernels", "float32"), ("fast", "ours", "fast")):
        with side(role, tmp_path) as one:
            spec = {"kind": "equal", "shape": TINY, "widening": 2, "precision": precision}
            one.ask("build", spec=spec, device="cpu", threads=1)
            one.ask("check", to=str(tmp_path / f"{name}.pt"))
        outputs[name] = torch.load(tmp_path / f"{name}.pt")
    assert measure.difference(outputs["fast"], outputs["exact"]) < 0.05


def test_the_command_takes_all_that_there_is_to_measure():
    kinds = typing.get_type_hints(bench)["what"]
    assert typing.get_args(kinds) == works.WHATS


@pytest.mark.parametrize("gain", works.GAINS)
def test_without_a_gain_the_outputs_are_the_same(gain, tmp_path):
    (work, *_) = [w for w in works.works(["gains"], [works.FOURIER], ["float32", "fast"]) if w.rival == gain]
    spec = {"kind": "equal", "shape": TINY, "widening": 2, "precision": "float32"}
    for role, built in (("ours", spec), (gain, work.rival_spec(spec))):
        with side(role, tmp_path) as one:
            one.ask("build", spec=built, device="cpu", threads=1)
            one.ask("check", to=str(tmp_path / f"{role}.pt"))
    found, expected = (torch.load(tmp_path / f"{role}.pt") for role in (gain, "ours"))
    assert measure.difference(found, expected) < 1e-5


def test_a_gain_is_switched_off_where_it_is_decided():
    program = """
import sys
from perceivers.bench.sides import plain
from perceivers.core import folded, kernels
tables = kernels.PRODUCTS, kernels.PROJECTIONS, kernels.ATTENTIONS
state = lambda: (*map(sorted, tables), kernels.reorder(), folded.MANY)
before = state()
plain.SWITCHES[sys.argv[1]]()
print(sum(a != b for a, b in zip(before, state())))
"""
    changed = {
        gain: subprocess.run([sys.executable, "-c", program, gain], capture_output=True, text=True, check=True).stdout
        for gain in works.GAINS
    }
    assert {gain: int(n) for gain, n in changed.items()} == dict(zip(works.GAINS, (2, 2, 1, 1, 1, 1), strict=True))


def test_a_step_is_the_same_with_any_kernels_and_with_checkpointing(tmp_path):
    sizes = PRESETS[works.FOURIER].sizes("hub")
    numbers = replace(sizes.perceiver, num_latents=7, self_attends_per_block=1, num_blocks=2)
    folder = export_hub(make(replace(sizes, perceiver=numbers), HUB), tmp_path / "model")
    losses = []
    for role, checkpointing in (("plain kernels", "off"), ("ours", "off"), ("ours", "light"), ("ours", "full")):
        (work, *_) = works.works(["training"], [works.FOURIER], ["float32"])
        with side(role, tmp_path) as one:
            spec = {**work.spec, "folder": str(folder), "checkpointing": checkpointing}
            one.ask("build", spec=spec, device="cpu", threads=1)
            for turn in ("first", "second"):
                one.ask("check", to=str(tmp_path / f"{turn}.pt"))
        losses.append([torch.load(tmp_path / f"{turn}.pt")["loss"] for turn in ("first", "second")])
    assert losses[0][0] > losses[0][1]
    assert torch.allclose(torch.tensor(losses[1:]), torch.tensor(losses[0]), rtol=1e-4)


def test_a_side_that_ends_is_said(tmp_path):
    with side("ours", tmp_path, python="/bin/false") as ours, pytest.raises(SideFailed, match="exit code 1"):
        ours.ask("run")


def test_the_peak_counts_what_a_call_holds():
    size = 64 * 2**20
    small = CPUClock().measure(lambda: None)["peak"]
    large = CPUClock().measure(lambda: bytearray(b"x" * size))["peak"]
    assert small + size / 2 < large


def test_the_peak_is_the_processs_where_it_cannot_be_counted_anew(monkeypatch, tmp_path):
    exact = CPUClock().measure(lambda: None)["peak"]
    monkeypatch.setattr(clocks, "CLEAR", tmp_path / "none")
    monkeypatch.setattr(clocks, "STATUS", tmp_path / "none")
    assert CPUClock().measure(lambda: None)["peak"] == pytest.approx(resource.getrusage(0).ru_maxrss * 1024, rel=0.01)
    assert CPUClock().measure(lambda: None)["peak"] > 0.9 * exact


def test_a_gpu_is_measured_by_events():
    asked = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            asked.append("record")

        def elapsed_time(self, end):
            return 250.0

    cuda = SimpleNamespace(
        Event=Event,
        synchronize=lambda: asked.append("synchronize"),
        reset_peak_memory_stats=lambda: asked.append("reset"),
        max_memory_allocated=lambda: 7,
    )
    assert CUDAClock(cuda).measure(lambda: asked.append("call")) == {"seconds": 0.25, "peak": 7}
    assert asked == ["synchronize", "reset", "record", "call", "record", "synchronize"]
