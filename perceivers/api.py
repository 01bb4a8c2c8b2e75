"""The Python side: `fit` gives a `TrainedModel`, which evaluates, predicts, explains and is saved; `load` any model.

Not concerned with how: each method is one call.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from torch import Tensor

from perceivers.data import infer, long, seen, sources, splits
from perceivers.data.loading import with_value
from perceivers.data.schema import Field, Schema
from perceivers.data.sources import Table
from perceivers.errors import BadInput, Stopped
from perceivers.evaluate import Evaluation, evaluate, note_unknown
from perceivers.explain import Explanation, explain, method
from perceivers.loaded import Loaded
from perceivers.modalities import check_targets
from perceivers.modalities.base import Metrics
from perceivers.model import Model, load_model, save_model
from perceivers.predict import first_answers, predict, to_answer
from perceivers.training.config import Config, overlay
from perceivers.training.folder import CONFIG, asked_of, fingerprint


class TrainedModel(Loaded):
    """A model that was trained here and, where it has one, the run folder that it came from."""

    def __init__(self, model: Model, folder: Path | None):
        self.module = self.model = model
        self.folder = folder

    @property
    def schema(self) -> Schema:
        """The fields that the model reads and answers."""
        return self.model.schema

    @property
    def reads(self) -> tuple[Field, ...]:
        return self.schema.inputs

    @property
    def metrics(self) -> dict[str, Metrics]:
        """What was measured on the test rows after training."""
        return json.loads((self._run() / "metrics.json").read_text(encoding="utf-8"))

    @property
    def report(self) -> Path:
        """The run's `report.html`."""
        return self._run() / "report.html"

    def evaluations(self, data: Any) -> tuple[list[Evaluation], dict[int, str], list[str]]:
        table = sources.read(data)
        ours, said = self._is_training_data(table), table.notes
        table = long.arrange(table, self.schema, split=ours)
        asked = self._test_rows(table) if ours else None
        found, rows = evaluate(self.model, table, asked)
        notes = [note for note in table.notes if note not in said]
        notes += [*note_unknown(self.model, found), *rows.remarks()]
        if asked is not None:
            notes.append(f"the model was trained on these data: measured on their {len(asked):,} test rows alone")
        if known := 0 if ours else self._seen(table):
            notes.append(f"{known:,} of the {len(rows):,} rows were there in training: new rows may do worse")
        return found, rows.failed, notes

    def predict_table(self, table: Table, *, proba: bool = False) -> tuple[pl.DataFrame, dict[int, str]]:
        return predict(self.model, table, proba=proba)

    def first_answers(self, table: Table) -> dict[str, Tensor]:
        return first_answers(self.model, table)

    def arrange(self, table: Table) -> Table:
        return to_answer(self.model, table)[0]

    def explain_table(self, table: Table) -> tuple[list[Explanation], dict[int, str]]:
        return explain(self.model, table)

    def methods(self) -> dict[str, dict[str, str]]:
        return {field.name: method(self.model, field) for field in self.schema.targets}

    def save(self, folder: str | Path) -> Path:
        """Writes the model, and all that its run folder holds but for checkpoints. Raises BadInput if it exists."""
        folder = Path(folder)
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise BadInput(f"{folder}: is there already: choose a new folder")
        if self.folder is not None:
            shutil.copytree(self.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("checkpoints"))
        save_model(self.model, folder)
        return folder

    def _run(self) -> Path:
        if self.folder is None:
            raise BadInput("this model has no run folder: it was not trained here")
        return self.folder

    def _is_training_data(self, table: Table) -> bool:
        config = None if self.folder is None else self.folder / CONFIG
        return config is not None and config.exists() and asked_of(config)["fingerprint"] == fingerprint(table)

    def _test_rows(self, table: Table) -> np.ndarray:
        """The test rows of what the model was trained on."""
        asked = asked_of(self._run() / CONFIG)
        if "parts" in asked:
            return np.array(asked["parts"]["test"])
        return splits.split(table, self.schema, np.flatnonzero(with_value(table, self.schema.targets)))["test"]

    def _seen(self, table: Table) -> int:
        """How many rows of another table the model has learned from."""
        file = None if self.folder is None else self.folder / seen.FILE
        if file is None or not file.exists():
            return 0
        fields = (*self.schema.inputs, *self.schema.targets)
        return int(np.isin(seen.fingerprints(table, fields), np.load(file, allow_pickle=False)).sum())


def load(place: str | Path) -> Loaded:
    """The model of a run folder, or a published one: a name (`deepmind/…`), a Hub folder, an original file.

    Raises BadInput where it is none of them.
    """
    from perceivers import jobs, published

    path = Path(place)
    if path.is_dir() and not published.is_hub_folder(path):
        return load_run(path)
    return jobs.job(published.load(place), str(place))


def load_run(folder: Path) -> TrainedModel:
    """The model of a run folder. Raises BadInput where it is none."""
    return TrainedModel(load_model(folder), folder)


def fit(
    data: Any,
    target: str | Sequence[str] | None = None,
    *,
    out: str | Path | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    size: Literal["tiny", "small", "base"] | None = None,
    schema: Schema | str | Path | None = None,
    group: str | None = None,
    time: str | None = None,
    series: str | None = None,
    horizon: int | None = None,
    start: str | Path | None = None,
    config: Config | None = None,
) -> TrainedModel:
    """Trains a model on `data` (a source, a data frame, a list of dicts) and tests it on rows held out.

    `out` is the run folder; a temporary one by default. `start` is what to start from (`--from`): a run folder or a
    published model. The other options are those of `perceivers train`.

    Raises BadInput; Failed where the loss is no number; Stopped after Ctrl-C or SIGTERM, with a checkpoint from which
    the same call with the same `out` goes on.
    """
    from perceivers.training.train import train

    try:
        folder = train(
            data,
            out=Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="perceivers-")),
            targets=[target] if isinstance(target, str) else target or (),
            config=overlay(config or Config(), Config(size=size, minutes=minutes, steps=steps)),
            schema=Schema.read(Path(schema)) if isinstance(schema, str | Path) else schema,
            group=group,
            time_column=time,
            series=series,
            horizon=horizon,
            start=start,
            command="perceivers.fit(…)",
        )
    except Stopped as stopped:  # where in a step it stopped says nothing
        raise stopped.with_traceback(None) from None
    return load_run(folder)


def inspect(
    data: Any,
    target: str | Sequence[str] | None = None,
    *,
    group: str | None = None,
    time: str | None = None,
    series: str | None = None,
    horizon: int | None = None,
) -> Schema:
    """How `data` would be read. `print(schema.to_yaml())` shows it; give it to `fit`, edited or not."""
    targets = [target] if isinstance(target, str) else target or ()
    table = sources.read(data)
    schema = infer.infer(table, targets, group=group, time=time, series=series, horizon=horizon)
    check_targets(schema, table.name)
    return schema


def default_out(data: str) -> Path:
    """runs/NAME for a data set of that name."""
    name = data.removeprefix("sample:") if data.startswith("sample:") else Path(data).resolve().stem
    return Path("runs") / (re.sub(r"[^\w.-]+", "-", name) or "run")
