"""Draws `perceivers.svg`, the two models side by side: `python docs/figures/perceivers.py`.

Not concerned with any number: the shapes are the letters of the code.
"""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ARRAY, CROSS, STACK = "#e8eef7", "#f6c9a8", "#bfe0c4"
SECOND = "#f9e2d1"  # the cross-attend whose weights are shared
PLACE = Path(__file__).with_suffix(".svg")


def box(axes: Axes, x: float, y: float, text: str, colour: str, width: float = 1.7, height: float = 0.8) -> None:
    """A rounded box around (x, y)."""
    corner = (x - width / 2, y - height / 2)
    style = "round,pad=0,rounding_size=0.12"
    axes.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, facecolor=colour, edgecolor="#444", lw=1))
    axes.text(x, y, text, ha="center", va="center", fontsize=9)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
    """An arrow from start to end, its text beside its middle."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color="#444", lw=1.1))
    axes.text((start[0] + end[0]) / 2 + 0.08, (start[1] + end[1]) / 2, text, fontsize=8, va="center", color="#444")


def perceiver(axes: Axes) -> None:
    """The latents read the inputs again and again; one answer comes out of their mean."""
    axes.set_title("Perceiver (2021)", fontsize=12, pad=10)
    box(axes, 5.0, 4.6, "inputs  (b m c)", ARRAY, width=9.6)
    places = (0.95, 2.2, 3.8, 5.05, 6.65, 7.9)
    for i, x in enumerate(places):
        cross = i % 2 == 0
        colour = (CROSS if i == 0 else SECOND) if cross else STACK
        box(axes, x, 2.6, "cross-\nattend" if cross else "self-\nattends", colour, width=1.05, height=1.1)
        if cross:
            arrow(axes, (x, 4.2), (x, 3.15), "keys, values" if i == 0 else "")
        if i:
            arrow(axes, (places[i - 1] + 0.53, 2.6), (x - 0.53, 2.6))
    box(axes, 0.95, 0.8, "latents (b n d)", ARRAY, width=1.7)
    arrow(axes, (0.95, 1.2), (0.95, 2.05), "queries")
    box(axes, 9.3, 2.6, "mean,\nlinear", ARRAY, width=1.0, height=1.1)
    arrow(axes, (8.43, 2.6), (8.8, 2.6))
    arrow(axes, (9.3, 2.05), (9.3, 1.2))
    box(axes, 9.3, 0.8, "logits (b k)", ARRAY, width=1.4)
    axes.text(5.35, 1.55, "same colour, same weights", fontsize=8, ha="center", color="#444")


def perceiver_io(axes: Axes) -> None:
    """The latents read once; as many answers as there are queries."""
    axes.set_title("Perceiver IO (2021)", fontsize=12, pad=10)
    box(axes, 1.2, 4.6, "inputs  (b m c)", ARRAY, width=2.2)
    box(axes, 8.4, 4.6, "queries  (b o e)", ARRAY, width=2.2)
    box(axes, 1.2, 0.8, "latents  (b n d)", ARRAY, width=2.2)
    box(axes, 8.4, 0.8, "outputs  (b o e)", ARRAY, width=2.2)
    box(axes, 1.2, 2.6, "encode\ncross-attend", CROSS, width=1.8, height=1.1)
    box(axes, 4.8, 2.6, "process\nself-attends,\nnum_blocks times", STACK, width=2.2, height=1.3)
    box(axes, 8.4, 2.6, "decode\ncross-attend", CROSS, width=1.8, height=1.1)
    arrow(axes, (1.2, 4.2), (1.2, 3.15), "keys, values")
    arrow(axes, (1.2, 1.2), (1.2, 2.05), "queries")
    arrow(axes, (2.1, 2.6), (3.7, 2.6))
    arrow(axes, (5.9, 2.6), (7.5, 2.6))
    axes.text(6.7, 2.85, "keys, values", fontsize=8, ha="center", color="#444")
    arrow(axes, (8.4, 4.2), (8.4, 3.15), "queries")
    arrow(axes, (8.4, 2.05), (8.4, 1.2))
    for x, cost in ((1.2, "O(m n)"), (4.8, "O(n²) a layer"), (8.4, "O(o n)")):
        axes.text(x, 0.15, cost, fontsize=8, ha="center", color="#444")


def draw(place: Path = PLACE) -> Path:
    """Writes the figure, the same bytes each time."""
    with mpl.rc_context({"svg.hashsalt": "perceivers", "svg.fonttype": "none"}):
        figure = Figure(figsize=(13, 4.4), layout="constrained")
        for axes, paint in zip(figure.subplots(1, 2), (perceiver, perceiver_io), strict=True):
            axes.set(xlim=(-0.1, 10.1), ylim=(0, 5.2), aspect="equal")
            axes.axis("off")
            paint(axes)
        figure.savefig(place, metadata={"Date": None})
    return place


if __name__ == "__main__":
    draw()
