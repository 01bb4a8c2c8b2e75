"""`report.html` and the model card of a run: what a person needs to judge a model, in one self-contained file.

Not concerned with computing metrics, answers or baselines: a `Summary` brings them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from perceivers import figures, verdict
from perceivers.data.schema import Field, Schema
from perceivers.files import write_atomic
from perceivers.modalities.base import Metrics, Modality

MOST_CLASSES, MOST_PAIRS, MOST_CLASS_ROWS, MOST_COLUMNS = 20, 20, 50, 4
WRONG, RIGHT = 12, 6  # examples shown


@dataclass(frozen=True)
class TargetResult:
    """One target on the test rows. `answers` are probabilities (n k) or numbers (n k); `truth` class indices (n),
    0/1 (n k) or numbers (n k); `rows` the row ids (n).
    """

    field: Field
    modality: Modality
    metrics: Metrics
    answers: np.ndarray
    truth: np.ndarray
    rows: np.ndarray
    baselines: dict[str, Metrics]


@dataclass(frozen=True)
class Summary:
    """A finished run. `history` has a dict a step: step, train_loss, validation_loss, lr, None where not measured.

    `cell(field name, row)` draws an input as HTML (`Modality.draw`, which escapes); `row_name(row)` names a row.
    """

    title: str
    data: str
    command: str
    schema: Schema
    targets: list[TargetResult]
    history: list[dict[str, Any]]
    split_sizes: dict[str, int]
    parameters: int
    size: str
    seconds: float
    steps: int
    notes: list[str]
    unreadable: list[str]
    cell: Callable[[str, int], str]
    row_name: Callable[[int], str]
    versions: dict[str, str]


@dataclass(frozen=True)
class Example:
    """A test row with its answer, as it is shown."""

    name: str
    cells: list[tuple[str, Markup]]
    answer: str
    truth: str
    remark: str
    right: bool


def write_report(summary: Summary, path: Path) -> None:
    """One HTML file that needs no network, no script and no other file. Raises OSError."""
    write_atomic(path, _render("report.html.j2", summary, autoescape=True))


def model_card(summary: Summary) -> str:
    """A README.md for the run folder: what the model does, how well, on what data, and how it is used."""
    return _render("card.md.j2", summary, autoescape=False)


def _render(template: str, summary: Summary, *, autoescape: bool) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(markdown=_markdown, duration=_duration, written=verdict.written)
    source = files("perceivers").joinpath(template).read_text(encoding="utf-8")
    curves = figures.learning_curves(summary.history) if summary.history else ""
    return environment.from_string(source).render(
        s=summary,
        targets=[_section(summary, result) for result in summary.targets],
        curves=curves,
        names=verdict.NAMES,
        inputs=summary.schema.inputs,
    )


def _markdown(text: Any) -> str:
    """Text that stays text in a line or a table of Markdown."""
    escaped = "".join("\\" + c if c in "\\`*_[]|#" else c for c in " ".join(str(text).split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


# One target ---------------------------------------------------------------------------------------------------
def _section(summary: Summary, result: TargetResult) -> dict[str, Any]:
    """What the templates show of a target."""
    field, metrics = result.field, result.metrics
    head = verdict.headline(metrics)
    section = {
        "field": field,
        "headline": verdict.NAMES.get(head, head),
        "lower": head in verdict.LOWER_IS_BETTER,
        "sentence": verdict.headline_sentence(field, metrics),
        "verdict": verdict.verdict(metrics, result.baselines),
        "bars": verdict.bars(field, metrics, result.baselines),
        "metrics": _metrics_table(result),
        "notes": [f"{name}: {found['note']}" for name, found in result.baselines.items() if "note" in found],
        "confusion": None,
        "pairs": [],
        "classes": [],
        "more_classes": 0,
        "plots": [],
        "right": [],
    }
    if field.modality == "number":
        return {**section, **_numbers(summary, result)}
    return {**section, **_categories(summary, result)}


def _metrics_table(result: TargetResult) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """For this model and each baseline: (metric, value, interval)."""
    names = verdict.metric_names(result.metrics)
    return [
        (
            model,
            [
                (
                    verdict.NAMES.get(name, name),
                    verdict.value_text(name, found[name]["value"], result.field),
                    verdict.interval_text(name, found[name]),
                )
                for name in names
            ],
        )
        for model, found in {"this model": result.metrics, **result.baselines}.items()
    ]


def _categories(summary: Summary, result: TargetResult) -> dict[str, Any]:
    categories = [str(category) for category in result.field.options["categories"]]
    one_label = result.truth.ndim == 1
    if one_label:
        asked, sure = result.answers.argmax(1), result.answers.max(1)
        right = asked == result.truth
        truth = np.eye(len(categories))[result.truth]
    else:
        asked, sure = result.answers > 0.5, np.maximum(result.answers, 1 - result.answers).prod(1)
        right = (asked == result.truth).all(1)
        truth = result.truth
    answers, truths = _as_written(result, result.answers), _as_written(result, truth)

    def example(i: int) -> Example:
        return _example(summary, result, i, answers[i], truths[i], f"{100 * sure[i]:.0f} % sure", bool(right[i]))

    wrong = np.flatnonzero(~right)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][:WRONG]
    section = {
        "wrong_title": f"Wrong ({(~right).sum():,} of {len(right):,}), the most confident first",
        "wrong": [example(i) for i in wrong],
        "right_title": f"Right ({right.sum():,} of {len(right):,}), drawn at random",
        "right": [example(i) for i in _some(np.flatnonzero(right))],
        **_class_table(result.metrics),
    }
    return {**section, **(_confusion(asked, result.truth, categories) if one_label else {})}


def _numbers(summary: Summary, result: TargetResult) -> dict[str, Any]:
    answers, truths = _as_written(result, result.answers), _as_written(result, result.truth)
    spread = result.truth.std(0)  # columns of different scales count alike
    errors = np.abs(result.answers - result.truth)
    off = errors.mean(1)
    farthest = np.argsort(-(errors / np.where(spread > 0, spread, 1.0)).mean(1), kind="stable")

    def example(i: int) -> Example:
        remark = f"off by {verdict.value_text('mae', off[i], result.field)}"
        return _example(summary, result, i, answers[i], truths[i], remark, False)

    columns = list(zip(result.field.columns, result.answers.T, result.truth.T, strict=True))[:MOST_COLUMNS]
    return {
        "plots": [(name, figures.predicted_and_true(a, t), figures.residuals(a, t)) for name, a, t in columns],
        "wrong_title": "The rows that are farthest off",
        "wrong": [example(i) for i in farthest[:WRONG]],
        "right_title": "Rows drawn at random",
        "right": [example(i) for i in _some(np.arange(len(off)))],
    }


def _as_written(result: TargetResult, values: np.ndarray) -> list[str]:
    """Answers or truths (n k) as `predict` would write them, shortened for people."""
    count = len(result.field.columns) if result.field.modality == "number" else 1
    columns = list(result.modality.columns(result.field, values, False).values())[:count]
    return [
        ", ".join(verdict.written(x) if isinstance(x, float) else str(x) for x in row)
        for row in zip(*columns, strict=True)
    ]


def _example(
    summary: Summary, result: TargetResult, i: int, answer: str, truth: str, remark: str, right: bool
) -> Example:
    row = int(result.rows[i])
    cells = [(field.name, Markup(summary.cell(field.name, row))) for field in summary.schema.inputs]
    return Example(summary.row_name(row), cells, answer, truth, remark, right)


def _some(ids: np.ndarray) -> np.ndarray:
    return np.sort(np.random.default_rng(0).permutation(ids)[:RIGHT])


def _class_table(metrics: Metrics) -> dict[str, Any]:
    """A row for each class: name, n, precision, recall, F1; the worst 50 where there are more."""
    found = metrics["per_class"]
    there = {name: scores for name, scores in found.items() if scores["n"] or scores["f1"]["value"] is not None}
    if len(there) > MOST_CLASS_ROWS:
        there = dict(sorted(there.items(), key=lambda item: item[1]["f1"]["value"])[:MOST_CLASS_ROWS])
    rows = [
        (
            name,
            scores["n"],
            [
                (verdict.value_text(score, scores[score]["value"], _PLAIN), verdict.interval_text(score, scores[score]))
                for score in ("precision", "recall", "f1")
            ],
        )
        for name, scores in there.items()
    ]
    return {"classes": rows, "more_classes": len(found) - len(rows)}


_PLAIN = Field("", None, "ignore", ())


def _confusion(asked: np.ndarray, truth: np.ndarray, categories: list[str]) -> dict[str, Any]:
    """The matrix (rows are true), as (count, share of the true class); above 20 classes the most confused pairs."""
    k = len(categories)
    counts = np.bincount(truth * k + asked, minlength=k * k).reshape(k, k)
    totals = np.maximum(1, counts.sum(1))
    if k <= MOST_CLASSES:
        rows = [
            (categories[t], [(int(counts[t, a]), math.sqrt(counts[t, a] / totals[t]), t == a) for a in range(k)])
            for t in range(k)
        ]
        return {"confusion": {"categories": categories, "rows": rows}}
    wrong = counts * ~np.eye(k, dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [(int(cell) // k, int(cell) % k) for cell in order if wrong.flat[cell]]
    return {
        "pairs": [
            (categories[t], categories[a], int(counts[t, a]), f"{counts[t, a] / totals[t]:.0%}") for t, a in pairs
        ]
    }
