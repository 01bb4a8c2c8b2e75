"""A linear model beside the Perceiver: both answer, and their raw predictions are averaged (Cheng et al. 2016, "Wide &
deep learning", section 3).

Where rows are few, or what counts are single words, nothing beats a linear model; where it is worth little, it has
little weight. It is found before the first step: for classes a logistic regression of numbers, categories and series,
and naive Bayes of the words of texts (Rennie et al. 2003), for values a ridge regression. Penalties, and how far each
is to be trusted, follow from train rows that it has not seen. Not concerned with which columns it reads
(`modalities/terms.py`), nor with how the Perceiver learns.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding_bag

from perceivers.data.schema import Field, Schema
from perceivers.modalities import modality
from perceivers.modalities.base import Batch, Target
from perceivers.modalities.terms import Terms

MOST_WEIGHTS = 2**24  # of a target: with more, it has no linear model
MOST_ROWS = 20_000
MOST_CELLS = 2**25  # rows × dense columns that are read
MOST_WORK = 2**34  # multiply-adds of all fits of a target, about: some seconds
FOLDS = 5
# C of the logistic regression, and the penalty of the ridge: where there is time for few, the first ones.
PENALTIES = (1.0, 0.1, 10.0, 0.01, 0.3, 3.0, 0.03)
RIDGES = (10.0, 100.0, 1.0, 1e3, 0.1, 30.0, 300.0, 3.0, 1e4)
FEW_COLUMNS = 512  # a ridge of so many is solved, others are approached
SMOOTHING = 0.05  # added to every count of naive Bayes
MOST_STEPS = 100  # of a fit that has no closed form
SHARES = 21  # from 0 to 1, that are tried
LEAST_SKILL = 0.01


class Wide(nn.Module):
    """Linear maps from the columns of the inputs to the raw predictions of targets: `outputs` are {target: how many}.

    share: of each target, what the map counts in the mean with the Perceiver's prediction
    """

    def __init__(self, inputs: Sequence[Field], outputs: Mapping[str, int]):
        super().__init__()
        found = [(field, modality(field).terms(field)) for field in inputs]
        self.names = [field.name for field, terms in found if terms is not None]
        self.terms = nn.ModuleList(terms for _, terms in found if terms is not None)
        self.width = sum(terms.width for terms in self.columns.values())
        self.outputs = dict(outputs)
        self.maps = nn.ModuleList(LinearMap(self.width, k) for k in outputs.values())

    @property
    def columns(self) -> dict[str, Terms]:
        """The columns of each input that has some."""
        return dict(zip(self.names, cast(Iterable[Terms], self.terms), strict=True))

    @property
    def of_target(self) -> dict[str, "LinearMap"]:
        """The map of each target."""
        return dict(zip(self.outputs, cast(Iterable[LinearMap], self.maps), strict=True))

    def forward(self, batch: Batch) -> dict[str, Float[Tensor, "b k"]]:
        """A batch → the raw prediction of each target."""
        read = [terms(batch[name]) for name, terms in self.columns.items()]
        first = np.cumsum([0, *(terms.width for terms in self.columns.values())])
        places = torch.cat([place + int(start) for (place, _), start in zip(read, first, strict=False)], dim=1)
        values = torch.cat([values for _, values in read], dim=1)
        return {name: linear(places, values) for name, linear in self.of_target.items()}

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Inside, the Perceiver answers alone."""
        shares = [linear.share.clone() for linear in self.of_target.values()]
        try:
            for linear in self.of_target.values():
                linear.share.zero_()
            yield
        finally:
            for linear, share in zip(self.of_target.values(), shares, strict=True):
                linear.share.copy_(share)

    def mixed(self, predictions: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The predictions, those of its targets averaged with its own."""
        own = self(batch)
        return {
            name: torch.lerp(given, own[name].to(given.dtype), self.of_target[name].share.to(given.dtype))
            if name in own
            else given
            for name, given in predictions.items()
        }


class LinearMap(nn.Module):
    """Columns → k numbers."""

    def __init__(self, width: int, k: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(width, k))
        self.register_buffer("bias", torch.zeros(k))
        self.register_buffer("share", torch.zeros(()))

    def forward(self, places: Tensor, values: Float[Tensor, "b t"]) -> Float[Tensor, "b k"]:
        weight = self.weight
        return embedding_bag(places, weight, mode="sum", per_sample_weights=values.to(weight.dtype)) + self.bias


@dataclass(frozen=True)
class Found:
    """A linear map: weights (w k), bias (k), and its skill, from 0 (that of a constant) to 1, on rows not seen."""

    weight: np.ndarray
    bias: np.ndarray
    skill: float


def find(
    schema: Schema,
    targets: Mapping[str, Target],
    batches: Callable[[int], Iterable[tuple[np.ndarray, Batch]]],
) -> Wide | None:
    """The linear models of the targets that have one, from train rows; None where nothing foretells any.

    `batches`: train rows, at most so many, with a number for each that rows which belong together share. As it stands a
    share is that of a map with such a skill beside a model of skill 1.
    """
    probe = Wide(schema.inputs, {})
    outputs = {name: target.foretold for name, target in targets.items() if target.foretold}
    outputs = {name: k for name, k in outputs.items() if probe.width * k <= MOST_WEIGHTS}
    if not probe.names or not outputs:
        return None
    for name, terms in probe.columns.items():
        if terms.counts:
            terms.learn(batch[name] for _, batch in batches(MOST_ROWS))
    dense = sum(terms.width for terms in probe.columns.values() if not terms.counts)
    most = min(MOST_ROWS, MOST_CELLS // max(1, dense))
    seen = _read(probe, {name: targets[name] for name in outputs}, batches(most))
    found = {name: _fitted(targets[name], seen, name, k) for name, k in outputs.items()}
    found = {name: one for name, one in found.items() if one is not None and one.skill > LEAST_SKILL}
    if not found:
        return None
    wide = Wide(schema.inputs, {name: outputs[name] for name in found})
    wide.terms.load_state_dict(probe.terms.state_dict())
    for name, linear in wide.of_target.items():
        linear.weight.copy_(torch.from_numpy(found[name].weight))
        linear.bias.copy_(torch.from_numpy(found[name].bias))
        linear.share.fill_(found[name].skill / (1 + found[name].skill))
    return wide


def weigh(
    wide: Wide,
    targets: Mapping[str, Target],
    predict: Callable[[Batch], Mapping[str, Tensor]],
    batches: Iterable[tuple[np.ndarray, Batch]],
) -> None:
    """Sets the shares to those of the least cross-entropy or squared error on rows that neither has learned from.
    `predict` is the Perceiver's prediction.
    """
    shares = torch.linspace(0, 1, SHARES)
    losses = {name: torch.zeros(SHARES, dtype=torch.float64) for name in wide.outputs}
    with torch.inference_mode():
        for _, batch in batches:
            given, own = predict(batch), wide(batch)
            for name, total in losses.items():
                goals, there = targets[name].goals(batch[name])
                mixes = [torch.lerp(given[name].float(), own[name], float(share))[there] for share in shares]
                total += torch.stack([_loss(mix.double(), goals[there]).cpu() for mix in mixes])
    for name, linear in wide.of_target.items():
        linear.share.fill_(shares[int(losses[name].argmin())])


def _loss(prediction: Float[Tensor, "b k"], goals: Tensor) -> Tensor:
    """Of logits and classes (b), or of values and values (b k), summed over rows."""
    if goals.ndim == 1:
        return cross_entropy(prediction, goals, reduction="sum")
    return ((prediction - goals) ** 2).sum()


@dataclass(frozen=True)
class _Seen:
    """Train rows: dense columns (n d) and counts (n c, sparse), the places of both, keys (n), and goals of targets."""

    dense: np.ndarray
    counts: Any
    places: tuple[np.ndarray, np.ndarray]
    keys: np.ndarray
    goals: dict[str, tuple[np.ndarray, np.ndarray]]


def _read(wide: Wide, targets: Mapping[str, Target], batches: Iterable[tuple[np.ndarray, Batch]]) -> _Seen:
    from scipy.sparse import csr_array, hstack, vstack

    blocks: dict[str, list[Any]] = {name: [] for name in wide.names}
    goals: dict[str, list[Any]] = {name: [] for name in targets}
    keys = []
    for key, batch in batches:
        keys.append(key)
        for name, terms in wide.columns.items():
            place, value = (x.numpy() for x in terms(batch[name]))
            row = np.repeat(np.arange(len(place)), place.shape[1])
            block = csr_array((value.ravel(), (row, place.ravel())), shape=(len(place), terms.width))
            blocks[name].append(block if terms.counts else block.toarray())
        for name, target in targets.items():
            goals[name].append(target.goals(batch[name]))
    first = dict(zip(wide.names, np.cumsum([0, *(t.width for t in wide.columns.values())]), strict=False))
    kinds = {kind: [n for n, terms in wide.columns.items() if terms.counts == kind] for kind in (False, True)}
    places = tuple(
        np.concatenate([np.zeros(0, int), *(first[n] + np.arange(wide.columns[n].width) for n in names)])
        for names in kinds.values()
    )
    n = sum(map(len, keys))
    dense = [np.concatenate(blocks[name]) for name in kinds[False]]
    counts = [vstack(blocks[name]) for name in kinds[True]]
    return _Seen(
        np.hstack(dense).astype(np.float64) if dense else np.zeros((n, 0)),
        hstack(counts).tocsr() if counts else csr_array((n, 0)),
        cast(tuple[np.ndarray, np.ndarray], places),
        np.concatenate(keys),
        {name: _joined(found) for name, found in goals.items()},
    )


def _joined(goals: list[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """Those of all batches."""
    values, there = zip(*goals, strict=True)
    return torch.cat(values).numpy(), torch.cat(there).numpy()


def _fitted(target: Target, seen: _Seen, name: str, k: int) -> Found | None:
    """The map of one target; None where too few rows have it."""
    goals, there = seen.goals[name]
    rows = np.flatnonzero(there)
    changing = np.flatnonzero(seen.dense.min(0, initial=np.inf) < seen.dense.max(0, initial=-np.inf))
    each = max(1, len(changing) * (k * MOST_STEPS if goals.ndim == 1 else min(len(changing), 2 * MOST_STEPS)))
    rows = np.sort(np.random.default_rng(0).permutation(rows)[: MOST_WORK // ((FOLDS + 1) * each)])
    tries = max(1, (MOST_WORK // max(1, each * len(rows)) - 1) // FOLDS)
    held = _folds(seen.keys[rows])
    if len(held) < FOLDS or (goals.ndim == 1 and len(np.unique(goals[rows])) < 2):
        return None
    dense, counts = seen.dense[np.ix_(rows, changing)], seen.counts[rows]
    fit = _classes if goals.ndim == 1 else _values
    found = fit(dense, counts, goals[rows], held, k, tries)
    weight = np.zeros((sum(map(len, seen.places)), k))
    for place, part in zip((seen.places[0][changing], seen.places[1]), found.weight, strict=True):
        weight[place] = part
    return Found(weight, found.bias, found.skill)


def _folds(keys: np.ndarray) -> list[np.ndarray]:
    """Rows (bool) of each fold: those of one key are together."""
    unique, of_row = np.unique(keys, return_inverse=True)
    fold = np.random.default_rng(0).permutation(len(unique)) % FOLDS
    return [rows for i in range(FOLDS) if (rows := fold[of_row] == i).any()]


@dataclass(frozen=True)
class _Parts:
    """A map by parts: the weights of dense columns and of counts, the bias, the skill."""

    weight: tuple[np.ndarray, np.ndarray]
    bias: np.ndarray
    skill: float


def _classes(dense: np.ndarray, counts: Any, goals: np.ndarray, held: list[np.ndarray], k: int, tries: int) -> _Parts:
    """Logits: the sum of both models', each scaled as fits the rows that it has not seen."""
    parts = [np.zeros((dense.shape[1], k)), np.zeros((counts.shape[1], k))]
    biases, unseen, used = [], [], []
    if dense.shape[1]:
        penalty, logits = _best_logistic(dense, goals, held, k, PENALTIES[:tries])
        weight, bias = _logistic(dense, goals, k, penalty)
        parts[0], biases, unseen, used = weight, [bias], [logits], [0]
    if counts.shape[1]:
        logits = np.zeros((len(goals), k))
        for rows in held:
            weight, bias = _bayes(counts[~rows], goals[~rows], k)
            logits[rows] = counts[rows] @ weight + bias
        weight, bias = _bayes(counts, goals, k)
        parts[1], biases, unseen, used = weight, [*biases, bias], [*unseen, logits], [*used, 1]
    scales, loss = _scales(np.stack(unseen), goals)
    for part, scale in zip(used, scales, strict=True):
        parts[part] = parts[part] * scale
    shares = (np.bincount(goals, minlength=k) + 1) / (len(goals) + k)
    constant = -np.log(shares[goals]).mean()
    bias = sum(scale * bias for scale, bias in zip(scales, biases, strict=True))
    return _Parts((parts[0], parts[1]), cast(np.ndarray, bias), 1 - loss / constant)


def _scales(logits: Float[np.ndarray, "p n k"], goals: np.ndarray) -> tuple[np.ndarray, float]:
    """The factors (p), none negative, of the least cross-entropy, and that."""
    from scipy.optimize import minimize

    def loss(scales: np.ndarray) -> tuple[float, np.ndarray]:
        both = np.tensordot(scales, logits, 1)
        log = both - _log_sum(both)
        probability = np.exp(log)
        slopes = [(probability * one).sum(1).mean() - one[np.arange(len(goals)), goals].mean() for one in logits]
        return -log[np.arange(len(goals)), goals].mean(), np.array(slopes)

    start = np.full(len(logits), 0.5)
    found = minimize(loss, start, jac=True, bounds=[(0, None)] * len(logits))
    return found.x, float(found.fun)


def _log_sum(logits: np.ndarray) -> np.ndarray:
    most = logits.max(1, keepdims=True)
    return most + np.log(np.exp(logits - most).sum(1, keepdims=True))


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
        loss = -(logits - _log_sum(logits))[np.arange(len(goals)), goals].mean()
        if loss < least:
            best, least, kept = penalty, loss, logits
    return best, kept


def _logistic(columns: np.ndarray, goals: np.ndarray, k: int, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights (d k) and bias (k); a class without a row is a good deal less likely than any that has one."""
    from warnings import catch_warnings, simplefilter

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
    """Weights (c k) and bias (k) of multinomial naive Bayes."""
    from scipy.sparse import csr_array

    n = np.bincount(goals, minlength=k)
    of_class = csr_array((np.ones(len(goals)), (goals, np.arange(len(goals)))), shape=(k, len(goals)))
    total = (of_class @ counts).toarray() + SMOOTHING
    return np.log(total / total.sum(1, keepdims=True)).T, np.log((n + 1) / (n.sum() + k))


def _values(dense: np.ndarray, counts: Any, goals: np.ndarray, held: list[np.ndarray], k: int, tries: int) -> _Parts:
    """Ridge regression of all columns (Hoerl and Kennard 1970)."""
    from scipy.sparse import csr_array, hstack

    columns = hstack([csr_array(dense), counts]).tocsr() if counts.shape[1] else dense
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
    cut = dense.shape[1]
    return _Parts((weight[:cut], weight[cut:]), bias, 1 - least / constant if constant > 0 else 0.0)


def _ridge(columns: Any, goals: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.linear_model import Ridge

    solver = "auto" if columns.shape[1] <= FEW_COLUMNS else "sparse_cg"
    model = Ridge(alpha=penalty, max_iter=MOST_STEPS, tol=1e-3, solver=solver).fit(columns, goals)
    return np.atleast_2d(model.coef_).T, np.atleast_1d(model.intercept_)
