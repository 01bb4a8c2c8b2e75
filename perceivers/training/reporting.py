"""After training: baselines on the same split, the test, `metrics.json`, the report and the model card.

Not concerned with how any of them is computed or drawn.
"""

import json
import platform
import time
from contextlib import suppress
from typing import Any

import numpy as np
import torch

import perceivers
from perceivers.baselines import Baselines, baselines
from perceivers.data.loading import Rows, with_value
from perceivers.data.randomness import permutation
from perceivers.errors import BadInput, Unreadable
from perceivers.evaluate import Evaluation, evaluate, metrics_dict, note_unknown, with_unknown
from perceivers.explain import Average, Explanation, average, explain_row, method, sample_size
from perceivers.files import write_atomic
from perceivers.modalities import modality
from perceivers.modalities.base import Metrics
from perceivers.model import Model
from perceivers.report import Summary, TargetResult, model_card, write_report
from perceivers.report.figures import learning_curves
from perceivers.report.verdict import NAMES, headline, value_text
from perceivers.slices import slices
from perceivers.terminal import counted
from perceivers.training.callbacks import read_metrics
from perceivers.training.config import Config
from perceivers.training.folder import ALONE, BASELINE_SCORES, BASELINES, METRICS, REPORT, RunFolder

BASELINE_ROWS = 20_000
NAMED = 5  # fields in a line
EXAMPLES = 16  # about so many rows are drawn with what their answers rest on


def stored_baselines(folder: RunFolder, data: Any) -> dict[str, Baselines]:
    """{target: baselines}, computed once in a run: before training, so that the budget knows their time."""
    file, rows = folder.path / BASELINES, folder.path / BASELINE_SCORES
    if not file.exists():
        made = {field.name: _baselines(field, data) for field in data.schema.targets}
        write_atomic(rows, json.dumps({name: b.to_dict() for name, b in made.items()}, ensure_ascii=False) + "\n")
        _write_baselines(folder, {name: b.metrics for name, b in made.items()})
        return made
    metrics = json.loads(file.read_text(encoding="utf-8"))
    scored = json.loads(rows.read_text(encoding="utf-8")) if rows.exists() else {}  # runs of before have none
    found = {}
    for name, given in metrics.items():
        of_rows = scored.get(name, {"rows": [], "scores": {}})
        scores = {rival: np.array(values) for rival, values in of_rows["scores"].items()}
        found[name] = Baselines(given, np.array(of_rows["rows"], int), scores)
    return found


def _write_baselines(folder: RunFolder, found: dict[str, dict[str, Metrics]]) -> None:
    write_atomic(folder.path / BASELINES, json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def _baselines(field: Any, data: Any) -> Baselines:
    known, rows = field, data.rows
    field = with_unknown(known, data.table, data.parts["test"])
    if field is not known:
        rows = Rows(data.table, (*data.schema.inputs, field), modality)
    kept = np.concatenate([data.parts["train"], data.parts["validation"]])
    train = rows.readable(np.sort(permutation(0, 0, kept)[:BASELINE_ROWS]))
    test = rows.readable(data.parts["test"])
    rows.check()
    labelled = with_value(data.table, [field])
    train, test = train[labelled[train]], test[labelled[test]]
    for part, ids in (("train", train), ("test", test)):
        if not len(ids):
            raise BadInput(f"{field.name}: no {part} row can be used; the first: {next(iter(rows.failed.values()))}")
    inputs = {f.name: (f, modality(f), rows.columns[f.name]) for f in data.schema.inputs}
    group = data.schema.split.group
    groups = None if group is None else data.table.frame[group].gather(test).to_list()
    try:
        return baselines(inputs, field, modality(field), rows.columns[field.name], train, test, groups)
    except BadInput as error:  # rows that are left out may be the reason
        raise BadInput(f"{error}{rows.without()}") from error


def rehearse(model: Model, data: Any) -> float:
    """Seconds that the report will take here: from a figure, with matplotlib's start, and a row that is explained."""
    began = time.monotonic()
    learning_curves([{"step": 1, "train_loss": 1.0, "validation_loss": 1.0}])
    drawn = time.monotonic() - began
    row = next((int(row) for row in data.parts["train"] if len(data.rows.readable([row]))), None)
    if row is None:
        return 2 * drawn
    for _ in range(2):  # the first one warms up
        began = time.monotonic()
        with suppress(Unreadable):
            explain_row(model, data.rows, row)
        explained = time.monotonic() - began
    count = sample_size(model, data.rows, row) + EXAMPLES
    model.train()
    return 2 * drawn + explained * count


def write(
    folder: RunFolder,
    model: Model,
    data: Any,
    config: Config,
    outcome: Any,
    found: dict[str, Baselines],
    command: str,
) -> dict[int, str]:
    """Tests the model on the test rows and writes the report, the card and, last, `metrics.json`.

    Returns the rows that could not be read, with the reason.
    """
    evaluations, rows = evaluate(model, data.table, data.parts["test"])
    beside = {e.field.name: _beside(e, found[e.field.name], _groups(model, rows, e.rows)) for e in evaluations}
    _write_baselines(folder, beside)
    failed = {**outcome.failed, **data.rows.failed, **rows.failed}
    notes = [*outcome.notes, f"Kept: {outcome.kept}."]
    if config.training.small:
        notes.append("Few rows: the validation rows joined training, and nothing was chosen by them.")
    notes += [*_alone(folder, model, data, evaluations), *note_unknown(model, evaluations)]
    if failed:
        notes.append(f"Left out: {counted(len(failed), 'row')} that could not be read.")
    if without := int((~with_value(data.table, data.schema.targets)).sum()):
        notes.append(f"Left out: {counted(without, 'row')} without a target.")
    explainer = Explainer(model, rows, evaluations[0].rows)
    summary = Summary(
        title=data.table.name,
        data=f"{data.table.name}: {len(data.rows):,} rows",
        command=command,
        schema=data.schema,
        targets=[_target(e, rows, beside[e.field.name], explainer) for e in evaluations],
        history=read_metrics(folder.path / "metrics.csv"),
        split_sizes={name: len(ids) for name, ids in data.parts.items()},
        parameters=sum(p.numel() for p in model.parameters()),
        size=config.size,
        seconds=folder.spent,
        steps=outcome.steps,
        notes=notes,
        unreadable=list(failed.values()),
        cell=lambda name, row: _draw(rows, name, row),
        row_name=lambda row: _row_name(data, row),
        example=lambda name, row: rows.columns[name][row],
        versions=versions(),
    )
    write_report(summary, folder.path / REPORT)
    write_atomic(folder.path / "README.md", model_card(summary))
    metrics = json.dumps(metrics_dict(evaluations), indent=1, ensure_ascii=False)
    write_atomic(folder.path / METRICS, metrics + "\n")
    return failed


def _alone(folder: RunFolder, model: Model, data: Any, evaluations: list[Evaluation]) -> list[str]:
    """What the linear part counts, and how good the Perceiver is without it: for a person, and as `alone.json`."""
    if model.wide is None:
        return []
    wide, model.wide = model.wide, None
    try:
        alone = metrics_dict(evaluate(model, data.table, data.parts["test"])[0])
    finally:
        model.wide = wide
    write_atomic(folder.path / ALONE, json.dumps(alone, indent=1, ensure_ascii=False) + "\n")
    names, notes = wide.names, []
    read = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    for e in evaluations:
        if e.field.name in wide.outputs:
            share, name = float(wide.of_target[e.field.name].share), headline(e.metrics)
            both, one = (value_text(name, m[name]["value"], e.field) for m in (e.metrics, alone[e.field.name]))
            notes.append(
                f"{e.field.name}: {1 - share:.0%} of the answer is the Perceiver's and {share:.0%} that of a linear "
                f"model of {read}, which attention does not show. With both, {NAMES.get(name, name)} is {both}, of the "
                f"Perceiver alone {one}."
            )
    return notes


class Explainer:
    """Explanations of test rows, each made once; and of a sample of them, as large as there is time for."""

    def __init__(self, model: Model, rows: Rows, ids: np.ndarray):
        self.model, self.rows = model, rows
        self.made: dict[int, dict[str, Explanation]] = {}
        order = permutation(0, 0, ids)
        self.sample = np.sort(order[: sample_size(model, rows, int(order[0]))])

    def explain(self, target: str, row: int) -> Explanation | None:
        """What the answer to `target` rests on in a test row; None where that is too large."""
        if row not in self.made:
            self.made[row] = {}
            with suppress(Unreadable):
                self.made[row] = {e.target.name: e for e in explain_row(self.model, self.rows, row)}
        return self.made[row].get(target)

    def average(self, target: str) -> Average | None:
        """Over the sample; None where none of it is explained."""
        found = [self.explain(target, int(row)) for row in self.sample]
        explained = [one for one in found if one is not None]
        return average(explained) if explained else None


def _beside(e: Evaluation, found: Baselines, groups: list[Any] | None) -> dict[str, Metrics]:
    """The baselines, compared with the model row by row."""
    return found.against(*modality(e.field).row_scores(e.field, e.answers, e.truth), e.rows, groups)


def _groups(model: Model, rows: Rows, ids: np.ndarray) -> list[Any] | None:
    """The group of each row, where rows are drawn by them."""
    group = model.schema.split.group
    return None if group is None else rows.table.frame[group].gather(ids).to_list()


def _target(e: Evaluation, rows: Rows, found: dict[str, Metrics], explainer: Explainer) -> TargetResult:
    schema, name = explainer.model.schema, e.field.name
    return TargetResult(
        e.field,
        modality(e.field),
        e.metrics,
        e.answers,
        e.truth,
        e.rows,
        found,
        slices(e.field, schema.inputs, rows, e.rows, e.answers, e.truth, _groups(explainer.model, rows, e.rows)),
        explainer.average(name),
        lambda row: explainer.explain(name, row),
        method(explainer.model, e.field),
    )


def _row_name(data: Any, row: int) -> str:
    """`row 3`; of a forecast the series and the last time that is read."""
    long = data.schema.long
    if long is None or long.horizon is None:
        return f"row {row + 1}"
    cells = data.table.frame.row(row, named=True)
    named = [] if long.series is None else [f"{cells[long.series]}"]
    return ", ".join([*named, f"after {cells[long.time]}"])


def _draw(rows: Any, name: str, row: int) -> str:
    column = rows.columns[name]
    return column.reader.draw(column.field, column.cell(row))


def versions() -> dict[str, str]:
    """What a run was made with."""
    return {"perceivers": perceivers.__version__, "torch": torch.__version__, "python": platform.python_version()}
