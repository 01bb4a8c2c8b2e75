"""Figures as inline SVG that follow the page's colours, light or dark.

Not concerned with what the page says around them.
"""

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

if TYPE_CHECKING:
    from perceivers.report.calibration import Bin

SIZE = (4.6, 3.1)  # inches at 72 points: narrow enough to be read on a phone
MOST_POINTS, MOST_STEPS, HISTOGRAM_BINS = 1_000, 300, 30
# Colours that matplotlib writes as they are, and what the page puts in their place.
COLOURS = {"#010203": "currentColor", "#010204": "var(--accent)", "#010205": "var(--second)", "#010206": "var(--line)"}
INK, ACCENT, SECOND, LINE = COLOURS


def learning_curves(history: Sequence[dict[str, Any]]) -> Markup:
    """Train and validation loss over the steps; the train loss as means over equal stretches where it is long."""

    def draw(axes: Any) -> None:
        for key, label, colour, marker in (
            ("train_loss", "train", ACCENT, None),
            ("validation_loss", "validation", SECOND, "o"),
        ):
            found = np.array([(row["step"], row[key]) for row in history if row[key] is not None], float).reshape(-1, 2)
            if len(found):
                found = np.stack([part.mean(0) for part in np.array_split(found, min(len(found), MOST_STEPS))])
                axes.plot(*found.T, color=colour, label=label, marker=marker, markersize=3, linewidth=1.5)
        axes.set(xlabel="step", ylabel="loss")
        axes.legend(frameon=False)

    return _figure(draw, "Learning curves: loss over steps, train and validation")


def predicted_and_true(answers: np.ndarray, truth: np.ndarray) -> Markup:
    """A point for each row, at most 1,000 of them (drawn with a seed), and the line where answers are right. Numbers
    or datetime64.
    """
    rows = np.random.default_rng(0).permutation(len(truth))[:MOST_POINTS]

    def draw(axes: Any) -> None:
        ends = [min(truth.min(), answers.min()), max(truth.max(), answers.max())]
        axes.plot(ends, ends, color=LINE, linewidth=1.5)
        axes.scatter(truth[rows], answers[rows], s=9, color=ACCENT, alpha=0.55, linewidths=0)
        axes.set(xlabel="true", ylabel="predicted")

    return _figure(draw, "Predicted against true values")


def residuals(answers: np.ndarray, truth: np.ndarray, unit: str | None = None) -> Markup:
    """How far answers are off, as a histogram."""

    def draw(axes: Any) -> None:
        axes.hist(answers - truth, bins=HISTOGRAM_BINS, color=ACCENT)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set(xlabel=f"predicted − true, {unit}" if unit else "predicted − true", ylabel="rows")

    return _figure(draw, "Histogram of residuals")


def reliability(bins: Sequence["Bin"]) -> Markup:
    """How often answers are right, with 95 % intervals, against how sure the model is; a dot's size is its rows'."""
    most = max(b.n for b in bins)

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1.5)
        for b in bins:
            axes.plot([b.confidence] * 2, [b.low, b.high], color=ACCENT, linewidth=1.2, clip_on=False)
        sizes = [12 + 110 * b.n / most for b in bins]
        axes.scatter(
            [b.confidence for b in bins],
            [b.right for b in bins],
            s=sizes,
            color=ACCENT,
            linewidths=0,
            clip_on=False,
            zorder=3,
        )
        axes.set(xlabel="how sure the model is", ylabel="how often it is right", xlim=(0, 1.02), ylim=(-0.02, 1.02))

    return _figure(draw, "Reliability: how often answers are right against how sure the model is")


def _figure(draw: Callable[[Any], None], label: str) -> Markup:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": label,
        "font.size": 11,
        "axes.edgecolor": LINE,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.formatter.useoffset": False,
        "date.converter": "concise",
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=SIZE, layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Styles would reach the whole page, and these ids stand in every figure.
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>| id=\"[\w.]+_\d+\"", "", svg, flags=re.DOTALL)
    for written, meant in COLOURS.items():
        svg = svg.replace(written, meant)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))
