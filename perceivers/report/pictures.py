"""Explanations of answers as one picture: each answer with its fields as bars, and drawings of what has an inside.

Not concerned with how a cell is drawn (`Modality.shaded`), nor with pages (`explained.py`).
"""

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from perceivers.explain import Explanation
from perceivers.modalities.shaded import COLOUR, Plain
from perceivers.report import looks

# Inches. A picture is drawn at given places, so that what is written inside of drawings knows its size.
WIDTH, MARGIN, HEAD, GAP, FOOT = 10.0, 0.4, 0.75, 0.25, 0.8
BAR, BELOW_BARS, LABELS, AFTER = 0.4, 0.35, 2.2, 1.3  # a field; the scale; names on the left; values on the right
NAMED, UNDER = 0.25, 0.4  # the name above a drawing; the scale below
BARS = 4.6  # where bars end that have drawings on their right
MOST_LINES, MOST_DRAWN = 10, 3  # fields that are shown, and drawn, of an answer
SCALES = (20, 50, 100)  # % of the bars' whole width: the least that holds all
BLUE, ORANGE, INK, GREY = "#2866c8", tuple(c / 255 for c in COLOUR), "#16202c", "#5b6472"
DPI = 120


class Panel:
    """An answer, and the inches that it needs."""

    def __init__(self, e: Explanation):
        self.e, self.found = e, looks.looked(e, looks.row_name(e))
        shaded = [(f.field.name, f.shaded()) for f in e.fields]
        self.cells = {name: one.written() for name, one in shaded if isinstance(one, Plain)}
        self.drawings = [(name, one) for name, one in shaded if not isinstance(one, Plain)][:MOST_DRAWN]
        self.lines = [] if len(e.fields) == 1 else self.found.lines[:MOST_LINES]
        self.more = 0 if not self.lines else len(e.fields) - len(self.lines)
        bars = BAR * (len(self.lines) + bool(self.more)) + BELOW_BARS if self.lines else 0.0
        self.left = BARS + AFTER if self.lines else MARGIN
        self.heights = [one.height(WIDTH - MARGIN - self.left) for _, one in self.drawings]
        self.height = HEAD + max(bars, sum(self.heights) + (NAMED + UNDER) * len(self.heights)) + GAP

    @property
    def longest(self) -> float:
        """The longest bar, in %."""
        return max((max(line.share_width, line.attention_width) for line, _, _ in self.lines), default=0.0)

    def draw(self, figure: Any, top: float, scale: int) -> None:
        """`top`: inches from the lower edge of the figure. `scale`: % at the end of the bars."""
        height = figure.get_figheight()
        title = f"{self.e.target.name}: {self.found.answer}"
        figure.text(MARGIN / WIDTH, (top - 0.28) / height, title[:80], fontsize=15, weight="bold", color=INK)
        cells = [] if self.lines else [f"{name}: {cell}" for name, cell in self.cells.items()]
        known = ", ".join(text for text in (looks.sure_text(self.e), self.found.name, *cells) if text)
        figure.text(MARGIN / WIDTH, (top - 0.53) / height, known[:110], fontsize=10, color=GREY)
        under = top - HEAD
        if self.lines:
            right = BARS if self.drawings else WIDTH - MARGIN - AFTER
            rows = len(self.lines) + bool(self.more)
            self._bars(_place(figure, MARGIN + LABELS, under, right - MARGIN - LABELS, BAR * rows), rows, scale)
        for (name, shaded), inches in zip(self.drawings, self.heights, strict=True):
            axes = _place(figure, self.left, under - NAMED, WIDTH - MARGIN - self.left, inches)
            shaded.draw(axes)
            figure.text(self.left / WIDTH, (under - 0.15) / height, name[:60], fontsize=9, color=GREY)
            under -= NAMED + inches + UNDER

    def _bars(self, axes: Any, rows: int, scale: int) -> None:
        """A share and the attention of each field, with values; the scale is the same for all answers."""
        for i, (line, change, _) in enumerate(self.lines):
            axes.barh(i - 0.1, line.share_width, 0.42, color=BLUE)
            axes.barh(i + 0.21, line.attention_width, 0.16, color=ORANGE)
            end = max(line.share_width, line.attention_width) + 0.02 * scale
            axes.text(end, i, f"{line.share}  {change}", va="center", fontsize=9, color=INK, parse_math=False)
        if self.more:
            axes.text(0, len(self.lines), f"and {self.more} more", va="center", fontsize=9, color=GREY)
        names = [_label(line.name, self.cells.get(line.name)) for line, _, _ in self.lines]
        axes.set_yticks(range(len(names)), names, fontsize=9, color=INK)
        axes.set(xlim=(0, scale), ylim=(rows - 0.5, -0.5))
        ticks = (0, scale // 2, scale)
        axes.set_xticks(ticks, [f"{tick} %" for tick in ticks], fontsize=8, color=GREY)
        axes.tick_params(length=0)
        axes.grid(axis="x", color="#dfe3e8", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.spines["left"].set_color(GREY)


def picture(explanations: Sequence[Explanation], kind: str) -> bytes:
    """All of them, one below the other; `kind` is png or svg."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings = {"svg.fonttype": "path", "svg.hashsalt": "explained", "text.parse_math": False}
    panels = [Panel(e) for e in explanations]
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # signs that its fonts lack are drawn as boxes
        top = sum(panel.height for panel in panels) + FOOT + 0.1
        figure = Figure(figsize=(WIDTH, top), dpi=DPI)
        scale = next(scale for scale in SCALES if scale >= max((p.longest for p in panels), default=0.0))
        for panel in panels:
            panel.draw(figure, top, scale)
            top -= panel.height
        _legend(figure, panels)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def _legend(figure: Any, panels: Sequence[Panel]) -> None:
    """What the colours are, below all answers: of the bars, and the scale of what is shaded in drawings."""
    axes = _place(figure, MARGIN, FOOT - 0.1, WIDTH - 2 * MARGIN, FOOT - 0.2)
    axes.set(xlim=(0, WIDTH - 2 * MARGIN), ylim=(0, FOOT - 0.2))
    axes.axis("off")
    if any(panel.lines for panel in panels):
        for x, colour, text in ((0, BLUE, "share of the answer, and what it changes"), (3.1, ORANGE, "attention")):
            axes.barh(0.45, 0.16, 0.14, left=x, color=colour)
            axes.text(x + 0.24, 0.45, text, va="center", fontsize=9, color=INK)
    if scales := _scales(panels):
        for i, colours in enumerate(scales):
            low, high = (0.38 + 0.14 * end / len(scales) for end in (i, i + 0.8))
            axes.imshow(colours[None], extent=(6.2, 7.6, low, high), aspect="auto", interpolation="nearest")
        axes.text(6.1, 0.45, "no attention", va="center", ha="right", fontsize=9, color=INK)
        axes.text(7.7, 0.45, "the most in its field", va="center", fontsize=9, color=INK)
        axes.set(xlim=(0, WIDTH - 2 * MARGIN), ylim=(0, FOOT - 0.2))
    if meanings := dict.fromkeys(text for panel in panels if panel.lines and (text := looks.change_means(panel.e))):
        axes.text(0, 0.12, "; ".join(meanings), va="center", fontsize=8, color=GREY)


def _scales(panels: Sequence[Panel]) -> list[np.ndarray]:
    """The colours (64 3) from no attention to the most, of each way in which something is shaded."""
    found = [shaded.scale(np.linspace(0, 1, 64)) for panel in panels for _, shaded in panel.drawings]
    return list({colours.tobytes(): colours for colours in found}.values())


def _place(figure: Any, left: float, top: float, width: float, height: float) -> Any:
    """Axes at a place in inches, from the left and from below."""
    whole = figure.get_figheight()
    return figure.add_axes((left / WIDTH, (top - height) / whole, width / WIDTH, height / whole))


def _label(name: str, cell: str | None) -> str:
    shown = name if len(name) <= 24 else name[:23] + "…"
    if cell is None:
        return shown
    return f"{shown} = {cell if len(cell) <= 14 else cell[:13] + '…'}"
