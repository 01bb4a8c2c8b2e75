"""The panels of a target of categories: confusion, classes, calibration, answers right and wrong.

Not concerned with numbers as targets (`distances.py`).
"""

import math
from typing import Any

import numpy as np

from perceivers.data.schema import Field
from perceivers.modalities.base import Metrics
from perceivers.report import calibration, verdict
from perceivers.report.examples import EXPLAINED, WRONG, Example, as_written, example, some
from perceivers.report.panels import Panels
from perceivers.report.summary import Summary, TargetResult

MOST_CLASSES, MOST_PAIRS, MOST_CLASS_ROWS, FIRST = 20, 20, 50, 3
PLAIN = Field("", None, "ignore", ())


def panels(summary: Summary, result: TargetResult) -> Panels:
    """What the templates show of the answers to a target of categories."""
    categories = [str(category) for category in result.field.options["categories"]]
    one_label = result.truth.ndim == 1
    if one_label:
        asked, sure = result.answers.argmax(1), result.answers.max(1)
        right = asked == result.truth
        truth = np.eye(len(categories))[result.truth]
    else:
        asked, sure = result.answers > 0.5, np.maximum(result.answers, 1 - result.answers).prod(1)
        right = (asked == result.truth).all(1)
        truth = result.truth
    answers, truths = as_written(result, result.answers), as_written(result, truth)

    def shown(i: int) -> Example:
        return example(summary, result, i, answers[i], truths[i], f"{100 * sure[i]:.0f} % sure", bool(right[i]))

    wrong = np.flatnonzero(~right)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][:WRONG]
    drawn = some(np.flatnonzero(right))
    pairs = _pairs(asked, result.truth, categories) if one_label else []
    few = len(categories) <= MOST_CLASSES
    classes, more_classes = class_table(result.metrics)
    return Panels(
        fails=[(t, "taken for", a, f"in {n} of its rows ({share})") for t, a, n, share in pairs[:FIRST]],
        never=bool(right.all()),
        wrong_title=f"Wrong ({(~right).sum():,} of {len(right):,}), the most confident first",
        wrong=[shown(i) for i in wrong],
        right_title=f"Right ({right.sum():,} of {len(right):,}), drawn at random",
        right=[shown(i) for i in drawn],
        explained=[(int(i), truths[i], bool(right[i])) for i in (*wrong[:EXPLAINED], *drawn[:EXPLAINED])],
        classes=classes,
        more_classes=more_classes,
        confusion=_confusion(asked, result.truth, categories) if one_label and few else None,
        pairs=[] if few else pairs,
        calibration=calibration.panel(sure, right) if one_label else None,
    )


def class_table(metrics: Metrics) -> tuple[list[tuple[str, int, list[tuple[str, str]]]], int]:
    """A row for each class: name, n, precision, recall, F1; the worst 50 where there are more. And how many more."""
    found = metrics["per_class"]
    there = {name: scores for name, scores in found.items() if scores["n"] or scores["f1"]["value"] is not None}
    if len(there) > MOST_CLASS_ROWS:
        there = dict(sorted(there.items(), key=lambda item: item[1]["f1"]["value"])[:MOST_CLASS_ROWS])
    rows = [
        (
            name,
            scores["n"],
            [
                (verdict.value_text(score, scores[score]["value"], PLAIN), verdict.interval_text(score, scores[score]))
                for score in ("precision", "recall", "f1")
            ],
        )
        for name, scores in there.items()
    ]
    return rows, len(found) - len(rows)


def _counts(asked: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """(k k) rows of each true class by the class asked."""
    return np.bincount(truth * k + asked, minlength=k * k).reshape(k, k)


def _confusion(asked: np.ndarray, truth: np.ndarray, categories: list[str]) -> dict[str, Any]:
    """The matrix (rows are true), as (count, root of its share of the true class, right)."""
    k = len(categories)
    counts = _counts(asked, truth, k)
    totals = np.maximum(1, counts.sum(1))
    rows = [
        (categories[t], [(int(counts[t, a]), math.sqrt(counts[t, a] / totals[t]), t == a) for a in range(k)])
        for t in range(k)
    ]
    return {"categories": categories, "rows": rows}


def _pairs(asked: np.ndarray, truth: np.ndarray, categories: list[str]) -> list[tuple[str, str, int, str]]:
    """The most confused: (true, asked, rows, share of the true class)."""
    k = len(categories)
    counts = _counts(asked, truth, k)
    totals = np.maximum(1, counts.sum(1))
    wrong = counts * ~np.eye(k, dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    return [
        (categories[t], categories[a], int(counts[t, a]), f"{100 * counts[t, a] / totals[t]:.0f} %")
        for t, a in (divmod(int(cell), k) for cell in order)
        if wrong[t, a]
    ]
