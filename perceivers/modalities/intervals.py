"""95 % intervals: bootstraps over rows or groups of rows, and what such an interval holds at the least.

A bootstrap knows errors alone that the test has shown: where no row is wrong, all draws are alike and it has no width.
What is a share therefore has an interval in closed form, too (Wilson's and those made of it), and the bootstrap's is
never narrower. Over groups the closed form counts each group as one row, which is more than cautious, and stands in
where no draw differs alone.

Not concerned with metrics (`metrics.py`), which say what is counted.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from perceivers.modalities.base import Metrics

DRAWS, SEED = 2_000, 0
# Intervals of larger tests are drawn from so many rows and narrowed to the n that there is (subsampling, Politis
# and Romano 1994): the time stays bounded.
MOST_ROWS = 20_000
CHUNK = 1_000_000  # weights held at once
LEVEL, Z = 0.95, 1.959963984540054
HALVINGS = 50  # of an interval in which an end is looked for

Weighted = Callable[[np.ndarray], np.ndarray]  # row weights (n r) → values (… r), NaN where undefined


class Ends(NamedTuple):
    """The lower and the upper ends of intervals (…), NaN where there is none."""

    low: Any
    high: Any


def metric(value: Any, ends: Ends) -> Metrics:
    """`value`, `low` and `high` as numbers, None where not defined."""
    named = {"value": value, "low": ends.low, "high": ends.high}
    return {name: float(x) if np.isfinite(x) else None for name, x in named.items()}


# In closed form ---------------------------------------------------------------------------------------------------
def wilson(hits: Any, n: Any, z: float = Z) -> Ends:
    """Of shares (Wilson 1927): `hits` of `n`, numbers or arrays; NaN where n is 0."""
    hits, n = np.asarray(hits, float), np.asarray(n, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = hits / n
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        low, high = np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)
    return Ends(np.minimum(share, low), np.maximum(share, high))


def f1(hits: Any, are: Any, said: Any) -> Ends:
    """Of F1 scores: hits / (are + said − hits) is a share of rows, J, and F1 is 2 J / (1 + J) (Lam, Gopal and Qian
    2023, "Confidence intervals for the F1 score", the indirect Wilson interval).
    """
    low, high = wilson(hits, are + said - hits)
    return Ends(2 * low / (1 + low), 2 * high / (1 + high))


def auroc(area: Float[np.ndarray, " k"], positives: Any, negatives: Any) -> Ends:
    """Of areas under ROC curves: those that lie within z of their own standard errors, by Hanley and McNeil's (Newcombe
    2006, "Confidence intervals for an effect size measure based on the Mann–Whitney statistic", part 2, method 5).
    """
    half = (positives + negatives) / 2 - 1

    def fits(true: np.ndarray) -> np.ndarray:
        spread = 1 + np.maximum(half, 0) * ((1 - true) / (2 - true) + true / (1 + true))
        return np.abs(area - true) <= Z * np.sqrt(true * (1 - true) * spread / (positives * negatives))

    ends = []
    for bound in (0.0, 1.0):
        inside, outside = np.array(area, float), np.full_like(area, bound)
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            near = fits(middle)
            inside, outside = np.where(near, middle, inside), np.where(near, outside, middle)
        ends.append(outside)
    return Ends(*ends)


def calibration(right: Any, sure: Any, n: Any) -> Ends:
    """Of the expected calibration error: `right` rows of `n` in each bin, and the sum of their confidences.

    The error of a bin is between the least and the largest that Wilson's interval of its rows allows. The sum of the
    least errors, of intervals that hold together (Bonferroni), is the lower end: the error itself is too large by
    chance, which an interval about it would not see. For the upper end see `square_and_add`.
    """
    from scipy.stats import norm

    there = n > 0
    right, sure, n = right[there], sure[there], n[there]
    if not len(n):
        return Ends(math.nan, math.nan)
    part, confidence, gap = n / n.sum(), sure / n, np.abs(right - sure) / n
    together = wilson(right, n, float(norm.ppf(1 - (1 - LEVEL) / (2 * len(n)))))
    least = np.maximum(0, np.maximum(together.low - confidence, confidence - together.high))
    alone = wilson(right, n)
    most = np.maximum(confidence - alone.low, alone.high - confidence)
    return Ends(part @ least, min(1.0, part @ gap + math.sqrt(np.sum((part * (most - gap)) ** 2))))


def square_and_add(values: Float[np.ndarray, " k"], ends: Ends) -> Ends:
    """Of the mean of independent values, each with its interval (Zou and Donner 2008, square-and-add); NaN left out."""
    there = ~np.isnan(values)
    if not there.any():
        return Ends(math.nan, math.nan)
    below, above = ((values - ends.low)[there], (ends.high - values)[there])
    centre, count = values[there].mean(), there.sum()
    return Ends(centre - math.sqrt(np.sum(below**2)) / count, centre + math.sqrt(np.sum(above**2)) / count)


# Bootstraps -------------------------------------------------------------------------------------------------------
def units(n: int, groups: Sequence[Any] | None) -> float:
    """What a row counts in a closed form: 1, or where groups are drawn so much that each group is one row."""
    return 1.0 if groups is None else len(set(groups)) / max(1, n)


def at_least(drawn: Ends, least: Ends, *, grouped: bool) -> Ends:
    """Bootstrap intervals, widened to what they hold at the least: over rows everywhere, over groups where no draw
    differs.
    """
    widened = drawn.low == drawn.high if grouped else True
    low, high = np.fmin(drawn.low, least.low), np.fmax(drawn.high, least.high)
    return Ends(np.where(widened, low, drawn.low), np.where(widened, high, drawn.high))


def interval(
    statistic: Callable[..., Weighted],
    arrays: tuple[np.ndarray, ...],
    groups: Sequence[Any] | None,
    least: Ends | None = None,
    most: int = MOST_ROWS,
) -> Metrics:
    """The value of a statistic of the rows of `arrays`, and its bootstrap interval, no narrower than `least`."""
    value, found = draws(statistic, arrays, groups, most)
    ends = percentiles(value, found)
    return metric(value, ends if least is None else at_least(ends, least, grouped=groups is not None))


def draws(
    statistic: Callable[..., Weighted],
    arrays: tuple[np.ndarray, ...],
    groups: Sequence[Any] | None,
    most: int = MOST_ROWS,
) -> tuple[np.ndarray, np.ndarray]:
    """The value (…), and bootstraps of it (… r) over rows or over groups; NaN where there are not two of them."""
    n = len(arrays[0])
    weighted = statistic(*arrays)
    value = weighted(np.ones((n, 1)))[..., 0]
    place = np.arange(n) if groups is None else codes(groups)
    if place.max(initial=-1) < 1:
        return value, np.full((*value.shape, 1), np.nan)
    if groups is not None or n <= most:
        return value, _bootstrap(weighted, place)
    rows = np.random.default_rng(SEED).choice(n, most, replace=False)
    fewer = statistic(*(a[rows] for a in arrays))
    centre = fewer(np.ones((most, 1)))
    return value, value[..., None] + (_bootstrap(fewer, np.arange(most)) - centre) * math.sqrt(most / n)


def _bootstrap(weighted: Weighted, place: Int[np.ndarray, " n"]) -> np.ndarray:
    """The values (… r) when rows, or the groups of rows that `place` numbers, are drawn with replacement."""
    random = np.random.default_rng(SEED)
    count, found = int(place.max()) + 1, []
    step = max(1, min(DRAWS, CHUNK // len(place)))
    for start in range(0, DRAWS, step):
        weights = np.empty((count, min(step, DRAWS - start)), np.float32)
        for r in range(weights.shape[1]):
            weights[:, r] = np.bincount(random.integers(count, size=count), minlength=count)
        found.append(weighted(weights if count == len(place) else weights[place]))
    return np.concatenate(found, axis=-1)


def percentiles(value: np.ndarray, drawn: Float[np.ndarray, "*rest r"]) -> Ends:
    """The 2.5th and 97.5th percentile of the draws that are defined, NaN where none is."""
    flat = drawn.reshape(-1, drawn.shape[-1])
    found = np.full((2, len(flat)), np.nan)
    for i, row in enumerate(flat):
        defined = row[~np.isnan(row)]
        if len(defined):
            found[:, i] = np.percentile(defined, [2.5, 97.5])
    low, high = found.reshape(2, *drawn.shape[:-1])
    # A percentile interval of a biased statistic, such as the ECE, may miss its own value.
    return Ends(np.minimum(low, value), np.maximum(high, value))


def codes(groups: Sequence[Any]) -> Int[np.ndarray, " n"]:
    """Groups as numbers from 0, in the order in which they come."""
    known: dict[Any, int] = {}
    return np.array([known.setdefault(group, len(known)) for group in groups], dtype=int)
