"""What a training step costs: `python -m benchmarks.step`, the only writer of docs/step.md.

Ours beside the plain Perceiver IO (elementwise dropout, torch's attention, AdamW), in turn in one process, at the
shape of small pictures; what both have learned after as many steps; and where the time of a run's step goes, of
pictures and, where `--data DIR` has them, of texts and series. Not concerned with how well the defaults learn
(`accuracy.py`).
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Any, cast

import torch
from einops import rearrange
from pytorch_lightning.profilers import SimpleProfiler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from benchmarks import packages
from perceivers.bench.store import processor
from perceivers.core import kernels
from perceivers.core.attention import MLP, Attention, CrossAttend, SelfAttend
from perceivers.core.perceiver import PerceiverIO, build
from perceivers.core.positions import LearnedArray
from perceivers.data import infer, sources
from perceivers.evaluate import evaluate
from perceivers.files import write_atomic
from perceivers.model import Model
from perceivers.training import defaults, fitting
from perceivers.training.config import Config
from perceivers.training.module import LearningModel
from perceivers.training.optimisers import optimiser
from perceivers.training.train import Data, prepare

PAGE = Path(__file__).resolve().parent.parent / "docs/step.md"
BESIDE = ("reviews", "GunPoint")  # of which a step is looked into, beside digits
B, M, C, N, D, LAYERS, HEADS, WIDENING, DROPOUT = 128, 49, 130, 32, 128, 4, 4, 4, 0.1


class PlainAttention(Attention):
    """Three products for three projections, and torch's attention, which is its fused kernel without dropout of the
    weights: with it, torch makes the weights.
    """

    def __init__(self, q_channels: int, kv_channels: int | None = None, *, num_heads: int = 1, dropout: float = 0.0):
        super().__init__(q_channels, kv_channels, num_heads=num_heads)
        self.dropout = dropout

    def forward(self, inputs_q: Tensor, inputs_kv: Tensor, mask: Tensor | None = None) -> Tensor:
        inputs_q = inputs_q.expand(len(inputs_kv), -1, -1)
        q, k, v = (
            rearrange(x, "b n (h c) -> b h n c", h=self.num_heads)
            for x in (self.to_q(inputs_q), self.to_k(inputs_kv), self.to_v(inputs_kv))
        )
        seen = None if mask is None else rearrange(mask, "b m -> b 1 1 m")
        pooled = scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=self.dropout * self.training)
        return nn.functional.dropout(self.output(rearrange(pooled, "b h n c -> b n (h c)")), DROPOUT, self.training)


class PlainMLP(MLP):
    """A random number for each activation."""

    def __init__(self):
        super().__init__(D, WIDENING, nn.GELU())

    def forward(self, input: Tensor) -> Tensor:
        widened = nn.functional.dropout(self[1](self[0](input)), DROPOUT, self.training)
        return nn.functional.dropout(self[2](widened), DROPOUT, self.training)


def plain(channels: int, of_weights: float = 0.0) -> PerceiverIO:
    """The same architecture as most write it; `of_weights`: the dropout of attention weights."""
    attention = partial(PlainAttention, dropout=of_weights)
    return PerceiverIO(
        LearnedArray(N, D),
        CrossAttend(D, channels, attention(D, channels), PlainMLP()),
        [SelfAttend(D, attention(D, num_heads=HEADS), PlainMLP()) for _ in range(LAYERS)],
        CrossAttend(D, D, attention(D), PlainMLP()),
    )


class Classifier(nn.Module):
    """One query, ten classes."""

    taken: frozenset[str] = frozenset()  # as of a model that starts from nothing

    def __init__(self, perceiver: PerceiverIO):
        super().__init__()
        self.perceiver, self.query, self.head = perceiver, LearnedArray(1, D), nn.Linear(D, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.perceiver(inputs, self.query(len(inputs))))[:, 0]


def config() -> Config:
    """The defaults in the precision that this machine is good at."""
    precision = "bf16" if fitting.fast_bf16() else "float32"
    return replace(Config(size="small"), training=replace(Config().training, precision=precision))


def stepper(model: Classifier, optimiser: torch.optim.Optimizer, precision: str) -> Callable[[], None]:
    """One step on one batch of noise."""
    inputs, classes = torch.randn(B, M, C), torch.randint(10, (B,))

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            answer = model(inputs)
        cross_entropy(answer.float(), classes).backward()
        optimiser.step()

    return step


def in_turn(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, one after the other, `rounds` times; the first of each does not count."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - began)
    return {name: sorted(found[1:]) for name, found in times.items()}


def shapes(rounds: int) -> dict[str, list[float]]:
    """The step at the shape above: plain ones, the one to be beaten first, and ours, in the precision of `config`."""
    sizes = defaults.resolve(config(), prepare_digits().schema, 10_000, 2_000)
    own = sizes.training.precision
    ours_config = replace(defaults.perceiver(sizes), input_channels=C, query_channels=D)
    made = {
        "plain, AdamW, bf16": (plain(C), "bf16"),
        "plain, dropout of attention weights too, AdamW, bf16": (plain(C, DROPOUT), "bf16"),
        "plain, AdamW, float32": (plain(C), "float32"),
        f"ours, AdamW, {own}": (build(ours_config, nn.GELU), own),
        f"ours, Muon and AdamW (the default), {own}": (build(ours_config, nn.GELU), own),
    }
    models = {name: Classifier(perceiver) for name, (perceiver, _) in made.items()}
    parameters = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    assert len(set(parameters.values())) == 1, parameters
    steps = {
        name: stepper(
            model,
            optimiser(cast(Any, model), sizes.training) if "Muon" in name else torch.optim.AdamW(model.parameters()),
            made[name][1],
        )
        for name, model in models.items()
    }
    with kernels.probing() as choices:
        steps[f"ours, AdamW, {own}"]()
    with kernels.recorded(choices):
        return in_turn(steps, rounds)


def prepared(source: Any) -> Data:
    table = sources.read(source)
    return prepare(table, infer.infer(table))


def prepare_digits() -> Data:
    return prepared("sample:digits")


def learned(steps: int, in_time: int, seeds: int) -> dict[str, list[float]]:
    """Accuracy on the validation rows of digits after `steps`, by seed; of ours also after the `in_time` steps that it
    takes while the plain one takes its own. The optimisers and all else are ours.
    """
    data = prepare_digits()
    found: dict[str, list[float]] = {}
    runs = {f"plain, {steps} steps": steps, f"ours, {steps} steps": steps, f"ours, {in_time} steps": in_time}
    for seed, (name, steps) in product(range(seeds), runs.items()):
        asked = replace(config(), training=replace(config().training, seed=seed))
        sizes = defaults.resolve(asked, data.schema, len(data.parts["train"]), len(data.parts["validation"]))
        torch.manual_seed(seed)
        model = Model(data.schema, defaults.perceiver(sizes))
        if name.startswith("plain"):
            model.add_module("perceiver", plain(D))
        module = LearningModel(model, sizes.training, steps)
        fitting.trainer(steps, fitting.averaging(sizes, steps), None).fit(module, fitting.batches(data, sizes))
        ((evaluation,), _) = evaluate(model, data.table, data.parts["validation"])
        found.setdefault(name, []).append(evaluation.metrics["accuracy"]["value"])
    return found


def shares(data: Data, config: Config, steps: int) -> tuple[dict[str, float], float]:
    """Shares of a run's time: forward, backward and optimiser, waiting for data, and all else; and seconds a step.

    The first step does not count: its batch is waited for in any case, and it sets the libraries up.
    """
    sizes = defaults.resolve(config, data.schema, len(data.parts["train"]), len(data.parts["validation"]))
    torch.manual_seed(0)
    module = LearningModel(Model(data.schema, defaults.perceiver(sizes)), sizes.training, steps + 1)
    trainer: Any = fitting.trainer(steps + 1, fitting.averaging(sizes, steps + 1), None)
    trainer.profiler = profiler = SimpleProfiler()
    trainer.fit(module, fitting.batches(data, sizes))
    spent = {name: sum(times[1:]) for name, times in profiler.recorded_durations.items()}
    first = {name: times[0] for name, times in profiler.recorded_durations.items()}
    waits = [name for name in spent if name.endswith("train_dataloader_next")]
    total = first["run_training_epoch"] - first["run_training_batch"] - sum(first[name] for name in waits)
    waiting = sum(spent[name] for name in waits)
    own = sum(seconds for name, seconds in spent.items() if "optimizer_step" in name)
    found = {
        "forward, backward and optimiser": own / total,
        "waiting for data": waiting / total,
        "all else": (total - own - waiting) / total,
    }
    return found, total / steps


def in_operations(data: Data, config: Config, steps: int) -> float:
    """The share of a run's steps that passes inside the operations of the model, forward and backward: products,
    attention, norms, activations. Measured by torch's profiler, whose own time counts as the rest.
    """
    sizes = defaults.resolve(config, data.schema, len(data.parts["train"]), len(data.parts["validation"]))
    torch.manual_seed(0)
    module = LearningModel(Model(data.schema, defaults.perceiver(sizes)), sizes.training, steps + 1)
    trainer: Any = fitting.trainer(steps + 1, fitting.averaging(sizes, steps + 1), None)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        trainer.fit(module, fitting.batches(data, sizes))
    events: Any = profile.events()
    whole = sorted((e.time_range.start, e.time_range.end) for e in events if _optimisers(e) == 1 and _is_optimiser(e))
    began, ended = whole[1][0], whole[-1][1]  # the first step sets the libraries up
    inside = (e for e in events if "::" in e.name and _optimisers(e) < 2 and began <= e.time_range.start < ended)
    return sum(e.self_cpu_time_total for e in inside) / (ended - began)


def _is_optimiser(event: Any) -> bool:
    return event.name.startswith("Optimizer.step#")


def _optimisers(event: Any) -> int:
    """How many steps of optimisers an event is in, itself among them: ours, whose closure is the model, and its own."""
    count = 0
    while event is not None:
        count += _is_optimiser(event)
        event = event.cpu_parent
    return count


def page(
    times: dict[str, list[float]],
    accuracy: dict[str, list[float]],
    spent: dict[str, float],
    inside: dict[str, float],
) -> str:
    """docs/step.md."""
    beaten = median(next(iter(times.values())))
    rows = [
        f"| {name} | {1e3 * median(found):.1f} | {1e3 * found[0]:.1f} to {1e3 * found[-1]:.1f} "
        f"| {beaten / median(found):.2f} |"
        for name, found in times.items()
    ]
    return "\n".join(
        [
            "# What a training step costs",
            "",
            "Written by `python -m benchmarks.step`: all sides in turn, in one process. The plain model has dropout of",
            f"activations ({DROPOUT}) and torch's fused attention, in bfloat16 by autocast; beside it the same with",
            "dropout of attention weights, for which torch has no fused kernel, and in float32. Ours is in the",
            "precision that a run takes on this machine.",
            "",
            f"Machine: {processor()}, {torch.get_num_threads()} threads; torch {torch.__version__}.",
            "",
            f"Inputs {M} × {C}, batch {B}; {N} latents of {D}, {LAYERS} self-attends of {HEADS} heads, widening",
            f"{WIDENING}; one query.",
            "",
            "| model | step, ms (median) | range | times faster than the first |",
            "|---|---|---|---|",
            *rows,
            "",
            "Validation accuracy on digits with the default optimisers, means over seeds and their range; the last one",
            "is after the time that the first plain model takes:",
            "",
            *(
                f"- {name}: {mean(found):.3f} ({min(found):.3f} to {max(found):.3f})"
                for name, found in accuracy.items()
            ),
            "",
            "Where the time of a step of `perceivers train sample:digits` goes: "
            + ", ".join(f"{name} {share:.1%}" for name, share in spent.items())
            + ".",
            "",
            "Inside the operations of the model (products, attention, norms, activations, both ways; the profiler's",
            "own time counts as the rest): " + ", ".join(f"{name} {share:.1%}" for name, share in inside.items()) + ".",
            "",
        ]
    )


def main() -> None:
    """Measures, prints and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="steps of each side")
    parser.add_argument("--steps", type=int, default=300, help="steps that both learn")
    parser.add_argument("--seeds", type=int, default=3, help="how often both learn")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of data that no package holds")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    spent, _ = shares(prepare_digits(), config(), 100)
    found = {"digits": "sample:digits"} | {
        name: source
        for name in ("reviews", "GunPoint")
        if (source := packages.SOURCES[name](arguments.data)) is not None
    }
    inside = {name: in_operations(prepared(source), config(), 10) for name, source in found.items()}
    times = shapes(arguments.rounds)
    plain_time, own_time = median(next(iter(times.values()))), median(list(times.values())[-1])
    in_time = round(arguments.steps * plain_time / own_time)
    text = page(times, learned(arguments.steps, in_time, arguments.seeds), spent, inside)
    print(text)
    write_atomic(PAGE, text)


if __name__ == "__main__":
    main()
