"""Where a model is worse: its score on rows that have something in common in their inputs.

Not concerned with why, nor with drawing it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from perceivers.data.loading import Rows
from perceivers.data.schema import Field
from perceivers.modalities import metrics, modality
from perceivers.modalities.base import Metrics

MOST_CATEGORIES, QUARTERS = 20, 4  # of a column that is cut into slices; parts of numbers, of equal counts
FEWEST = 10  # rows in a slice
SHOWN = 12
MISSING, UNSEEN = "missing", "not seen in training"


@dataclass(frozen=True)
class Slice:
    """Rows whose `field` is `value`, their number n, and the score (value, low, high) on them."""

    field: str
    value: str
    n: int
    score: Metrics
    clear: bool  # its interval lies on the worse side of the score of all rows


@dataclass(frozen=True)
class Slices:
    """Those worse than all rows together, the worst first, at most 12 of `looked_at`.

    `name` is the metric's (`Modality.row_scores`); `overall` that of all rows.
    """

    name: str
    overall: float
    worst: list[Slice]
    looked_at: int


def slices(
    target: Field,
    inputs: Sequence[Field],
    rows: Rows,
    ids: np.ndarray,
    answers: np.ndarray,
    truth: np.ndarray,
    groups: Sequence[Any] | None = None,
) -> Slices:
    """The score of answers (n k) to the rows `ids` on each slice with at least ten rows: the categories of columns
    with at most twenty, quarters of numbers, and rows where a field is missing or not.
    """
    name, scores = modality(target).row_scores(target, answers, truth)
    sign = -1 if name in metrics.LOWER_IS_BETTER else 1
    found = [
        (field.name, value, member)
        for field in inputs
        for value, member in _cut(field, [rows.columns[field.name][int(row)] for row in ids])
        if FEWEST <= member.sum() < len(ids)
    ]
    overall = float(scores.mean())
    below = [one for one in found if sign * scores[one[2]].mean() < sign * overall]
    below.sort(key=lambda one: sign * scores[one[2]].mean())
    worst = []
    for field, value, member in below[:SHOWN]:
        of_groups = None if groups is None else [g for g, inside in zip(groups, member, strict=True) if inside]
        interval = (metrics.proportion if name == "accuracy" else metrics.mean)(scores[member], of_groups)
        better_end = interval["high" if sign > 0 else "low"]
        clear = better_end is not None and sign * better_end < sign * overall
        worst.append(Slice(field, value, int(member.sum()), interval, clear))
    return Slices(name, overall, worst, len(found))


def _cut(field: Field, examples: list[Any]) -> Iterator[tuple[str, Bool[np.ndarray, " n"]]]:
    if field.modality == "category" and field.options["labels"] == "one":
        yield from _categories(field.options["categories"], examples)
        return
    one_number = field.modality == "number" and len(field.columns) == 1 and not field.options["date"]
    missing = np.array([example is None or (one_number and np.isnan(example).all()) for example in examples])
    if one_number:
        values = np.array([np.nan if gone else float(e[0]) for e, gone in zip(examples, missing, strict=True)])
        yield from _quarters(values)
    if missing.any():
        yield MISSING, missing
        yield "not missing", ~missing


def _categories(categories: list[str], examples: list[Any]) -> Iterator[tuple[str, Bool[np.ndarray, " n"]]]:
    if len(categories) > MOST_CATEGORIES:
        return
    indices = np.array([-1 if example is None else int(example) for example in examples])
    names = {-1: MISSING, len(categories): UNSEEN, **dict(enumerate(categories))}
    for index, name in names.items():
        yield name, indices == index


def _quarters(values: Float[np.ndarray, " n"]) -> Iterator[tuple[str, Bool[np.ndarray, " n"]]]:
    """Parts of about equal counts; fewer where values repeat."""
    there = values[~np.isnan(values)]
    edges = np.unique(np.quantile(there, np.linspace(0, 1, QUARTERS + 1), method="nearest")) if len(there) else there
    for i, (low, high) in enumerate(pairwise(edges)):
        last = i == len(edges) - 2
        inside = (values >= low) & ((values <= high) if last else (values < high))
        yield f"{low:.4g} to {'' if last else 'under '}{high:.4g}", inside
