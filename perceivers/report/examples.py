"""Rows of the test with their answers: which are shown, and how an answer is written.

Not concerned with what makes an answer right.
"""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from perceivers.report import verdict
from perceivers.report.summary import Summary, TargetResult

WRONG, RIGHT, EXPLAINED = 12, 6, 3  # shown; explained of each


@dataclass(frozen=True)
class Example:
    """A test row with its answer, as it is shown."""

    name: str
    cells: list[tuple[str, Markup]]
    answer: str
    truth: str
    remark: str
    right: bool


def as_written(result: TargetResult, values: np.ndarray) -> list[str]:
    """Answers or truths (n k) as `predict` would write them, shortened for people."""
    found = result.modality.columns(result.field, values, False)
    columns = [found[name] for name in result.modality.answered(result.field)]
    return [
        ", ".join(verdict.written(x) if isinstance(x, float) else str(x) for x in row)
        for row in zip(*columns, strict=True)
    ]


def example(
    summary: Summary, result: TargetResult, i: int, answer: str, truth: str, remark: str, right: bool
) -> Example:
    """The i-th test row."""
    row = int(result.rows[i])
    cells = [(field.name, Markup(summary.cell(field.name, row))) for field in summary.schema.inputs]
    return Example(summary.row_name(row), cells, answer, truth, remark, right)


def some(ids: np.ndarray) -> np.ndarray:
    """A few of `ids`, drawn with a seed."""
    return np.sort(np.random.default_rng(0).permutation(ids)[:RIGHT])
