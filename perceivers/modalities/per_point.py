"""A class or a value for each given point of a cloud, as a target.

Not concerned with clouds (`given.py`), with queries (`given_queries.py`), or with how simple models answer
(`per_point_rivals.py`).
"""

import html
import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int

from perceivers.arrays import read_array
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import per_point_metrics as metrics
from perceivers.modalities import point_files
from perceivers.modalities.base import Metrics, Modality, Part, Target, is_missing, one_column, one_of
from perceivers.modalities.category import class_weights, label
from perceivers.modalities.cloud import coloured, hue
from perceivers.modalities.given import Asked
from perceivers.modalities.given_queries import PointClassTarget, PointValueTarget

LEAST = 1e-12  # probability whose logarithm is taken
SHOWN = 10  # categories in a message, or named below a drawing
COMMON: Mapping[str, Any] = {"source": None, "property": None, "files": False, "features": 0}


class PerPoint(Modality):
    """What classes and values of points share. Options: `source`, the input whose points are asked; `property`, where
    what is asked stands in the cloud's own file, under that name; `files`, where cells name npy files; and of the
    source `features`, how many it has.
    """

    def check(self, field: Any) -> None:
        one_column(field)
        one_of(field, "property", str, None)
        one_of(field, "files", bool)

    def agree(self, field: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: f for name, f in inputs.items() if f.modality == "given"}
        source = field.options["source"] or next(iter(given), None)
        if source not in given:
            raise BadInput(
                f"{field.name}: no input whose points are asked: give the field of the clouds `modality: given`"
            )
        return {"source": source, "features": len(given[source].options["features"])}

    def mismatch(self, field: Any, example: Any, examples: Mapping[str, Any]) -> str | None:
        cloud = examples[field.options["source"]]
        if example is None or cloud is None or len(example) == len(cloud.place):
            return None
        return f"{len(example):,} came for a cloud of {len(cloud.place):,} points: expected one for each point"

    def join(self, field: Any, answers: Sequence[Float[np.ndarray, " m"]]) -> Float[np.ndarray, "p k"]:
        """An answer for each point, in the order of the cloud as it came."""
        found = np.concatenate([answer.reshape(-1, 1 + self._width(field)) for answer in answers])
        found = found[found[:, 0] >= 0]
        return found[np.argsort(found[:, 0], kind="stable"), 1:]

    @abstractmethod
    def _width(self, field: Any) -> int:
        """How many numbers an answer to a point has."""

    def stack(self, rows: Sequence[Any]) -> np.ndarray:
        """Clouds differ in how many points they have: an array of arrays."""
        found = np.empty(len(rows), dtype=object)
        for i, one in enumerate(rows):
            found[i] = one
        return found

    def rivals(self, field: Any, simple: Any) -> dict[str, np.ndarray]:
        """A constant, and a random forest on each point and its neighbourhood."""
        from perceivers.modalities import per_point_rivals

        train, test = simple.examples(field.options["source"])
        found = per_point_rivals.rivals(train, simple.goals, test, self._classes(field), simple.seed)
        return {name: self.stack(answers) for name, answers in found.items()}

    def _classes(self, field: Any) -> int | None:
        return None

    def draw(self, field: Any, cell: Any) -> str:
        found = cells(field, cell)
        return "–" if found is None else f"{len(found):,} points"


class PointClass(PerPoint):
    """Options beside those: `categories` (None: those of train, sorted), `class_weights` for the loss (None: by train's
    points where classes are unbalanced, else none).

    An example is int64 (p): for each point of the cloud the index of its category.
    """

    name = "point_class"
    options: ClassVar[Mapping[str, Any]] = {**COMMON, "categories": None, "class_weights": None}
    evidence_name = "the log-probability of the answers, the mean over points"
    evidence_is_log = True

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        counts: Counter[str] = Counter()
        pairs, failed = _readable(named, field, cells)
        for names, at in pairs:
            counts.update(dict(zip(names, np.bincount(at, minlength=len(names)).tolist(), strict=True)))
        if len(counts) < 2:
            came = f"only {next(iter(counts))!r}" if counts else "nothing"
            why = f"; the first: {failed[0]}" if failed else ": nothing to tell apart; choose another target"
            raise BadInput(f"{field.name}: {came} in the clouds of train{why}")
        known = [label(one) for one in field.options["categories"] or sorted(counts)]
        options: dict[str, Any] = {"categories": known}
        if field.options["class_weights"] is None:
            options["class_weights"] = class_weights([counts[category] for category in known])
        return options

    def read(self, field: Any, cell: Any) -> Int[np.ndarray, " p"] | None:
        """A list or array of str, int or bool, the Path of an npy file, a str of JSON, or, with `property`, the cloud.

        Raises Unreadable where a class is none of those of train, or a point has none.
        """
        found = named(field, cell)
        if found is None:
            return None
        names, at = found
        known = {category: index for index, category in enumerate(field.options["categories"])}
        for i, name in enumerate(names):
            if name not in known:
                raise Unreadable(
                    f"point {(at == i).argmax() + 1}: {name!r} is none of the categories that the model knows: "
                    f"{', '.join(list(known)[:SHOWN])}"
                )
        return np.array([known[name] for name in names])[at]

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """`labels` (b p) int64: the index of each point's category; -1 where there is no point, or nothing is known."""
        return {"labels": torch.from_numpy(_padded(examples, -1, np.int64))}

    def target(self, field: Any, channels: int) -> Target:
        weights = field.options["class_weights"] or [1.0] * self._width(field)
        return PointClassTarget(field.options["source"], field.options["features"], weights, channels)

    def columns(self, field: Any, answer: np.ndarray, proba: bool) -> dict[str, list[Any]]:
        """Lists: `<name>`, `<name>_probability`, and one a category."""
        categories = field.options["categories"]
        found = {
            field.name: [[categories[i] for i in one.argmax(1)] for one in answer],
            f"{field.name}_probability": [one.max(1).tolist() for one in answer],
        }
        if proba:
            for i, category in enumerate(categories):
                found[f"{field.name}_probability_{category}"] = [one[:, i].tolist() for one in answer]
        return found

    def evidence(self, field: Any, answer: np.ndarray, asked: Float[np.ndarray, "p k"]) -> np.ndarray:
        said = asked.argmax(1)[:, None]
        return np.array([[np.log(np.maximum(np.take_along_axis(a, said, 1), LEAST)).mean()] for a in answer])

    def metrics(self, field: Any, answer: np.ndarray, truth: Sequence[Any], groups: Sequence[Any] | None) -> Metrics:
        categories = field.options["categories"]
        found = metrics.classes(metrics.confusions(list(answer), list(truth), len(categories)), groups)
        return {**found, "per_class": {categories[c]: scores for c, scores in found["per_class"].items()}}

    def row_scores(self, field: Any, answer: np.ndarray, truth: np.ndarray) -> tuple[str, Float[np.ndarray, " n"]]:
        """The share of the cloud's points that are right."""
        pairs = zip(answer, truth, strict=True)
        return "accuracy", np.array([float((a.argmax(1) == t).mean()) for a, t in pairs])

    def compared(self, field: Any, answer: np.ndarray, truth: Any, example: Callable[[str], Any]) -> str:
        """The cloud with its true classes, with those that were answered, and where these are wrong."""
        said = answer.argmax(1)
        drawn = coloured(_points(example(field.options["source"])), truth, said, said != truth)
        named = [(int(c), field.options["categories"][c]) for c in np.unique(np.r_[truth, said])[:SHOWN]]
        names = (f'<span style="color: {hue(c)}">■</span> {html.escape(str(name))}' for c, name in named)
        return f"{drawn}<br><small>{', '.join(names)}</small>"

    def _width(self, field: Any) -> int:
        return len(field.options["categories"])

    def _classes(self, field: Any) -> int | None:
        return self._width(field)


class PointValue(PerPoint):
    """Options beside those: `mean` and `std` of train's points, and `unit`, for people.

    An example is float64 (p): a value for each point of the cloud.
    """

    name = "point_value"
    options: ClassVar[Mapping[str, Any]] = {**COMMON, "mean": None, "std": None, "unit": None}
    evidence_name = "the mean of the predicted values"

    def check(self, field: Any) -> None:
        super().check(field)
        one_of(field, "mean", int, float, None)
        one_of(field, "std", int, float, None)
        one_of(field, "unit", str, None)

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        found, failed = _readable(self.read, field, cells)
        if not found:
            why = f"; the first: {failed[0]}" if failed else ""
            raise BadInput(f"{field.name}: no cloud of train has a value for each point{why}")
        every = np.concatenate(found)
        options = {"mean": float(every.mean()), "std": float(every.std()) or 1.0}
        return {name: value for name, value in options.items() if field.options[name] is None}

    def read(self, field: Any, cell: Any) -> Float[np.ndarray, " p"] | None:
        """A list or array of numbers, the Path of an npy file, a str of JSON, or, with `property`, the cloud."""
        found = cells(field, cell)
        if found is None:
            return None
        if found.dtype.kind not in "iufb":
            raise Unreadable(f"{str(found[0])[:60]!r} came, expected a number for each point")
        return found.astype(np.float64)

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """`values` (b p) float32, standardised by train; `present` (b p), True where there is one."""
        there = _padded([None if e is None else np.ones(len(e), bool) for e in examples], False, bool)
        values = (_padded(examples, 0.0, np.float64) - field.options["mean"]) / field.options["std"] * there
        return {"values": torch.from_numpy(values.astype(np.float32)), "present": torch.from_numpy(there)}

    def target(self, field: Any, channels: int) -> Target:
        o = field.options
        return PointValueTarget(o["source"], o["features"], o["mean"], o["std"], channels)

    def columns(self, field: Any, answer: np.ndarray, proba: bool) -> dict[str, list[Any]]:
        return {field.name: [one[:, 0].tolist() for one in answer]}

    def evidence(self, field: Any, answer: np.ndarray, asked: Float[np.ndarray, "p 1"]) -> np.ndarray:
        return np.array([[one.mean()] for one in answer])

    def metrics(self, field: Any, answer: np.ndarray, truth: Sequence[Any], groups: Sequence[Any] | None) -> Metrics:
        found = metrics.values(list(answer), list(truth), groups)
        return {**found, "unit": field.options["unit"]} if field.options["unit"] else found

    def row_scores(self, field: Any, answer: np.ndarray, truth: np.ndarray) -> tuple[str, Float[np.ndarray, " n"]]:
        return "mae", np.array([float(np.abs(a[:, 0] - t).mean()) for a, t in zip(answer, truth, strict=True)])

    def compared(self, field: Any, answer: np.ndarray, truth: Any, example: Callable[[str], Any]) -> str:
        """The cloud with its true values, with those that were answered, and how far off these are."""
        return coloured(_points(example(field.options["source"])), truth, answer[:, 0], np.abs(answer[:, 0] - truth))

    def _width(self, field: Any) -> int:
        return 1


def cells(field: Any, cell: Any) -> np.ndarray | None:
    """What a cell holds for each point (p), in the order of the cloud; none is missing. Raises Unreadable."""
    if field.options["property"] is not None:
        return point_files.read_property(cell, field.options["property"])
    if is_missing(cell):
        return None
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"{cell[:60]!r} came, expected a list as long as the cloud has points") from error
    try:
        array = read_array(cell) if isinstance(cell, Path) else np.asarray(cell)
    except ValueError as error:
        raise Unreadable("a list of lists of several lengths came, expected one entry for each point") from error
    if array.ndim != 1 or not len(array):
        shape = " × ".join(map(str, array.shape))
        raise Unreadable(f"{shape or 'a single value'} came, expected a list as long as the cloud has points")
    wrong = ~np.isfinite(array) if array.dtype.kind == "f" else np.array([is_missing(one) for one in array.tolist()])
    if wrong.any():
        raise Unreadable(f"point {wrong.argmax() + 1} has no value ({wrong.sum():,} such points): leave the cloud out")
    return array


def named(field: Any, cell: Any) -> tuple[list[str], Int[np.ndarray, " p"]] | None:
    """The categories in a cell, and for each point which of them it has. Raises Unreadable."""
    found = cells(field, cell)
    if found is None:
        return None
    values, at = np.unique(found.astype(str) if found.dtype == object else found, return_inverse=True)
    return [label(one) for one in values], at.reshape(-1)


def _readable(read: Callable[[Any, Any], Any], field: Any, cells: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """What is read of cells that are not missing; and why others cannot be."""
    found, failed = [], []
    for cell in cells:
        try:
            one = read(field, cell)
        except Unreadable as error:
            failed.append(str(error))
        else:
            found += [] if one is None else [one]
    return found, failed


def _padded(examples: Any, fill: Any, dtype: Any) -> np.ndarray:
    longest = max([1, *(len(example) for example in examples if example is not None)])
    array = np.full((len(examples), longest), fill, dtype)
    for row, example in zip(array, examples, strict=True):
        if example is not None:
            row[: len(example)] = example
    return array


def _points(example: Asked) -> Float[np.ndarray, "p 3"]:
    """In the order of the cloud as it came."""
    points = np.empty((len(example.place), 3))
    points[example.place] = example.points[:, :3]
    return points
