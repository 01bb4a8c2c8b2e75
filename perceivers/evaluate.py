"""How good a model is on given rows: every metric with its 95 % interval, and the n that was really used.

Not concerned with drawing it (`perceivers.report`) nor with the definitions of metrics (`modalities/metrics.py`).
"""

from dataclasses import dataclass

import numpy as np

from perceivers.data.loading import Rows, with_target
from perceivers.data.schema import Field
from perceivers.data.sources import Table
from perceivers.errors import BadInput
from perceivers.modalities import modality
from perceivers.modalities.base import Metrics
from perceivers.model import Model
from perceivers.predict import answers, require_columns


@dataclass(frozen=True)
class Evaluation:
    """One target on some rows: `answers` (n k) and `truth` (n …) of the row ids `rows`."""

    field: Field
    rows: np.ndarray
    answers: np.ndarray
    truth: np.ndarray
    metrics: Metrics


def evaluate(model: Model, table: Table, ids: np.ndarray | None = None) -> tuple[list[Evaluation], Rows]:
    """An evaluation for each target on the rows `ids` (all, if None) that have it, and the rows as they were read.

    Raises BadInput where a column is missing or no row has a target.
    """
    schema = model.schema
    require_columns(table, (*schema.inputs, *schema.targets))
    rows = Rows(table, (*schema.inputs, *schema.targets), modality)
    ids = np.arange(len(rows)) if ids is None else ids
    ids = ids[with_target(table, schema.targets)[ids]]
    if not len(ids):
        raise BadInput(f"{table.name}: no row has a value in {' or '.join(f.name for f in schema.targets)}")
    read, found = answers(model, rows, ids)
    if not len(read):
        raise BadInput(f"no row can be read; the first: {next(iter(rows.failed.values()))}")
    return [_one(field, table, rows, read, found[field.name], schema.split.group) for field in schema.targets], rows


def _one(field: Field, table: Table, rows: Rows, read: np.ndarray, found: np.ndarray, group: str | None) -> Evaluation:
    has = with_target(table, [field])[read]
    ids, answered = read[has], found[has]
    truth = np.asarray([rows.columns[field.name][int(row)] for row in ids])
    groups = table.frame[group].gather(ids).to_list() if group and group in table.frame.columns else None
    return Evaluation(field, ids, answered, truth, modality(field).metrics(field, answered, list(truth), groups))


def metrics_dict(evaluations: list[Evaluation]) -> dict[str, Metrics]:
    """What `metrics.json` and `--json` hold."""
    return {e.field.name: e.metrics for e in evaluations}
