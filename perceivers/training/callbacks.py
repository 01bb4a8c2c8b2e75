"""What happens beside the steps: progress, `metrics.csv`, the best weights, checkpoints, stopping in time.

Not concerned with the steps themselves (`module.py`).
"""

import csv
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from perceivers.training.folder import RunFolder

COLUMNS = ("step", "train_loss", "validation_loss", "lr")


class Validation(pl.Callback):
    """The mean validation loss by rows; remembers the best weights, and stops after `patience` without gain.

    Stands before weight averaging in the list of callbacks, so that it sees the averaged weights.
    """

    def __init__(self, patience: int):
        self.patience = patience
        self.best, self.best_step = float("inf"), 0
        self.best_weights: dict[str, torch.Tensor] | None = None
        self.waited = 0
        self.latest: float | None = None
        self.sums = [0.0, 0]

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.sums = [0.0, 0]

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.sums[0] += outputs["loss"].item() * outputs["rows"]
        self.sums[1] += outputs["rows"]

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.latest = self.sums[0] / max(1, self.sums[1])
        if self.latest < self.best:
            self.best, self.best_step, self.waited = self.latest, trainer.global_step, 0
            self.best_weights = {k: v.detach().clone() for k, v in pl_module.model.state_dict().items()}
        else:
            self.waited += 1
            trainer.should_stop = trainer.should_stop or self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        names = ("best", "best_step", "best_weights", "waited")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, value in state_dict.items():
            setattr(self, name, value)


class MetricsCSV(pl.Callback):
    """`metrics.csv`: a row for every step, flushed once a second; cut back to the checkpoint when going on."""

    def __init__(self, path: Path, validation: Validation | None, start: int):
        self.path, self.validation, self.start = path, validation, start
        self.rows: list[dict[str, Any]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        kept = [row for row in read_metrics(self.path) if row["step"] <= self.start]
        self.file = self.path.open("w", newline="", encoding="utf-8")
        self.writer = csv.DictWriter(self.file, COLUMNS)
        self.writer.writeheader()
        self.writer.writerows(kept)
        self.flushed = time.monotonic()
        self.waiting: list[tuple[int, torch.Tensor, float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.waiting.append((trainer.global_step, outputs["loss"].detach(), pl_module.factor(trainer.global_step - 1)))
        if time.monotonic() - self.flushed > 1:
            self.flush()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.validation is not None and not trainer.sanity_checking:
            self.flush()
            loss = f"{self.validation.latest:.6g}"
            self.writer.writerow({"step": trainer.global_step, "validation_loss": loss})

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.flush()
        self.file.close()

    def flush(self) -> None:
        for step, loss, factor in self.waiting:
            self.writer.writerow({"step": step, "train_loss": f"{loss.item():.6g}", "lr": f"{factor:.6g}"})
        self.waiting = []
        self.flushed = time.monotonic()
        self.file.flush()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.csv`, numbers as numbers; none where the file is not there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
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
        now = time.monotonic()
        if now - self.shown < self.every:
            return
        self.shown = now
        done = trainer.global_step
        left = (now - self.began) / max(1, done - self.first) * (self.steps - done)
        line = f"step {done:,} of {self.steps:,}  loss {outputs['loss'].item():.4f}"
        if self.validation is not None and self.validation.latest is not None:
            line += f"  validation {self.validation.latest:.4f}"
        line += f"  {left / 60:.0f} min {left % 60:.0f} s left" if left >= 60 else f"  {left:.0f} s left"
        sys.stderr.write(f"\r{line:<78}" if self.terminal else line + "\n")
        sys.stderr.flush()

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.terminal:
            sys.stderr.write("\r" + " " * 78 + "\r")


class Checkpoints(pl.Callback):
    """Writes `checkpoints/step-N.ckpt` every `seconds` and when a signal asks for it; keeps the last two.

    `began` is the start of the run on `time.monotonic`, earlier starts included.
    """

    def __init__(self, folder: RunFolder, began: float, seconds: float = 60.0):
        self.folder, self.began, self.seconds = folder, began, seconds
        self.signal: int | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.written = time.monotonic()
        self.old: dict[int, Any] = {n: signal.signal(n, self.ask) for n in (signal.SIGINT, signal.SIGTERM)}

    def ask(self, number: int, frame: Any) -> None:
        """A first signal stops after this step; a second one at once."""
        self.signal = number
        signal.signal(number, self.old[number])

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.signal is not None:
            trainer.should_stop = True
        if self.signal is not None or time.monotonic() - self.written > self.seconds:
            self.write(trainer)

    def write(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.folder.checkpoints / f"step-{trainer.global_step:09d}.ckpt")
        for old in saved(self.folder.checkpoints)[:-2]:
            old.unlink()
        self.folder.add_spent(time.monotonic() - self.began)
        self.written = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)


def saved(folder: Path) -> list[Path]:
    """The checkpoints of a run, the newest last."""
    return sorted(folder.glob("step-*.ckpt"))


class InTime(pl.Callback):
    """Stops at `deadline` (of `time.monotonic`), should the machine have slowed down."""

    def __init__(self, deadline: float):
        self.deadline = deadline
        self.stopped_at: int | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if time.monotonic() > self.deadline and self.stopped_at is None:
            self.stopped_at = trainer.global_step
            trainer.should_stop = True
