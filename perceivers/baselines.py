"""Simple models of scikit-learn on the same split: what a result must beat to mean anything.

Not concerned with features, which each modality makes (`Modality.baseline`), nor with metrics.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perceivers.data.schema import Field
from perceivers.errors import BadInput
from perceivers.modalities.base import Metrics, Modality
from perceivers.modalities.metrics import paired

MOST_ROWS = 20_000  # train rows that are fitted; the rest would take minutes and change little
WIDE, REDUCED = 1_000, 100  # a forest on more columns, or sparse ones, sees so many components of them
MANY_CLASSES = "The number of unique classes"  # for few rows: scikit-learn warns of it, tree by tree
TREES, MOST_LEAF_VALUES = 100, 300_000


def baselines(
    inputs: Mapping[str, tuple[Field, Modality, Sequence[Any]]],
    target: Field,
    target_modality: Modality,
    truth: Sequence[Any],
    train: np.ndarray,
    test: np.ndarray,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
) -> "Baselines":
    """What a constant, a linear model and a random forest reach on the test rows, fitted on the train rows.

    `train` and `test` are row ids; the examples of `inputs` (None where missing) and `truth` are looked up by row id:
    a class index, a 0/1 vector (k) where `labels: many`, or numbers (k). `groups` has one entry a test row.
    With over 20,000 train rows a `note` says how many were used. Raises BadInput where the train rows are one class.
    """
    fitted = np.sort(np.random.default_rng(seed).permutation(train)[:MOST_ROWS])
    goals, answers = target_modality.stack([truth[int(row)] for row in fitted]), [truth[int(row)] for row in test]
    found = target_modality.rivals(target, Simple(target, inputs, goals, fitted, test, seed))
    results = {name: target_modality.metrics(target, given, answers, groups) for name, given in found.items()}
    if len(fitted) < len(train):
        note = f"fitted on {len(fitted):,} of {len(train):,} train rows"
        results = {name: {**result, "note": note} for name, result in results.items()}
    truths = target_modality.stack(answers)
    scored = {name: target_modality.row_scores(target, given, truths) for name, given in found.items()}
    return Baselines(results, np.asarray(test), {name: scores for name, (_, scores) in scored.items()})


@dataclass(frozen=True)
class Baselines:
    """Simple models on the test rows, whose ids are `rows` (n).

    metrics: of each, by its name
    scores: of each, those of its rows (n), as `Modality.row_scores` has them
    """

    metrics: dict[str, Metrics]
    rows: np.ndarray
    scores: dict[str, np.ndarray]

    def against(
        self, name: str, scores: np.ndarray, rows: np.ndarray, groups: Sequence[Any] | None = None
    ) -> dict[str, Metrics]:
        """`metrics`, each with the `paired` difference of a model's scores of the metric `name`, of the rows `rows`,
        less its own; without it where the rows are others. `different`: so many rows, or groups, have another score.
        """
        if not self.scores or not np.array_equal(self.rows, rows):
            return self.metrics
        found = {}
        for rival, theirs in self.scores.items():
            difference, different = paired(scores, theirs, groups)
            found[rival] = {**self.metrics[rival], "paired": {"metric": name, **difference, "different": different}}
        return found

    def to_dict(self) -> dict[str, Any]:
        """The rows and their scores, for JSON."""
        return {"rows": self.rows.tolist(), "scores": {name: found.tolist() for name, found in self.scores.items()}}


@dataclass(frozen=True)
class Simple:
    """What a kind of target chooses its rivals from (`Modality.rivals`).

    inputs: (field, modality, examples by row id) by name
    goals: the examples (n …) of the target in the rows `train` (n), which are fitted
    test: the row ids that are answered
    """

    target: Field
    inputs: Mapping[str, tuple[Field, Modality, Sequence[Any]]]
    goals: np.ndarray
    train: np.ndarray
    test: np.ndarray
    seed: int

    def examples(self, name: str) -> tuple[list[Any], list[Any]]:
        """Those of an input in the rows of train and of test."""
        _, _, found = self.inputs[name]
        return [found[int(row)] for row in self.train], [found[int(row)] for row in self.test]

    def classifiers(self, k: int) -> dict[str, np.ndarray]:
        """Probabilities (n k): train's shares, a logistic regression, a random forest; goals are indices or 0/1 (k)."""
        return _classifiers(self.target, k, *_features(self.inputs, self.train, self.test), self.goals, self.seed)

    def regressors(self) -> dict[str, np.ndarray]:
        """Values (n k): train's mean, a ridge regression, a random forest; goals (n k), NaN where missing."""
        return _regressors(*_features(self.inputs, self.train, self.test), _whole(self.goals), self.seed)


def _whole(goals: np.ndarray) -> np.ndarray:
    """Goals (n k), a missing one at its column's mean."""
    there = np.isfinite(goals)
    means = np.where(there, goals, 0.0).sum(0) / np.maximum(there.sum(0), 1)
    return np.where(there, goals, means)


def _features(
    inputs: Mapping[str, tuple[Field, Modality, Sequence[Any]]], train: np.ndarray, test: np.ndarray
) -> tuple[Any, Any]:
    """The features of all fields side by side, (train f) and (test f): an array, or sparse where that is wide."""
    from scipy.sparse import csr_array, hstack, issparse
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pairs = []
    for field, modality, examples in inputs.values():
        maker = modality.baseline(field)
        made = maker.fit_transform([examples[int(row)] for row in train])
        more = maker.transform([examples[int(row)] for row in test])
        pairs.append((made, more))
    dense = [pair for pair in pairs if not issparse(pair[0])]
    if dense:
        made, more = (np.hstack(side) for side in zip(*dense, strict=True))
        scaler = make_pipeline(SimpleImputer(add_indicator=True, keep_empty_features=True), StandardScaler())
        made, more = scaler.fit_transform(made), scaler.transform(more)
        if len(dense) == len(pairs):
            return made, more
        pairs = [(made, more), *(pair for pair in pairs if issparse(pair[0]))]
    sides = list(zip(*pairs, strict=True))
    first, second = (hstack([csr_array(block) for block in side]).tocsr() for side in sides)
    wide = sum(block.shape[1] for block in sides[0]) > WIDE
    return (first, second) if wide else (first.toarray(), second.toarray())


def _for_trees(train: Any, test: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.decomposition import TruncatedSVD

    if train.shape[1] <= WIDE:
        return train, test
    components = TruncatedSVD(min(REDUCED, train.shape[0]), random_state=seed)
    return components.fit_transform(train), components.transform(test)


def _classifiers(target: Field, k: int, train: Any, test: Any, goals: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Probabilities (n k) for the test rows."""
    many = goals.ndim == 2
    if not many and len(np.unique(goals)) < 2:
        raise BadInput(f"{target.name}: all {len(goals):,} train rows are of one class: there is nothing to learn")
    shares = goals.mean(0) if many else np.bincount(goals, minlength=k) / len(goals)
    few_train, few_test = _for_trees(train, test, seed)
    return {
        "majority class": np.tile(shares, (test.shape[0], 1)),
        "logistic regression": _logistic(train, test, goals, k),
        "random forest": _forest(few_train, few_test, goals, k, seed),
    }


def _logistic(train: Any, test: Any, goals: np.ndarray, k: int) -> np.ndarray:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if goals.ndim == 2:  # one label against the rest; a label that is everywhere or nowhere has nothing to fit
        return np.column_stack([_logistic(train, test, label, 2)[:, 1] for label in goals.T])
    if len(np.unique(goals)) < 2:
        return np.tile(np.eye(k)[goals[0]], (test.shape[0], 1))
    model = LogisticRegression(max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 300 steps are close enough for a baseline
        warnings.filterwarnings("ignore", MANY_CLASSES)
        model.fit(train, goals)
    return _all_classes(model.predict_proba(test), model.classes_, k)


def _forest(train: np.ndarray, test: np.ndarray, goals: np.ndarray, k: int, seed: int) -> np.ndarray:
    from sklearn.ensemble import RandomForestClassifier

    leaves = max(100, MOST_LEAF_VALUES // k)  # each leaf of each tree holds k numbers
    bound = leaves if leaves < len(goals) else None
    model = RandomForestClassifier(TREES, max_leaf_nodes=bound, n_jobs=-1, random_state=seed)
    if goals.ndim == 1:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", MANY_CLASSES)
            model.fit(train, goals)
        return _all_classes(model.predict_proba(test), model.classes_, k)
    model.fit(train, np.column_stack([goals, goals[:, 0]]))  # one more, so that a single label is no special case
    found = list(zip(model.predict_proba(test), model.classes_, strict=True))[:k]
    return np.column_stack([_all_classes(probabilities, classes, 2)[:, 1] for probabilities, classes in found])


def _all_classes(probabilities: np.ndarray, classes: np.ndarray, k: int) -> np.ndarray:
    """Columns for all k classes: those that the train rows lack have probability 0."""
    full = np.zeros((len(probabilities), k))
    full[:, np.asarray(classes, int)] = probabilities
    return full


def _regressors(train: Any, test: Any, goals: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Values (n k) for the test rows."""
    from scipy.sparse import issparse
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import RidgeCV

    # Leave-one-out is free for dense features; with sparse ones it would need an (n n) matrix.
    folds = min(3, len(goals)) if issparse(train) else None
    ridge = RidgeCV(np.logspace(-3, 5, 17), cv=folds).fit(train, goals)
    few_train, few_test = _for_trees(train, test, seed)
    forest = RandomForestRegressor(TREES, max_features=1 / 3, n_jobs=-1, random_state=seed)
    forest.fit(few_train, goals if goals.shape[1] > 1 else goals[:, 0])
    return {
        "mean": np.tile(goals.mean(0), (test.shape[0], 1)),
        "ridge": ridge.predict(test).reshape(test.shape[0], -1),
        "random forest": forest.predict(few_test).reshape(test.shape[0], -1),
    }
