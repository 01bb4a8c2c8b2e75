"""The changes of the defaults that are tried: optimisers, rates, sizes, what regularises.

Not concerned with how they are tried (`sweep.py`).
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.modalities.number import Number
from perceivers.model import Model
from perceivers.training import defaults
from perceivers.training.config import Config


@dataclass(frozen=True, eq=False)
class Variant:
    """One change of the defaults: options, or what stands in the place of a thing in the code, by its name."""

    factor: str
    name: str
    training: dict[str, Any] = field(default_factory=dict)
    architecture: dict[str, Any] = field(default_factory=dict)
    patches: dict[str, Any] = field(default_factory=dict)


def weights(model: Any) -> list[dict[str, Any]]:
    """All weights as one group, of which none is a start's."""
    return [{"params": list(model.parameters()), "new": True}]


def adamw(model: Any, training: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        weights(model), lr=training.adamw_lr, weight_decay=training.weight_decay, betas=(0.9, 0.98), fused=True
    )


def other(name: str, lr: float) -> Callable[[Any, Any], torch.optim.Optimizer]:
    """An optimiser of the package pytorch-optimizer for all weights."""

    def make(model: Any, training: Any) -> torch.optim.Optimizer:
        kind = importlib.import_module("pytorch_optimizer").load_optimizer(name)
        return kind(weights(model), lr=lr, weight_decay=training.weight_decay)

    return make


def mixed(self: Model, *pieces: Any) -> dict[str, Tensor]:
    """MixUp (Zhang et al. 2018) of the tokens: the losses of both rows, as these are weighted. Not of forecasts."""
    if not self.training:
        return LOSSES(self, *pieces)
    found = [_mixed(self, piece) for piece in pieces]
    return {name: torch.cat([losses[name] for losses in found]) for name in found[0]}


def _mixed(self: Model, batch: Any) -> dict[str, Tensor]:
    array, mask = self.read(batch)
    order, share = (
        torch.randperm(len(array)),
        float(np.random.default_rng(int(torch.randint(2**31, ()))).beta(0.2, 0.2)),
    )
    queries = self.queries(batch)
    tokens = share * array + (1 - share) * array[order]
    outputs = self.perceiver(tokens, torch.cat(queries, dim=1), mask | mask[order])
    pieces = outputs.split([q.shape[1] for q in queries], dim=1)
    losses = {}
    for (target_field, target), piece in zip(self.asked, pieces, strict=True):
        part, answer = batch[target_field.name], target(piece, batch)
        swapped = {name: value[order] for name, value in part.items()}
        losses[target_field.name] = share * target.loss(answer, part) + (1 - share) * target.loss(answer, swapped)
    return losses


def falling(share: float) -> Callable[[int, float], Callable[[int], float]]:
    """The rate as it is after its warm-up, until `share` of the steps is left; from there on down to 0, linearly."""

    def schedule(steps: int, warmup: float) -> Callable[[int], float]:
        rise, fall = max(1, round(steps * warmup)), max(1, round(steps * share))
        return lambda step: max(0.0, min(1.0, (step + 1) / rise, (steps - step) / fall))

    return schedule


def shared(config: Config) -> PerceiverIOConfig:
    """One self-attend with the same weights in the place of several (Jaegle et al. 2021, "Perceiver", section 3.2)."""
    numbers = PERCEIVER(config)
    return replace(numbers, self_attends_per_block=1, num_blocks=numbers.self_attends_per_block)


def huber(self: Any, prediction: Tensor, part: dict[str, Tensor]) -> Tensor:
    """Squared error up to one standard deviation, the absolute one beyond."""
    return (part["present"] * smooth_l1_loss(prediction, part["values"], reduction="none")).mean(-1)


def robust(self: Number, of_field: Any, cells: Sequence[Any]) -> dict[str, Any]:
    """Targets by their median and 1.35 times the distance of their quartiles: a standard deviation, if normal."""
    found = FIT(self, of_field, cells)
    if of_field.role == "target":
        quartiles = np.nanpercentile(self.read_all(of_field, cells), (25, 50, 75), axis=0)
        found |= {"mean": quartiles[1].tolist(), "std": ((quartiles[2] - quartiles[0]) / 1.35).tolist()}
    return found


LOSSES, PERCEIVER, FIT = Model.losses, defaults.perceiver, Number.fit
SCHEDULE = "perceivers.training.module.warmup_cosine"
OPTIMISER = "perceivers.training.module.optimiser"
VARIANTS = (
    Variant("", "default"),
    Variant("optimiser", "AdamW", patches={OPTIMISER: adamw}),
    Variant("optimiser", "SOAP", patches={OPTIMISER: other("soap", 3e-3)}),
    Variant("optimiser", "LAMB", patches={OPTIMISER: other("lamb", 5e-3)}),
    Variant("optimiser", "schedule-free AdamW", patches={OPTIMISER: other("schedulefreeadamw", 2e-3)}),
    Variant("filters", "by AdamW", patches={"perceivers.training.optimisers.filters": lambda model: []}),
    Variant("rate of Muon", "half", training={"lr": 1e-3}),
    Variant("rate of Muon", "double", training={"lr": 4e-3}),
    Variant("schedule", "linear from the start", patches={SCHEDULE: falling(1.0)}),
    Variant("schedule", "constant, its last fifth linear", patches={SCHEDULE: falling(0.2)}),
    Variant("weight average", "none", training={"average": 0.0}),
    Variant("weight average", "0.998", training={"average": 0.998}),
    Variant("dropped paths", "none", training={"drop_path": 0.0}),
    Variant("dropped paths", "0.3", training={"drop_path": 0.3}),
    Variant("latents", "16", architecture={"num_latents": 16}),
    Variant("latents", "64", architecture={"num_latents": 64}),
    Variant("self-attends", "2", architecture={"self_attends": 2}),
    Variant("self-attends", "8", architecture={"self_attends": 8}),
    Variant("self-attends", "one, shared", patches={"perceivers.training.defaults.perceiver": shared}),
    Variant("cross-attention heads", "4", architecture={"cross_heads": 4}),
    Variant("fields dropped", "none", training={"field_drop": 0.0}),
    Variant("fields dropped", "0.6", training={"field_drop": 0.6}),
    Variant("tokens of pictures", "at most 64", patches={"perceivers.recipe.IMAGE_TOKENS": 64}),
    Variant("blocks of pictures", "none", patches={"perceivers.recipe.ARRAY_BLOCKS": 0}),
    Variant("blocks of pictures", "4", patches={"perceivers.recipe.ARRAY_BLOCKS": 4}),
    Variant("blocks of series", "none", patches={"perceivers.recipe.SERIES_BLOCKS": 0}),
    Variant("label smoothing", "none", patches={"perceivers.recipe.CLASS_LABEL_SMOOTHING": 0.0}),
    Variant("label smoothing", "0.1", patches={"perceivers.recipe.CLASS_LABEL_SMOOTHING": 0.1}),
    Variant("loss of values", "Huber's", patches={"perceivers.modalities.number.NumberTarget.loss": huber}),
    Variant("scale of values", "by quartiles", patches={"perceivers.modalities.number.Number.fit": robust}),
    Variant("MixUp", "0.2", patches={"perceivers.model.Model.losses": mixed}),
    Variant("bytes dropped", "none", patches={"perceivers.recipe.TEXT_SPAN_DROP": 0.0}),
    Variant("bytes dropped", "0.2", patches={"perceivers.recipe.TEXT_SPAN_DROP": 0.2}),
    Variant("bytes dropped", "0.6", patches={"perceivers.recipe.TEXT_SPAN_DROP": 0.6}),
    Variant("n-grams", "none", patches={"perceivers.recipe.TEXT_NGRAMS": ()}),
    Variant("n-grams", "2 and 3", patches={"perceivers.recipe.TEXT_NGRAMS": (2, 3)}),
    Variant(
        "augmentation of pictures", "none", patches={"perceivers.modalities.image.Image.augment": lambda s, f, p, u: p}
    ),
    Variant(
        "augmentation of series", "none", patches={"perceivers.modalities.series.Series.augment": lambda s, f, p, u: p}
    ),
)
