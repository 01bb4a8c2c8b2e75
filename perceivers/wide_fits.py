"""How the weights of a linear model are found: logistic regression of dense columns and naive Bayes of counts for
classes, ridge regression for values.

Penalties, scales and the skill follow from rows that were held out. Not concerned with what columns are (`wide.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from jaxtyping import Bool, Float, Int

MOST_WORK = 2**34  # multiply-adds of all fits of a target, about: some seconds
FOLDS = 5
# C of the logistic regression, and the penalty of the ridge: where there is time for few, the first ones.
PENALTIES = (1.0, 0.1, 10.0, 0.01, 0.3, 3.0, 0.03)
RIDGES = (10.0, 100.0, 1.0, 1e3, 0.1, 30.0, 300.0, 3.0, 1e4)
FEW_COLUMNS = 512  # a ridge of so many is solved, others are approached
SMOOTHING = 0.05  # added to every count of naive Bayes
MOST_STEPS = 100  # of a fit that has no closed form


@dataclass(frozen=True)
class Found:
    """A linear map: weights (w k), bias (k), and its skill, from 0 (that of a constant) to 1, on rows not seen."""

    weight: np.ndarray
    bias: np.ndarray
    skill: float


def fit(columns: Any, counted: Bool[np.ndarray, " w"], goals: np.ndarray, keys: np.ndarray, k: int) -> Found | None:
    """The map from columns (n w, sparse), of which some are `counted`, to classes (n) or values (n k).

    Rows with the same key are held out together. None where there are fewer than five keys, or one class alone.
    """
    held = folds(keys)
    if len(held) < FOLDS or (goals.ndim == 1 and len(np.unique(goals)) < 2):
        return None
    there = np.asarray(abs(columns).sum(0)) > 0  # others say nothing
    places = [np.flatnonzero(there & ~counted), np.flatnonzero(there & counted)]
    dense, counts = columns[:, places[0]].toarray().astype(np.float64), columns[:, places[1]]
    found = _classes(dense, counts, goals, held, k) if goals.ndim == 1 else _values(dense, counts, goals, held)
    weight = np.zeros((columns.shape[1], k))
    weight[np.concatenate(places)] = found.weight
    return Found(weight, found.bias, found.skill)


def folds(keys: np.ndarray) -> list[Bool[np.ndarray, " n"]]:
    """The rows of each fold: those of one key are together."""
    unique, of_row = np.unique(keys, return_inverse=True)
    fold = np.random.default_rng(0).permutation(len(unique)) % FOLDS
    return [rows for i in range(FOLDS) if (rows := fold[of_row] == i).any()]


def _within(work: int, n: int) -> tuple[Int[np.ndarray, " few"], int]:
    """As many of n rows, drawn at random, as can be fitted, and how many penalties can be tried; `work` is a row's."""
    few = np.sort(np.random.default_rng(0).permutation(n)[: MOST_WORK // ((FOLDS + 1) * max(1, work))])
    return few, max(1, (MOST_WORK // max(1, work * len(few)) - 1) // FOLDS)


def _classes(dense: np.ndarray, counts: Any, goals: np.ndarray, held: list[np.ndarray], k: int) -> Found:
    """Logits: the sum of both models', each scaled as fits the rows that it has not seen."""
    weights, biases, unseen = [], [], []
    few, tries = _within(dense.shape[1] * k * MOST_STEPS, len(goals))
    if dense.shape[1]:
        held_few = [rows[few] for rows in held]
        penalty, logits = _best_logistic(dense[few], goals[few], held_few, k, PENALTIES[:tries])
        weight, bias = _logistic(dense[few], goals[few], k, penalty)
        weights, biases, unseen = [weight], [bias], [logits]
    if counts.shape[1]:
        logits = np.zeros((len(goals), k))
        for rows in held:
            weight, bias = _bayes(counts[~rows], goals[~rows], k)
            logits[rows] = counts[rows] @ weight + bias
        weight, bias = _bayes(counts, goals, k)
        weights, biases, unseen = [*weights, weight], [*biases, bias], [*unseen, logits[few]]
    scales, loss = scaled(np.stack(unseen), goals[few])
    shares = (np.bincount(goals[few], minlength=k) + 1) / (len(few) + k)
    constant = -np.log(shares[goals[few]]).mean()
    weight = np.concatenate([scale * weight for scale, weight in zip(scales, weights, strict=True)])
    return Found(weight, np.tensordot(scales, np.stack(biases), 1), 1 - loss / constant)


def scaled(logits: Float[np.ndarray, "p n k"], goals: Int[np.ndarray, " n"]) -> tuple[np.ndarray, float]:
    """The factors (p), none negative, of the least cross-entropy, and the cross-entropy with them.

    Goals are smoothed (Platt 1999, section 2.2): where classes can be told apart, no factor would be large enough.
    """
    from scipy.optimize import minimize

    n, k = len(goals), logits.shape[2]
    count = np.bincount(goals, minlength=k)
    sure = (count + 1) / (count + 2)
    soft = np.repeat((1 - sure[goals])[:, None] / (k - 1), k, axis=1)
    soft[np.arange(n), goals] = sure[goals]

    def loss(scales: np.ndarray) -> tuple[float, np.ndarray]:
        log = _log_shares(np.tensordot(scales, logits, 1))
        slopes = [((np.exp(log) - soft) * one).sum(1).mean() for one in logits]
        return -(soft * log).sum(1).mean(), np.array(slopes)

    found = minimize(loss, np.full(len(logits), 0.5), jac=True, bounds=[(0, None)] * len(logits)).x
    return found, float(-_log_shares(np.tensordot(found, logits, 1))[np.arange(n), goals].mean())


def _log_shares(logits: np.ndarray) -> np.ndarray:
    """The logarithm of the softmax."""
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _best_logistic(
    columns: np.ndarray, goals: np.ndarray, held: list[np.ndarray], k: int, penalties: Sequence[float]
) -> tuple[float, np.ndarray]:
    """The penalty of the least cross-entropy in rows that were held out, and the logits of these."""
    best, least, kept = penalties[0], np.inf, np.zeros((len(goals), k))
    for penalty in penalties:
        logits = np.zeros((len(goals), k))
        for rows in held:
            weight, bias = _logistic(columns[~rows], goals[~rows], k, penalty)
            logits[rows] = columns[rows] @ weight + bias
        loss = -_log_shares(logits)[np.arange(len(goals)), goals].mean()
        if loss < least:
            best, least, kept = penalty, loss, logits
    return best, kept


def _logistic(columns: np.ndarray, goals: np.ndarray, k: int, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights (d k) and bias (k); a class without a row is a good deal less likely than any that has one."""
    from sklearn.linear_model import LogisticRegression

    classes = np.unique(goals)
    weight, bias = np.zeros((columns.shape[1], k)), np.zeros(k)
    if len(classes) > 1:
        with catch_warnings():
            simplefilter("ignore")  # so many steps are close enough; many classes are no mistake here
            model = LogisticRegression(C=penalty, max_iter=MOST_STEPS).fit(columns, goals)
        coefficients, intercept = model.coef_, model.intercept_
        if len(classes) == 2:
            coefficients, intercept = (
                np.concatenate([-coefficients, coefficients]) / 2,
                np.r_[-intercept, intercept] / 2,
            )
        weight[:, classes], bias[classes] = coefficients.T, intercept
    absent = np.setdiff1d(np.arange(k), classes)
    bias[absent] = bias[classes].min() - np.log(len(goals) + k)
    return weight, bias


def _bayes(counts: Any, goals: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (c k) and bias (k) of multinomial naive Bayes (Rennie et al. 2003, section 2)."""
    from scipy.sparse import csr_array

    n = np.bincount(goals, minlength=k)
    of_class = csr_array((np.ones(len(goals)), (goals, np.arange(len(goals)))), shape=(k, len(goals)))
    total = (of_class @ counts).toarray() + SMOOTHING
    return np.log(total / total.sum(1, keepdims=True)).T, np.log((n + 1) / (n.sum() + k))


def _values(dense: np.ndarray, counts: Any, goals: np.ndarray, held: list[np.ndarray]) -> Found:
    """Ridge regression of all columns (Hoerl and Kennard 1970)."""
    from scipy.sparse import csr_array, hstack

    few, tries = _within(dense.shape[1] * min(dense.shape[1], 2 * MOST_STEPS), len(goals))
    columns: Any = hstack([csr_array(dense), counts]).tocsr()[few] if counts.shape[1] else dense[few]
    goals, held = goals[few], [rows[few] for rows in held]
    best, least = RIDGES[0], np.inf
    for penalty in RIDGES[:tries]:
        wrong = 0.0
        for rows in held:
            weight, bias = _ridge(columns[~rows], goals[~rows], penalty)
            wrong += float(((columns[rows] @ weight + bias - goals[rows]) ** 2).sum())
        if wrong < least:
            best, least = penalty, wrong
    weight, bias = _ridge(columns, goals, best)
    constant = float(((goals - goals.mean(0)) ** 2).sum())
    return Found(weight, bias, 1 - least / constant if constant > 0 else 0.0)


def _ridge(columns: Any, goals: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.linear_model import Ridge

    solver = "auto" if columns.shape[1] <= FEW_COLUMNS else "sparse_cg"
    model = Ridge(alpha=penalty, max_iter=MOST_STEPS, tol=1e-3, solver=solver).fit(columns, goals)
    return np.atleast_2d(model.coef_).T, np.atleast_1d(model.intercept_)
