"""Seconds and memory over the sizes of inputs, latents and outputs: exponents, and a picture of both.

Not concerned with how they were measured (`measure.py`).
"""

import io
from collections.abc import Sequence

from perceivers.bench.summary import Comparison, exponent
from perceivers.bench.works import STAGES

NAMES = {"inputs": "inputs M", "latents": "latents N", "queries": "outputs O"}


def series(rows: Sequence[Comparison]) -> dict[str, list[tuple[int, Comparison]]]:
    """For each axis the rows by size."""
    found: dict[str, list[tuple[int, Comparison]]] = {}
    for one in rows:
        axis, size = one.model.split()
        found.setdefault(axis, []).append((int(size), one))
    return {axis: sorted(points, key=lambda point: point[0]) for axis, points in found.items()}


def text(rows: Sequence[Comparison]) -> str:
    """The exponents in a sentence for each axis."""
    said = []
    for axis, points in series(rows).items():
        sizes = [size for size, _ in points]
        power = exponent(sizes, [one.ours_s for _, one in points])
        said.append(
            f"- `{STAGES[axis]}` takes time as {NAMES[axis][-1]}^{power:.2f} "
            f"({NAMES[axis]} from {sizes[0]:,} to {sizes[-1]:,}; fitted to the upper half)"
        )
    return "\n".join(said)


def picture(rows: Sequence[Comparison]) -> str:
    """An SVG: seconds above, peak memory below, one column for each axis."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    found = series(rows)
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "growth", "font.size": 9}):
        figure = Figure(figsize=(3.2 * len(found), 4.6), layout="constrained")
        axes = figure.subplots(2, len(found), squeeze=False, sharex="col", sharey="row")
        for column, (axis, points) in enumerate(found.items()):
            sizes = [size for size, _ in points]
            seconds = [one.ours_s for _, one in points]
            above, below = axes[0, column], axes[1, column]
            above.loglog(sizes, seconds, "o-", color="C0", markersize=3)
            above.set_title(f"{STAGES[axis]}: {NAMES[axis][-1]}^{exponent(sizes, seconds):.2f}")
            below.loglog(sizes, [one.peak / 1e9 for _, one in points], "o-", color="C1", markersize=3)
            below.set_xlabel(NAMES[axis])
            for ax in (above, below):
                ax.grid(alpha=0.3)
                ax.spines[["top", "right"]].set_visible(False)
        axes[0, 0].set_ylabel("seconds")
        axes[1, 0].set_ylabel("peak memory of the process, GB")
        axes[1, 0].set_yscale("log", base=2)
        axes[1, 0].yaxis.set_major_formatter("{x:g}")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
