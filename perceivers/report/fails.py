"""Where a model fails: the slices of the test rows on which it is worst, in words.

Not concerned with which slices there are (`perceivers/slices.py`).
"""

from dataclasses import dataclass
from typing import Any

from perceivers.data.schema import Field
from perceivers.report import verdict
from perceivers.report.summary import TargetResult
from perceivers.slices import Slice


@dataclass(frozen=True)
class Line:
    """A slice as it is shown: its ends and its value in % of the scale's width."""

    field: str
    value: str
    n: int
    text: str
    interval: str
    place: float
    low: float
    high: float
    clear: bool


def slices(result: TargetResult) -> dict[str, Any] | None:
    """The worst first, on one scale with the score of all rows; None where there is no slice."""
    found = result.slices
    if not found.worst:
        return None
    ends = [s.score[end] for s in found.worst for end in ("value", "high") if s.score[end] is not None]
    scale = 1.0 if found.name == "accuracy" else max([*ends, found.overall]) or 1.0
    return {
        "name": verdict.NAMES.get(found.name, found.name),
        "overall": verdict.value_text(found.name, found.overall, result.field),
        "mark": round(100 * found.overall / scale, 2),
        "lines": [_line(found.name, one, scale, result.field) for one in found.worst],
        "looked_at": found.looked_at,
    }


def _line(name: str, one: Slice, scale: float, field: Field) -> Line:
    def place(end: str) -> float:
        value = one.score["value"] if one.score[end] is None else one.score[end]
        return round(100 * min(1.0, max(0.0, value / scale)), 2)

    return Line(
        one.field,
        one.value,
        one.n,
        verdict.value_text(name, one.score["value"], field),
        verdict.interval_text(name, one.score),
        place("value"),
        place("low"),
        place("high"),
        one.clear,
    )
