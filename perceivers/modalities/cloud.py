"""A cloud of points for a person: from the front and from above, with a weight for each point.

Not concerned with what the weights mean, nor with reading clouds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from perceivers.modalities.shaded import COLOUR, TALL, Shaded, marked

SIDE, GAP = 130, 20  # of a view in an SVG, and between the two
LEAST = 0.05  # of the weights that are shown in colour
SIDES = ((0, 2, 1), (0, 1, 2))  # right, up, towards the eye: from the front, from above
SIDE_VIEW = SIDES[0]


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
        colours = marked(self.weights)
        for i, (right, up, depth) in enumerate(SIDES):
            order = np.argsort(self.points[:, depth])
            x, y = self.points[order, right] + 2.3 * i, self.points[order, up]
            axes.scatter(x, y, s=9, c=colours[order], linewidths=0)
        axes.set_anchor("NW")

    def height(self, width: float) -> float:
        return min(TALL, width / 2)

    def scale(self, weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
        return marked(weights)


def coloured(
    points: Float[np.ndarray, "n 3"], truth: np.ndarray, answer: np.ndarray, wrong: np.ndarray, most: int = 250
) -> str:
    """A cloud from the side three times, as HTML: coloured by the truth, by the answer, and by how wrong it is.

    Integers are classes; other numbers lie between the least and the greatest that is true.
    """
    chosen = np.sort(np.random.default_rng(0).permutation(len(points))[:most])
    low, high = points.min(0), points.max(0)
    scaled = (points[chosen] - (low + high) / 2) * 2 / max(float((high - low).max()), 1e-12)
    order = np.argsort(scaled[:, SIDE_VIEW[2]])
    right, up = scaled[order][:, SIDE_VIEW[0]], scaled[order][:, SIDE_VIEW[1]]
    if truth.dtype.kind in "iu":
        hues = [[hue(one) for one in values[chosen][order]] for values in (truth, answer)]
        off = wrong[chosen][order].astype(float)
    else:
        span = max(float(np.ptp(truth)), 1e-12)
        hues = [[_shade((one - truth.min()) / span) for one in values[chosen][order]] for values in (truth, answer)]
        off = np.clip(2 * wrong[chosen][order] / span, 0, 1)
    red = [f"hsl(0 {80 * one:.0f}% {75 - 25 * one:.0f}%)" for one in off]
    views = [_dots(i * (SIDE + GAP), right, up, fill) for i, fill in enumerate([*hues, red])]
    names = "".join(
        f'<text x="{i * (SIDE + GAP) + SIDE / 2}" y="{SIDE + 12}">{name}</text>'
        for i, name in enumerate(("true", "answered", "wrong"))
    )
    width, height = 3 * SIDE + 2 * GAP, SIDE + 16
    return (
        f'<svg viewBox="0 0 {width} {height}" style="width: 100%" role="img" aria-label="a cloud: what is true, what '
        f'was answered, and where that is wrong">{"".join(views)}'
        f'<g font-size="10" text-anchor="middle" fill="currentColor">{names}</g></svg>'
    )


def _dots(left: int, right: np.ndarray, up: np.ndarray, fill: list[str]) -> str:
    half = SIDE / 2
    return "".join(
        f'<circle cx="{left + half + (half - 3) * x:.1f}" cy="{half - (half - 3) * y:.1f}" r="2.2" fill="{colour}"/>'
        for x, y, colour in zip(right, up, fill, strict=True)
    )


def hue(index: int) -> str:
    """The colour of a class: as far from those before it as can be."""
    return f"hsl({210 + 137.5 * index:.0f} 65% 52%)"


def _shade(share: float) -> str:
    """From blue, the least, to orange, the greatest."""
    return f"hsl({210 - 180 * min(1.0, max(0.0, share)):.0f} 70% 52%)"
