"""What happens beside the steps: progress, `metrics.csv`, the best weights, checkpoints, stopping in time.

Not concerned with the steps themselves (`module.py`).
"""

import csv
import io
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from perceivers.files import append, write_atomic
from perceivers.training.checkpoints import saved
from perceivers.training.signals import Signals

CHECKPOINT_SECONDS = 60.0
COLUMNS = ("step", "train_loss", "validation_loss", "lr")


class Validation(pl.Callback):
    """The mean validation loss by rows, every `every` steps; remembers the best weights.

    Stands before weight averaging in the list of callbacks, so that it sees the averaged weights.
    """

    def __init__(self, every: int):
        self.every = every
        self.best, self.best_step = float("inf"), 0
        self.best_weights: dict[str, torch.Tensor] | None = None
        self.latest: float | None = None
        self.sums = [0.0, 0]
        self.began = self.seconds = 0.0

    def follows(self, step: int) -> bool:
        """Whether a validation follows this step."""
        return step % self.every == 0

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.sums = [0.0, 0]
        self.began = time.monotonic()

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.sums[0] += outputs["loss"].item() * outputs["rows"]
        self.sums[1] += outputs["rows"]

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.latest = self.sums[0] / max(1, self.sums[1])
        if self.latest < self.best:
            self.best, self.best_step = self.latest, trainer.global_step
            self.best_weights = {k: v.detach().clone() for k, v in pl_module.model.state_dict().items()}
        self.seconds = time.monotonic() - self.began

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("best", "best_step", "best_weights")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, value in state_dict.items():
            setattr(self, name, value)


class MetricsCSV(pl.Callback):
    """`metrics.csv`: a row for every step, written once a second; cut back to step `start` when going on."""

    def __init__(self, path: Path, validation: Validation | None, start: int):
        self.path, self.validation, self.start = path, validation, start
        self.waiting: list[dict[str, Any]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        kept = [row for row in read_metrics(self.path) if row["step"] <= self.start]
        write_atomic(self.path, ",".join(COLUMNS) + "\n" + _lines(kept))
        self.written = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss, step = outputs["loss"].detach(), trainer.global_step
        self.waiting.append({"step": step, "train_loss": loss, "lr": trainer.optimizers[0].param_groups[0]["lr"]})
        if time.monotonic() - self.written > 1:
            self.write()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.validation is not None:
            self.waiting.append({"step": trainer.global_step, "validation_loss": self.validation.latest})

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.write()

    def write(self) -> None:
        """All rows so far are on the disk afterwards. Raises OSError."""
        append(self.path, _lines(self.waiting))
        self.waiting = []
        self.written = time.monotonic()


def _lines(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    for row in rows:
        numbers = {k: f"{float(v):.6g}" for k, v in row.items() if k != "step" and v is not None}
        writer.writerow({"step": row["step"], **numbers})
    return text.getvalue()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.csv`, numbers as numbers; a last line cut short is left out. None where no file is there."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    return [{k: (int(v) if k == "step" else float(v)) if v else None for k, v in row.items()} for row in rows]


class Progress(pl.Callback):
    """One line on stderr: the step, the losses and the time left. A terminal sees it in place, a log every 10 s."""

    def __init__(self, steps: int, validation: Validation | None):
        self.steps, self.validation = steps, validation
        self.terminal = sys.stderr.isatty()
        self.every = 0.5 if self.terminal else 10.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.began = self.shown = time.monotonic()
        self.first = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.loss, now = outputs["loss"], time.monotonic()
        if now - self.shown >= self.every:
            self.shown = now
            done = trainer.global_step
            left = (now - self.began) / max(1, done - self.first) * (self.steps - done)
            minutes = f"{left // 60:.0f} min {left % 60:.0f} s" if left >= 60 else f"{left:.0f} s"
            self._show(done, f"{minutes} left")

    def _show(self, done: int, end: str) -> None:
        line = f"step {done:,} of {self.steps:,}  loss {self.loss.item():.4f}"
        if self.validation is not None and self.validation.latest is not None:
            line += f"  validation {self.validation.latest:.4f}"
        line += f"  {end}"
        sys.stderr.write(f"\r{line:<78}" if self.terminal else line + "\n")
        sys.stderr.flush()

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """The last step is shown, whenever it came: how far a run got stands there, also where it was stopped."""
        done = trainer.global_step
        if done > self.first:
            self._show(done, "done" if done == self.steps else "stopped")
            sys.stderr.write("\n" if self.terminal else "")


class Checkpoints(pl.Callback):
    """Writes `checkpoints/step-N.ckpt` every minute, and when a signal asks for it; keeps the last two.

    Where a validation follows a step, its checkpoint follows the validation: Lightning would leave that one out when
    it goes on from between the two. After the last step there is none: the model itself is written then.
    `failed` is what could not be read, by row, and goes with the checkpoint.
    """

    def __init__(self, folder: Path, signals: Signals, metrics: MetricsCSV, failed: dict[int, str]):
        self.folder, self.signals, self.metrics = folder, signals, metrics
        self.now, self.earlier = failed, {}

    @property
    def failed(self) -> dict[int, str]:
        """The rows that could not be read, those of earlier starts included."""
        return {**self.earlier, **self.now}

    def state_dict(self) -> dict[str, Any]:
        return {"failed": self.failed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.earlier = state_dict["failed"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.written = time.monotonic()
        self.signals.take_back()  # Lightning's handler of SIGTERM would break off a validation

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        validation = self.metrics.validation
        if validation is None or not validation.follows(trainer.global_step):
            self._write_if_due(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not trainer.sanity_checking:  # before the first step there is nothing to keep
            self._write_if_due(trainer)

    def _write_if_due(self, trainer: pl.Trainer) -> None:
        asked = self.signals.asked is not None
        if trainer.global_step == trainer.max_steps or not (
            asked or time.monotonic() - self.written > CHECKPOINT_SECONDS
        ):
            return
        self.metrics.write()
        trainer.save_checkpoint(self.folder / f"step-{trainer.global_step:09d}.ckpt")
        for old in saved(self.folder)[:-2]:
            old.unlink()
        self.written = time.monotonic()
        self.signals.check()


class InTime(pl.Callback):
    """Stops so that the report can begin at `deadline` (of `time.monotonic`), should the machine have slowed down.

    Lightning validates once more then; the time of that is left, and of the test: `test_seconds`, or more where
    validations took more (`test_share`: test rows for each validation row).
    """

    def __init__(self, deadline: float, validation: Validation | None, test_seconds: float, test_share: float):
        self.deadline, self.validation = deadline, validation
        self.test_seconds, self.test_share = test_seconds, test_share
        self.stopped_at: int | None = None

    @property
    def reserve(self) -> float:
        """Seconds from the last step to the report."""
        validation = self.validation.seconds if self.validation else 0.0
        return validation + max(self.test_seconds, validation * self.test_share)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if time.monotonic() + self.reserve > self.deadline and trainer.global_step < trainer.max_steps:
            self.stopped_at = trainer.global_step
            trainer.should_stop = True
