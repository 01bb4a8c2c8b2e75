"""The Lightning module: one training step, one validation step, one optimiser.

Not concerned with when to stop, what to keep or what to show (`callbacks.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from perceivers.data.randomness import step_seed
from perceivers.errors import BadInput
from perceivers.modalities.base import Batch, rows_of
from perceivers.model import Model
from perceivers.training.config import Training
from perceivers.training.optimisers import OTHER_VERSION, Together, optimiser, warmup_cosine


class NotFinite(Exception):
    """The loss of a step (counted from 0), or its gradient, is infinite or not a number."""

    def __init__(self, step: int, loss: float):
        super().__init__(step, loss)
        self.step, self.loss = step, loss


class LearningModel(pl.LightningModule):
    """A model on its way. What is drawn for a batch is seeded by (seed, step); the rate is a function of the step."""

    def __init__(self, model: Model, training: Training, steps: int):
        super().__init__()
        self.model, self.training_config = model, training
        model.perceiver.checkpointing = training.checkpointing or "off"
        self.factor = warmup_cosine(steps, training.warmup)
        self.waiting = round(steps * (training.new_first or 0))  # steps in which only new weights learn

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Raises BadInput where a checkpoint has other weights."""
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:
            raise BadInput(OTHER_VERSION) from error

    def loss(self, pieces: Sequence[Batch]) -> Tensor:
        """The mean over the rows of all pieces of a batch, summed over targets."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training_config.precision == "bf16"):
            losses = self.model.losses(*pieces)
        return torch.stack([loss.float().mean() for loss in losses.values()]).sum()

    def on_train_batch_start(self, batch: Sequence[Batch], batch_idx: int) -> None:
        torch.manual_seed(step_seed(self.training_config.seed, self.global_step))
        for group in self.optimizers().param_groups:
            waits = not group["new"] and self.global_step < self.waiting
            group["lr"] = 0.0 if waits else group["initial_lr"] * self.factor(self.global_step)

    def training_step(self, batch: Sequence[Batch], batch_idx: int) -> Tensor:
        self.latest = self.loss(batch)
        return self.latest

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clips to the global norm, or raises NotFinite: then this step has changed no weight."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters(), self.training_config.clip)
        if not torch.isfinite(self.latest.detach() + norm):
            raise NotFinite(self.global_step, self.latest.item())

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return {"loss": self.loss([batch]), "rows": rows_of(batch)}

    def configure_optimizers(self) -> Together:
        together = optimiser(self.model, self.training_config)
        for group in together.param_groups:
            group["initial_lr"] = group["lr"]
        return together
