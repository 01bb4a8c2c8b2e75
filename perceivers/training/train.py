"""From a table and a question to a run folder: fit the schema, train, evaluate, report.

Not concerned with how a step is taken (`module.py`) nor with what the flags are called (`perceivers/cli.py`).
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from perceivers.data import infer, sources, splits
from perceivers.data.loading import Column, Rows, with_target
from perceivers.data.schema import Field, Schema
from perceivers.data.sources import Table
from perceivers.errors import BadInput, Stopped
from perceivers.files import write_atomic
from perceivers.modalities import modality
from perceivers.model import Model, save_model
from perceivers.training import defaults, fitting, reporting
from perceivers.training.config import Config
from perceivers.training.folder import RunFolder, fingerprint

DEFAULT_MINUTES = 10.0


@dataclass(frozen=True)
class Data:
    """A table with its fitted schema, its parts, and its rows as they are read."""

    table: Table
    schema: Schema
    parts: dict[str, np.ndarray]
    rows: Rows


def say(line: str) -> None:
    """Progress goes to stderr: stdout carries results."""
    print(line, file=sys.stderr, flush=True)


def open_schema(
    table: Table, targets: Sequence[str], group: str | None, time_column: str | None, schema: Schema | None
) -> Schema:
    """The given schema, checked against the table, or an inferred one."""
    if schema is None:
        schema = infer.infer(table, targets, group=group, time=time_column)
    elif targets and set(targets) != {f.name for f in schema.targets}:
        asked, has = ", ".join(targets), ", ".join(f.name for f in schema.targets)
        raise BadInput(f"--target {asked} disagrees with the schema, whose targets are: {has}; leave one of them out")
    infer.check(table, schema)
    return schema


def prepare(table: Table, schema: Schema, parts: dict[str, np.ndarray] | None = None) -> Data:
    """Splits, reads off the train rows what the fields must know, and reads a sample. Raises BadInput."""
    if parts is None:
        eligible = np.flatnonzero(with_target(table, schema.targets))
        if not len(eligible):
            raise BadInput(f"{table.name}: no row has a value in {' or '.join(f.name for f in schema.targets)}")
        parts = splits.split(table, schema, eligible)
    fitted = schema
    for field in (*schema.inputs, *schema.targets):
        fitted = fitted.replace(_fit(field, table, parts["train"]))
    rows = Rows(table, (*fitted.inputs, *fitted.targets), modality)
    rows.read_sample(parts["train"], schema.split.seed)
    return Data(table, fitted, parts, rows)


def _fit(field: Field, table: Table, train: np.ndarray) -> Field:
    kind = modality(field)
    field = field.with_options(**{**kind.options, **field.options})
    column = Column(table, field, kind)
    return field.with_options(**kind.fit(field, column.given(train)))


def train(
    data: Any,
    *,
    out: Path,
    targets: Sequence[str] = (),
    config: Config | None = None,
    schema: Schema | None = None,
    group: str | None = None,
    time_column: str | None = None,
    command: str = "",
    parts: dict[str, np.ndarray] | None = None,
) -> Path:
    """Trains a model on `data` into the run folder `out`, or goes on with it; returns the folder.

    `parts` (train, validation, test row ids) overrides the schema's split: for cross-validation.
    Raises BadInput where nothing can begin, Stopped after a signal.
    """
    began = time.monotonic()
    config = config or Config()
    table = sources.read(data)
    schema = open_schema(table, targets, group, time_column, schema)
    asked = {"data": table.name, "fingerprint": fingerprint(table), "schema": schema.to_dict(), **config.to_dict()}
    if parts is not None:
        asked["parts"] = {name: ids.tolist() for name, ids in parts.items()}
    with RunFolder(out, asked) as folder:
        stored = folder.config()
        if folder.finished:
            say(f"{out}: finished before; its report is {out / 'report.html'}")
            return out
        return _run(folder, stored, table, schema, config, parts, command, began - folder.spent())


def _run(
    folder: RunFolder,
    stored: dict[str, Any] | None,
    table: Table,
    schema: Schema,
    config: Config,
    parts: dict[str, np.ndarray] | None,
    command: str,
    began: float,
) -> Path:
    data = prepare(table, schema, parts)
    for warning in infer.warnings(table, schema):
        say(f"note: {warning}")
    sizes = {name: len(ids) for name, ids in data.parts.items()}
    resolved = defaults.resolve(config, data.schema, sizes["train"], sizes["validation"])
    minutes = None if config.steps else config.minutes or DEFAULT_MINUTES
    deadline = began + 60 * minutes if minutes else None
    write_atomic(folder.path / "schema.yaml", data.schema.to_yaml())
    baselines = reporting.stored_baselines(folder, data)
    torch.manual_seed(resolved.training.seed)
    model = Model(data.schema, defaults.perceiver(resolved))
    if stored is None:
        resolved = fitting.plan(model, data, resolved, deadline)
        folder.write_config(resolved.to_dict())
    else:
        resolved = Config.from_dict({k: stored[k] for k in config.to_dict()}, str(folder.path / "config.yaml"))
    say(
        f"{table.name}: {sizes['train']:,} train, {sizes['validation']:,} validation, {sizes['test']:,} test rows; "
        f"{resolved.size}, {sum(p.numel() for p in model.parameters()):,} parameters; {resolved.steps:,} steps"
    )
    outcome = fitting.fit(model, data, resolved, folder, deadline, began)
    if outcome.signal is not None:
        raise Stopped(outcome.signal, f"stopped; started again, the same command goes on in {folder.path}")
    save_model(model, folder.path)
    reporting.write(folder, model, data, resolved, outcome, baselines, command, time.monotonic() - began)
    folder.add_spent(time.monotonic() - began)
    for failed in list(data.rows.failed.values())[:5]:
        say(f"left out: {failed}")
    if data.rows.failed:
        say(f"{len(data.rows.failed):,} rows could not be read and were left out; the report names them")
    say(f"report: {folder.path / 'report.html'}")
    return folder.path
