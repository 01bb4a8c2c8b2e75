"""A prediction: of a published model without its weights, or of a run folder for given rows.

Not concerned with how answers are written (`perceivers/predict.py`, `jobs/`).
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from perceivers import published
from perceivers.api import TrainedModel, load_run
from perceivers.bench.works import OWNER
from perceivers.core import kernels
from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.core.precision import choose, lower
from perceivers.data.batches import evaluation_batches
from perceivers.data.loading import Rows
from perceivers.errors import BadInput
from perceivers.modalities import modality
from perceivers.modalities.base import rows_of
from perceivers.model import CONFIG
from perceivers.plan import probe
from perceivers.plan.costs import LIBRARIES, Plan, Stages, held
from perceivers.plan.trace import Trace, bytes_of, hollow
from perceivers.predict import BATCH, require_columns, to_answer
from perceivers.published import ORIGINAL_SUFFIXES
from perceivers.published.models import Published, make
from perceivers.published.presets import PRESETS
from perceivers.published.sources import HUB
from perceivers.published.untrained import example


@dataclass(frozen=True)
class Asked:
    """A model and what it answers to: `call` runs it on `given`, `rows` at a time."""

    name: str
    model: Any
    config: PerceiverIOConfig
    given: Any
    rows: int
    call: Callable[[Any, Any], Any]
    notes: tuple[str, ...] = ()


def is_model(place: str) -> bool:
    """Whether `place` names a model, and not data: a published one, a run folder, a Hub folder or an original file."""
    path = Path(place)
    return place.startswith(OWNER) or path.suffix in ORIGINAL_SUFFIXES or (path.is_dir() and (path / CONFIG).exists())


def asked(place: str, inputs: Sequence[str], *, weights: bool) -> Asked:
    """What `predict` would ask of a model. A published name needs no weights: random ones where there must be some.

    Raises BadInput where it is no model, or a run folder comes without inputs.
    """
    if place in PRESETS or not Path(place).is_dir() or published.is_hub_folder(Path(place)):
        return _published(place, inputs, weights)
    loaded = load_run(Path(place))
    if not inputs:
        raise BadInput(f"{place}: a prediction costs what its rows need: give some, as to predict: plan {place} INPUT…")
    given, rows, notes = _largest_batch(loaded, inputs)
    return Asked(
        place, loaded.model, loaded.model.config, given, rows, lambda model, batch: model.answers(batch), notes
    )


def _published(place: str, inputs: Sequence[str], weights: bool) -> Asked:
    if inputs:
        raise BadInput(f"{place}: a published model reads examples of one size: leave {inputs[0]!r:.60} out")
    if place in PRESETS:
        with torch.device("meta"):
            model: Published = make(PRESETS[place].sizes("hub"), HUB)
        if weights:
            _fill(model.to_empty(device="cpu"))
    else:
        model = published.load(place)
    given = example(model.sizes)
    return Asked(place, model, model.sizes.perceiver, given, 1, lambda model, example: model(*example))


@torch.no_grad()
def _fill(model: nn.Module) -> None:
    """Random weights, in place: initial ones take memory for a while."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.uniform_(0.0, 0.02)


def _largest_batch(loaded: TrainedModel, inputs: Sequence[str]) -> tuple[Any, int, tuple[str, ...]]:
    """The batch of the longest rows, how many it has, and a note where there are more."""
    table = loaded.written(inputs)
    require_columns(table, loaded.reads)
    table, _ = to_answer(loaded.model, table)
    rows = Rows(table, loaded.reads, modality)
    batches = [batch for _, batch in evaluation_batches(rows, np.arange(len(rows)), BATCH)]
    if not batches:
        raise BadInput(f"no row can be read; the first: {next(iter(rows.failed.values()))}")
    batch = batches[-1]
    count = rows_of(batch)
    note = f"{len(rows):,} rows in {len(batches):,} batches: of the last, whose rows are the longest"
    return batch, count, (note,) if len(batches) > 1 else ()


def plan(found: Asked, precision: str, plain: bool) -> Plan:
    """What an answer costs, its kernels tried and its operations timed here. The model has no values afterwards."""
    model = found.model
    chosen, reason = choose(precision, torch.device("cpu"))
    lower(model, chosen)
    hollow(model)
    before = held() - bytes_of(found.given)  # the weights that were read are gone
    stages = Stages(found.config)
    with kernels.plain(), Trace() as traced, stages.watching(model.perceiver), torch.no_grad():
        found.call(model, found.given)
    total = traced.flops
    weights = [*model.parameters(), *model.buffers()]
    with (
        torch.no_grad(),
        kernels.plain() if plain else nullcontext(),
        kernels.decisions() as decisions,
        Trace() as traced,
    ):
        traced.ignore([weights, found.given])
        found.call(model, found.given)
    return Plan(
        what=f"a prediction of {found.name}",
        precision=chosen,
        reason=reason,
        threads=torch.get_num_threads(),
        rows=found.rows,
        parameters=sum(p.numel() for p in model.parameters()),
        inputs=stages.inputs,
        queries=stages.queries,
        flop={**stages.flop, "inputs and heads": total - sum(stages.flop.values())},
        seconds=probe.total(traced.operations),
        bytes={
            LIBRARIES: before,
            "weights": bytes_of(weights),
            "what is read": bytes_of(found.given),
            "activations, at most": traced.peak,
        },
        decisions=decisions,
        choices=kernels.record(),
        notes=found.notes,
    )
