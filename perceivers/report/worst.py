"""The panels of any kind of target: the rows that are answered worst, and some drawn at random.

Not concerned with how an answer is drawn (`Modality.compared`), nor with what categories (`classes.py`) and numbers
(`distances.py`) have beside it.
"""

import numpy as np
from markupsafe import Markup

from perceivers.modalities.metrics import LOWER_IS_BETTER
from perceivers.report import verdict
from perceivers.report.classes import class_table
from perceivers.report.examples import EXPLAINED, WRONG, Example, example, some
from perceivers.report.panels import Panels
from perceivers.report.summary import Summary, TargetResult

FIRST = 3


def panels(summary: Summary, result: TargetResult) -> Panels:
    """What the templates show of the answers to a target of any kind."""
    field, kind = result.field, result.modality
    name, scores = kind.row_scores(field, result.answers, result.truth)
    order = np.argsort(scores if name not in LOWER_IS_BETTER else -scores, kind="stable")

    def score(i: int) -> str:
        return verdict.value_text(name, scores[i], field)

    def compared(i: int) -> Markup:
        row = int(result.rows[i])
        found = kind.compared(field, result.answers[i], result.truth[i], lambda name: summary.example(name, row))
        return Markup(found)

    def shown(i: int) -> Example:
        found = example(summary, result, i, score(i), "", verdict.NAMES.get(name, name), True)
        drawn = compared(i)
        cells = [(f"{field.name}: answer and truth", drawn), *found.cells] if drawn else found.cells
        return Example(found.name, cells, found.answer, found.truth, found.remark, found.right)

    drawn = some(np.arange(len(scores)))
    classes, more_classes = class_table(result.metrics) if "per_class" in result.metrics else ([], 0)
    measure = verdict.NAMES.get(name, name)
    return Panels(
        fails=[(summary.row_name(int(result.rows[i])), "has", score(i), f"as its {measure}") for i in order[:FIRST]],
        worst=(compared(order[0]), summary.row_name(int(result.rows[order[0]]))),
        wrong_title=f"The rows that are answered worst, by {measure}",
        wrong=[shown(i) for i in order[:WRONG]],
        classes=classes,
        more_classes=more_classes,
        right_title="Rows drawn at random",
        right=[shown(i) for i in drawn],
        explained=[(int(i), "", None) for i in (*order[:EXPLAINED], *drawn[:EXPLAINED])],
    )
