"""The steps of a run: how many, by Lightning, from a checkpoint where there is one, and which weights are kept.

Not concerned with data sources, evaluation or reports.
"""

import copy
import gc
import json
import logging
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch.optim.swa_utils import get_ema_multi_avg_fn

from perceivers.core import kernels as products
from perceivers.data.batches import TrainingBatches, evaluation_batches
from perceivers.data.randomness import permutation
from perceivers.errors import Failed
from perceivers.files import write_atomic
from perceivers.model import Model
from perceivers.terminal import counted, say
from perceivers.training import callbacks, defaults
from perceivers.training.checkpoints import SafeCheckpointIO, step_of
from perceivers.training.config import Config
from perceivers.training.folder import RunFolder
from perceivers.training.module import LearningModel, NotFinite
from perceivers.training.signals import Signals

MEASURED_STEPS = 30
MEASURING_SHARE = 0.1  # of the time left: on a slow machine fewer steps are measured
SAFETY = 0.95
VALIDATING_SHARE = 0.1  # of the time of the steps: where validation rows are many, a sample of them is read
LEAST_VALIDATED = 256  # rows of a sample: by fewer, no weights can be told to be the best


@dataclass(frozen=True)
class Outcome:
    """How the steps ended. `kept` says which weights were kept, `failed` which rows could not be read, and why."""

    steps: int
    kept: str
    notes: list[str]
    failed: dict[int, str]

    def to_json(self) -> str:
        """As `from_json` takes it."""
        return json.dumps({**asdict(self), "failed": list(self.failed.items())}, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Outcome":
        """What `to_json` wrote."""
        content = json.loads(text)
        return cls(**{**content, "failed": dict(content["failed"])})


def training_rows(data: Any, config: Config) -> np.ndarray:
    """The train rows, and where data are few the validation rows with them; test rows never."""
    parts = data.parts
    return np.union1d(parts["train"], parts["validation"]) if config.training.small else parts["train"]


def batches(data: Any, config: Config, start: int = 0) -> TrainingBatches:
    """The stream of training batches from step `start` on."""
    t = config.training
    return TrainingBatches(
        data.rows,
        training_rows(data, config),
        batch_size=t.batch_size,
        seed=t.seed,
        field_drop=t.field_drop,
        start=start,
        workers=t.workers,
    )


def validation_rows(data: Any, config: Config) -> np.ndarray:
    """The rows that each validation reads."""
    return np.sort(permutation(0, 0, data.parts["validation"])[: config.training.validation_rows])


class ValidationBatches:
    """The rows of a validation, read anew each time."""

    def __init__(self, data: Any, config: Config):
        self.rows, self.ids, self.batch_size = data.rows, validation_rows(data, config), config.training.batch_size

    def __iter__(self):
        for _, batch in evaluation_batches(self.rows, self.ids, self.batch_size):
            yield batch


def trainer(
    steps: int, parts: list[pl.Callback], validate_every: int | None, validate_first: bool = False
) -> pl.Trainer:
    """Lightning's loop, quiet, for `steps` steps. `validate_first`: before the first one, too."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    return pl.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="auto",
        devices=1,
        callbacks=parts,
        plugins=[SafeCheckpointIO()],
        val_check_interval=validate_every,
        check_val_every_n_epoch=None,
        limit_val_batches=None if validate_every else 0,
        num_sanity_val_steps=-1 if validate_first else 0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


class _Clock(pl.Callback):
    """The time of each step; stops once `seconds` have passed and a step can be told from the first, slow one."""

    def __init__(self, seconds: float):
        self.until = time.monotonic() + seconds
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.times.append(time.monotonic())
        if len(self.times) > 1 and self.times[-1] > self.until:
            trainer.should_stop = True


def typical(times: list[float]) -> float:
    """Seconds a step: the mean without the first, which warms up, and without the slowest, where there are three."""
    steps = np.sort(np.diff(times))
    return float(np.mean(steps[:-1] if len(steps) > 2 else steps))


def measure(model: Model, data: Any, config: Config, steps: int, seconds: float) -> float:
    """Seconds a training step takes, everything included, on a copy of the model that is thrown away."""
    times = _times(model, data, config, steps, seconds)
    gc.collect()  # the loop and the copy hold each other
    return typical(times)


def _times(model: Model, data: Any, config: Config, steps: int, seconds: float) -> list[float]:
    clock = _Clock(seconds)
    module = LearningModel(copy.deepcopy(model), config.training, steps)
    with threads(config.training.threads):
        trainer(steps, [clock, *averaging(config, steps)], None).fit(module, batches(data, config))
    return clock.times


def probing(config: Config) -> AbstractContextManager[dict[str, str]]:
    """Inside, the kernels of steps that are measured are tried; gives the record of what was chosen."""
    return products.plain() if config.training.kernels == "plain" else products.probing()


def chosen_kernels(config: Config, choices: Mapping[str, str]) -> AbstractContextManager[Any]:
    """Inside, a run computes as its record of kernels says."""
    return products.plain() if config.training.kernels == "plain" else products.recorded(choices)


def plan(model: Model, data: Any, config: Config, deadline: float | None) -> Config:
    """The configuration with its precision, its threads and its number of steps, fixed once for all.

    `deadline`: when the report must begin, on `time.monotonic`; None: the steps are given.
    """
    t = config.training
    if deadline is None:  # steps are exact: nothing hangs on the time that something took
        precision = ("bf16" if fast_bf16() else "float32") if t.precision == "auto" else t.precision
        return with_kernels(config, precision, t.threads or torch.get_num_threads())
    tried = kernels(config)
    seconds = MEASURING_SHARE * max(0.0, deadline - time.monotonic())
    most = MEASURED_STEPS // len(tried), seconds / len(tried)
    until, times = time.monotonic() + seconds, {}
    for choice in tried:
        if not times or time.monotonic() < until:  # two steps of a large model may take all of it
            times[choice] = measure(model, data, with_kernels(config, *choice), *most)
    fastest = min(times, key=times.__getitem__)
    config = with_kernels(config, *fastest)
    most_steps = defaults.max_steps(config, len(training_rows(data, config)), data.schema)
    row_seconds = max(1e-9, evaluation_seconds(model, data, config))
    left = SAFETY * (deadline - time.monotonic() - row_seconds * len(data.parts["test"]))
    config = with_validations(config, data, VALIDATING_SHARE * min(left, most_steps * times[fastest]) / row_seconds)
    if not config.training.small:
        left -= row_seconds * config.training.validations * len(validation_rows(data, config))
    return replace(config, steps=max(1, min(most_steps, int(left / times[fastest]))))


def kernels(config: Config) -> list[tuple[str, int]]:
    """The (precision, threads) to choose from, what is likely the fastest first. Where the cores are busy, threads that
    wait for each other are slow.
    """
    t = config.training
    both = ["bf16", "float32"] if fast_bf16() else ["float32", "bf16"]
    counts = [t.threads] if t.threads else sorted({1, torch.get_num_threads()}, reverse=True)
    return [(p, n) for p in (both if t.precision == "auto" else [t.precision]) for n in counts]


def fast_bf16() -> bool:
    """Whether the machine has instructions for products in bfloat16."""
    return torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()


def with_kernels(config: Config, precision: str, threads: int) -> Config:
    """The configuration with these in place of what was to be chosen."""
    return replace(config, training=replace(config.training, precision=precision, threads=threads))


def with_validations(config: Config, data: Any, most: float) -> Config:
    """The configuration whose validations read at most about so many rows in all: fewer each, then fewer times."""
    t, rows = config.training, len(data.parts["validation"])
    if t.small:  # there is none
        return config
    each = t.validation_rows or max(LEAST_VALIDATED, int(most / t.validations))
    often = max(1, min(t.validations, int(most / min(each, max(1, rows)))))
    return replace(config, training=replace(t, validations=often, validation_rows=each if each < rows else None))


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Torch takes so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def evaluation_seconds(model: Model, data: Any, config: Config) -> float:
    """What a row takes in validation and test, from one batch."""
    began = time.monotonic()
    ids = data.parts["train"][: config.training.batch_size]  # test rows may be of classes that train lacks
    with torch.inference_mode():
        for _, batch in evaluation_batches(data.rows, ids, config.training.batch_size):
            model(batch)
    return (time.monotonic() - began) / max(1, len(ids))


def averaging(config: Config, steps: int) -> list[pl.Callback]:
    """The moving average of the weights, which takes their place in validation and at the end.

    It reaches back over at most a third of the steps: the initial weights have no part in what is kept.
    """
    decay = min(config.training.average or 0.0, max(0.0, 1 - 3 / steps))
    return [WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(decay))] if decay else []


def fit(
    model: Model,
    data: Any,
    config: Config,
    folder: RunFolder,
    found: Path | None,
    deadline: float | None,
    signals: Signals,
) -> Outcome:
    """Trains `model` in place, from the checkpoint `found` if there is one; keeps the best weights or the average.

    Raises Stopped after a checkpoint, and Failed where the loss is not a number.
    """
    start = step_of(found) if found else 0
    validation = None
    if not config.training.small and len(data.parts["validation"]):
        validation = callbacks.Validation(max(1, config.steps // config.training.validations))
    metrics = callbacks.MetricsCSV(folder.path / "metrics.csv", validation, start)
    checkpoints = callbacks.Checkpoints(folder.checkpoints, signals, metrics, data.rows.failed)
    in_time = _in_time(model, data, config, deadline, validation) if deadline else None
    parts = [
        *([validation] if validation else []),
        *averaging(config, config.steps),
        metrics,
        callbacks.Progress(config.steps, validation),
        checkpoints,
        *([in_time] if in_time else []),
    ]
    stream = batches(data, config, start)
    module = LearningModel(model, config.training, config.steps)
    try:
        with signals.held(), threads(config.training.threads):
            trainer(config.steps, parts, validation.every if validation else None, model.begun).fit(
                module,
                stream,
                ValidationBatches(data, config) if validation else None,
                ckpt_path=str(found) if found else None,
            )
    except SIGTERMException:  # it came before `Checkpoints` took the signals back
        signals.check()
        raise
    except NotFinite as error:
        raise _not_finite(error, stream.row_ids(error.step), config, folder) from error
    return _outcome(model, data, module, config, validation, in_time, checkpoints.failed)


def _in_time(model: Model, data: Any, config: Config, deadline: float, validation: Any) -> callbacks.InTime:
    tested = len(data.parts["test"])
    share = tested / max(1, len(validation_rows(data, config)))
    return callbacks.InTime(deadline, validation, tested * evaluation_seconds(model, data, config), share)


def _not_finite(error: NotFinite, rows: np.ndarray, config: Config, folder: RunFolder) -> Failed:
    """Names the batch, and leaves it in the run folder: steps and rows counted from 1."""
    step, numbers = error.step + 1, sorted(int(row) + 1 for row in rows)
    file = folder.path / "failed-batch.json"
    what = "gradient" if math.isfinite(error.loss) else "loss"
    write_atomic(file, json.dumps({"step": step, "loss": str(error.loss), "rows": numbers}) + "\n")
    mend = f"set --training.lr and --training.adamw-lr below {config.training.lr:g} and {config.training.adamw_lr:g}"
    if config.training.precision == "bf16":
        mend = f"set --training.precision float32, or {mend}"
    return Failed(
        f"{folder.path}: the {what} of step {step:,} is infinite or not a number; its {len(numbers)} rows are in "
        f"{file}: look there for extreme values, or {mend}, with another --out. Started again, the same command goes "
        "on from the last checkpoint"
    )


def _outcome(
    model: Model, data: Any, module: Any, config: Config, validation: Any, in_time: Any, failed: dict[int, str]
) -> Outcome:
    steps, notes = module.trainer.global_step, []
    if in_time is not None and in_time.stopped_at is not None:
        notes.append(
            f"Stopped in time, after {steps:,} of {config.steps:,} steps: the machine was slower than when they were "
            "planned."
        )
        say(notes[-1])
    if validation is not None and len(read := validation_rows(data, config)) < len(data.parts["validation"]):
        notes.append(f"Each validation in training read the same {counted(len(read), 'row')} of those for validation.")
    kept = "the average of the weights over the last steps" if config.training.average else "the last weights"
    if validation is not None and validation.best_weights is not None:
        model.load_state_dict(validation.best_weights)
        kept = f"the weights of step {validation.best_step:,}, the best on validation"
    return Outcome(steps, kept, notes, failed)
