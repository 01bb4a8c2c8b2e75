"""The panels of a target of numbers: predicted and true, how far off, rows that are farthest off.

Not concerned with categories as targets (`classes.py`).
"""

import numpy as np
from markupsafe import Markup

from perceivers.data.schema import Field
from perceivers.modalities.number import unit_of
from perceivers.report import figures, verdict
from perceivers.report.examples import EXPLAINED, WRONG, Example, as_written, example, some
from perceivers.report.panels import Panels
from perceivers.report.summary import Summary, TargetResult

MOST_COLUMNS, FIRST = 4, 3


def panels(summary: Summary, result: TargetResult) -> Panels:
    """What the templates show of the answers to a target of numbers."""
    answers, truths = as_written(result, result.answers), as_written(result, result.truth)
    spread = result.truth.std(0)  # columns of different scales count alike
    errors = np.abs(result.answers - result.truth)
    off = errors.mean(1)
    farthest = np.argsort(-(errors / np.where(spread > 0, spread, 1.0)).mean(1), kind="stable")

    def shown(i: int) -> Example:
        remark = f"off by {verdict.value_text('mae', off[i], result.field)}"
        return example(summary, result, i, answers[i], truths[i], remark, False)

    drawn = some(np.arange(len(off)))
    columns = list(zip(result.field.columns, result.answers.T, result.truth.T, strict=True))[:MOST_COLUMNS]
    return Panels(
        fails=[
            (summary.row_name(int(result.rows[i])), "gets", answers[i], f"in place of {truths[i]}")
            for i in farthest[:FIRST]
        ],
        plots=[_plots(result.field, name, a, t) for name, a, t in columns],
        wrong_title="The rows that are farthest off",
        wrong=[shown(i) for i in farthest[:WRONG]],
        right_title="Rows drawn at random",
        right=[shown(i) for i in drawn],
        explained=[(int(i), truths[i], None) for i in (*farthest[:EXPLAINED], *drawn[:EXPLAINED])],
    )


def _plots(field: Field, name: str, answers: np.ndarray, truth: np.ndarray) -> tuple[str, Markup, Markup]:
    apart = figures.residuals(answers, truth, unit_of(field))
    if field.options.get("date"):  # days since 1970
        answers, truth = ((days * 86_400).astype("datetime64[s]") for days in (answers, truth))
    return name, figures.predicted_and_true(answers, truth), apart
