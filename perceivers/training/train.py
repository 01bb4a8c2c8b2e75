"""From a table and a question to a run folder: fit the schema, train, evaluate, report.

Not concerned with how a step is taken (`module.py`) nor with what the flags are called
(`perceivers/commands/train.py`).
"""

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from perceivers import recipe
from perceivers.core import kernels
from perceivers.data import infer, long, seen, sources, splits
from perceivers.data.batches import evaluation_batches
from perceivers.data.loading import Column, Rows, with_value
from perceivers.data.schema import Field, Long, Schema
from perceivers.data.sources import Table
from perceivers.errors import BadInput, Failed
from perceivers.files import write_atomic
from perceivers.modalities import check_targets, modality
from perceivers.model import Model, load_model, save_model
from perceivers.terminal import counted, say, say_rows
from perceivers.training import defaults, fitting, origins, reporting
from perceivers.training.checkpoints import newest_whole, step_of
from perceivers.training.config import Config
from perceivers.training.folder import REPORT, RunFolder, fingerprint, named_files
from perceivers.training.signals import Signals
from perceivers.training.start import Start, check_options, freeze
from perceivers.wide import Wide, find, weigh

DEFAULT_MINUTES = 10.0
BEGIN_ROWS, BEGIN_BATCH = 5_000, 64
FEW_STEPS = 50  # with fewer, a person is told
NO_ROOM = "note: half of the memory does not hold a step of {}: checkpointing is full, and a step takes longer"


@dataclass(frozen=True)
class Data:
    """A table with its fitted schema, its parts, and its rows as they are read."""

    table: Table
    schema: Schema
    parts: dict[str, np.ndarray]
    rows: Rows


def open_schema(
    table: Table,
    targets: Sequence[str],
    group: str | None,
    time_column: str | None,
    schema: Schema | None,
    series: str | None = None,
    horizon: int | None = None,
) -> Schema:
    """The given schema, checked against the table, or an inferred one."""
    if schema is None:
        schema = infer.infer(table, targets, group=group, time=time_column, series=series, horizon=horizon)
    else:
        _same(schema, targets, {"group": group, "time": time_column, "series": series, "horizon": horizon})
    schema = infer.with_split(table, schema)
    for field in (*schema.inputs, *schema.targets):
        modality(field)  # is there
    check_targets(schema, table.name)
    infer.check(table, schema)
    return schema


def _same(schema: Schema, targets: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raises BadInput where an option that was given says other than the schema."""
    names = [f.name for f in schema.targets]
    if targets and set(targets) != set(names):
        asked, has = ", ".join(targets), ", ".join(names)
        raise BadInput(f"--target {asked} disagrees with the schema, whose targets are: {has}; leave one of them out")
    axes = schema.long or Long(schema.split.time or "")
    says = {"group": schema.split.group, "time": axes.time, "series": axes.series, "horizon": axes.horizon}
    for option, asked in options.items():
        if asked is not None and asked != says[option]:
            raise BadInput(
                f"--{option} {asked} disagrees with the schema, which says {says[option] or 'none'}: say it there"
            )


def prepare(table: Table, schema: Schema, parts: dict[str, np.ndarray] | None = None) -> Data:
    """Splits, reads off the train rows what the fields must know, and reads a sample. Raises BadInput."""
    schema = long.fitted(table, schema)
    table = long.arrange(table, schema)
    if parts is None:
        eligible = np.flatnonzero(with_value(table, schema.targets))
        if not len(eligible):
            raise BadInput(f"{table.name}: no row has a value in {' or '.join(f.name for f in schema.targets)}")
        parts = splits.split(table, schema, eligible)
    fitted = schema.replace(*(_fit(field, table, parts["train"]) for field in (*schema.inputs, *schema.targets)))
    inputs = {field.name: field for field in fitted.inputs}
    fitted = fitted.replace(*(f.with_options(**modality(f).agree(f, inputs)) for f in fitted.targets))
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
    series: str | None = None,
    horizon: int | None = None,
    start: str | Path | None = None,
    command: str = "",
    parts: dict[str, np.ndarray] | None = None,
    began: float | None = None,
) -> Path:
    """Trains a model on `data` into the run folder `out`, or goes on with it; returns the folder.

    `start`: what this model starts from: a run folder, or a published model (its name, folder or file).
    `parts` (train, validation, test row ids) overrides the schema's split: for cross-validation. `began`: the start
    of the command on `time.monotonic`, from which minutes count.
    Raises BadInput where nothing can begin, Failed where it began and could not go on, Stopped after a signal.
    """
    began = time.monotonic() if began is None else began
    config = config or Config()
    defaults.check(config)
    origin = origins.read(start) if start else None
    check_options(origin, config)
    message = f"stopped; started again, the same command goes on in {out}"
    with kernels.plain(), Signals(message) as signals:  # a choice by the clock would differ when it goes on
        table, guessed = sources.read(data), schema is None
        try:
            schema = open_schema(table, targets, group, time_column, schema, series, horizon)
        except BadInput:
            for note in table.notes:
                say(f"note: {note}")
            raise
        schema = origin.adapted(schema) if origin else schema
        files = named_files(table, (*schema.inputs, *schema.targets))
        folder = RunFolder(out, _asked(table, schema, config, parts, origin), began, files)
        if folder.finished:  # nothing is written: no lock is needed, and the folder may be read-only
            folder.config()
            say(f"{out}: finished before; its report is {out / REPORT}")
            return out
        with folder:
            stored = folder.config()
            data = prepare(table, schema, parts)
            unclear = infer.unclear_dates(table, schema) if guessed else ()
            for warning in (*unclear, *infer.warnings(data.table, data.schema)):
                say(f"note: {warning}")
            try:
                folder.count_time()
                _run(folder, stored, data, config, origin, command, signals)
            except OSError as error:
                raise Failed(
                    f"{error.filename or out}: {error.strerror}; mend that and start again: the same command goes on"
                ) from error
    return out


def _asked(
    table: Table, schema: Schema, config: Config, parts: dict[str, np.ndarray] | None, start: Start | None
) -> dict[str, Any]:
    """What makes a run this run and no other. The number of workers changes nothing in it."""
    options = config.to_dict()
    options["training"] = {k: v for k, v in options["training"].items() if k != "workers"}
    asked = {"data": table.name, "fingerprint": fingerprint(table), "schema": schema.to_dict(), **options}
    if start is not None:
        asked["from"] = {"model": start.name, "sha256": start.checksum}
    if parts is not None:
        asked["parts"] = {name: ids.tolist() for name, ids in parts.items()}
    return asked


def _run(
    folder: RunFolder,
    stored: dict[str, Any] | None,
    data: Data,
    config: Config,
    start: Start | None,
    command: str,
    signals: Signals,
) -> None:
    sizes = {name: len(ids) for name, ids in data.parts.items()}
    asked = start.sized(config) if start else config
    resolved = defaults.resolve(
        asked, data.schema, sizes["train"], sizes["validation"], start.chosen(config.training) if start else None
    )
    minutes = None if config.steps else config.minutes or DEFAULT_MINUTES
    deadline = time.monotonic() - folder.spent + 60 * minutes if minutes else None
    write_atomic(folder.path / "schema.yaml", data.schema.to_yaml())
    baselines = reporting.stored_baselines(folder, data)
    for remark in data.rows.remarks():  # on the rows of test, too, which the baselines have read
        say(f"note: {remark}")
    torch.manual_seed(resolved.training.seed)
    model = start.new_model(data.schema, resolved) if start else Model(data.schema, defaults.perceiver(resolved))
    _begin(model, data)
    wide = _wide(model, data, resolved)
    if start is not None:
        for line in start.take(model):
            say(line)
        if resolved.training.freeze:
            freeze(model, resolved.training.freeze)
    if deadline:
        deadline -= reporting.rehearse(model, data)
        if wide is not None:  # the Perceiver is tested alone, too, and weighed on validation rows
            rows = sizes["test"] + (0 if resolved.training.small else sizes["validation"])
            deadline -= rows * fitting.evaluation_seconds(model, data, resolved)
    if stored is None:
        with fitting.probing(resolved) as choices:
            resolved = fitting.plan(model, data, resolved, deadline)
        folder.write_config(resolved.to_dict(), choices)
    else:
        resolved, choices = folder.resolved(stored, config), folder.kernels(stored)
    if resolved.training.checkpointing == "full" and config.training.checkpointing is None:
        say(NO_ROOM.format(counted(resolved.training.batch_size, "row")))
    _note_rows(folder, data)
    rows = ", ".join(f"{sizes[part]:,} {part}" for part in ("train", "validation", "test"))
    size = f"{start.name if start else resolved.size}, {sum(p.numel() for p in model.parameters()):,} parameters"
    unread = f" ({len(data.rows.failed):,} of them cannot be read)" if data.rows.failed else ""
    say(f"{data.table.name}: {rows} rows{unread}; {size}; {counted(resolved.steps, 'step')}")
    if resolved.training.small:
        say(f"note: under {recipe.SMALL_ROWS} rows are too few to stop early by: validation rows are learned from")
    if deadline is not None and resolved.steps < FEW_STEPS:
        say(f"note: there is time for so few steps only: give more than {minutes:g} --minutes")
    with fitting.chosen_kernels(resolved, choices):
        model, outcome = _trained(model, wide, data, resolved, folder, deadline, signals)
        failed = reporting.write(folder, model, data, resolved, outcome, baselines, command)
    say_rows("left out", failed)
    if failed:
        say(f"left out: {counted(len(failed), 'row')} that could not be read; the report names them")
    say(f"report: {folder.path / REPORT}")


def _begin(model: Model, data: Data) -> None:
    """Lets the model set, from train rows at equal distances, what needs no steps."""
    ids = np.sort(data.parts["train"])
    ids = ids[:: -(-len(ids) // BEGIN_ROWS)]
    model.begin(lambda: (batch for _, batch in evaluation_batches(data.rows, ids, BEGIN_BATCH)))


def _wide(model: Model, data: Data, resolved: Config) -> Wide | None:
    """The linear models beside the Perceiver, from rows that are learned from."""
    if not resolved.training.wide:
        return None
    units = partial(splits.units_of, data.table, data.schema)
    targets = {field.name: target for field, target in model.asked}
    return find(data.rows, fitting.training_rows(data, resolved), units, data.schema, targets)


def _join(model: Model, wide: Wide, data: Data, resolved: Config) -> None:
    """Puts the linear models beside the trained Perceiver, with the shares that validation rows, if any, give them."""
    if not resolved.training.small:
        rows = evaluation_batches(data.rows, data.parts["validation"], BEGIN_BATCH)
        model.wide = weigh(wide, {field.name: target for field, target in model.asked}, model.eval(), rows)
    else:
        model.wide = wide


def _note_rows(folder: RunFolder, data: Data) -> None:
    """Keeps which row is in which part, for people, and fingerprints of those that are learned from, for `evaluate`."""
    parts = sorted((int(row) + 1, part) for part, ids in data.parts.items() for row in ids)
    write_atomic(folder.path / "split.csv", "row,part\n" + "".join(f"{row},{part}\n" for row, part in parts))
    ids = np.union1d(data.parts["train"], data.parts["validation"])
    table = replace(data.table, frame=data.table.frame[ids])
    buffer = io.BytesIO()
    np.save(buffer, np.unique(seen.fingerprints(table, (*data.schema.inputs, *data.schema.targets))))
    write_atomic(folder.path / seen.FILE, buffer.getvalue())


def _trained(
    model: Model,
    wide: Wide | None,
    data: Data,
    resolved: Config,
    folder: RunFolder,
    deadline: float | None,
    signals: Signals,
) -> tuple[Model, fitting.Outcome]:
    """The model after its last step, which is kept: what comes after may fail, and does not train it again."""
    done = folder.checkpoints / "outcome.json"
    if done.exists():
        return load_model(folder.path), fitting.Outcome.from_json(done.read_text(encoding="utf-8"))
    found, damaged = newest_whole(folder.checkpoints)
    for line in damaged:
        say(f"{line}; going on from the one before")
    if found:
        say(f"going on after step {step_of(found):,}")
    try:
        outcome = fitting.fit(model, data, resolved, folder, found, deadline, signals)
    except BadInput as error:
        raise Failed(str(error)) from error
    if wide is not None:
        _join(model, wide, data, resolved)
    save_model(model, folder.path)
    done.parent.mkdir(exist_ok=True)  # a short run has no checkpoint
    write_atomic(done, outcome.to_json())
    signals.check()
    return model, outcome
