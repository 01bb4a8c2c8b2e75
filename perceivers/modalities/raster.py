"""Events for a person: time to the right, a line for each unit, a mark for each event, coloured by its weight.

Not concerned with what the weights mean, nor with reading events.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from perceivers.modalities.shaded import COLOUR, FONT, GREY, TALL, Shaded, marked, plain_axes

# Of an SVG as wide as a card: the marks, their names on the left; a unit's line, and of a few units higher ones.
WIDTH, LEFT, LINE, FEW = 180, 56, 14, 60
NAMED, HIGH = 0.8, 0.3  # inches on axes: names on the left, a unit's line
MOST_UNITS, MOST_MARKS, NAME = 10, 800, 10
LEAST = 0.05  # of the weights that are shown in colour


@dataclass(frozen=True)
class Raster(Shaded):
    """Marks at `times` (n) on the lines of `names`, their heights in (0, 1] and their weights."""

    times: Float[np.ndarray, " n"]
    lines: Int[np.ndarray, " n"]
    heights: Float[np.ndarray, " n"]
    weights: Float[np.ndarray, " n"]
    names: list[str]
    count: int

    @classmethod
    def of(
        cls,
        times: Float[np.ndarray, " n"],
        units: Int[np.ndarray, " n"],
        values: Float[np.ndarray, " n"],
        labels: Sequence[str],
        weights: Float[np.ndarray, " n"],
    ) -> "Raster":
        """The most frequent units, the others together on a last line; of many events some, evenly spaced. `values` in
        standard deviations are heights: 0, and missing, is half of a line.
        """
        counts = np.bincount(units, minlength=len(labels))
        frequent = np.sort(np.argsort(-counts, kind="stable")[:MOST_UNITS])
        frequent = frequent[counts[frequent] > 0]
        names = [labels[i] for i in frequent] + (["others"] if counts.sum() > counts[frequent].sum() else [])
        line_of = np.full(len(labels), len(frequent))
        line_of[frequent] = np.arange(len(frequent))
        chosen = np.unique(np.linspace(0, max(len(times) - 1, 0), MOST_MARKS).round().astype(int))[: len(times)]
        heights = 0.5 + 0.4 * np.tanh(np.nan_to_num(values[chosen]) / 2)
        return cls(times[chosen], line_of[units[chosen]], heights, weights[chosen], names, len(times))

    def html(self) -> str:
        line_height = max(LINE, FEW // (1 + len(self.names)))
        floor = line_height * len(self.names)
        low, high = self._span()
        ends = "".join(
            f'<text x="{x}" y="{floor + LINE - 2}" text-anchor="{anchor}">{value:.4g}</text>'
            for x, anchor, value in ((LEFT, "start", low), (LEFT + WIDTH, "end", high))
        )
        axis = f'<path d="M{LEFT} {floor + 1}h{WIDTH}" stroke="currentColor" opacity="0.4"/>{ends}'
        named = "".join(
            f'<text x="{LEFT - 4}" y="{line_height * (i + 1) - 3}" text-anchor="end">{html.escape(name[:NAME])}</text>'
            for i, name in enumerate(self.names)
        )
        marks = "".join(
            f'<path d="M{x:.1f} {line_height * (line + 1) - 1}v-{(line_height - 2) * high:.1f}"{_colour(weight)}/>'
            for x, line, high, weight in zip(self._x(), self.lines, self.heights, self.weights, strict=True)
        )
        units = f"{len(self.names)} unit{'' if len(self.names) == 1 else 's'}"
        return (
            f'<svg viewBox="0 0 {LEFT + WIDTH} {floor + LINE}" width="{LEFT + WIDTH}" role="img" '
            f'aria-label="{self.count:,} events in {units} over time" font-size="9" fill="currentColor" '
            f'stroke-width="1.2">{named}{axis}<g stroke="currentColor">{marks}</g></svg>'
        )

    def _span(self) -> tuple[float, float]:
        """From 0, or the first event where it is before that, to the last one."""
        return min(0.0, self.times.min(initial=0.0)), float(self.times.max(initial=0.0))

    def _x(self) -> Float[np.ndarray, " n"]:
        low, high = self._span()
        return LEFT + 1 + (WIDTH - 2) * (self.times - low) / ((high - low) or 1.0)

    def draw(self, axes: Any) -> None:
        """The same, with the names of units inside of the axes, on the left."""
        low, high = self._span()
        span, inches = (high - low) or 1.0, axes.get_window_extent().width / axes.figure.dpi
        left = low - span * NAMED / (inches - NAMED)
        plain_axes(axes, "time")
        axes.spines["bottom"].set(visible=True, color=GREY, bounds=(low, low + span))
        axes.set(xlim=(left, low + span), ylim=(len(self.names), 0), yticks=[])
        axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= low + span])
        colours, floor = marked(self.weights), self.lines + 1.0
        axes.vlines(self.times, floor - 0.9 * self.heights, floor, colors=colours, linewidth=1, clip_on=False)
        for i, name in enumerate(self.names):
            axes.text(left, i + 0.8, name[:NAME], fontsize=FONT - 1, color=GREY)

    def height(self, width: float) -> float:
        return min(TALL, max(0.6, HIGH * len(self.names)))

    def scale(self, weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
        return marked(weights)


def _colour(weight: float) -> str:
    """The page's own colour where there is no weight."""
    return f' stroke="rgb{COLOUR}" opacity="{0.3 + 0.7 * weight:.2f}"' if weight > LEAST else ' opacity="0.7"'
