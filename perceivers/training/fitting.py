"""The steps of a run: how many, by Lightning, from a checkpoint where there is one, and which weights are kept.

Not concerned with data sources, evaluation or reports.
"""

import copy
import logging
import statistics
import time
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from perceivers.data.loading import TrainingBatches, evaluation_batches
from perceivers.model import Model
from perceivers.training import callbacks, defaults
from perceivers.training.checkpoints import SafeCheckpointIO
from perceivers.training.config import Config
from perceivers.training.folder import RunFolder
from perceivers.training.module import LearningModel

MEASURED_STEPS = 30
REPORT_SECONDS = 4.0  # writing the report, of which half is matplotlib's start
SAFETY = 0.95

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning")


@dataclass(frozen=True)
class Outcome:
    """How the steps ended. `signal` is None unless one stopped them; `kept` says which weights were kept."""

    steps: int
    kept: str
    notes: list[str]
    signal: int | None


def training_rows(data: Any, config: Config) -> np.ndarray:
    """The train rows, and where data are few the validation rows with them; test rows never."""
    parts = data.parts
    return np.union1d(parts["train"], parts["validation"]) if config.training.small else parts["train"]


def batches(data: Any, config: Config, start: int = 0) -> TrainingBatches:
    t = config.training
    return TrainingBatches(
        data.rows,
        training_rows(data, config),
        batch_size=t.batch_size,
        seed=t.seed,
        field_drop=t.field_drop,
        start=start,
    )


class ValidationBatches:
    """The validation rows, read anew each time."""

    def __init__(self, data: Any, config: Config):
        self.data, self.batch_size = data, config.training.batch_size

    def __iter__(self):
        for _, batch in evaluation_batches(self.data.rows, self.data.parts["validation"], self.batch_size):
            yield batch


def trainer(config: Config, steps: int, parts: list[pl.Callback], validate_every: int | None) -> pl.Trainer:
    """Lightning's loop, quiet, for `steps` steps."""
    return pl.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="auto",
        devices=1,
        callbacks=parts,
        plugins=[SafeCheckpointIO()],
        gradient_clip_val=config.training.clip,
        val_check_interval=validate_every,
        check_val_every_n_epoch=None,
        limit_val_batches=None if validate_every else 0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


class _Clock(pl.Callback):
    """The time of each step."""

    def __init__(self):
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.times.append(time.perf_counter())


def measure(model: Model, data: Any, config: Config, steps: int) -> float:
    """Seconds a training step takes, everything included, on a copy of the model that is thrown away."""
    clock = _Clock()
    module = LearningModel(copy.deepcopy(model), config.training, steps)
    parts = [clock, *averaging(config)]
    trainer(config, steps, parts, None).fit(module, batches(data, config))
    return statistics.median(np.diff(clock.times))


def plan(model: Model, data: Any, config: Config, deadline: float | None) -> Config:
    """The configuration with its precision and its number of steps, fixed once for all."""
    precisions = ["float32", "bf16"] if config.training.precision == "auto" else [config.training.precision]
    tried = {p: measure(model, data, with_precision(config, p), MEASURED_STEPS // len(precisions)) for p in precisions}
    fastest = min(tried, key=tried.get)
    config = with_precision(config, fastest)
    most = defaults.max_steps(config, len(training_rows(data, config)), data.schema)
    if config.steps:
        return config
    reserve = REPORT_SECONDS + evaluation_seconds(model, data, config)
    left = SAFETY * (deadline - time.monotonic() - reserve)
    return replace(config, steps=max(1, min(most, int(left / tried[fastest]))))


def evaluation_seconds(model: Model, data: Any, config: Config) -> float:
    """What all validations of a run and the test will take, from one batch."""
    began = time.perf_counter()
    ids = data.parts["test"][: config.training.batch_size]
    with torch.inference_mode():
        for _, batch in evaluation_batches(data.rows, ids, config.training.batch_size):
            model(batch)
    each = (time.perf_counter() - began) / max(1, len(ids))
    validations = 0 if config.training.small else config.training.validations
    return each * (len(data.parts["test"]) + validations * len(data.parts["validation"]))


def with_precision(config: Config, precision: str) -> Config:
    return replace(config, training=replace(config.training, precision=precision))


def averaging(config: Config) -> list[pl.Callback]:
    """The moving average of the weights, which takes their place in validation and at the end."""
    decay = config.training.average
    return [WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(decay))] if decay else []


def fit(model: Model, data: Any, config: Config, folder: RunFolder, deadline: float | None, began: float) -> Outcome:
    """Trains `model` in place, from the newest checkpoint if there is one; keeps the best weights or the average."""
    found = callbacks.saved(folder.checkpoints)
    start = int(found[-1].stem.split("-")[1]) if found else 0
    small = config.training.small
    validation = None if small else callbacks.Validation(config.training.patience)
    in_time = callbacks.InTime(deadline - REPORT_SECONDS) if deadline else None
    checkpoints = callbacks.Checkpoints(folder, began)
    parts = [
        *([validation] if validation else []),
        *averaging(config),
        callbacks.MetricsCSV(folder.path / "metrics.csv", validation, start),
        callbacks.Progress(config.steps, validation),
        checkpoints,
        *([in_time] if in_time else []),
    ]
    every = None if small else max(1, config.steps // config.training.validations)
    module = LearningModel(model, config.training, config.steps)
    trainer(config, config.steps, parts, every).fit(
        module,
        batches(data, config, start),
        None if small else ValidationBatches(data, config),
        ckpt_path=str(found[-1]) if found else None,
    )
    return _outcome(model, module, config, validation, in_time, checkpoints)


def _outcome(model: Model, module: Any, config: Config, validation: Any, in_time: Any, checkpoints: Any) -> Outcome:
    steps, notes = module.trainer.global_step, []
    if in_time is not None and in_time.stopped_at is not None:
        notes.append(f"The machine slowed down: stopped in time, after {steps:,} of {config.steps:,} steps.")
    elif steps < config.steps and checkpoints.signal is None:
        notes.append(f"Stopped early, after {steps:,} of {config.steps:,} steps: validation no longer gained.")
    kept = "the average of the weights over the last steps" if config.training.average else "the last weights"
    if validation is not None and validation.best_weights is not None:
        model.load_state_dict(validation.best_weights)
        kept = f"the weights of step {validation.best_step:,}, the best on validation"
    return Outcome(steps, kept, notes, checkpoints.signal)
