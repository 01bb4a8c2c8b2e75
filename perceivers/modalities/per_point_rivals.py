"""Simple answers to each point of a cloud: what a model must beat to have learned anything.

Not concerned with metrics. Imported only where a baseline is wanted: it loads scikit-learn.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from perceivers.modalities.given import Asked

MOST_FITTED = 20_000  # points of train
TREES, LEAF = 60, 3
NEIGHBOURS = (12, 48)  # a near and a farther surrounding


def rivals(
    train: Sequence[Asked], goals: Sequence[np.ndarray], test: Sequence[Asked], classes: int | None, seed: int
) -> dict[str, list[Float[np.ndarray, "p k"]]]:
    """{name: answers (p k) to each cloud of test, in its own order}: probabilities of k classes, or a value (k = 1).

    What train's points are most often, or on average; a random forest of a point's features.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    random = np.random.default_rng(seed)
    each = max(1, MOST_FITTED // len(train))
    chosen = [np.sort(random.permutation(len(one.place))[:each]) for one in train]
    x = np.concatenate([features(one, at) for one, at in zip(train, chosen, strict=True)])
    y = np.concatenate([goal[one.place[at]] for one, goal, at in zip(train, goals, chosen, strict=True)])
    every = np.concatenate(list(goals))
    common: dict[str, Any] = {"min_samples_leaf": LEAF, "n_jobs": -1, "random_state": seed}
    if classes is None:
        constant, model = np.array([every.mean()]), RandomForestRegressor(TREES, max_features=1 / 3, **common)
    else:
        constant, model = np.bincount(every, minlength=classes) / len(every), RandomForestClassifier(TREES, **common)
    model.fit(x, y)
    found = []
    for one in test:
        answer = np.zeros((len(one.place), len(constant)))
        rows = features(one, np.arange(len(one.place)))
        if isinstance(model, RandomForestClassifier):
            answer[np.ix_(one.place, model.classes_)] = model.predict_proba(rows)
        else:
            answer[one.place, 0] = model.predict(rows)
        found.append(answer)
    name = "mean" if classes is None else "majority class"
    return {name: [np.tile(constant, (len(one.place), 1)) for one in test], "random forest of points": found}


def features(cloud: Asked, chosen: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m f"]:
    """Of each chosen point: where it lies, in sizes of the cloud; its own features; and of its 12 and 48 nearest points
    how far they reach, how they spread along the three axes, and which way their surface faces (Weinmann et al. 2015,
    "Semantic point cloud interpretation", section 3.2).
    """
    points = cloud.points[:, :3].astype(np.float64)
    points -= points.mean(0)
    points /= max(float(np.sqrt((points**2).sum(1).mean())), 1e-12)
    found = [points[chosen], np.linalg.norm(points[chosen], axis=1, keepdims=True), cloud.points[chosen, 3:]]
    tree = KDTree(points)
    for count in NEIGHBOURS:
        distance, near = tree.query(points[chosen], min(count, len(points)))
        near = near.reshape(len(chosen), -1)
        about = points[near] - points[near].mean(1, keepdims=True)
        spread, axes = np.linalg.eigh(np.einsum("nki,nkj->nij", about, about) / near.shape[1])
        reach = distance.reshape(len(chosen), -1)[:, -1:]
        shares = spread / np.maximum(spread.sum(1, keepdims=True), 1e-12)
        aside = points[chosen] - points[near].mean(1)
        found += [reach, shares, np.abs(axes[:, :, 0]), aside]
    return np.concatenate(found, axis=1)
