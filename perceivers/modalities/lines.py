"""A small line chart as inline SVG, in the page's colours.

Not concerned with what the lines are.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

WIDTH, HEIGHT, MARGIN = 240, 72, 3
SCALE, SIZE = 40, 10  # beside the lines, where their highest and lowest value stand, in letters of that size
MOST_LINES, MOST_POINTS = 6, 240
COLOURS = ("var(--accent, #2866c8)", "var(--second, #c4561b)", "var(--muted, #5b6472)")


def lines(times: Float[np.ndarray, " t"], channels: Sequence[Float[np.ndarray, " t"]] | np.ndarray) -> str:
    """One line for each of the first channels, all on one scale, whose ends are written beside it; interrupted where
    values are missing.
    """
    shown = np.array([np.asarray(channel, float) for channel in channels][:MOST_LINES])
    known = shown[np.isfinite(shown)]
    if not len(known):
        return "–"
    low, high = known.min(), known.max()
    x = _scaled(np.asarray(times, float), times[0], times[-1], WIDTH)
    y = HEIGHT - _scaled(shown, low, high, HEIGHT)
    paths = [
        f'<path d="{_path(x, line)}" fill="none" stroke="{COLOURS[min(i, len(COLOURS) - 1)]}" stroke-width="1.3" '
        f'stroke-linecap="round"/>'
        for i, line in enumerate(y)
    ]
    label = f"{len(channels)} lines" if len(channels) > 1 else "a line"
    return (
        f'<svg viewBox="{-SCALE} 0 {SCALE + WIDTH} {HEIGHT}" width="{SCALE + WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{label} of {len(x)} steps from {low:.4g} to {high:.4g}">'
        f"{_written(high, SIZE)}{_written(low, HEIGHT - MARGIN)}{''.join(paths)}</svg>"
    )


def _written(x: float, y: int) -> str:
    return f'<text x="-3" y="{y}" text-anchor="end" font-size="{SIZE}" fill="{COLOURS[-1]}">{x:.3g}</text>'


def legend(*names: str) -> str:
    """The names of the first lines in their colours."""
    named = (f'<span style="color: {colour}">{name}</span>' for name, colour in zip(names, COLOURS, strict=False))
    return f"<br><small>{', '.join(named)}</small>"


def _scaled(values: np.ndarray, low: float, high: float, size: int) -> np.ndarray:
    share = (values - low) / (high - low) if high > low else np.where(np.isnan(values), np.nan, 0.5)
    return MARGIN + share * (size - 2 * MARGIN)


def _path(x: np.ndarray, y: np.ndarray) -> str:
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).round().astype(int))
    pieces, pen = [], "M"
    for i in chosen:
        if np.isnan(y[i]):
            pen = "M"
        else:
            pieces.append(f"{pen}{x[i]:.1f} {y[i]:.1f}")
            if pen == "M":
                pieces.append("h0")  # a step between missing ones is a dot
            pen = "L"
    return "".join(pieces)
