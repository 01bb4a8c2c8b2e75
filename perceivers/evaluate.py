"""How good a model is on given rows: every metric with its 95 % interval, and the n that was really used.

Not concerned with drawing it (`perceivers.report`) nor with the definitions of metrics (`modalities/metrics.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perceivers.data.loading import Rows, with_value
from perceivers.data.schema import Field
from perceivers.data.sources import Table
from perceivers.errors import BadInput, nearest
from perceivers.modalities import modality
from perceivers.modalities.base import Metrics
from perceivers.modalities.category import unknown
from perceivers.model import Model
from perceivers.predict import answers, require_columns
from perceivers.terminal import counted

MOST_UNKNOWN, SHOWN = 1_000, 3  # classes


@dataclass(frozen=True)
class Evaluation:
    """One target on some rows: `answers` (n k) and `truth` (n …) of the row ids `rows`.

    The categories of `field` are those of the model, and behind them those that it does not know, as `with_unknown`
    gives them: their answers are 0.
    """

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
    require_columns(table, schema.inputs)
    require_truth(table, schema.targets)
    ids = np.arange(len(table.frame)) if ids is None else ids
    targets = [with_unknown(field, table, ids) for field in schema.targets]
    rows = Rows(table, (*schema.inputs, *targets), modality)
    ids = ids[with_value(table, schema.targets)[ids]]
    if not len(ids):
        raise BadInput(f"{table.name}: no row has a value in {' or '.join(f.name for f in schema.targets)}")
    read, found = answers(model, rows, ids)
    if not len(read):
        raise BadInput(f"no row can be read; the first: {next(iter(rows.failed.values()))}")
    return [_one(field, table, rows, read, found[field.name], schema.split.group) for field in targets], rows


def require_truth(table: Table, targets: Sequence[Field]) -> None:
    """Raises BadInput where the table lacks what the answers are compared with."""
    for field in targets:
        for column in field.columns:
            if column not in table.frame.columns:
                if table.frame.columns == ["path"]:
                    mend = f"put the files into a folder for each {column}: NAME/file"
                else:
                    mend = f"give a table that has it{nearest(column, table.frame.columns)}"
                raise BadInput(
                    f"{table.name}: no column {column!r}, the truth that answers are compared with: {mend}; "
                    "predict needs none"
                )


def with_unknown(field: Field, table: Table, ids: np.ndarray) -> Field:
    """A target with the classes that it meets in the rows `ids` and does not know: no answer to these rows is right.

    Raises BadInput where they are so many that the column cannot be the one that is answered.
    """
    if field.modality != "category":
        return field
    new = unknown(field, table.frame[field.columns[0]].gather(ids).drop_nulls().unique().to_list())
    if len(new) > MOST_UNKNOWN:
        raise BadInput(
            f"{table.name}: column {field.columns[0]!r} holds {len(new):,} classes that the model does not know, "
            f"{new[0]!r:.60} among them: is it what the model answers?"
        )
    return field.with_options(categories=[*field.options["categories"], *new]) if new else field


def note_unknown(model: Model, evaluations: list[Evaluation]) -> list[str]:
    """A line for each target that met classes that the model does not know."""
    notes = []
    for e in evaluations:
        if e.field.modality == "category":
            known = len(model.schema[e.field.name].options["categories"])
            if new := e.field.options["categories"][known:]:
                count = int((e.truth >= known).sum() if e.truth.ndim == 1 else e.truth[:, known:].any(1).sum())
                shown = ", ".join(map(repr, new[:SHOWN])) + (" …" if len(new) > SHOWN else "")
                notes.append(
                    f"{counted(count, 'row')} of classes of {e.field.name!r} that the model does not know, {shown}: "
                    "counted as wrong"
                )
    return notes


def _one(field: Field, table: Table, rows: Rows, read: np.ndarray, found: np.ndarray, group: str | None) -> Evaluation:
    has = with_value(table, [field])[read]
    ids, answered = read[has], found[has]
    if field.modality == "category":
        answered = np.pad(answered, ((0, 0), (0, len(field.options["categories"]) - answered.shape[1])))
    truth = modality(field).stack([rows.columns[field.name][int(row)] for row in ids])
    groups = table.frame[group].gather(ids).to_list() if group and group in table.frame.columns else None
    return Evaluation(field, ids, answered, truth, modality(field).metrics(field, answered, list(truth), groups))


def metrics_dict(evaluations: list[Evaluation]) -> dict[str, Metrics]:
    """What `metrics.json` and `--json` hold."""
    return {e.field.name: e.metrics for e in evaluations}
