"""An input with weights drawn on it: for a page (HTML) and for a picture (matplotlib axes).

A modality says what is shaded (`Modality.shaded`); how it looks is decided here, once. Weights are shades in [0, 1].
Not concerned with what the weights mean, nor with where they come from.
"""

import base64
import html
import io
import re
import unicodedata
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

if TYPE_CHECKING:
    from PIL import Image

COLOUR = (255, 106, 0)
STRENGTH = 0.75  # how much of the colour covers what is shaded fully
MARK = 0.35  # the grey of dots and strokes without weight
LEVELS = 8  # shades of text
SIDE = 160  # pixels of a page that a picture takes
FONT, GREY = 9, "#5b6472"  # of what is written on axes: its size in points, and the colour beside values
TALL = 2.4  # inches of a drawing on axes
NARROW, HIGH = 0.62, 1.7  # a letter's width and a line's height on axes, in font sizes
ZWJ = "\u200d"


class Shaded(ABC):
    """Something with weights on it."""

    @abstractmethod
    def html(self) -> str:
        """Escaped, self-contained and small. Marks are `<mark style="--w:…">`, which the page colours."""

    @abstractmethod
    def draw(self, axes: Any) -> None:
        """The same on matplotlib axes."""

    def height(self, width: float) -> float:
        """Inches that a drawing of that width takes, at most `TALL`."""
        return 1.5

    def scale(self, weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
        """The colours of such weights on axes, for a legend; as it stands, the colour laid over white."""
        return 1 - STRENGTH * weights[:, None] * (1 - np.array(COLOUR) / 255)


@dataclass(frozen=True)
class Plain(Shaded):
    """A cell as its modality draws it (HTML), with nothing to shade inside."""

    drawn: str

    def html(self) -> str:
        return self.drawn

    def draw(self, axes: Any) -> None:
        axes.axis("off")
        axes.text(0, 1, self.written(), fontsize=FONT, va="top", parse_math=False)

    def written(self) -> str:
        """The cell as text."""
        return html.unescape(re.sub(r"<[^>]*>", "", self.drawn))


@dataclass(frozen=True)
class Picture(Shaded):
    """Pixels (h w 3) with a weight each (h w); on a page their longest side is `side` pixels."""

    pixels: UInt8[np.ndarray, "h w 3"]
    weights: Float[np.ndarray, "h w"]
    side: int = SIDE

    def blended(self) -> UInt8[np.ndarray, "h w 3"]:
        """The picture in grey, with the colour over it where weights are high."""
        grey = self.pixels.mean(-1, keepdims=True)
        cover = STRENGTH * self.weights[..., None]
        return np.round(grey * (1 - cover) + np.array(COLOUR) * cover).astype(np.uint8)

    def html(self) -> str:
        from PIL import Image

        h, w = self.weights.shape
        return img(Image.fromarray(self.blended()), self.side, f"attention on {w} × {h} pixels")

    def draw(self, axes: Any) -> None:
        """The picture itself, and beside it (below, where it is wide) the attention on it."""
        axes.axis("off")
        h, w = self.weights.shape
        space = max(1, round(0.04 * max(h, w)))
        gap = np.full((space, w, 3) if self._wide else (h, space, 3), 255, np.uint8)
        both = np.concatenate([self.pixels, gap, self.blended()], axis=0 if self._wide else 1)
        axes.imshow(both, interpolation="nearest")
        axes.set_anchor("NW")

    @property
    def _wide(self) -> bool:
        return self.weights.shape[1] > 2 * self.weights.shape[0]

    def height(self, width: float) -> float:
        ratio = self.weights.shape[0] / self.weights.shape[1]
        return min(TALL, 2.1 * ratio * width if self._wide else ratio * width / 2.05)


@dataclass(frozen=True)
class Passage(Shaded):
    """Text with a weight for each character (n); `before` and `after` say whether it is cut there."""

    text: str
    weights: Float[np.ndarray, " n"]
    before: bool = False
    after: bool = False

    def pieces(self) -> list[tuple[str, int]]:
        """Neighbouring characters of the same shade (0 to 8) together. What a reader sees as one sign stays whole."""
        shades = np.ceil(np.clip(self.weights, 0, 1) * LEVELS - 0.5).astype(int).tolist()
        for i in range(1, len(self.text)):
            if _joins(self.text[i - 1], self.text[i]):
                shades[i] = shades[i - 1]
        pairs = groupby(zip(self.text, shades, strict=True), key=lambda pair: pair[1])
        return [("".join(character for character, _ in group), shade) for shade, group in pairs]

    def html(self) -> str:
        marked = "".join(
            f'<mark style="--w:{shade / LEVELS:g}">{html.escape(text)}</mark>' if shade else html.escape(text)
            for text, shade in self.pieces()
        )
        return f'<span dir="auto">{"…" * self.before}{marked}{"…" * self.after}</span>'

    def draw(self, axes: Any) -> None:
        """As many lines as there is room for, … where more follows."""
        axes.axis("off")
        extent = axes.get_window_extent()
        points = 72 / axes.figure.dpi
        width, lines = _letters(extent.width * points), max(1, round(extent.height * points / (FONT * HIGH)))
        written = "…" * self.before + "".join(" " if c.isspace() else c for c in self.text) + "…" * self.after
        weights = np.concatenate([[0.0] * self.before, self.weights, [0.0] * self.after])
        if len(written) > width * lines:
            written = written[: width * lines - 1] + "…"
        for i, (character, weight) in enumerate(zip(written, weights, strict=False)):
            line, x = divmod(i, width)
            y = 1 - (line + 1) / lines
            axes.add_patch(_box(x / width, y, 1 / width, 0.92 / lines, float(weight)))
            axes.text((x + 0.5) / width, y + 0.25 / lines, character, family="monospace", fontsize=FONT, ha="center")

    def height(self, width: float) -> float:
        count = self.before + len(self.text) + self.after
        return min(TALL, max(1, -(-count // _letters(72 * width))) * FONT * HIGH / 72)


@dataclass(frozen=True)
class Curve(Shaded):
    """Values (t c) at times (t), with a weight for each time (t)."""

    times: Float[np.ndarray, " t"]
    values: Float[np.ndarray, "t c"]
    weights: Float[np.ndarray, " t"]

    def html(self) -> str:
        """An SVG: a column in the colour behind each step, and a line for each channel on its own scale,
        whose ends are written beside it where there is one channel.
        """
        x = _unit(self.times) * 300
        edges = np.concatenate([x[:1], (x[1:] + x[:-1]) / 2, x[-1:]])
        columns = "".join(
            f'<rect x="{left:.1f}" width="{max(right - left, 0.5):.1f}" height="80" fill="rgb{COLOUR}" '
            f'opacity="{STRENGTH * weight:.2f}"/>'
            for left, right, weight in zip(edges[:-1], edges[1:], self.weights, strict=True)
            if weight > 0.01
        )
        lines = "".join(
            f'<polyline points="{_points(x, 77 - 74 * _unit(channel))}" fill="none" stroke="currentColor"/>'
            for channel in self.values.T
        )
        start, scale = 0, ""
        if self.values.shape[1] == 1:
            start = 40
            scale = "".join(
                f'<text x="-3" y="{y}" text-anchor="end" font-size="11" fill="currentColor">{end:.3g}</text>'
                for end, y in ((np.nanmax(self.values), 11), (np.nanmin(self.values), 78))
            )
        return (
            f'<svg viewBox="{-start} 0 {300 + start} 80" width="{300 + start}" role="img" '
            f'aria-label="attention over time">{columns}{lines}{scale}</svg>'
        )

    def draw(self, axes: Any) -> None:
        """Values have a scale where there is one channel; several are drawn each on its own."""
        edges = np.concatenate([self.times[:1], (self.times[1:] + self.times[:-1]) / 2, self.times[-1:]])
        for left, right, weight in zip(edges[:-1], edges[1:], self.weights, strict=True):
            axes.axvspan(left, right, color=np.array(COLOUR) / 255, alpha=STRENGTH * float(weight), linewidth=0)
        one = self.values.shape[1] == 1
        for channel in self.values.T:
            axes.plot(self.times, channel if one else _unit(channel), color="#444", linewidth=1)
        plain_axes(axes, "step")
        if not one:
            axes.set_yticks([])


def img(picture: "Image.Image", longest: int, name: str) -> str:
    """A picture as HTML, its longest side `longest` pixels of a page; larger ones are scaled down."""
    scale, (w, h) = longest / max(picture.size), picture.size
    if scale < 1:
        picture.thumbnail((longest, longest))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    data, name = base64.b64encode(buffer.getvalue()).decode("ascii"), html.escape(name, quote=True)
    return (
        f'<img src="data:image/png;base64,{data}" alt="{name}" title="{name}" width="{max(1, round(w * scale))}" '
        f'height="{max(1, round(h * scale))}" style="image-rendering: pixelated">'
    )


def shades(weights: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Weights as shades: 0 stays 0, the largest of them is 1."""
    highest = weights.max(initial=0.0)
    return weights / highest if highest > 0 else weights


def marked(weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
    """The colours of dots and strokes with such weights: they are coloured themselves."""
    return MARK + weights[:, None] * (np.array(COLOUR) / 255 - MARK)


def busiest(weights: Float[np.ndarray, " n"], length: int) -> int:
    """Where the stretch of `length` with the most weight begins."""
    if len(weights) <= length:
        return 0
    total = np.concatenate([[0.0], weights.cumsum()])
    return int((total[length:] - total[:-length]).argmax())


def _joins(before: str, character: str) -> bool:
    """Whether a character belongs to the sign before it: accents, variation selectors, skin tones, joined emoji."""
    kind = unicodedata.category(character)
    flag = all("\U0001f1e6" <= c <= "\U0001f1ff" for c in (before, character))
    return kind in ("Mn", "Me", "Mc", "Cf", "Sk") or before == ZWJ or flag


def _unit(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    low, high = np.nanmin(x), np.nanmax(x)
    return (x - low) / (high - low) if high > low else np.full(len(x), 0.5)


def _points(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True) if np.isfinite(b))


def plain_axes(axes: Any, across: str) -> None:
    """Axes with small grey numbers and nothing around them; `across` names the one below."""
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(labelsize=FONT - 2, colors=GREY, length=0)
    axes.margins(x=0)
    axes.set_xlabel(across, fontsize=FONT - 2, color=GREY)


def _letters(points: float) -> int:
    """How many letters stand in a line of that width."""
    return max(1, int(points / (FONT * NARROW)))


def _box(x: float, y: float, width: float, height: float, shade: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, color=np.array(COLOUR) / 255, alpha=STRENGTH * shade, linewidth=0)
