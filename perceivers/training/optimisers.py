"""Muon for the hidden matrices, AdamW for everything else, as one optimiser; warm-up and cosine.

Not concerned with which rates are good (`recipe.py`).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import increment_version

from perceivers.errors import BadInput
from perceivers.model import Model
from perceivers.training.config import Training
from perceivers.training.muon import Muon
from perceivers.training.start import rates

OTHER_VERSION = (
    "the run was begun by another version of perceivers, whose checkpoints hold other weights: go on with that one, or "
    "choose another --out"
)


class Together(torch.optim.Optimizer):
    """Several optimisers as one: their parameter groups side by side, one step, one state."""

    def __init__(self, optimisers: list[torch.optim.Optimizer]):
        self.optimisers = optimisers
        self.defaults: dict[str, Any] = {}
        self._optimizer_step_pre_hooks = {}
        self._optimizer_step_post_hooks = {}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for optimiser in self.optimisers for group in optimiser.param_groups]

    @property
    def state(self) -> dict[Any, Any]:
        return {key: value for optimiser in self.optimisers for key, value in optimiser.state.items()}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = closure() if closure is not None else None
        for optimiser in self.optimisers:
            optimiser.step()
        # A fused step of torch does not count as a change, by which `derived` knows that weights are new.
        increment_version([p for group in self.param_groups for p in group["params"]])
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"optimisers": [optimiser.state_dict() for optimiser in self.optimisers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        try:
            for optimiser, state in zip(self.optimisers, state_dict["optimisers"], strict=True):
                optimiser.load_state_dict(state)
        except ValueError as error:  # torch counts the weights of each group
            raise BadInput(OTHER_VERSION) from error


def optimiser(model: Model, training: Training) -> Together:
    """Muon (Jordan et al. 2024) for the matrices of attention and MLP and for the filters of convolutions from a width
    to the same, AdamW for embeddings, heads, norms, biases.

    Weight decay acts on matrices alone. Weights that another model gave learn the slower the deeper they lie; each
    group says whether its weights are `new`.
    """
    hidden = _hidden(model)
    factors = rates(model, training.layer_decay or 1.0)
    muon, adamw = Groups(training.lr), Groups(training.adamw_lr)
    for name, p in model.named_parameters():
        if p.requires_grad:
            kind = muon if id(p) in hidden else adamw
            decay = training.weight_decay if p.ndim >= 2 else 0.0
            kind.add(p, factors[name], decay, name not in model.taken)
    dtype = torch.bfloat16 if training.precision == "bf16" else torch.float32
    found: list[torch.optim.Optimizer] = (
        [Muon(muon.groups, lr=muon.lr, weight_decay=0.0, dtype=dtype)] if muon.groups else []
    )
    return Together([*found, torch.optim.AdamW(adamw.groups, betas=(0.9, 0.98), fused=True)])


def _hidden(model: Model) -> set[int]:
    """The ids of the matrices between others: of the Perceiver, and of convolutions."""
    found = [p for p in model.perceiver.parameters() if p.ndim == 2 and p is not model.perceiver.latents.array]
    return {id(p) for p in (*found, *filters(model))}


def filters(model: Model) -> list[torch.Tensor]:
    """Those of convolutions from a width to the same."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv1d | nn.Conv2d)]
    return [layer.weight for layer in layers if layer.in_channels == layer.out_channels]


class Groups:
    """Parameter groups of an optimiser: weights with one rate and one decay together."""

    def __init__(self, lr: float | None):
        self.lr = lr or 0.0
        self.by_options: dict[tuple[float, float, bool], list[torch.nn.Parameter]] = {}

    def add(self, parameter: torch.nn.Parameter, factor: float, decay: float, new: bool) -> None:
        self.by_options.setdefault((factor, decay, new), []).append(parameter)

    @property
    def groups(self) -> list[dict[str, Any]]:
        return [
            {"params": parameters, "lr": self.lr * factor, "weight_decay": decay, "new": new}
            for (factor, decay, new), parameters in self.by_options.items()
        ]


def warmup_cosine(steps: int, warmup: float) -> Callable[[int], float]:
    """Step → factor of the learning rate: linear over `warmup` of the steps, then a cosine down to 0."""
    rise = max(1, round(steps * warmup))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))

    return factor
