"""A training step: its memory and FLOPs from weights without values, its time from steps of fewer rows.

A step's time is one for its modules and one for its rows: steps of two rows and of half the batch tell both apart.
Not concerned with how many steps a run takes (`training/fitting.py`).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from perceivers.core import kernels
from perceivers.data import sources
from perceivers.data.batches import READ_AHEAD
from perceivers.data.schema import Schema
from perceivers.model import Model
from perceivers.plan.costs import LIBRARIES, Plan, Stages, held
from perceivers.plan.trace import Trace, bytes_of, hollow
from perceivers.terminal import counted
from perceivers.training import defaults, fitting, origins
from perceivers.training.config import Config
from perceivers.training.module import LearningModel
from perceivers.training.start import Start, check_options
from perceivers.training.train import Data, open_schema, prepare

FEW = 2  # rows
TIMED = 6  # steps


@dataclass(frozen=True)
class Asked:
    """Data that are ready to be learned from, and the sizes of the model."""

    data: Data
    config: Config
    start: Start | None

    def model(self) -> Model:
        """The model, with its initial weights."""
        if self.start is None:
            return Model(self.data.schema, defaults.perceiver(self.config))
        return self.start.new_model(self.data.schema, self.config)


def asked(
    data: str,
    targets: Sequence[str],
    config: Config,
    *,
    schema: Path | None,
    group: str | None,
    time: str | None,
    series: str | None,
    horizon: int | None,
    start: str | None,
) -> Asked:
    """What `train` would learn from with the same options. Raises BadInput where it would."""
    defaults.check(config)
    origin = origins.read(start) if start else None
    check_options(origin, config)
    table = sources.read(data)
    given = Schema.read(schema) if schema else None
    found = open_schema(table, targets, group, time, given, series, horizon)
    ready = prepare(table, origin.adapted(found) if origin else found)
    resolved = defaults.resolve(
        origin.sized(config) if origin else config,
        ready.schema,
        len(ready.parts["train"]),
        len(ready.parts["validation"]),
        origin.chosen(config.training) if origin else None,
    )
    return Asked(ready, resolved, origin)


def plan(found: Asked) -> Plan:
    """What a step costs in the precision and with the threads that are the fastest here, as training chooses them."""
    before = held()
    with fitting.probing(found.config) as choices:  # as training does
        times = {choice: seconds(found, choice) for choice in fitting.kernels(found.config)}
        precision, threads = fastest = min(times, key=times.__getitem__)
        config = fitting.with_kernels(found.config, *fastest)
        with fitting.threads(threads):
            traced = _traced(replace(found, config=config), before)
    others = ", ".join(f"{p} with {counted(n, 'thread')} {1e3 * s:.1f} ms" for (p, n), s in times.items())
    return Plan(
        what=f"a training step on {found.data.table.name}",
        precision=precision,
        reason=f"{'the fastest' if len(times) > 1 else 'as asked'}: {others}",
        threads=threads,
        seconds=times[fastest],
        choices=dict(choices),
        notes=(_epoch(found),),
        **traced,
    )


def _epoch(found: Asked) -> str:
    rows = len(fitting.training_rows(found.data, found.config))
    return f"an epoch of {counted(rows, 'row')} is {counted(max(1, rows // _batch_size(found)), 'step')}"


def seconds(found: Asked, choice: tuple[str, int]) -> float:
    """A step of the whole batch, from measured ones of fewer rows, where there are so many."""
    rows = _batch_size(found)
    half = max(1, rows // 2)
    few = min(FEW, half)
    at_half = _measured(found, choice, half)
    each = (at_half - _measured(found, choice, few)) / (half - few) if half > few else at_half / half
    return at_half + max(0.0, each) * (rows - half)


def _measured(found: Asked, choice: tuple[str, int], rows: int) -> float:
    config = smaller(fitting.with_kernels(found.config, *choice), rows)
    torch.manual_seed(config.training.seed)
    return fitting.measure(found.model(), found.data, config, TIMED, float("inf"))


def smaller(config: Config, rows: int) -> Config:
    """The same with a batch of so many rows."""
    return replace(config, training=replace(config.training, batch_size=rows))


def batches_held(config: Config) -> int:
    """One that is learned from, and those that were read ahead."""
    return 1 + READ_AHEAD * config.training.workers


def _batch_size(found: Asked) -> int:
    return min(found.config.training.batch_size or 1, len(fitting.training_rows(found.data, found.config)))


def _traced(found: Asked, before: int) -> dict[str, Any]:
    """FLOPs of a plain step, which sets up the optimiser; memory and kernels of the next. `before`: what was held."""
    batch = fitting.batches(found.data, found.config).batch(0)
    with torch.device("meta"):
        model = found.model()
    hollow(model)
    stages = Stages(model.config)
    weights = [*model.parameters(), *model.buffers()]
    with warnings.catch_warnings(), Trace() as traced:
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")  # the average copies weights
        traced.ignore([weights, batch])
        module = LearningModel(model.train(), found.config.training, 1)
        step = Step(module)
        averages = traced.held
        with kernels.plain(), stages.watching(model.perceiver):
            loss = module.loss(batch)
            forward = traced.flops
            step.learn(loss)
        optimiser, total = traced.held - averages, traced.flops
        del loss
        traced.begin()
        with kernels.decisions() as decisions:
            loss = module.loss(batch)
            kept = traced.held - averages - optimiser
            step.learn(loss)
    return {
        "rows": _batch_size(found),
        "parameters": sum(p.numel() for p in model.parameters()),
        "inputs": stages.inputs,
        "queries": stages.queries,
        "flop": {
            **stages.flop,
            "inputs and heads": forward - sum(stages.flop.values()),
            "backward and optimiser": total - forward,
        },
        "bytes": {
            LIBRARIES: before,
            "weights": bytes_of(weights),
            "their average": averages,
            "optimiser": optimiser,
            "batches": batches_held(found.config) * bytes_of(batch),
            "kept for the backward pass": kept,
            "more at the peak": traced.peak - averages - optimiser - kept,
        },
        "decisions": decisions,
    }


class Step:
    """A training step as Lightning takes it: forward, backward, clipping, the optimiser, and the weights' average."""

    def __init__(self, module: LearningModel):
        self.module = module
        self.optimiser = module.configure_optimizers()
        decay = module.training_config.average
        self.average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None

    def __call__(self, batch: Any) -> None:
        self.learn(self.module.loss(batch))

    def learn(self, loss: Tensor) -> None:
        """All that follows the forward pass."""
        loss.backward()
        clip_grad_norm_(self.module.parameters(), self.module.training_config.clip, foreach=True)
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.module)
