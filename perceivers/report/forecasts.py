"""The panels of a target of series: answers drawn with what was true.

Not concerned with single numbers as targets (`distances.py`).
"""

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from perceivers.modalities.lines import lines
from perceivers.report import verdict
from perceivers.report.examples import EXPLAINED, WRONG, Example, example, some
from perceivers.report.panels import Panels
from perceivers.report.summary import Summary, TargetResult

FIRST = 3


def panels(summary: Summary, result: TargetResult) -> Panels:
    """What the templates show of the answers to a target of series."""
    errors = np.nanmean(np.abs(result.answers - result.truth), axis=1)
    farthest = np.argsort(-errors, kind="stable")

    def shown(i: int) -> Example:
        found = example(summary, result, i, "forecast", "", f"off by {off(i)} on average", True)
        cells = [(f"{result.field.name}: answer and truth", _drawn(result, i)), *found.cells]
        return Example(found.name, cells, found.answer, found.truth, found.remark, found.right)

    def off(i: int) -> str:
        return verdict.value_text("mae", errors[i], result.field)

    drawn = some(np.arange(len(errors)))
    return Panels(
        fails=[(summary.row_name(int(result.rows[i])), "is off by", off(i), "on average") for i in farthest[:FIRST]],
        wrong_title="The rows that are farthest off: the answer, and in the second colour what was true",
        wrong=[shown(i) for i in farthest[:WRONG]],
        right_title="Rows drawn at random",
        right=[shown(i) for i in drawn],
        explained=[(int(i), "", None) for i in (*farthest[:EXPLAINED], *drawn[:EXPLAINED])],
    )


def _drawn(result: TargetResult, i: int) -> Markup:
    """The answer and the truth of a row, the first channel."""
    both: list[Float[np.ndarray, " h"]] = [
        values[i].reshape(-1, result.field.options["channels"])[:, 0] for values in (result.answers, result.truth)
    ]
    return Markup(lines(np.arange(len(both[0])), both))
