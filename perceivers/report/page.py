"""`report.html` and the model card of a run: what a person needs to judge a model, in one self-contained file.

Not concerned with single panels: each has its file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perceivers.files import write_atomic
from perceivers.report import classes, distances, fails, figures, looks, verdict, worst
from perceivers.report.panels import Panels
from perceivers.report.summary import Summary, TargetResult

MOST_LETTERS = 60  # of a name in a table


def write_report(summary: Summary, path: Path) -> None:
    """One HTML file that needs no network, no script and no other file. Raises OSError."""
    write_atomic(path, render("report.html.j2", _content(summary), autoescape=True))


def model_card(summary: Summary) -> str:
    """A README.md for the run folder: what the model does, how well, on what data, and how it is used."""
    return render("card.md.j2", _content(summary), autoescape=False)


def render(template: str, content: Mapping[str, Any], *, autoescape: bool) -> str:
    """A template of `templates/` with its content."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("perceivers.report"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(markdown=_markdown, duration=_duration, written=verdict.written, short=_short)
    return environment.get_template(template).render(content)


def _content(summary: Summary) -> dict[str, Any]:
    return {
        "s": summary,
        "targets": [section(summary, result) for result in summary.targets],
        "curves": figures.learning_curves(summary.history) if summary.history else "",
        "inputs": summary.schema.inputs,
    }


def section(summary: Summary, result: TargetResult) -> dict[str, Any]:
    """What the templates show of a target."""
    field, metrics = result.field, result.metrics
    head = verdict.headline(metrics)
    panels = result.modality.panels(Show(summary, result))
    return {
        "field": field,
        "headline": verdict.NAMES.get(head, head),
        "lower": head in verdict.LOWER_IS_BETTER,
        "sentence": verdict.headline_sentence(field, metrics),
        "verdict": verdict.verdict(metrics, result.baselines),
        "bars": verdict.bars(field, metrics, result.baselines),
        "metrics": _metrics_table(result),
        "points": "points" in metrics,
        "notes": [f"{name}: {found['note']}" for name, found in result.baselines.items() if "note" in found],
        "slices": fails.slices(result),
        "looks": looks.looks(summary, result, panels.explained),
        **vars(panels),
    }


@dataclass(frozen=True)
class Show:
    """What a kind of target chooses its panels from (`Modality.panels`)."""

    summary: Summary
    result: TargetResult

    def classes(self) -> Panels:
        """For answers that are probabilities (n k) of categories: confusion, classes, calibration, right and wrong."""
        return classes.panels(self.summary, self.result)

    def distances(self) -> Panels:
        """For answers and truths that are numbers (n k): predicted against true, residuals, the farthest off."""
        return distances.panels(self.summary, self.result)

    def rows(self) -> Panels:
        """For any: the rows that are worst by `Modality.row_scores`, and others, each as `Modality.compared` has it."""
        return worst.panels(self.summary, self.result)


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


def _markdown(text: Any) -> str:
    """Text that stays text in a line or a table of Markdown."""
    escaped = "".join("\\" + c if c in "\\`*_[]|#" else c for c in " ".join(str(text).split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _short(text: Any, letters: int = MOST_LETTERS) -> str:
    """A name that is too long for a table, cut."""
    text = str(text)
    return text if len(text) <= letters else text[: letters - 1] + "…"
