"""Categories of a table, one label or several in a cell, as inputs and as targets.

Not concerned with metrics (`metrics.py`), nor with which columns are categories (`perceivers.data.infer`).
"""

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import accumulate
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot, pad

from perceivers import recipe
from perceivers.core.attention import linear
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import metrics
from perceivers.modalities.base import (
    UNSEEN,
    Batch,
    Inputs,
    Metrics,
    Modality,
    Part,
    Target,
    Uniform,
    Weights,
    is_missing,
    numbers,
    one_column,
    one_of,
)
from perceivers.modalities.terms import CategoryTerms, Terms
from perceivers.terminal import natural

NO_LABEL = -1
LEAST = 1e-12  # probability whose logarithm is taken
SHOWN = 10  # categories in a message


class Category(Modality):
    """Options: `categories` (None: those of train, sorted), `labels` ("one", or "many": a list, or `a|b`), and
    `class_weights` for the loss (None: by train's counts where they are unbalanced, else none).

    An example of one label is its index in `categories`, k if it is none of these k. Of many labels: 0/1, uint8 (k) in
    a target, (k + 1) in an input, where the last one stands for any unseen label.
    """

    name = "category"
    options: ClassVar[Mapping[str, Any]] = {"categories": None, "labels": "one", "class_weights": None}
    evidence_name = "the log-probability of the answer"
    evidence_is_log = True

    def check(self, field: Any) -> None:
        one_column(field)
        one_of(field, "labels", "one", "many")
        numbers(field, "class_weights", len(_given(field)) or None)

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        found = Counter(one for cell in cells for one in _readable(field, cell))
        options: dict[str, Any] = {"categories": _given(field) or sorted(found, key=natural)}
        if field.role != "target":
            return options
        if len(found) < (2 if field.options["labels"] == "one" else 1):
            came = f"only {next(iter(found))!r}" if found else "nothing"
            raise BadInput(f"{field.name}: {came} in the rows of train: nothing to tell apart; choose another target")
        if field.options["class_weights"] is None and field.options["labels"] == "one":
            options["class_weights"] = class_weights([found[category] for category in options["categories"]])
        return options

    def read(self, field: Any, cell: Any) -> int | np.ndarray | None:
        """str, int, bool or whole float; where labels are many, a list of these or `a|b`.

        Raises Unreadable where a target is none of the known categories.
        """
        if field.options["labels"] == "one":
            return None if is_missing(cell) else self._index(field, label(cell))
        found = _labels(cell)
        if found is None:
            return None
        k = len(field.options["categories"])
        example = np.zeros(k if field.role == "target" else k + 1, np.uint8)
        example[[self._index(field, one) for one in found]] = 1
        return example

    def read_all(self, field: Any, cells: Sequence[Any]) -> np.ndarray | None:
        """int64 (n), -1 where missing; None where labels are many, or the categories are not known yet."""
        if field.options["labels"] != "one" or field.options["categories"] is None:
            return None
        indices = (None if is_missing(cell) else self._index(field, label(cell)) for cell in cells)
        return np.array([NO_LABEL if index is None else index for index in indices], dtype=np.int64)

    def remarks(self, field: Any, cell: Any, example: Any) -> Sequence[str]:
        known = _indices(tuple(field.options["categories"]))
        return [f"{one!r:.60} {UNSEEN}" for one in _readable(field, cell) if one not in known]

    def remarks_on_all(self, field: Any, cells: Sequence[Any], examples: np.ndarray) -> Iterable[tuple[int, str]]:
        for row in np.flatnonzero(examples == len(field.options["categories"])).tolist():
            yield row, f"{label(cells[row])!r:.60} {UNSEEN}"

    def _index(self, field: Any, one: str) -> int:
        known = _indices(tuple(field.options["categories"]))
        if one not in known and field.role == "target":
            raise Unreadable(f"{one!r} is none of the categories that the model knows: {_some(known)}")
        return known.get(one, len(known))

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """`labels` (b l) int64, for k categories: the index of each label; k for an unseen one, k + 1 where the cell is
        missing, -1 to fill up. l is 1 where labels are one, and at least 1 where they are many.
        """
        missing = len(field.options["categories"]) + 1
        if field.options["labels"] == "one":
            column = np.array([NO_LABEL if e is None else e for e in examples], dtype=np.int64)
            return {"labels": torch.from_numpy(np.where(column == NO_LABEL, missing, column)[:, None])}
        rows = [torch.tensor([missing]) if e is None else torch.from_numpy(np.flatnonzero(e)) for e in examples]
        longest = max([1, *(len(row) for row in rows)])
        return {"labels": torch.stack([pad(row, (0, longest - len(row)), value=NO_LABEL) for row in rows])}

    def augment(self, field: Any, part: Part, uniform: Uniform) -> Part:
        """Shows a few labels as unseen, so that the embedding of an unseen one is learned."""
        labels, k = part["labels"], len(field.options["categories"])
        hidden = (uniform("unseen", 1) < recipe.CLASS_UNSEEN_RATE) & (labels >= 0) & (labels < k)
        return {"labels": labels.masked_fill(hidden, k)}

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        missing = torch.full_like(part["labels"], NO_LABEL)
        missing[:, 0] = len(field.options["categories"]) + 1
        return {"labels": torch.where(rows[:, None], missing, part["labels"])}

    def inputs(self, fields: Sequence[Any], channels: int) -> Inputs:
        return CategoryInputs({f.name: len(f.options["categories"]) for f in fields}, channels)

    def terms(self, field: Any) -> Terms:
        return CategoryTerms(len(field.options["categories"]))

    def target(self, field: Any, channels: int) -> Target:
        k = len(field.options["categories"])
        if field.options["labels"] == "many":
            return LabelsTarget(k, channels)
        return CategoryTarget(field.options["class_weights"] or [1.0] * k, channels)

    def draw(self, field: Any, cell: Any) -> str:
        found = _labels(cell) if field.options["labels"] == "many" else None if is_missing(cell) else [label(cell)]
        return "–" if found is None else html.escape(" | ".join(found))

    def baseline(self, field: Any) -> Any:
        """One column a category."""
        from perceivers.modalities import features

        if field.options["labels"] == "one":
            return features.categories()
        return features.labels(len(field.options["categories"]) + 1)

    def columns(self, field: Any, answer: np.ndarray, proba: bool) -> dict[str, list[Any]]:
        """`<name>`, `<name>_probability` (that it is right; of many labels: that all are), and one a category."""
        categories = field.options["categories"]
        if field.options["labels"] == "one":
            named = [categories[i] for i in answer.argmax(1)]
            sure = answer.max(1)
        else:
            named = ["|".join(c for c, p in zip(categories, row, strict=True) if p > 0.5) for row in answer]
            sure = np.maximum(answer, 1 - answer).prod(1)
        columns = {field.name: named, f"{field.name}_probability": sure.tolist()}
        if proba:
            for category, column in zip(categories, answer.T, strict=True):
                columns[f"{field.name}_probability_{category}"] = column.tolist()
        return columns

    def row_scores(self, field: Any, answer: np.ndarray, truth: np.ndarray) -> tuple[str, Float[np.ndarray, " n"]]:
        """1 where an answer is right; of many labels, where all are."""
        if field.options["labels"] == "one":
            return "accuracy", (answer.argmax(1) == truth).astype(float)
        return "accuracy", ((answer > 0.5) == truth).all(1).astype(float)

    def rivals(self, field: Any, simple: Any) -> dict[str, np.ndarray]:
        return simple.classifiers(len(field.options["categories"]))

    def panels(self, show: Any) -> Any:
        return show.classes()

    def evidence(self, field: Any, answer: Float[np.ndarray, "n k"], asked: Float[np.ndarray, " k"]) -> np.ndarray:
        """The log-probability (n 1) of the category asked; of many labels, of all of them together."""
        if field.options["labels"] == "one":
            found = answer[:, [asked.argmax()]]
        else:
            found = np.where(asked > 0.5, answer, 1 - answer)
        return np.log(np.maximum(found, LEAST)).sum(1, keepdims=True)

    def metrics(self, field: Any, answer: np.ndarray, truth: Sequence[Any], groups: Sequence[Any] | None) -> Metrics:
        score = metrics.classification if field.options["labels"] == "one" else metrics.multilabel
        found = score(answer, np.asarray(truth), groups)
        named = {field.options["categories"][index]: scores for index, scores in found["per_class"].items()}
        return {**found, "per_class": named}


def _given(field: Any) -> list[str]:
    """The categories that a person wrote, as labels. Raises BadInput."""
    given = field.options["categories"] or []
    if not isinstance(given, list) or not all(isinstance(category, str | int | float) for category in given):
        raise BadInput(f"{field.name}: categories must be a list of words or numbers, got {given!r:.60}")
    labels = [label(category) for category in given]
    if twice := [one for one, count in Counter(labels).items() if count > 1]:
        raise BadInput(f"{field.name}: categories holds {twice[0]!r} twice: leave one out")
    return labels


def unknown(field: Any, cells: Sequence[Any]) -> list[str]:
    """The labels in `cells` that are none of the field's categories, sorted."""
    return sorted({one for cell in cells for one in _readable(field, cell)} - {*_given(field)})


def label(cell: Any) -> str:
    """The one way to write a category: true, false, 3 (also for 3.0), and strings as they are, blanks and case too."""
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, list | tuple | dict | np.ndarray):
        raise Unreadable(
            f"{str(cell)[:60]} came, expected one category; several at once are `labels: many` in the schema"
        )
    return str(cell)


def _labels(cell: Any) -> list[str] | None:
    if isinstance(cell, np.ndarray | list | tuple):
        return [label(one) for one in cell if not is_missing(one)]
    if is_missing(cell):
        return None
    return [one.strip() for one in label(cell).split("|") if one.strip()]


def _readable(field: Any, cell: Any) -> list[str]:
    with suppress(Unreadable):
        if field.options["labels"] == "many":
            return _labels(cell) or []
        return [] if is_missing(cell) else [label(cell)]
    return []


@lru_cache(maxsize=256)
def _indices(categories: tuple[str, ...]) -> dict[str, int]:
    return {category: index for index, category in enumerate(categories)}


def _some(known: Mapping[str, int]) -> str:
    return ", ".join(list(known)[:SHOWN]) + (f" and {len(known) - SHOWN} more" if len(known) > SHOWN else "")


def class_weights(counts: Sequence[int]) -> list[float] | None:
    """∝ 1/√count, of mean 1 over the rows, where the largest class is over three times the smallest."""
    n = np.maximum(counts, 1)
    if n.max() <= recipe.CLASS_UNBALANCED * n.min():
        return None
    weights = n**-0.5
    return (weights * n.sum() / (weights * n).sum()).tolist()


class CategoryInputs(Inputs):
    """All category fields together: a token for each (b f channels), the field's embedding + the sum of its labels'.

    `sizes` gives for each field the number k of its categories. Unseen and missing have their own embeddings.
    """

    def __init__(self, sizes: Mapping[str, int], channels: int):
        super().__init__()
        self.names = list(sizes)
        *first, total = accumulate((k + 2 for k in sizes.values()), initial=0)  # its categories, unseen, missing
        self.register_buffer("first", torch.tensor(first), persistent=False)
        std = channels**-0.5
        self.field = nn.Parameter(torch.empty(len(sizes), channels).normal_(std=std))
        self.embeddings = nn.Parameter(torch.empty(total, channels).normal_(std=std))

    def forward(self, batch: Batch) -> tuple[Float[Tensor, "b f c"], Bool[Tensor, "b f"]]:
        parts = [batch[name]["labels"] for name in self.names]
        longest = max(part.shape[1] for part in parts)
        labels = torch.stack([pad(part, (0, longest - part.shape[1]), value=NO_LABEL) for part in parts], dim=1)
        there = labels != NO_LABEL
        found = self.embeddings[torch.where(there, labels + self.first[:, None], 0)] * there.unsqueeze(-1)
        tokens = self.field + reduce(found, "b f l c -> b f c", "sum")
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)

    def lengths(self, batch: Batch) -> list[int]:
        return [1] * len(self.names)

    def weights(self, fields: Mapping[str, Any]) -> dict[str, Weights]:
        """Each category by its name; a field of another name is another thing."""
        found = {}
        for i, (name, first) in enumerate(zip(self.names, self.first.tolist(), strict=True)):
            rows = [f"= {category}" for category in fields[name].options["categories"]] + ["unseen", "missing"]
            labels = {label: self.embeddings[first + k] for k, label in enumerate(rows)}
            found[name] = f"category {name}", {"field": self.field[i], **labels}
        return found


class CategoryTarget(Target):
    """One query → logits of k categories; weighted cross-entropy."""

    def __init__(self, class_weights: Sequence[float], channels: int):
        super().__init__(1, channels)
        self.head = linear(channels, len(class_weights))
        self.register_buffer("class_weights", torch.tensor(class_weights), persistent=False)

    @property
    def foretold(self) -> int:
        return len(self.class_weights)

    def goals(self, part: Part) -> tuple[Int[Tensor, " b"], Bool[Tensor, " b"]]:
        truth = part["labels"][:, 0]
        return truth, truth < len(self.class_weights)

    def forward(self, outputs: Float[Tensor, "b 1 e"], batch: Batch) -> Float[Tensor, "b k"]:
        return self.head(rearrange(outputs, "b 1 e -> b e"))

    def loss(self, prediction: Float[Tensor, "b k"], part: Part) -> Float[Tensor, " b"]:
        """0 where the label is missing."""
        truth, present = self.goals(part)
        found = cross_entropy(
            prediction,
            truth.where(present, 0),
            weight=self.class_weights.to(prediction.dtype),
            label_smoothing=recipe.CLASS_LABEL_SMOOTHING,
            reduction="none",
        )
        return found * present

    def answer(self, prediction: Float[Tensor, "b k"], batch: Batch) -> Float[Tensor, "b k"]:
        return prediction.softmax(-1)


class LabelsTarget(Target):
    """One query → a logit for each of k labels; binary cross-entropy."""

    def __init__(self, k: int, channels: int):
        super().__init__(1, channels)
        self.k = k
        self.head = linear(channels, k)

    def forward(self, outputs: Float[Tensor, "b 1 e"], batch: Batch) -> Float[Tensor, "b k"]:
        return self.head(rearrange(outputs, "b 1 e -> b e"))

    def loss(self, prediction: Float[Tensor, "b k"], part: Part) -> Float[Tensor, " b"]:
        """The mean over labels; 0 where the cell is missing."""
        counts = one_hot(part["labels"] + 1, self.k + 3).sum(1)[:, 1:]  # column 0 was the filling
        truth, missing = counts[:, : self.k].to(prediction.dtype), counts[:, self.k + 1].bool()
        found = binary_cross_entropy_with_logits(prediction, truth, reduction="none").mean(-1)
        return found * ~missing

    def answer(self, prediction: Float[Tensor, "b k"], batch: Batch) -> Float[Tensor, "b k"]:
        return prediction.sigmoid()
