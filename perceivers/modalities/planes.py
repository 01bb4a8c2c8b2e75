"""An array of any rank for a person: as one row of small grey planes, with weights in the colour.

Not concerned with what the weights mean, nor with reading arrays.
"""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from perceivers.modalities.shaded import FONT, TALL, Picture, Shaded, shades

SIDE, GAP, LINE = 150, 12, 14  # of a plane in an SVG, between two, and the height of a line below it
MOST_PLANES, MOST_CELLS = 3, 300  # along a side: of longer ones, every so many elements is drawn
LONGEST = 3  # times as long as wide: thinner planes are stretched
BRIGHTEST = 225  # of numbers; what is missing is white


@dataclass(frozen=True)
class Planes(Shaded):
    """Planes in a row, each with one line or two that say what it is."""

    planes: Sequence[Picture]
    titles: Sequence[str]

    @classmethod
    def of(
        cls, array: Float[np.ndarray, "*s k"], weights: Float[np.ndarray, "*s"] | None, axes: Sequence[str]
    ) -> "Planes":
        """One axis: channels × axis. Two: a plane for each of the first three channels. More: of pairs of the last
        three axes, the largest value over all other axes and channels, and the sum of weights. Weights of None are 0.
        """
        weights = np.zeros(array.shape[:-1]) if weights is None else weights
        found = {1: _of_line, 2: _of_plane}.get(len(axes), _of_space)(array.astype(np.float64), weights, axes)
        pictures = [Picture(_grey(_thin(plane)), _thin(shade)) for _, plane, shade in found]
        return cls(pictures, [title for title, _, _ in found])

    def html(self) -> str:
        height, width = self._tallest + 2 * LINE, self._width
        drawn = "".join(self._svg(i * (SIDE + GAP), *pair) for i, pair in enumerate(self._pairs()))
        return f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="an array">{drawn}</svg>'

    def draw(self, axes: Any) -> None:
        axes.axis("off")
        axes.set_aspect("equal")
        for i, (plane, title) in enumerate(self._pairs()):
            w, h = _drawn_size(*plane.weights.shape)
            left = i * (SIDE + GAP)
            axes.imshow(plane.blended(), extent=(left, left + w, -h, 0), interpolation="nearest", aspect="equal")
            below = {"xytext": (0, -2), "textcoords": "offset points", "va": "top"}
            axes.annotate(title, (left, -h), fontsize=FONT - 1, parse_math=False, **below)
        axes.set_xlim(0, self._width)
        axes.set_ylim(-self._tallest, 0)
        axes.set_anchor("NW")

    def height(self, width: float) -> float:
        return min(TALL, width * self._tallest / self._width)

    @property
    def _width(self) -> int:
        return len(self.planes) * (SIDE + GAP) - GAP

    @property
    def _tallest(self) -> float:
        return max(_drawn_size(*plane.weights.shape)[1] for plane in self.planes)

    def _pairs(self) -> Sequence[tuple[Picture, str]]:
        return list(zip(self.planes, self.titles, strict=True))

    def _svg(self, left: int, plane: Picture, title: str) -> str:
        from PIL import Image

        w, h = _drawn_size(*plane.weights.shape)
        buffer = io.BytesIO()
        Image.fromarray(plane.blended()).save(buffer, "PNG")
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        shown = f'preserveAspectRatio="none" style="image-rendering: pixelated" href="data:image/png;base64,{data}"'
        text = "".join(
            f'<text x="{left}" y="{h + LINE * i - 3:.1f}" font-size="11" fill="currentColor">{html.escape(line)}</text>'
            for i, line in enumerate(title.split("\n"), start=1)
        )
        return f'<image x="{left}" width="{w:.1f}" height="{h:.1f}" {shown}/>{text}'


Plane = tuple[str, Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]


def _of_line(array: Float[np.ndarray, "n k"], weights: Float[np.ndarray, " n"], axes: Sequence[str]) -> list[Plane]:
    """Each channel on its own scale."""
    low, high = np.nanmin(array, 0, initial=np.inf), np.nanmax(array, 0, initial=-np.inf)
    rows = ((array - low) / np.where(high > low, high - low, 1)).T
    title = f"{axes[0]} →" if len(rows) == 1 else f"{len(rows)} channels × {axes[0]} →"
    return [(title, rows, np.broadcast_to(weights, rows.shape))]


def _of_plane(array: Float[np.ndarray, "h w k"], weights: Float[np.ndarray, "h w"], axes: Sequence[str]) -> list[Plane]:
    k = array.shape[-1]
    title = f"{axes[0]} ↓ {axes[1]} →"
    titles = [f"{title}\nchannel {i + 1} of {k}" if k > 1 else title for i in range(k)]
    return [(title, array[..., i], weights) for i, title in enumerate(titles[:MOST_PLANES])]


def _of_space(array: Float[np.ndarray, "*s k"], weights: Float[np.ndarray, "*s"], axes: Sequence[str]) -> list[Plane]:
    found = []
    space = range(len(axes))
    for pair in sorted(combinations(space[-3:], 2), reverse=True)[:MOST_PLANES]:
        others = tuple(axis for axis in space if axis not in pair)
        rest = axes[others[0]] if len(others) == 1 else f"{len(others)} others"
        largest = np.max(np.where(np.isnan(array), -np.inf, array), axis=(*others, len(axes)))
        title = f"{axes[pair[0]]} ↓ {axes[pair[1]]} →\nlargest over {rest}"
        found.append((title, np.where(np.isinf(largest), np.nan, largest), shades(weights.sum(axis=others))))
    return found


def _thin(plane: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "y x"]:
    """Every so many elements of a side that has over 300."""
    chosen = [np.linspace(0, n - 1, min(n, MOST_CELLS)).round().astype(int) for n in plane.shape]
    return plane[np.ix_(*chosen)]


def _grey(plane: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """From the smallest, black, to the largest; white where missing."""
    known = plane[~np.isnan(plane)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    share = (plane - low) / (high - low) if high > low else np.where(np.isnan(plane), np.nan, 0.5)
    grey = np.where(np.isnan(share), 255, BRIGHTEST * np.nan_to_num(share)).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _drawn_size(h: int, w: int) -> tuple[float, float]:
    """Width and height of a plane: its longer side is SIDE, the other one at least a third of that."""
    scale = SIDE / max(h, w)
    return max(w * scale, SIDE / LONGEST), max(h * scale, SIDE / LONGEST)
