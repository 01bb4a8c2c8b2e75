"""A cloud of points for a person: from the front and from above, with a weight for each point.

Not concerned with what the weights mean, nor with reading clouds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from perceivers.modalities.shaded import COLOUR, TALL, Shaded

SIDE, GAP = 130, 20  # of a view in an SVG, and between the two
LEAST = 0.05  # of the weights that are shown in colour
SIDES = ((0, 2, 1), (0, 1, 2))  # right, up, towards the eye: from the front, from above


@dataclass(frozen=True)
class Scatter(Shaded):
    """Points (n 3) in [-1, 1], and a weight for each (n)."""

    points: Float[np.ndarray, "n 3"]
    weights: Float[np.ndarray, " n"]

    @classmethod
    def of(cls, points: Float[np.ndarray, "n 3"], weights: Float[np.ndarray, " n"] | None, most: int) -> "Scatter":
        """At most so many of the points, drawn with a seed; weights of None are 0."""
        chosen = np.sort(np.random.default_rng(0).permutation(len(points))[:most])
        low, high = points.min(0), points.max(0)
        scaled = (points[chosen] - (low + high) / 2) * 2 / max(float((high - low).max()), 1e-12)
        return cls(scaled, np.zeros(len(chosen)) if weights is None else weights[chosen])

    def html(self) -> str:
        views = "".join(self._view(i * (SIDE + GAP), *axes) for i, axes in enumerate(SIDES))
        return (
            f'<svg viewBox="0 0 {2 * SIDE + GAP} {SIDE}" width="{2 * SIDE + GAP}" role="img" '
            f'aria-label="a cloud of points from the front and from above">{views}</svg>'
        )

    def _view(self, left: int, right: int, up: int, depth: int) -> str:
        """Points behind are smaller and paler."""
        half = SIDE / 2
        drawn = []
        for i in np.argsort(self.points[:, depth]):
            x, y = left + half + (half - 3) * self.points[i, right], half - (half - 3) * self.points[i, up]
            near, weight = (self.points[i, depth] + 1) / 2, self.weights[i]
            shaded = weight > LEAST
            colour = f' fill="rgb{COLOUR}"' if shaded else ""
            opacity = 0.3 + 0.7 * weight if shaded else 0.25 + 0.5 * near
            drawn.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{0.8 + 0.7 * near:.1f}" opacity="{opacity:.2f}"{colour}/>'
            )
        return f'<g fill="currentColor">{"".join(drawn)}</g>'

    def draw(self, axes: Any) -> None:
        axes.axis("off")
        axes.set_aspect("equal")
        colours = 0.35 + self.weights[:, None] * (np.array(COLOUR) / 255 - 0.35)
        for i, (right, up, depth) in enumerate(SIDES):
            order = np.argsort(self.points[:, depth])
            x, y = self.points[order, right] + 2.3 * i, self.points[order, up]
            axes.scatter(x, y, s=9, c=colours[order], linewidths=0)
        axes.set_anchor("NW")

    def height(self, width: float) -> float:
        return min(TALL, width / 2)
