"""From turns to ratios, shares of the limit and exponents.

Not concerned with how they are shown (`page.py`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean, median
from typing import Any

import numpy as np

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """A row in numbers: medians over turns; `low` and `high` are the extremes of the ratio over pairs of turns."""

    row: Row
    ours_s: float
    theirs_s: float | None
    ratio: float | None
    low: float | None
    high: float | None
    share: float
    peak: float
    theirs_peak: float | None

    @property
    def model(self) -> str:
        """What is measured."""
        return self.row["model"]

    @property
    def way(self) -> str:
        """Its precision, and what ours computed in."""
        return f"{'exact' if self.row['precision'] == 'float32' else 'fast'}, {taken(self.row)}"

    def as_json(self) -> dict[str, Any]:
        """The shape that other programs read; bytes in GB."""
        return {
            "model": self.model,
            "precision": self.row["precision"],
            "computed_in": taken(self.row),
            "gflop": self.row["flop"] / 1e9,
            "ours_s": self.ours_s,
            "theirs_s": self.theirs_s,
            "ratio": self.ratio,
            "share_of_limit": self.share,
            "max_relative_error": self.row.get("error"),
            "peak_gb": self.peak / 1e9,
            "theirs_peak_gb": None if self.theirs_peak is None else self.theirs_peak / 1e9,
        }


def taken(row: Row) -> str:
    """What ours computed a row in: the fast way is bfloat16 but where our side says otherwise."""
    return row["ours_about"].get("precision", "float32" if row["precision"] == "float32" else "bfloat16")


def limits(rows: Iterable[Row]) -> dict[str, float]:
    """FLOP/s of the best matrix product that a probe found on the machine beside any of the rows, by what they were
    computed in: where others work on the machine, the row of a slow hour has no lower limit.
    """
    found: dict[str, float] = {}
    for row in rows:
        found[taken(row)] = max(found.get(taken(row), 0.0), *row["rates"])
    return found


def compare(row: Row, limit: float) -> Comparison:
    """The numbers of a row; `limit` in FLOP/s."""
    ours = [turn["seconds"] for turn in row["ours"]]
    share = row["flop"] / limit / median(ours)
    peak = median(turn["peak"] for turn in row["ours"])
    if "theirs" not in row:
        return Comparison(row, median(ours), None, None, None, None, share, peak, None)
    theirs = [row["times"] * turn["seconds"] for turn in row["theirs"]]
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return Comparison(
        row,
        median(ours),
        median(theirs),
        median(ratios),
        min(ratios),
        max(ratios),
        share,
        peak,
        median(turn["peak"] for turn in row["theirs"]),
    )


def comparisons(rows: Iterable[Row]) -> list[Comparison]:
    """All rows that were measured, in order."""
    whole = list(rows)
    best = limits(whole)
    return [compare(row, best[taken(row)]) for row in whole]


def mean_ratio(found: Sequence[Comparison]) -> float | None:
    """The geometric mean of the ratios."""
    ratios = [one.ratio for one in found if one.ratio is not None]
    return geometric_mean(ratios) if ratios else None


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of log(value) over log(size), by least squares over the upper half, where fixed costs no longer count.

    NaN for fewer than two sizes.
    """
    if len(sizes) < 2:
        return math.nan
    half = min(len(sizes) // 2, len(sizes) - 2)
    return float(np.polyfit(np.log(sizes[half:]), np.log(values[half:]), 1)[0])
