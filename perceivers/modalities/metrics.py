"""Metrics with their 95 % intervals: classification, several labels at once, regression, forecasts, masked bytes.

Every metric is a function of row weights, so that one definition gives the value (all weights 1) and the bootstrap
(weights = how often a row was drawn). What is undefined, such as the AUROC of one class, is None and never NaN.

Not concerned with how answers are made, nor with how metrics are shown (`perceivers.report`).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from perceivers.modalities import intervals
from perceivers.modalities.base import Metrics
from perceivers.modalities.intervals import MOST_ROWS, Ends, Weighted, interval, metric, wilson

BINS = 15  # of confidence
PARTS = ("precision", "recall", "f1")
LOWER_IS_BETTER = frozenset({"mae", "mse", "mse_raw", "ece", "bits_per_byte", "epe"})
MOST_SCORES, FEWEST_ROWS = 2_000_000, 2_000  # of which an AUROC's interval is drawn, fewer rows where classes are many


def classification(
    probabilities: Float[np.ndarray, "n k"], truth: Int[np.ndarray, " n"], groups: Sequence[Any] | None = None
) -> Metrics:
    """Accuracy, AUROC (macro, one class against the rest), F1 (macro), ECE of the top label (15 bins); per class.

    Rows of `probabilities` sum to 1; `truth` holds class indices in [0, k). The means are over the classes that are
    present. `groups` names a group for each row: intervals are then drawn over groups. Raises ValueError.
    """
    probabilities, truth = np.asarray(probabilities, float), np.asarray(truth)
    _check(probabilities, truth, groups, truth.shape == probabilities.shape[:1])
    n, k = probabilities.shape
    if not np.issubdtype(truth.dtype, np.integer) or (n and not 0 <= truth.min() <= truth.max() < k):
        raise ValueError(f"truth must be class indices from 0 to {k - 1}, got {truth.dtype} {np.unique(truth)[:5]}")
    predicted = probabilities.argmax(1)
    classes = np.arange(k)
    is_class, asked = truth[:, None] == classes, predicted[:, None] == classes
    correct = (predicted == truth).astype(float)
    first = 1 if k == 2 else 0  # of two classes one is ranked: two scores would round differently
    per_class = _f1_and_per_class(is_class, asked, groups)
    return {
        "n": n,
        "accuracy": proportion(correct, groups),
        "auroc": _scores(probabilities[:, first:], is_class[:, first:], groups),
        "f1": per_class["f1"],
        "ece": _calibration(probabilities.max(1, initial=0.0), correct, groups),
        "per_class": per_class["per_class"],
    }


def multilabel(
    probabilities: Float[np.ndarray, "n k"], truth: Int[np.ndarray, "n k"], groups: Sequence[Any] | None = None
) -> Metrics:
    """Accuracy (all labels of a row right), AUROC and F1 (macro over the labels present); per label.

    A label is given where its probability is over 0.5; `truth` is 0 or 1. Raises ValueError.
    """
    probabilities, truth = np.asarray(probabilities, float), np.asarray(truth)
    _check(probabilities, truth, groups, truth.shape == probabilities.shape)
    if not np.isin(truth, (0, 1)).all():
        raise ValueError(f"truth must be 0 or 1 for each label, got {np.unique(truth)[:5]}")
    has, asked = truth.astype(bool), probabilities > 0.5
    return {
        "n": len(truth),
        "accuracy": proportion((has == asked).all(1).astype(float), groups),
        "auroc": _scores(probabilities, has, groups),
        **_f1_and_per_class(has, asked, groups),
    }


def regression(
    values: Float[np.ndarray, "n k"], truth: Float[np.ndarray, "n k"], groups: Sequence[Any] | None = None
) -> Metrics:
    """Mean absolute error, mean squared error, R²: means over the k columns, in the target's own units.

    Raises ValueError, also where an answer or a truth is not finite.
    """
    values, truth = np.asarray(values, float), np.asarray(truth, float)
    _check(values, truth, groups, truth.shape == values.shape)
    if not np.isfinite(truth).all():
        raise ValueError("truth has values that are not finite: leave out the rows without a target")
    return {
        "n": len(truth),
        "mae": interval(_mean, (np.abs(values - truth).mean(1),), groups),
        "mse": interval(_mean, (np.square(values - truth).mean(1),), groups),
        "r2": interval(_r2, (values, truth), groups),
    }


def forecast(
    values: Float[np.ndarray, "n k"],
    truth: Float[np.ndarray, "n k"],
    scale: Float[np.ndarray, " k"],
    groups: Sequence[Any] | None = None,
) -> Metrics:
    """The mean squared error on standardised values (in units of `scale`) and in the target's own units, and the mean
    absolute error in its own: of each row the mean over the steps that have a value (NaN: none). Raises ValueError.
    """
    values, truth = np.asarray(values, float), np.asarray(truth, float)
    _check(values, truth, groups, truth.shape == values.shape)
    there = np.isfinite(truth)
    if not there.any(1).all():
        raise ValueError("a row has no value at any step: leave out the rows without a target")
    errors = np.where(there, values - truth, 0.0)

    def mean(x: Float[np.ndarray, "n k"]) -> Metrics:
        return interval(_mean, (x.sum(1) / there.sum(1),), groups)

    return {
        "n": len(truth),
        "mse": mean((errors / scale) ** 2),
        "mse_raw": mean(errors**2),
        "mae": mean(np.abs(errors)),
    }


def coding(
    bits: Float[np.ndarray, " n"], count: Float[np.ndarray, " n"], groups: Sequence[Any] | None = None
) -> Metrics:
    """Bits per byte: of all rows together, given the bits that each takes for so many bytes. Raises ValueError."""
    bits, count = np.asarray(bits, float), np.asarray(count, float)
    _check(bits[:, None], count, groups, count.shape == bits.shape)
    return {"n": len(bits), "bits_per_byte": interval(_per, (bits, count), groups)}


def _check(answers: np.ndarray, truth: np.ndarray, groups: Sequence[Any] | None, fits: bool) -> None:
    if answers.ndim != 2 or not fits:
        raise ValueError(f"answers must be (n k) and truth one for each, got {answers.shape} and {truth.shape}")
    if groups is not None and len(groups) != len(answers):
        raise ValueError(f"groups must name one group for each of the {len(answers)} rows, got {len(groups)}")
    if not np.isfinite(answers).all():
        raise ValueError("some answers are not finite: the model has diverged; train with a lower learning rate")


# Statistics: arrays whose first axis is the rows → a function of row weights (n r) → values (… r) --------------------
def _mean(x: Float[np.ndarray, " n"]) -> Weighted:
    return lambda weights: ratio(x @ weights, weights.sum(0))


def _per(total: Float[np.ndarray, " n"], count: Float[np.ndarray, " n"]) -> Weighted:
    return lambda weights: ratio(total @ weights, count @ weights)


def _auroc(scores: Float[np.ndarray, "n k"], positive: Bool[np.ndarray, "n k"]) -> Weighted:
    """The share of pairs (positive, negative) in the right order, ties half: the mean over columns that have both."""
    both = np.flatnonzero(positive.any(0) & ~positive.all(0))
    areas = [_area(scores[:, c], positive[:, c]) for c in both]

    def value(weights: Float[np.ndarray, "n r"]) -> Float[np.ndarray, " r"]:
        if not areas:
            return np.full(weights.shape[1], np.nan)
        return mean_defined(np.stack([area(weights) for area in areas]))

    return value


def _area(scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> Weighted:
    levels, place = np.unique(scores[positive], return_inverse=True)
    left, right = (np.searchsorted(levels, scores, side) for side in ("left", "right"))
    rows = np.flatnonzero(~positive)
    ours = _members(np.flatnonzero(positive), place, len(levels), len(scores))
    # Negatives between two levels of the positives count whole for all above, those on a level count half for it.
    others = _members(rows, (left + right)[rows], 2 * len(levels) + 1, len(scores))

    def value(weights: Float[np.ndarray, "n r"]) -> Float[np.ndarray, " r"]:
        won, lost = (ours @ weights).astype(float), (others @ weights).astype(float)
        below = lost.cumsum(0)
        pairs = (won * (below[0:-1:2] + lost[1::2] / 2)).sum(0)
        return ratio(pairs, won.sum(0) * below[-1])

    return value


def _precision_recall_f1(truth: Bool[np.ndarray, "n k"], asked: Bool[np.ndarray, "n k"]) -> Weighted:
    members = [_members(x.nonzero()[0], x.nonzero()[1], truth.shape[1], len(x)) for x in (truth & asked, truth, asked)]

    def value(weights: Float[np.ndarray, "n r"]) -> Float[np.ndarray, "3 k r"]:
        hits, are, said = (m @ weights for m in members)
        return np.stack([ratio(hits, said), ratio(hits, are), ratio(2 * hits, are + said)])

    return value


def _calibration_error(confidence: Float[np.ndarray, " n"], correct: Float[np.ndarray, " n"]) -> Weighted:
    """Expected calibration error (Guo et al. 2017): |accuracy − confidence| in equal bins, weighted by their rows."""
    gaps = _binned(confidence).multiply(correct - confidence)
    return lambda weights: ratio(np.abs(gaps @ weights).sum(0), weights.sum(0))


def _binned(confidence: Float[np.ndarray, " n"]) -> Any:
    """A sparse array (bins n) that sums the weights of the rows in each bin."""
    return _members(np.arange(len(confidence)), bins(confidence), BINS, len(confidence))


def bins(confidence: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The bin of each row, of 15 equal ones."""
    return np.minimum((confidence * BINS).astype(int), BINS - 1)


def _r2(values: Float[np.ndarray, "n k"], truth: Float[np.ndarray, "n k"]) -> Weighted:
    errors = np.square(values - truth)
    centred = truth - truth.mean(0) if len(truth) else truth  # so that the difference below loses no digits

    def value(weights: Float[np.ndarray, "n r"]) -> Float[np.ndarray, " r"]:
        squares = np.square(centred).T @ weights
        spread = squares - ratio((centred.T @ weights) ** 2, np.broadcast_to(weights.sum(0), squares.shape))
        spread[spread <= 1e-12 * squares] = 0.0  # all the same
        return (1 - ratio(errors.T @ weights, spread)).mean(0)

    return value


def _members(rows: np.ndarray, sets: np.ndarray, num_sets: int, n: int) -> Any:
    """A sparse array (num_sets n) that sums the weights of the rows in each set."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(rows), np.float32), (sets, rows)), shape=(num_sets, n))


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def mean_defined(x: Float[np.ndarray, "k r"]) -> Float[np.ndarray, " r"]:
    """The mean over the rows that are no NaN."""
    defined = ~np.isnan(x)
    return ratio(np.where(defined, x, 0.0).sum(0), defined.sum(0))


# With their intervals -------------------------------------------------------------------------------------------
def mean(values: Float[np.ndarray, " n"], groups: Sequence[Any] | None = None) -> Metrics:
    """The mean over rows, with its bootstrap interval."""
    return interval(_mean, (values,), groups)


def paired(
    ours: Float[np.ndarray, " n"], theirs: Float[np.ndarray, " n"], groups: Sequence[Any] | None = None
) -> tuple[Metrics, int]:
    """The mean difference of two scores of the same rows with its bootstrap interval, over the same draws of rows (or
    groups) for both; and in how many of these they differ.
    """
    difference = np.asarray(ours, float) - np.asarray(theirs, float)
    codes = np.arange(len(difference)) if groups is None else intervals.codes(groups)
    return mean(difference, groups), int(np.count_nonzero(np.bincount(codes, difference)))


def proportion(correct: Float[np.ndarray, " n"], groups: Sequence[Any] | None = None) -> Metrics:
    """The share of rows that are 1, with Wilson's interval; over groups with the bootstrap's."""
    n, unit = len(correct), intervals.units(len(correct), groups)
    least = wilson(unit * correct.sum(), unit * n)
    if groups is None:
        return metric(correct.mean() if n else math.nan, least)
    return interval(_mean, (correct,), groups, least)


def _scores(scores: np.ndarray, positive: np.ndarray, groups: Sequence[Any] | None) -> Metrics:
    """The AUROC (macro)."""
    n, unit = len(scores), intervals.units(len(scores), groups)
    both = np.flatnonzero(positive.any(0) & ~positive.all(0))
    areas = np.array([_area(scores[:, c], positive[:, c])(np.ones((n, 1)))[0] for c in both])
    count = positive[:, both].sum(0)
    least = intervals.square_and_add(areas, intervals.auroc(areas, unit * count, unit * (n - count)))
    most = min(MOST_ROWS, max(FEWEST_ROWS, MOST_SCORES // max(1, scores.shape[1])))
    return interval(_auroc, (scores, positive), groups, least, most)


def _calibration(confidence: np.ndarray, correct: np.ndarray, groups: Sequence[Any] | None) -> Metrics:
    unit, binned = intervals.units(len(correct), groups), _binned(confidence)
    least = intervals.calibration(*(unit * (binned @ x) for x in (correct, confidence, np.ones(len(correct)))))
    return interval(_calibration_error, (confidence, correct), groups, least)


def _f1_and_per_class(truth: np.ndarray, asked: np.ndarray, groups: Sequence[Any] | None) -> Metrics:
    """Macro F1 over the classes that are there or were said, and each class by itself."""
    grouped = groups is not None
    value, drawn = intervals.draws(_precision_recall_f1, (truth, asked), groups)
    hits, are, said = (intervals.units(len(truth), groups) * x.sum(0) for x in (truth & asked, truth, asked))
    of_f1 = intervals.f1(hits, are, said)
    ends = Ends(*(np.stack(side) for side in zip(wilson(hits, said), wilson(hits, are), of_f1, strict=True)))
    if grouped:
        ends = intervals.at_least(intervals.percentiles(value, drawn), ends, grouped=True)
    macro = mean_defined(value[2, :, None])[0]
    together = intervals.percentiles(macro, mean_defined(drawn[2]))
    least = intervals.square_and_add(value[2], of_f1)
    per_class = {
        c: {
            **{name: metric(value[i, c], Ends(ends.low[i, c], ends.high[i, c])) for i, name in enumerate(PARTS)},
            "n": int(truth[:, c].sum()),
        }
        for c in range(truth.shape[1])
    }
    return {"f1": metric(macro, intervals.at_least(together, least, grouped=grouped)), "per_class": per_class}
