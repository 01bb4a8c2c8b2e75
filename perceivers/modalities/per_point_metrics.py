"""Metrics of answers to points, with their 95 % intervals over clouds: points of one cloud are no independent rows.

Not concerned with metrics of rows (`metrics.py`), whose intervals these are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from perceivers.modalities import intervals
from perceivers.modalities.base import Metrics
from perceivers.modalities.intervals import Ends, Weighted, interval, metric, square_and_add, wilson
from perceivers.modalities.metrics import mean_defined, ratio


def confusions(
    answers: Sequence[Float[np.ndarray, "p k"]], truth: Sequence[Int[np.ndarray, " p"]], k: int
) -> Float[np.ndarray, "n k k"]:
    """For each cloud the points of each true class by the class that was answered."""
    counts = [
        np.bincount(t * k + a.argmax(1), minlength=k * k).reshape(k, k) for a, t in zip(answers, truth, strict=True)
    ]
    return np.array(counts, dtype=float).reshape(-1, k, k)


def classes(counts: Float[np.ndarray, "n k k"], groups: Sequence[Any] | None = None) -> Metrics:
    """Of all points together: accuracy, the mean of intersection over union and F1 (macro) over the classes that are
    there or were said; per class. `n` is the number of clouds, `points` that of their points.
    """
    n, k, _ = counts.shape
    unit = n * intervals.units(n, groups) / max(1, counts.sum())  # of a point: all those of a cloud are as one
    right, are, said = (unit * x[:, 0] for x in _sums(counts, np.ones((n, 1))))
    least = {
        "precision": wilson(right, said),
        "recall": wilson(right, are),
        "f1": intervals.f1(right, are, said),
        "iou": wilson(right, are + said - right),
    }
    means = {name: square_and_add(PARTS[name](right, are, said), least[name]) for name in ("iou", "f1")}

    def held(statistic: Any, least: Ends) -> Metrics:
        value, drawn = intervals.draws(statistic, (counts,), groups)
        return metric(value, intervals.at_least(intervals.percentiles(value, drawn), least, grouped=True))

    found: Metrics = {
        "n": n,
        "points": int(counts.sum()),
        "accuracy": held(_accuracy, wilson(right.sum(), are.sum())),
        "mean_iou": held(_mean_iou, means["iou"]),
        "f1": held(_mean_f1, means["f1"]),
    }
    per_class = {}
    for c in range(k):
        scores = {name: held(_of_class(c, name), Ends(ends.low[c], ends.high[c])) for name, ends in least.items()}
        per_class[c] = {**scores, "n": int(counts[:, c].sum())}
    return {**found, "per_class": per_class}


def values(
    answers: Sequence[Float[np.ndarray, "p 1"]],
    truth: Sequence[Float[np.ndarray, " p"]],
    groups: Sequence[Any] | None = None,
) -> Metrics:
    """Of all points together: mean absolute error, mean squared error, R²; in the target's own units."""
    pairs = [(a[:, 0] - t, t) for a, t in zip(answers, truth, strict=True)]
    centre = float(np.mean([t.mean() for _, t in pairs])) if pairs else 0.0  # so that R² loses no digits
    sums = np.array(
        [(len(t), np.abs(e).sum(), (e**2).sum(), (t - centre).sum(), ((t - centre) ** 2).sum()) for e, t in pairs]
    ).reshape(-1, 5)
    found: Metrics = {"n": len(pairs), "points": int(sums[:, 0].sum())}
    for name, statistic in (("mae", _per(1)), ("mse", _per(2)), ("r2", _r2)):
        found[name] = interval(statistic, (sums,), groups)
    return found


def _sums(counts: Float[np.ndarray, "n k k"], weights: Float[np.ndarray, "n r"]) -> tuple[np.ndarray, ...]:
    """The points that are right, that are of each class, and that were said to be (k r)."""
    right = np.diagonal(counts, axis1=1, axis2=2).T @ weights
    return right, counts.sum(2).T @ weights, counts.sum(1).T @ weights


def _accuracy(counts: Float[np.ndarray, "n k k"]) -> Weighted:
    right, total = np.trace(counts, axis1=1, axis2=2), counts.sum((1, 2))
    return lambda weights: ratio(right @ weights, total @ weights)


PARTS = {
    "precision": lambda right, are, said: ratio(right, said),
    "recall": lambda right, are, said: ratio(right, are),
    "f1": lambda right, are, said: ratio(2 * right, are + said),
    "iou": lambda right, are, said: ratio(right, are + said - right),
}


def _mean_iou(counts: Float[np.ndarray, "n k k"]) -> Weighted:
    return lambda weights: mean_defined(PARTS["iou"](*_sums(counts, weights)))


def _mean_f1(counts: Float[np.ndarray, "n k k"]) -> Weighted:
    return lambda weights: mean_defined(PARTS["f1"](*_sums(counts, weights)))


def _of_class(c: int, name: str) -> Any:
    def statistic(counts: Float[np.ndarray, "n k k"]) -> Weighted:
        parts = (counts[:, c, c], counts[:, c].sum(1), counts[:, :, c].sum(1))
        return lambda weights: PARTS[name](*(part @ weights for part in parts))

    return statistic


def _per(column: int) -> Any:
    def statistic(sums: Float[np.ndarray, "n 5"]) -> Weighted:
        return lambda weights: ratio(sums[:, column] @ weights, sums[:, 0] @ weights)

    return statistic


def _r2(sums: Float[np.ndarray, "n 5"]) -> Weighted:
    def value(weights: Float[np.ndarray, "n r"]) -> Float[np.ndarray, " r"]:
        count, _, errors, total, squares = sums.T @ weights
        spread = squares - ratio(total**2, count)
        return 1 - ratio(errors, np.where(spread > 1e-12 * squares, spread, 0.0))

    return value
